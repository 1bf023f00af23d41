"""Text files of a user: UTF-8, with or without the byte-order mark that Windows writes.

What is no such text is named by its first bytes, and never quoted: control codes are no sentence.
"""

import codecs
from pathlib import Path
from typing import TypeVar

from recbole_hm4sr.base.errors import UserError

Refusal = TypeVar("Refusal", bound=UserError)

_BOM = codecs.BOM_UTF8
# How a file begins, what it then is, and what to do; the longer beginnings first.
_KINDS = (
    (codecs.BOM_UTF32_LE, "UTF-32 text", "save it as UTF-8"),
    (codecs.BOM_UTF32_BE, "UTF-32 text", "save it as UTF-8"),
    (codecs.BOM_UTF16_LE, "UTF-16 text", "save it as UTF-8"),
    (codecs.BOM_UTF16_BE, "UTF-16 text", "save it as UTF-8"),
    (b"PK\x03\x04", "a zip archive, as .xlsx and .npz files are", "unpack it, or save it as text"),
    (b"PK\x05\x06", "an empty zip archive", "name another file"),
    (b"\x1f\x8b", "a gzip file", "unpack it"),
    (b"\xd0\xcf\x11\xe0", "a workbook of old Excel", "save it as UTF-8 text"),
    (b"PAR1", "a Parquet file", "save it as UTF-8 text"),
    (b"\x93NUMPY", "a single NumPy array", "name a text file"),
    (b"%PDF", "a PDF", "name a text file"),
)
_HEAD = 4096
_WESTERN = 0.4  # in UTF-16, every second byte of Western text is zero


def looks_like(head: bytes) -> tuple[str, str] | None:
    """What a file that begins so is, if it is no UTF-8 text, and what to do about it.

    Args:
        head: Its first bytes; a few hundred are enough.
    """
    for beginning, kind, advice in _KINDS:
        if head.startswith(beginning):
            return kind, advice
    zeros = head.count(b"\0")
    if not zeros:
        return None
    halves = head[::2], head[1::2]
    if zeros > 2 and max(half.count(b"\0") / len(half) for half in halves) > _WESTERN:
        return "UTF-16 text without a byte-order mark", "save it as UTF-8"
    return "no text, since it holds zero bytes", "name a text file"


def refuse_other_kind(head: bytes, place: str, error: type[Refusal]) -> None:
    """Refuse what begins as no UTF-8 text does.

    Args:
        head: The first bytes of the file.
        place: What it is and where, as the sentence begins.
        error: Class of the error.
    """
    kind = looks_like(head)
    if kind is not None:
        raise error(f"{place} must be UTF-8 text, but is {kind[0]}: {kind[1]}")


def read_text(path: Path, what: str, error: type[Refusal]) -> str:
    """The text of a whole file, without a byte-order mark.

    Args:
        path: The file.
        what: What it is, as the sentence of an error says it: ``the settings file``.
        error: Class of the error.

    Raises:
        UserError: Of the class ``error``, if the file cannot be read or is no UTF-8 text.
    """
    try:
        content = path.read_bytes()
    except OSError as failure:
        raise error(f"cannot read {what} {path}: {failure.strerror}") from failure
    refuse_other_kind(content[:_HEAD], f"{what} {path}", error)
    content = content.removeprefix(_BOM)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as failure:
        line = content.count(b"\n", 0, failure.start) + 1
        raise error(
            f"{what} {path}, line {line} must be UTF-8, got the byte "
            f"0x{content[failure.start]:02x}; save it as UTF-8"
        ) from failure
