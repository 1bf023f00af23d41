"""The authors' ``cat.pt`` to a column of categories and back."""

from pathlib import Path

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import write_text, write_whole
from recbole_hm4sr.data.atomic import read_atomic
from recbole_hm4sr.prepare.convert.features import NOT_AN_ITEM, Array, read_authors_tensor
from recbole_hm4sr.prepare.encode.feature_job import FeatureReport, refuse_duplicates


def convert_categories(
    source: Path,
    out: Path,
    *,
    item_tokens: Array,
    item_field: str = "item_id",
    column: str = "categories",
    to_tensor: bool,
) -> FeatureReport:
    """Convert the authors' ``cat.pt`` to a column of categories, or such a column to it.

    The tensor has a 0 or 1 for each item and category; it does not hold the categories' names, so
    the column calls them c0, c1, ...

    Args:
        source: The tensor; or an atomic file with the column.
        out: The file to write.
        item_tokens: Raw token of each internal item id of RecBole; entry 0 is padding. Length I.
        item_field: Column of item tokens.
        column: Column of categories.
        to_tensor: Whether to write the tensor.

    Raises:
        DataError: If a file breaks its format, or its rows are not those of the items.
    """
    items = np.asarray(item_tokens[1:], dtype=np.str_)
    if to_tensor:
        return _write_category_tensor(source, out, items, (item_field, column))
    flags = read_authors_tensor(source, len(item_tokens))
    if not np.isin(flags, (0, 1)).all():
        raise DataError(f"{source} must hold 0 or 1 for each item and category")
    lines = [f"{item_field}:token\t{column}:token_seq\n"]
    for token, row in zip(items, flags, strict=True):
        lines.append(f"{token}\t{' '.join(f'c{number}' for number in np.flatnonzero(row))}\n")
    write_text(out, "".join(lines))
    without = [str(token) for token in items[~flags.any(axis=1)]]
    skipped = {"no category": without} if without else {}
    return FeatureReport(out, len(items), flags.shape[1], skipped)


def _write_category_tensor(
    source: Path, out: Path, items: Array, columns: tuple[str, str]
) -> FeatureReport:
    import torch

    table = read_atomic(source, columns)
    tokens = table.tokens(columns[0])
    refuse_duplicates(tokens, source)
    by_token = dict(zip(tokens, table.sequences(columns[1]), strict=True))
    names = sorted({name for token in items for name in by_token.get(token, ())})
    if not names:
        raise DataError(f"{source}: {columns[1]} must name a category of an item, got none")
    place = {name: number for number, name in enumerate(names)}
    flags = torch.zeros(len(items) + 1, len(names))
    for row, token in enumerate(items, start=1):
        flags[row, [place[name] for name in by_token.get(token, ())]] = 1
    write_whole(out, lambda file: torch.save(flags, file))
    skipped = {
        NOT_AN_ITEM: sorted(set(tokens) - set(items)),
        "no category": [str(token) for token in items if not by_token.get(token)],
    }
    skipped = {reason: tokens for reason, tokens in skipped.items() if tokens}
    return FeatureReport(out, len(items), len(names), skipped)
