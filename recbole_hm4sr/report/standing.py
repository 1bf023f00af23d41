"""Which of several models is better, in a sentence for each protocol."""

from collections.abc import Mapping

from recbole_hm4sr.evaluate.candidates import CANDIDATES
from recbole_hm4sr.report.spread import above, is_better

_MOST_NAMES = 3


def standing_sentences(metric: str, scores: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    """The highest, and what it cannot be told from.

    Args:
        metric: As it is written: ``NDCG@10``.
        scores: By protocol, the metric of each model; a protocol with fewer than two says nothing.
    """
    return tuple(
        f"{metric} with {CANDIDATES[history]}: {_standing(own)}"
        for history, own in scores.items()
        if len(own) > 1
    )


def _standing(scores: Mapping[str, float]) -> str:
    first, *others = sorted(scores, key=lambda name: -scores[name])
    level = [name for name in others if not is_better(scores[first], scores[name])]
    if level:
        names = [first, *level] if len(level) < _MOST_NAMES else [first, f"{len(level)} others"]
        rest = "; all others are below" * (len(level) < len(others))
        low = min(scores[name] for name in level)
        return f"{' and '.join(names)} are not told apart ({low:.4f} to {scores[first]:.4f}){rest}."
    second = scores[others[0]]
    best = f"{first} is the best with {scores[first]:.4f}"
    if not second:
        return f"{best}."
    return f"{best}, {above(scores[first], second)} {others[0]} ({second:.4f})."
