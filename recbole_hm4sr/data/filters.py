"""RecBole's filter by the number of interactions, on arrays instead of values one by one."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

logger = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]


@dataclass
class _Side:
    """The users of all interactions, or their items.

    Attributes:
        field: Name of the column.
        codes: Number of the user or item of each interaction. Shape ``[N]``, int.
        counts: Interactions left of each. Int64.
        intervals: Allowed numbers, as RecBole parses them; empty or None allows all.
        attribute_codes: Numbers of the rows of the ``.user`` or ``.item`` file, -1 without an
            interaction; None without a file.
        attributes_kept: The rows of that file that are left. Bool.
    """

    field: str
    codes: Array
    counts: Array
    intervals: Sequence[tuple[str, float, float, str]] | None
    attribute_codes: Array | None
    attributes_kept: Array

    def banned(self, within: Callable[[Array, Any], Array]) -> tuple[Array, Array]:
        """Who must go, by number; and which rows of the attribute file."""
        nobody = np.zeros(len(self.counts), dtype=bool)
        if not self.intervals:
            return nobody, np.zeros(len(self.attributes_kept), dtype=bool)
        if len(self.intervals) > 1:
            logger.warning("%s: more than one interval of interaction numbers", self.field)
        banned = (self.counts > 0) & ~within(self.counts, self.intervals)
        if self.attribute_codes is None:
            return banned, np.zeros(0, dtype=bool)
        # Rows of attributes go by the first interval's lower end, even where nobody has them.
        known = self.attribute_codes >= 0
        counts = np.where(known, self.counts[self.attribute_codes], 0)
        too_few = self.attributes_kept & (counts < self.intervals[0][1])
        banned[self.attribute_codes[too_few & known]] = True
        rows = self.attributes_kept & (too_few | (known & banned[self.attribute_codes]))
        return banned, rows


def filter_by_counts(dataset: Any) -> None:
    """Drop interactions until every user and item has an allowed number of them.

    Equals RecBole's ``Dataset._filter_by_inter_num``, which counts and compares values in Python,
    but for the index of the frames: RecBole makes it anew right afterwards, here it is new already.

    Args:
        dataset: RecBole ``Dataset`` whose features are data frames; those that lose rows are
            replaced.
    """
    sides = {}
    for name, field in (("user_feat", dataset.uid_field), ("item_feat", dataset.iid_field)):
        setting = f"{name.removesuffix('_feat')}_inter_num_interval"
        intervals = dataset._parse_intervals_str(dataset.config[setting])
        sides[name] = _side(dataset.inter_feat, field, getattr(dataset, name), intervals)
    if not any(side.intervals for side in sides.values()):
        return
    kept = {"inter_feat": _kept_interactions(list(sides.values()), dataset._within_intervals)}
    kept |= {name: side.attributes_kept for name, side in sides.items()}
    for name, rows in kept.items():
        if not rows.all():
            setattr(dataset, name, getattr(dataset, name)[rows].reset_index(drop=True))


def _side(
    frame: pd.DataFrame, field: str, attributes: pd.DataFrame | None, intervals: Any
) -> _Side:
    codes, names = np.zeros(len(frame), dtype=np.int8), np.zeros(0, dtype=object)
    if intervals:
        codes, names = pd.factorize(frame[field])
    attribute_codes = None
    if attributes is not None:
        known = pd.Index(np.asarray(names, dtype=object))
        attribute_codes = known.get_indexer(np.asarray(attributes[field], dtype=object))
    return _Side(
        field,
        codes,
        np.bincount(codes, minlength=max(1, len(names))),
        intervals,
        attribute_codes,
        np.ones(0 if attributes is None else len(attributes), dtype=bool),
    )


def _kept_interactions(sides: Sequence[_Side], within: Callable[[Array, Any], Array]) -> Array:
    kept = np.ones(len(sides[0].codes), dtype=bool)
    while True:
        found = [side.banned(within) for side in sides]
        if not any(banned.any() or rows.any() for banned, rows in found):
            return kept
        dropped = np.zeros(len(kept), dtype=bool)
        for side, (banned, rows) in zip(sides, found, strict=True):
            side.attributes_kept &= ~rows
            dropped |= banned[side.codes]
        dropped &= kept
        kept &= ~dropped
        for side in sides:
            side.counts -= np.bincount(side.codes[dropped], minlength=len(side.counts))
