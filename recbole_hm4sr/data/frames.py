"""Atomic files as the data frames of RecBole's data set: read, without repeats, renumbered."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from recbole.utils import FeatureSource, FeatureType

from recbole_hm4sr.base import compat
from recbole_hm4sr.data.atomic import AtomicTable, read_atomic
from recbole_hm4sr.data.categories import refuse_duplicates
from recbole_hm4sr.data.columns import TokenNumbers, number_tokens
from recbole_hm4sr.data.times import read_times
from recbole_hm4sr.data.vocabulary import Vocabulary


def read_frame(dataset: Any, path: Path, source: Any) -> pd.DataFrame | None:
    """Read the columns of one atomic file that ``load_col`` names.

    Args:
        dataset: RecBole ``Dataset``, which is told the kind, source and width of each column.
        path: The file.
        source: RecBole's ``FeatureSource`` of the file, or the suffix of a further one.

    Returns:
        Tokens as categoricals of ``str`` (those of interactions) or objects, times as int64, floats
        as float64, sequences as one array per row; None if no column is to be read.

    Raises:
        DataError: If the file breaks the data contract.
    """
    load, _ = dataset._get_load_and_unload_col(source)
    if load == set():
        return None
    table = read_atomic(path, None if load is None else list(load))
    columns: dict[str, Any] = {}
    for name in table.frame:
        columns[name] = _read_column(dataset, table, name)
        if table.kinds[name] == "token" and source is not FeatureSource.INTERACTION:
            columns[name] = columns[name].astype(object)
        _describe_column(dataset, table, name, source, columns[name])
    if source is FeatureSource.INTERACTION:
        for name in (dataset.uid_field, dataset.iid_field):
            columns[name] = pd.Series(table.token_column(name))
        time = dataset.time_field
        columns[time] = read_times(table, time, dataset.settings.timestamp_unit)
    elif source in (FeatureSource.ITEM, FeatureSource.USER):
        is_item = source is FeatureSource.ITEM
        refuse_duplicates(table, dataset.iid_field if is_item else dataset.uid_field)
    return pd.DataFrame(columns, copy=False)


def _read_column(dataset: Any, table: AtomicTable, name: str) -> Any:
    kind = table.kinds[name]
    if kind in ("float", "float_seq") and name != dataset.time_field:
        table.require_finite(name)
    if kind not in ("token_seq", "float_seq"):
        return table.frame[name]
    limit = (dataset.config["seq_len"] or {}).get(name)
    if kind == "float_seq":
        rows = list(table.float_sequences(name))
    else:
        rows = [np.array(parts, dtype=str) for parts in table.sequences(name)]
    return pd.Series([row[:limit] for row in rows], dtype=object)


def _describe_column(dataset: Any, table: AtomicTable, name: str, source: Any, column: Any) -> None:
    """Tell RecBole's data set of a column."""
    kind = FeatureType(table.kinds[name])
    is_sequence = kind in (FeatureType.TOKEN_SEQ, FeatureType.FLOAT_SEQ)
    dataset.field2source[name] = source
    dataset.field2type[name] = kind
    dataset.field2seqlen[name] = max(map(len, column)) if is_sequence else 1
    if kind in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ):
        dataset.field2bucketnum[name] = 2


def remove_duplicates(frame: pd.DataFrame, dataset: Any) -> pd.DataFrame:
    """Keep one interaction of each user and item, as ``rm_dup_inter`` says.

    RecBole's sort by time is not stable; here equal times keep the file's order.
    """
    keep = dataset.config["rm_dup_inter"]
    if keep is None:
        return frame
    ordered = frame.sort_values(dataset.time_field, kind="stable")
    return ordered.drop_duplicates([dataset.uid_field, dataset.iid_field], keep=keep)


def renumber(dataset: Any, earlier: Vocabulary | None, more_items: Iterable[str] = ()) -> None:
    """Put numbers in place of the tokens of all frames, as RecBole does.

    Columns of the same things (an alias of the users or of the items) are numbered together.

    Args:
        dataset: RecBole ``Dataset``, whose frames are changed and which is told the tokens.
        earlier: Numbers that users and items keep.
        more_items: Items that are numbered behind those of the frames.
    """
    known = {}
    if earlier is not None:
        known = {dataset.uid_field: earlier.users, dataset.iid_field: earlier.items}
    for fields in [*dataset.alias.values(), *([field] for field in dataset._rest_fields)]:
        columns = [(frame, field) for field in fields for frame in dataset.field2feats(field)]
        if columns:
            more = more_items if dataset.iid_field in fields else ()
            _renumber_together(dataset, columns, known.get(str(fields[0])), more)


def _renumber_together(
    dataset: Any, columns: Sequence[tuple[Any, str]], known: Any, more: Iterable[str]
) -> None:
    are_single = [dataset.field2type[field] is FeatureType.TOKEN for _, field in columns]
    values = [
        frame[field].array if is_single else np.concatenate(list(frame[field]))
        for (frame, field), is_single in zip(columns, are_single, strict=True)
    ]
    numbers, tokens = number_tokens([*values, np.asarray(list(more), dtype=object)], known)
    numbers = numbers[: len(values)]
    by_token = TokenNumbers(tokens)
    for (frame, field), is_single, ids in zip(columns, are_single, numbers, strict=True):
        dataset.field2id_token.setdefault(field, tokens)
        dataset.field2token_id.setdefault(field, by_token)
        if is_single:
            frame[field] = ids
        else:
            rows = compat.split_like(frame[field], ids)
            frame[field] = pd.Series(rows, index=frame.index, dtype=object)
