"""From the files of a run to the numbers of its verdict."""

from collections.abc import Mapping
from typing import Any

from recbole_hm4sr.evaluate.candidates import CANDIDATES
from recbole_hm4sr.evaluate.group_scores import scores_by_group
from recbole_hm4sr.evaluate.statistics import user_metric
from recbole_hm4sr.report.baselines import baseline_sentences
from recbole_hm4sr.report.run_files import RunFiles
from recbole_hm4sr.report.sections import metric_title
from recbole_hm4sr.report.verdict import RunNumbers
from recbole_hm4sr.report.weak_groups import WeakGroup, weak_groups


def numbers_of(run: RunFiles) -> RunNumbers:
    """The numbers of a finished run that its verdict is drawn from."""
    metrics = run.metrics
    metric = _metric(run)
    return RunNumbers(
        metric=metric_title(metric),
        chosen=metrics["rank_history"],
        quality=_by_protocol(metrics, metric),
        hits=_by_protocol(metrics, f"hit@{run.cut}"),
        cut=run.cut,
        baselines=baseline_sentences(metrics, metric),
        has_epochs=bool(metrics["n_parameters"]),
        validation=[record["valid_score"] for record in run.history],
        wanted_epochs=run.settings.get("epochs"),
        ended_by_budget=metrics.get("ended_by") == "budget",
        n_targets=0 if run.ranks is None else len(run.ranks["user"]),
        weak=_weak(run, metric),
        **_shuffled(run),
    )


def _metric(run: RunFiles) -> str:
    """NDCG where it was measured, else the first of the metrics."""
    names = list(run.metrics["valid"])
    wanted = f"ndcg@{run.cut}"
    return wanted if wanted in names or not names else names[0]


def _by_protocol(metrics: Mapping[str, Any], metric: str) -> dict[str, float]:
    found = {name: (metrics[f"test_{name}"] or {}).get(metric) for name in CANDIDATES}
    return {name: float(value) for name, value in found.items() if value is not None}


def _shuffled(run: RunFiles) -> dict[str, Any]:
    """The metric with shuffled features and without parts of the scores, where it was measured."""
    found = (run.facts or {}).get("permutation")
    if not found:
        return {}
    history = run.metrics["rank_history"]
    return {
        "shuffled_metric": found["metric"],
        "right": found["right"][history],
        "shuffled": {name: values[history] for name, values in found["shuffled"].items()},
        "left_out": {name: values[history] for name, values in found.get("left_out", {}).items()},
    }


def _weak(run: RunFiles, metric: str) -> tuple[WeakGroup, ...]:
    if run.ranks is None:
        return ()
    history = run.metrics["rank_history"]
    mean = float(user_metric(run.ranks[f"rank_{history}"], metric).mean())
    return weak_groups(scores_by_group(run.ranks, history, metric), mean)
