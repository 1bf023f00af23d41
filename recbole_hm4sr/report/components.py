"""The components of scores that are drawn: the largest, and the sum of the others.

A picture tells no more colours apart than a page has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbole_hm4sr.page.charts import N_COLOURS


@dataclass(frozen=True)
class Components:
    """Which components of a score are drawn as one.

    Attributes:
        names: What each is called.
        members: Positions of what each sums, among all components.
    """

    names: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]

    def fold(self, values: Sequence[float]) -> list[float]:
        """The sums of all components' values.

        >>> Components(("a", "others"), ((0,), (1, 2))).fold([3.0, 2.0, -0.5])
        [3.0, 1.5]
        """
        return [sum(values[number] for number in some) for some in self.members]


def components_of(facts: Mapping[str, Any]) -> Components:
    """What is drawn of the components of a run's scores.

    Args:
        facts: ``report.json``.
    """
    names = facts["streams"]
    entries = [entry["parts"] for case in facts["cases"] for entry in case["top"]]
    parts = facts["parts"]
    return largest(names, entries if parts is None else parts["ranks"])


def largest(
    names: Sequence[str], rows: Sequence[Sequence[float]], at_most: int = N_COLOURS
) -> Components:
    """The components that are largest on the mean, in their own order, then all others as one.

    Args:
        names: Of all components.
        rows: Values of all components, a row for each score.
        at_most: How many are drawn.
    """
    if len(names) <= at_most:
        return Components(tuple(names), tuple((number,) for number in range(len(names))))
    sizes = [sum(abs(row[number]) for row in rows) for number in range(len(names))]
    order = sorted(range(len(names)), key=lambda number: -sizes[number])
    kept = sorted(order[: at_most - 1])
    rest = tuple(sorted(order[at_most - 1 :]))
    shown = (*(names[number] for number in kept), f"{len(rest)} others")
    return Components(shown, (*((number,) for number in kept), rest))
