"""How a run stands to the baselines that were measured beside it, in sentences."""

from collections.abc import Mapping
from typing import Any

from recbole_hm4sr.evaluate.candidates import CANDIDATES
from recbole_hm4sr.model.registry import display_name
from recbole_hm4sr.report.spread import SPREAD_WORDS, above, is_better


def baseline_sentences(metrics: Mapping[str, Any], metric: str) -> tuple[str, ...]:
    """The baselines in one sentence, then how the model stands to them in each protocol.

    Args:
        metrics: Content of ``metrics.json``.
        metric: By which they are compared, as ``ndcg@10``; those that are listed are of
            ``rank_history``.

    Returns:
        Nothing for a run without baselines.
    """
    chosen = metrics["rank_history"]
    title = metric.replace("ndcg", "NDCG")
    scores = _scores(metrics, metric, chosen)
    own = _own(metrics, metric, chosen)
    if own is None or not scores:
        return ()
    listed = ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
    return (
        f"Baselines on the same data, test {title}, {CANDIDATES[chosen]}: {listed}; "
        f"{display_name(metrics['model'])} {own:.4f}.",
        *_standings(metrics, metric, chosen),
    )


def _standings(metrics: Mapping[str, Any], metric: str, chosen: str) -> tuple[str, ...]:
    """How the model stands to them: a sentence for each protocol, or one for both."""
    found = {
        history: standing(
            display_name(metrics["model"]),
            _own(metrics, metric, history),
            _scores(metrics, metric, history),
        )
        for history in (chosen, *(name for name in CANDIDATES if name != chosen))
    }
    said = {history: words for history, words in found.items() if words}
    if len(said) > 1 and len(set(said.values())) == 1:
        return (f"In both protocols {said[chosen]}",)
    return tuple(f"With {CANDIDATES[history]}, {words}" for history, words in said.items())


def _own(metrics: Mapping[str, Any], metric: str, history: str) -> float | None:
    return dict(metrics.get(f"test_{history}") or {}).get(metric)


def _scores(metrics: Mapping[str, Any], metric: str, history: str) -> dict[str, float]:
    found = metrics.get("baselines") or {}
    return {
        name: of[history][metric] for name, of in found.items() if metric in of.get(history, {})
    }


def standing(model: str, own: float | None, scores: Mapping[str, float]) -> str:
    """How a model stands to baselines; better only by more than the spread of seeds.

    Args:
        model: Its name.
        own: Its metric; None if there is none.
        scores: That of each baseline.

    Returns:
        Words for the end of a sentence; empty where there is nothing to compare.
    """
    if own is None or not scores:
        return ""
    ahead = [name for name, score in scores.items() if is_better(score, own)]
    if ahead:
        return f"{model} does not beat {' and '.join(ahead)}, fitted without training."
    best = max(scores, key=lambda name: scores[name])
    if not is_better(own, scores[best]):
        return f"{model} is level with {best}: {SPREAD_WORDS}, and these differ by less."
    if not scores[best]:
        return f"{model} beats {best}, which finds nothing."
    which = f"{best}, the best of them" if len(scores) > 1 else best
    return f"{model} is {above(own, scores[best])} {which}."
