"""One training measured in several ways, and how a model ages in the weeks after its training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recbole_hm4sr.data.times import whole_seconds
from recbole_hm4sr.evaluate.candidates import CANDIDATES
from recbole_hm4sr.evaluate.groups import DAY, Array, Ranks, is_small
from recbole_hm4sr.evaluate.statistics import user_metric
from recbole_hm4sr.model.registry import view_labels
from recbole_hm4sr.page.charts import LineChart, line_chart
from recbole_hm4sr.page.format import NONE
from recbole_hm4sr.page.section import Section, Table
from recbole_hm4sr.report.run_files import RunFiles
from recbole_hm4sr.report.sections import SMALL_NOTE, metric_text, metric_title

WEEK = 7 * DAY
_METRICS = ("ndcg", "hit", "mrr")


def view_names(run: RunFiles) -> dict[str, str]:
    """What a page calls each view of a run, by its name; empty for a run with one way."""
    views = run.metrics.get("views") or {}
    labels = view_labels(run.metrics["model"], run.settings) if views else {}
    return {name: labels.get(name, name) for name in views}


def pictured(run: RunFiles) -> str:
    """The view that the charts of a run's page are of; empty for a run with one way."""
    return next(iter(view_names(run).values()), "")


def views_section(run: RunFiles) -> Section | None:
    """What each view of a run is worth; None for a run with one way."""
    labels = view_names(run)
    if not labels:
        return None
    columns = [
        (f"{name}@{run.cut}", history)
        for history in CANDIDATES
        for name in _METRICS
        if any(f"{name}@{run.cut}" in it[f"test_{history}"] for it in run.metrics["views"].values())
    ]
    rows = tuple(
        _row(label, run.metrics["views"][name], columns, run.cut) for name, label in labels.items()
    )
    heads = (f"test {metric_title(metric)}, {CANDIDATES[history]}" for metric, history in columns)
    return Section(
        "views",
        "Ways in which it was measured",
        "Ways",
        (
            "The model was trained once and measured in several ways, each with a best epoch of "
            f"its own. All other numbers and pictures of this page are of the first, "
            f"{pictured(run)}, unless they name another. It is what is served.",
        ),
        tables=(
            Table(
                ("", "best epoch", f"validation {metric_title(f'ndcg@{run.cut}')}", *heads), rows
            ),
        ),
    )


def _row(
    label: str, view: Mapping[str, Any], columns: Sequence[tuple[str, str]], cut: int
) -> tuple[str, ...]:
    tests = (metric_text(view[f"test_{history}"].get(metric)) for metric, history in columns)
    return (label, str(view["best_epoch"]), metric_text(view["valid"].get(f"ndcg@{cut}")), *tests)


def weeks_section(runs: Mapping[str, RunFiles]) -> Section | None:
    """NDCG week by week after training, a line a run and view; None where no visits are ranked.

    Args:
        runs: By the name of the line, at least one.
    """
    first = next(iter(runs.values()))
    metric, protocol = f"ndcg@{first.cut}", first.metrics["rank_history"]
    lines = {
        f"{name}, {label}" if label else name: (ranks, ends)
        for name, run in runs.items()
        if (ends := training_ends(run)) is not None
        for label, ranks in ranks_of_views(run).items()
    }
    if not lines:
        return None
    chart, has_small = weeks_chart(lines, protocol, metric)
    return Section(
        "weeks",
        "Week by week after training",
        "Weeks",
        (
            f"{metric_title(metric)} of the first item of each visit, {CANDIDATES[protocol]}, by "
            f"how many whole weeks before the visit training ended.",
        ),
        (chart,),
        notes=(SMALL_NOTE,) * has_small,
    )


def training_ends(run: RunFiles) -> int | None:
    """When the training part of a run ends, in seconds since the epoch.

    None for another split than that by one moment with visits as targets.
    """
    protocol, moment = run.settings.get("eval_args"), run.metrics.get("one_moment")
    targets = protocol.get("targets") if isinstance(protocol, Mapping) else None
    if moment is None or targets != "visits":
        return None
    return int(whole_seconds(moment["training_ends"], run.settings.get("timestamp_unit", "s")))


def ranks_of_views(run: RunFiles) -> dict[str, Ranks]:
    """Ranks that say when each target was, by view; under an empty name for a run with one way."""
    labels = view_names(run)
    kept = run.view_ranks if labels else {"": run.ranks}
    return {
        labels.get(name, name): ranks
        for name, ranks in kept.items()
        if ranks is not None and "target_time" in ranks
    }


def weeks_chart(
    lines: Mapping[str, tuple[Ranks, int]], protocol: str, metric: str
) -> tuple[LineChart, bool]:
    """A metric by whole weeks after training.

    Args:
        lines: By name, ranks and the end of the training in seconds.
        protocol: ``include`` or ``exclude``.
        metric: As ``ndcg@10``.

    Returns:
        The chart, and whether a week is grey: one that has few users in a line.
    """
    weeks = {name: _weeks(*line) for name, line in lines.items()}
    first = min(int(numbers.min()) for numbers in weeks.values())
    last = max(int(numbers.max()) for numbers in weeks.values())
    every = range(first, last + 1)
    series, small = {}, set()
    for name, (ranks, _) in lines.items():
        values = user_metric(ranks[f"rank_{protocol}"], metric)
        masks = [weeks[name] == week for week in every]
        series[name] = [float(values[mask].mean()) if mask.any() else None for mask in masks]
        small |= {n for n, mask in enumerate(masks) if is_small(ranks, mask)}
    chart = line_chart(
        f"{metric_title(metric)} week by week after training",
        [str(week) for week in every],
        series,
        x_title="age of the model, weeks",
        y_title=metric_title(metric),
        explained="How fast the model ages: a line that falls asks for training more often.",
        faint=sorted(small),
    )
    return chart, bool(small)


def _weeks(ranks: Ranks, ends: int) -> Array:
    """Whole weeks from the end of training to each target. Shape ``[S]``, int64."""
    return np.asarray(ranks["target_time"] - ends, dtype=np.int64) // WEEK


def views_table(names: Sequence[str], runs: Sequence[RunFiles]) -> Table | None:
    """The test metric of each view of several runs; None where none has several."""
    metric, protocol = f"ndcg@{runs[0].cut}", runs[0].metrics["rank_history"]
    by_run = [
        {
            label: run.metrics["views"][view][f"test_{protocol}"].get(metric)
            for view, label in view_names(run).items()
        }
        for run in runs
    ]
    labels = list(dict.fromkeys(label for views in by_run for label in views))
    if not labels:
        return None
    rows = tuple(
        (label, *(metric_text(views[label]) if label in views else NONE for views in by_run))
        for label in labels
    )
    title = f"Test {metric_title(metric)}, {CANDIDATES[protocol]}, by the way it was measured"
    return Table(("measured with", *names), rows, caption=title)
