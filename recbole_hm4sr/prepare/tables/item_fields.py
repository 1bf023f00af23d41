"""From what shops write about an item to the columns of an ``.item`` file.

Text: HTML tags are left out, entities resolved (twice where the source escaped twice), white space
is one space. Categories: all paths of an item, the first name of each left out where it is the
shop's department, each name one word, once. Prices: a number of 0 or more, spelt 1,299.50 or
1.299,50. Image address: http or https.
"""

import html
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from recbole_hm4sr.base.files import ASCII_BLANKS

COLUMNS = {
    "item_id": "token",
    "title": "token_seq",
    "brand": "token",
    "category": "token",
    "categories": "token_seq",
    "description": "token_seq",
    "price": "float",
    "image_url": "token",
}
_UNSAFE = re.compile(r"[\x00-\x1f]")
# Digits with the signs that stand between them: of thousands, of decimals.
_NUMBER = re.compile("-?[0-9]+(?:[.,'\u00a0\u202f ][0-9]+)*")
_GROUPED = re.compile(r"-?[1-9][0-9]{0,2}(?:(?P<sign>[.,])[0-9]{3})(?:(?P=sign)[0-9]{3})*")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_SCRIPT = "getTime"  # in some titles of the 2018 release stands a piece of the page's program


@dataclass(frozen=True)
class ItemRow:
    """One item; empty text and None are what the source does not say."""

    item_id: str
    title: str = ""
    brand: str = ""
    category: str = ""
    categories: str = ""
    description: str = ""
    price: float | None = None
    image_url: str = ""


Fault = Callable[[str], None]


def make_item_row(  # noqa: PLR0913  # a column each
    item_id: str,
    *,
    title: Any = None,
    brand: Any = None,
    paths: Sequence[Sequence[Any]] = (),
    description: Any = None,
    price: Any = None,
    image_url: Any = None,
    with_department: bool = True,
    fault: Fault,
) -> ItemRow:
    """Clean the columns of one item.

    Args:
        item_id: Its token.
        title: Its title, raw.
        brand: Its brand, raw.
        paths: Its category paths.
        description: Its description, raw.
        price: A number, or text that holds one.
        image_url: The address of its main image.
        with_department: Whether the first name of a path is the shop's department.
        fault: Called with a reason for each value that has to be left empty.
    """
    title = clean_text(title)
    if _SCRIPT in title:
        fault("title is a page's program")
        title = ""
    category, categories = join_categories(paths, skip=int(with_department))
    return ItemRow(
        item_id,
        title,
        clean_text(brand),
        category,
        categories,
        clean_text(description),
        clean_price(price, fault),
        clean_address(image_url, fault),
    )


def clean_token(value: Any) -> str | None:
    r"""A user's or item's name as one cell of an atomic file; None if it cannot be one.

    >>> clean_token(" B001 "), clean_token(17), clean_token("a\tb"), clean_token(True)
    ('B001', '17', None, None)
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value).strip(ASCII_BLANKS)
    if not text or _UNSAFE.search(text) or _lone_surrogates(text):
        return None
    return text


def clean_text(value: Any) -> str:
    r"""Text without HTML tags and entities, in one line, its white space one space.

    >>> clean_text(" L&#39;Oreal\n  <b>Q&amp;amp;A</b> 3 < 4 ")
    "L'Oreal Q&A 3 < 4"
    """
    if not isinstance(value, str):
        return "" if value is None or isinstance(value, list | dict) else str(value)
    if "<" in value:
        value = _TAG.sub(" ", value)
    if "&" in value:
        value = html.unescape(html.unescape(value))
    if _lone_surrogates(value):
        value = value.encode("utf-8", "replace").decode()
    return " ".join(value.replace("\0", " ").split())


def clean_price(value: Any, fault: Fault) -> float | None:
    """A price in the shop's currency; of a range, the lower end.

    >>> clean_price("$1,299.00 - $1,500.00", print), clean_price("1.299,00 €", print)
    (1299.0, 1299.0)
    >>> clean_price(-1, print), clean_price("", print)
    price is below 0
    (None, None)
    """
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        if not text or text.lower() in ("none", "—"):
            return None
        # A long text with a number in it is a piece of the page.
        found = _NUMBER.search(text.replace("$-", "-")) if len(text) <= 40 else None
        value = None if found is None else _read_number(found[0])
    if not isinstance(value, int | float) or not math.isfinite(value):
        fault("price is no number")
        return None
    if value < 0:
        fault("price is below 0")
        return None
    return float(value)


def _read_number(text: str) -> float | None:
    """A number with a point or a comma before its decimals; None if the signs make no sense.

    One sign with three digits behind it is of thousands if a comma, of decimals if a point.

    >>> [_read_number(text) for text in ("1,299", "1.299", "0,299", "1 299,50", "1.299.000")]
    [1299.0, 1.299, 0.299, 1299.5, 1299000.0]
    """
    text = re.sub("['\u00a0\u202f ]", "", text)
    decimal = text[max(text.rfind("."), text.rfind(","))] if re.search("[.,]", text) else "."
    if text.count(decimal) > 1 or (decimal == "," and _GROUPED.fullmatch(text)):
        whole, digits = text, ""  # the signs are of thousands
    else:
        whole, _, digits = text.partition(decimal)
    if re.search("[.,]", whole) and not _GROUPED.fullmatch(whole):
        return None
    return float(f"{re.sub('[.,]', '', whole)}.{digits or 0}")


def clean_address(value: Any, fault: Fault) -> str:
    """The address of an image; empty if there is none.

    >>> clean_address("ftp://x/a.jpg", print)
    image address is not http
    ''
    """
    text = clean_text(value)
    if text and (not text.startswith(("http://", "https://")) or " " in text):
        fault("image address is not http")
        return ""
    return text


def join_categories(paths: Sequence[Sequence[Any]], *, skip: int = 1) -> tuple[str, str]:
    """The first path in words, and the categories of all paths behind their first ``skip`` names.

    >>> join_categories([["Beauty", "Hair Care"], ["Gifts", "For &amp; by", "Hair Care"]])
    ('Beauty > Hair Care', 'Hair_Care For_&_by')
    """
    cleaned = [[text for text in map(clean_text, path) if text] for path in paths]
    cleaned = [path for path in cleaned if path]
    words = (name.replace(" ", "_") for path in cleaned for name in path[skip:])
    return " > ".join(cleaned[0]) if cleaned else "", " ".join(dict.fromkeys(words))


def as_texts(value: Any) -> Iterable[str]:
    """The texts of a list, or the one text."""
    values = value if isinstance(value, list | tuple) else [value]
    return [text for text in values if isinstance(text, str) and text.strip()]


def _lone_surrogates(text: str) -> bool:
    """Whether a Python literal wrote half a character, which no UTF-8 file can hold."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
