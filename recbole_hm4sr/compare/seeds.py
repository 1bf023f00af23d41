"""Seeds as a grid or a flag names them."""

import re
from typing import Any

_MOST_SEEDS = 1000  # of one range


def read_seeds(entry: Any) -> list[Any]:
    """The seeds of an entry: those of a range, or itself.

    >>> read_seeds("1-3"), read_seeds(7), read_seeds("1-")
    ([1, 2, 3], [7], ['1-'])
    """
    parts = (
        re.fullmatch(r"\s*(\d{1,10})\s*-\s*(\d{1,10})\s*", entry)
        if isinstance(entry, str)
        else None
    )
    first, last = (int(parts[1]), int(parts[2])) if parts else (0, -1)
    return list(range(first, last + 1)) if 0 <= last - first < _MOST_SEEDS else [entry]
