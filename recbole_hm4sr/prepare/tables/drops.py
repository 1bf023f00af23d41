"""What was left out of a data set, and why: every row is counted under one reason."""

from collections.abc import Iterable
from typing import Any

_EXAMPLES = 3


class DropCounts:
    """Counts by reason, with the first places of each."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._places: dict[str, list[str]] = {}

    def add(self, reason: str, place: str = "", count: int = 1) -> None:
        """Count something under a reason; the place is kept if it is among the first."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        places = self._places.setdefault(reason, [])
        if place and len(places) < _EXAMPLES:
            places.append(place)

    def add_places(self, reason: str, count: int, places: Iterable[str]) -> None:
        """Count many at once under a reason, with the places of the first."""
        self.add(reason, count=count)
        self._places[reason] = [*self._places[reason], *places][:_EXAMPLES]

    @property
    def total(self) -> int:
        """Everything counted."""
        return sum(self.counts.values())

    def record(self) -> dict[str, Any]:
        """Reason to count and first places, for JSON."""
        return {
            reason: {"count": count, **({"first": self._places[reason]} if self._places[reason]
                                        else {})}
            for reason, count in sorted(self.counts.items())
        }  # fmt: skip

    def sentence(self) -> str:
        """The reasons in words: ``3 of "no time" (a.json, line 7)``."""
        return "; ".join(
            f'{count:,} of "{reason}"'
            + (f" ({self._places[reason][0]})" if self._places[reason] else "")
            for reason, count in sorted(self.counts.items(), key=lambda pair: -pair[1])
        )
