"""What may be recommended, and how alike the items of one list may be.

A rule on items leaves some of them out for all users of a request: ``candidates``,
``exclude_items`` and ``where``. A rule on lists decides while a list is made: ``max_per`` and
``diversity`` (:mod:`recbole_hm4sr.serve.greedy`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from recbole_hm4sr.base.errors import ConfigError


@dataclass(frozen=True)
class Rules:
    """The rules of a request.

    Attributes:
        candidates: Recommend these items only; None for all.
        exclude_items: Never recommend these.
        where: A condition on the columns that the run keeps, as
            :mod:`recbole_hm4sr.serve.where` reads it; None for none.
        max_per: By column, how many items of a list may have the same value.
        diversity: From 0 (the order of the scores) to 1 (only unlike items).

    Raises:
        ConfigError: If a number is out of range.
    """

    candidates: Sequence[str] | None = None
    exclude_items: Sequence[str] = ()
    where: str | None = None
    max_per: Mapping[str, int] = field(default_factory=dict)
    diversity: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.diversity) and 0 <= self.diversity <= 1):
            raise ConfigError(f"diversity must be from 0 to 1, got {self.diversity}")
        for column, most in self.max_per.items():
            if most < 1:
                raise ConfigError(f"max_per of {column!r} must be 1 or more, got {most}")
