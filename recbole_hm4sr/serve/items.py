"""The items of an opened run: found by token, chosen among, and named again."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.serving_data import ServingData
from recbole_hm4sr.serve.history_table import number_items

logger = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
_NAMED = 3  # items in a sentence


class ServedItems:
    """The items that a run recommends, by number and by token.

    Args:
        data: What was kept of the data set.

    Attributes:
        tokens: Raw token of each item; None for padding, number 0. Shape ``[I]``, object.
        index: The tokens of the numbers 1, 2, ...
    """

    def __init__(self, data: ServingData) -> None:
        tokens = data.item_tokens
        self.index = pd.Index(tokens[1:].astype(object))
        self.tokens = np.array([None, *tokens[1:].tolist()], dtype=object)

    def __len__(self) -> int:
        """I, padding included."""
        return len(self.tokens)

    def numbers(self, tokens: Sequence[str]) -> Array:
        """Numbers of raw tokens; 0 of one that is not known. Shape ``[N]``, int64."""
        return number_items(np.array(list(tokens), dtype=object), self.index)

    def known(self, tokens: Sequence[str], what: str) -> Array:
        """The items that are named, each once.

        Args:
            tokens: Raw tokens. A warning counts those that are not known.
            what: What they are, for messages.

        Returns:
            Ascending numbers. Shape ``[N]``, int64.

        Raises:
            DataError: If none is known.
        """
        numbers = self.numbers(tokens)
        unknown = [token for token, number in zip(tokens, numbers, strict=True) if not number]
        named = ", ".join(repr(str(token)) for token in unknown[:_NAMED])
        if len(unknown) == len(numbers):
            raise DataError(
                f"{what} must be items of the run, but of {len(numbers)} none is known"
                + (f", e.g. {named}" if unknown else "")
            )
        if unknown:
            logger.warning(
                "%d of %d %s are not known, e.g. %s", len(unknown), len(numbers), what, named
            )
        return np.unique(numbers[numbers > 0])
