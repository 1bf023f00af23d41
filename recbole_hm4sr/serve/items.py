"""The items of an opened run: found by token, chosen among, compared, and named again."""

import functools
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.data.feature_rows import unit_rows
from recbole_hm4sr.data.item_table import ItemTable, TextColumn
from recbole_hm4sr.layers.ranking import top_k
from recbole_hm4sr.model.capabilities import item_vectors
from recbole_hm4sr.serve.greedy import Limits, Picker
from recbole_hm4sr.serve.history_table import number_items
from recbole_hm4sr.serve.opening import OpenRun
from recbole_hm4sr.serve.rules import Rules
from recbole_hm4sr.serve.where import find_column, mask_of, parse_where

logger = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
MODEL, FEATURES = "model", "features"
_NAMED = 3  # items in a sentence
_KEPT_MASKS = 64


class Selection(NamedTuple):
    """What a request chooses among, and how.

    Attributes:
        allowed: Numbers of the items that may be chosen, in the order in which equal scores rank;
            None for all, by number. Shape ``[N]``, int64.
        picker: Chooses where the scores alone do not.
    """

    allowed: Array | None = None
    picker: Picker | None = None

    def size(self, n_items: int) -> int:
        """How many items may be chosen, of I with padding."""
        return n_items - 1 if self.allowed is None else len(self.allowed)

    def top(self, scores: Tensor, k: int, *, is_chosen: bool = False) -> tuple[Tensor, Tensor]:
        """The best items of each row.

        Args:
            scores: Minus infinity where an item may not be chosen. Shape ``[B, I]``.
            k: At most as many as may be chosen.
            is_chosen: Whether the columns are the allowed items already. Shape ``[B, N]``.

        Returns:
            Scores, minus infinity where nothing is left, and items. Both of shape ``[B, k]``.
        """
        ids = None if self.allowed is None else torch.from_numpy(self.allowed).to(scores.device)
        if ids is not None and not is_chosen:
            scores = scores.index_select(1, ids)
        if self.picker is not None:
            return self.picker.top(scores, ids, k)
        values, columns = top_k(scores, k)
        return values, columns if ids is None else ids[columns]


class ServedItems:
    """The items that a run recommends, by number and by token.

    Args:
        run: Opened.

    Attributes:
        tokens: Raw token of each item; None for padding, number 0. Shape ``[I]``, object.
        index: The tokens of the numbers 1, 2, ...
    """

    def __init__(self, run: OpenRun) -> None:
        self._run = run
        tokens = run.data.item_tokens
        self.index = pd.Index(tokens[1:].astype(object))
        self.tokens = np.array([None, *tokens[1:].tolist()], dtype=object)
        # Requests repeat their conditions, and one of texts looks at every text.
        self.mask = functools.lru_cache(maxsize=_KEPT_MASKS)(self._mask)
        self.vectors = functools.lru_cache(maxsize=None)(self._vectors)

    def __len__(self) -> int:
        """I, padding included."""
        return len(self.tokens)

    def numbers(self, tokens: Sequence[str]) -> Array:
        """Numbers of raw tokens; 0 of one that is not known. Shape ``[N]``, int64."""
        return number_items(np.array(list(tokens), dtype=object), self.index)

    # --- rules ----------------------------------------------------------------------------------

    def choose(self, rules: Rules) -> Selection:
        """What rules allow.

        Raises:
            ConfigError: If a rule asks for what is not kept, or ``where`` breaks its grammar.
            DataError: If no candidate is known.
        """
        limits = self._limits(rules.max_per) if rules.max_per else None
        vectors = self.vectors(self.compared_by) if rules.diversity else None
        picker = None
        if limits is not None or vectors is not None:
            picker = Picker(limits, vectors, rules.diversity)
        return Selection(self._allowed(rules), picker)

    def _allowed(self, rules: Rules) -> Array | None:
        allowed = None
        if rules.candidates is not None:
            numbers = self.named(rules.candidates, "candidates")
            if not numbers.any():
                raise DataError(
                    f"candidates must be items of the run, but of {len(rules.candidates)} none is "
                    f"known" + _examples(rules.candidates)
                )
            allowed = np.zeros(len(self), dtype=bool)
            allowed[numbers] = True  # of padding too, which is cut off
        if rules.where is not None:
            mask = self.mask(rules.where)
            allowed = mask.copy() if allowed is None else allowed & mask
        if rules.exclude_items:
            allowed = np.ones(len(self), dtype=bool) if allowed is None else allowed
            allowed[self.named(rules.exclude_items, "exclude_items")] = False
        return None if allowed is None else 1 + np.flatnonzero(allowed[1:])

    def named(self, tokens: Sequence[str], what: str) -> Array:
        """As :meth:`numbers`; a warning counts those that are not known.

        Args:
            tokens: Raw tokens.
            what: What they are, for the warning.
        """
        numbers = self.numbers(tokens)
        unknown = [token for token, number in zip(tokens, numbers, strict=True) if not number]
        if unknown:
            logger.warning(
                "%d of %d %s are not known%s", len(unknown), len(numbers), what, _examples(unknown)
            )
        return numbers

    def _mask(self, where: str) -> Array:
        mask = mask_of(parse_where(where), self.table.columns, len(self))
        if not mask[1:].any():
            logger.warning("no item passes where: %s", where)
        return mask

    def _limits(self, max_per: Mapping[str, int]) -> Limits:
        """The columns of ``max_per`` as one: each has values of its own."""
        codes: list[Array] = []
        rows: list[Array] = []
        most: list[Array] = []
        n_values = 0
        for name, number in max_per.items():
            column = find_column(self.table.columns, name, "max_per")
            if not isinstance(column, TextColumn):
                raise ConfigError(
                    f"max_per must be of texts, but the column {name!r} is of numbers"
                )
            codes.append(column.codes + n_values)
            rows.append(np.repeat(np.arange(len(self)), np.diff(column.starts)))
            most.append(np.full(len(column.names), min(number, len(self))))
            n_values += len(column.names)
        row = np.concatenate(rows)
        order = np.argsort(row, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(self)))])
        parts = np.concatenate(codes)[order], starts, np.concatenate(most)
        device = self._run.config["device"]
        return Limits(*(torch.from_numpy(it.astype(np.int64)).to(device) for it in parts))

    # --- columns --------------------------------------------------------------------------------

    @functools.cached_property
    def table(self) -> ItemTable:
        """The columns that are kept, a row an item."""
        table = self._run.data.table
        return ItemTable() if table is None else table.of_items(self.tokens)

    def titles(self, items: Array) -> Array:
        """Titles of items; empty where there is none. Shape of ``items``, object."""
        if self.table.title is None:
            return np.full(items.shape, "", dtype=object)
        titles = self.table.columns[self.table.title].cells(items)
        return np.where(titles == None, "", titles)  # noqa: E711  # element by element

    def require(self, names: Sequence[str]) -> None:
        """Refuse columns that are not kept.

        Raises:
            ConfigError: If there is one.
        """
        for name in names:
            find_column(self.table.columns, name, "show")

    def details(self, names: Sequence[str], items: Array) -> dict[str, Array]:
        """Columns of items: a number, a text, a list of texts or None each, by name."""
        return {name: self.table.columns[name].cells(items) for name in names}

    # --- likeness -------------------------------------------------------------------------------

    @property
    def compared_by(self) -> str:
        """What tells how alike items are: their features, or the model's rows without any."""
        return FEATURES if self._run.features else MODEL

    @property
    def ways(self) -> tuple[str, ...]:
        """What items can be compared by."""
        of_features = (FEATURES, *self._run.features) if self._run.features else ()
        has_rows = item_vectors(self._run.model, len(self)).numel() > 0
        return (*((MODEL,) if has_rows else ()), *of_features)

    def _vectors(self, by: str) -> Tensor:
        """Unit rows of all items; zeros for one without.

        Args:
            by: ``model``, ``features`` (of all modalities, each counting the same) or a modality.

        Returns:
            Shape ``[I, F]``, float16 or float32, on the run's device.

        Raises:
            ConfigError: If there are none.
        """
        run = self._run
        if by not in self.ways:
            name, there = run.config["model"], ", ".join(self.ways)
            raise ConfigError(
                f"items are compared by rows of the model or by features, got {by!r}, but {name} "
                f"has {there or 'neither'}"
            )
        if by == MODEL:
            rows = unit_rows(item_vectors(run.model, len(self)).detach().cpu().float().numpy())
        else:
            names = [*run.features] if by == FEATURES else [by]
            parts = [run.features[name]() for name in names]
            # The inner product is then the mean of the cosines.
            scale = np.float16(1 / math.sqrt(len(parts)))
            rows = parts[0] if len(parts) == 1 else np.hstack(parts) * scale
        if len(rows) < len(self):  # items that came with a refresh
            more = np.zeros((len(self) - len(rows), rows.shape[1]), dtype=rows.dtype)
            rows = np.vstack([rows, more])
        return torch.from_numpy(rows).to(run.config["device"])


def _examples(tokens: Sequence[str]) -> str:
    named = ", ".join(repr(str(token)) for token in tokens[:_NAMED])
    return f", e.g. {named}" if named else ""
