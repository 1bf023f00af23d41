"""When one value is called better than another: by more than two seeds of one model differ."""

from collections.abc import Sequence

from recbole_hm4sr.page.format import percent
from recbole_hm4sr.page.section import Cell

SPREAD = 0.04
SPREAD_WORDS = "two seeds of one model differ by 2 to 4 % in NDCG@10"
SPREAD_NOTE = f"Differences below {100 * SPREAD:.0f} % are not called better: {SPREAD_WORDS}."
MARK_NOTE = (
    f"Bold: the better value, where the next one is more than {100 * SPREAD:.0f} % away. Smaller "
    f"differences say nothing: {SPREAD_WORDS}."
)


def relative(value: float, other: float) -> float:
    """How far a value is above another, as a share of that; infinite above 0.

    >>> relative(0.12, 0.1), relative(0.0, 0.0)
    (0.2, 0.0)
    """
    if other:
        return round((value - other) / abs(other), 9)
    return float("inf") if value > 0 else 0.0


def is_better(value: float, other: float) -> bool:
    """Whether a metric is above another by more than the spread of seeds.

    >>> is_better(0.1041, 0.1), is_better(0.104, 0.1), is_better(0.09, 0.1)
    (True, False, False)
    """
    return relative(value, other) > SPREAD


def above(value: float, other: float) -> str:
    """How far a value is above a lower one, in words.

    >>> above(0.12, 0.1), above(0.35, 0.1)
    ('20 % above', '3.5 times')
    """
    share = relative(value, other)
    return f"{1 + share:.1f} times" if share >= 1 else f"{percent(share)} above"


def marked(
    texts: Sequence[str], values: Sequence[float | None], *, lower: bool = False
) -> tuple[Cell, ...]:
    """Cells with the better one marked, if one is better than all others.

    Args:
        texts: What each says.
        values: Its number; None where there is none.
        lower: Whether lower is better, as for costs.
    """
    known = sorted((v for v in values if v is not None), reverse=not lower)
    told = len(known) > 1 and (
        is_better(known[1], known[0]) if lower else is_better(known[0], known[1])
    )
    best = known[0] if told else None
    return tuple(
        Cell(text, best=value is not None and value == best)
        for text, value in zip(texts, values, strict=True)
    )
