"""How a run stands to the baselines that were measured beside it, in sentences."""

from collections.abc import Mapping
from typing import Any

from recbole_hm4sr.evaluate.candidates import CANDIDATES


def baseline_sentences(metrics: Mapping[str, Any], metric: str) -> tuple[str, ...]:
    """One sentence on the baselines, and one where the model does not beat some of them.

    Args:
        metrics: Content of ``metrics.json``.
        metric: By which they are compared, as ``ndcg@10``; the ranking is that of
            ``rank_history``.

    Returns:
        Nothing for a run without baselines.
    """
    history, found = metrics["rank_history"], metrics.get("baselines") or {}
    own = metrics[f"test_{history}"].get(metric)
    scores = {name: of[history][metric] for name, of in found.items() if metric in of[history]}
    if own is None or not scores:
        return ()
    title = metric.replace("ndcg", "NDCG")
    listed = ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
    words = [
        f"Baselines on the same data, test {title}, {CANDIDATES[history]}: {listed}; "
        f"{metrics['model']} {own:.4f}."
    ]
    ahead = [name for name, score in scores.items() if own <= score]
    if ahead:
        words.append(
            f"{metrics['model']} does not beat {' and '.join(ahead)}, fitted without training."
        )
    return tuple(words)
