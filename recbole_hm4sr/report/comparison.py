"""Several runs on one page: their metrics, curves and groups side by side, and what differs.

Nothing is chosen here; ``hm4sr compare`` runs grids over seeds and tests differences.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.base.files import write_text
from recbole_hm4sr.evaluate.candidates import CANDIDATES
from recbole_hm4sr.evaluate.group_scores import GroupScore, scores_by_group
from recbole_hm4sr.evaluate.groups import GROUP_NOTE, GROUPINGS, Grouping
from recbole_hm4sr.evaluate.statistics import paired_test, user_metric
from recbole_hm4sr.model.registry import settings_with
from recbole_hm4sr.page.bar_chart import horizontal_bars
from recbole_hm4sr.page.charts import LineChart, line_chart
from recbole_hm4sr.page.format import NONE, duration
from recbole_hm4sr.page.section import Cell, Section, Table
from recbole_hm4sr.page.shell import render
from recbole_hm4sr.report.run_costs import peak_memory_text, whole_run_text
from recbole_hm4sr.report.run_files import RunFiles, read_run
from recbole_hm4sr.report.sections import (
    SMALL_NOTE,
    group_explained,
    metric_text,
    metric_title,
    validation_metrics,
)
from recbole_hm4sr.report.spread import MARK_NOTE, SPREAD_NOTE, marked
from recbole_hm4sr.report.standing import standing_sentences
from recbole_hm4sr.report.views import views_table, weeks_section


def write_comparison(run_dirs: Sequence[Path], path: Path) -> Path:
    """Make one page of several finished runs.

    Args:
        run_dirs: Their folders, two or more, each once.
        path: The page.

    Returns:
        The page.

    Raises:
        ConfigError: If there are fewer than two runs, or one is named twice.
        DataError: If a run has not finished, or a file cannot be read or written.
    """
    if len(run_dirs) < 2:
        raise ConfigError(f"a comparison must have two or more runs, got {len(run_dirs)}")
    folders = [folder.resolve() for folder in run_dirs]
    if len(set(folders)) < len(folders):
        raise ConfigError("a comparison must name each run once; leave the second name out")
    runs = [read_run(folder) for folder in run_dirs]
    names = run_names(runs)
    page = render(
        "report",
        "comparison.html",
        title=f"{len(runs)} runs on {' and '.join(dict.fromkeys(_dataset(r) for r in runs))}",
        runs=[(name, run.metrics) for name, run in zip(names, runs, strict=True)],
        warnings=comparison_warnings(runs),
        verdict=_verdict(names, runs),
        spread_note=SPREAD_NOTE,
        sections=[
            _metrics(names, runs),
            _curves(names, runs),
            *_groups(names, runs),
            *filter(None, [weeks_section(dict(zip(names, runs, strict=True)))]),
            _costs(names, runs),
            _settings(names, runs),
        ],
    )
    write_text(path, page)
    return path


def run_names(runs: Sequence[RunFiles]) -> list[str]:
    """A name for each run: its model if that tells them apart, else its folder."""
    models = [run.model for run in runs]
    if len(set(models)) == len(models):
        return models
    folders = [run.name for run in runs]
    if len(set(folders)) == len(folders):
        return folders
    return [str(run.folder) for run in runs]


def comparison_warnings(runs: Sequence[RunFiles]) -> list[str]:
    """What forbids to read differences of the metrics as differences of the models."""
    found = []
    if len({_dataset(run) for run in runs}) > 1:
        found.append(
            "The runs are on different data sets: their metrics do not compare. Run the models "
            "with the same --dataset."
        )
    elif not _same_targets(runs):
        found.append(
            "The runs have tested different users or items: their metrics do not compare. Run the "
            "models on the same files with the same filters, eval_args and tie_order."
        )
    names = ("rank_history", "eval_args", "metrics", "topk")
    differ = [name for name in names if _differs([run.settings.get(name) for run in runs])]
    if differ:
        found.append(
            f"The runs are evaluated differently: {', '.join(differ)}. Set the same value for all; "
            f"hm4sr compare does."
        )
    if any(run.metrics["generated"] for run in runs):
        found.append(
            "The data set is generated: its numbers say nothing of real users. hm4sr prepare "
            "makes one of your own data, or --dataset=ml-100k takes a real one."
        )
    return found


def _dataset(run: RunFiles) -> str:
    return str(run.metrics["dataset"])


def _same_targets(runs: Sequence[RunFiles]) -> bool:
    ranks = [run.ranks for run in runs if run.ranks is not None]
    return all(
        np.array_equal(one["user"], ranks[0]["user"])
        and np.array_equal(one["target_count"], ranks[0]["target_count"])
        for one in ranks[1:]
    )


def _differs(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values[1:])


def _verdict(names: Sequence[str], runs: Sequence[RunFiles]) -> tuple[str, ...]:
    """Which run is better in each protocol; nothing for runs that do not compare."""
    if comparison_blocked(runs):
        return ()
    metric = f"ndcg@{runs[0].cut}"
    scores = {
        history: {
            name: run.metrics[f"test_{history}"][metric]
            for name, run in zip(names, runs, strict=True)
            if metric in (run.metrics[f"test_{history}"] or {})
        }
        for history in CANDIDATES
    }
    return standing_sentences(metric_title(metric), scores)


def _metrics(names: Sequence[str], runs: Sequence[RunFiles]) -> Section:
    tables = []
    for part, title in (
        *((f"test_{name}", f"Test, {words}") for name, words in CANDIDATES.items()),
        ("valid", "Validation"),
    ):
        metrics = list(dict.fromkeys(name for run in runs for name in run.metrics[part]))
        rows: tuple[tuple[str | Cell, ...], ...] = tuple(
            (metric_title(m), *_metric_cells([run.metrics[part].get(m) for run in runs]))
            for m in metrics
        )
        if rows:
            folded = part == "valid"
            tables.append(Table(("metric", *names), rows, caption=title, folded=folded))
    differences = _differences(names, runs)
    return Section(
        "metrics",
        "Metrics",
        "Metrics",
        tables=(*tables, *filter(None, [views_table(names, runs)]), *differences),
        notes=(
            MARK_NOTE,
            "One run each: the spread over seeds is not in these numbers. hm4sr compare repeats "
            "runs over seeds and tests the differences.",
        ),
    )


def _metric_cells(values: Sequence[float | None]) -> tuple[Cell, ...]:
    return marked([metric_text(value) for value in values], values)


def _differences(names: Sequence[str], runs: Sequence[RunFiles]) -> list[Table]:
    """The first run against the others, on the same users."""
    first = runs[0]
    if any(run.ranks is None for run in runs) or comparison_blocked(runs):
        return []
    metric, history = f"ndcg@{first.cut}", first.metrics["rank_history"]

    def values(run: RunFiles) -> Any:
        assert run.ranks is not None
        return user_metric(run.ranks[f"rank_{history}"], metric)

    rows = []
    for name, run in zip(names[1:], runs[1:], strict=True):
        test = paired_test(values(run), values(first))
        rows.append(
            (
                f"{name} less {names[0]}",
                f"{test.difference:+.4f}",
                f"{test.low:+.4f} to {test.high:+.4f}",
            )
        )
    title = f"Test {metric_title(metric)}, {CANDIDATES[history]}, on the same users"
    return [Table(("", "difference", "95 % interval over users"), tuple(rows), caption=title)]


def comparison_blocked(runs: Sequence[RunFiles]) -> bool:
    """Whether the runs have tested different users or items."""
    return len({_dataset(run) for run in runs}) > 1 or not _same_targets(runs)


def _curves(names: Sequence[str], runs: Sequence[RunFiles]) -> Section:
    """Validation over the epochs, the runs above each other."""
    trained = [(n, run) for n, run in zip(names, runs, strict=True) if run.history]
    epochs = sorted({int(record["epoch"]) for _, run in trained for record in run.history})
    charts = []
    metrics = validation_metrics(runs[0].metrics["valid"])
    for metric, cuts in metrics.items():
        cut = runs[0].cut if runs[0].cut in cuts else cuts[0]
        series = {}
        for name, run in trained:
            by_epoch = {r["epoch"]: r["valid"].get(f"{metric}@{cut}") for r in run.history}
            series[name] = [by_epoch.get(epoch) for epoch in epochs]
        title = f"Validation: {metric_title(f'{metric}@{cut}')}"
        charts.append(
            line_chart(
                title,
                epochs,
                series,
                x_title="epoch",
                y_title=metric_title(f"{metric}@{cut}"),
                explained="Which run learns faster, and which ends higher, on the validation part.",
            )
        )
    return Section("training", "Validation over the epochs", "Training", (), tuple(charts))


def _groups(names: Sequence[str], runs: Sequence[RunFiles]) -> list[Section]:
    """NDCG by group; empty if a run keeps no ranks."""
    metric = f"ndcg@{runs[0].cut}"
    scores = {
        name: scores_by_group(run.ranks, run.metrics["rank_history"], metric)
        for name, run in zip(names, runs, strict=True)
        if run.ranks is not None
    }
    if len(scores) < len(runs):
        return []
    by_grouping = {grouping: _by_label(grouping, scores) for grouping in GROUPINGS}
    charts = tuple(
        _group_chart(grouping.title, names, groups, metric_title(metric))
        for grouping, groups in by_grouping.items()
        if groups
    )
    small = any(_is_small(row) for groups in by_grouping.values() for row in groups.values())
    words = (
        "Test targets by what a model knew of the user and of the target. Questions with the same "
        "answer for all targets are left out."
    )
    notes = (*[SMALL_NOTE] * small, GROUP_NOTE)
    return [Section("groups", "For whom they work", "Groups", (words,), charts, (), notes)]


_Row = Sequence[GroupScore | None]  # one group in each run


def _by_label(
    grouping: Grouping, scores: Mapping[str, Mapping[str, Sequence[GroupScore]]]
) -> dict[str, _Row]:
    """The groups of a grouping that any run has, in their order."""
    runs = [
        {group.label: group for group in one.get(grouping.title, ())} for one in scores.values()
    ]
    rows = {label: [groups.get(label) for groups in runs] for label in grouping.labels}
    return {label: row for label, row in rows.items() if any(row)}


def _is_small(row: _Row) -> bool:
    """Whether a group is small in any run."""
    return any(group is not None and group.small for group in row)


def _group_chart(
    title: str, names: Sequence[str], groups: Mapping[str, _Row], metric: str
) -> LineChart:
    """A metric by group, one curve per run; small groups are grey."""
    rows = list(groups.values())
    means = [[group.mean if group else None for group in row] for row in rows]
    return line_chart(
        title,
        list(groups),
        {name: [row[number] for row in means] for number, name in enumerate(names)},
        x_title="group",
        y_title=metric,
        explained=f"{group_explained(title)} A line for each run.",
        faint=[number for number, row in enumerate(rows) if _is_small(row)],
    )


def _costs(names: Sequence[str], runs: Sequence[RunFiles]) -> Section:
    charts = (
        horizontal_bars(
            "Training time per epoch, median",
            [
                (
                    name,
                    [run.metrics["train_seconds_per_epoch"]],
                    duration(run.metrics["train_seconds_per_epoch"]),
                )
                for name, run in zip(names, runs, strict=True)
            ],
            x_title="seconds",
            explained="What an epoch of training costs; a short bar is cheap.",
        ),
    )
    rows = tuple(
        (
            name,
            whole,
            f"{run.metrics['best_epoch']} of {run.metrics['epochs']}",
            parameters,
            memory,
            f"{run.metrics['device']} ({run.metrics['machine']})",
            run.metrics["git_revision"] or "not a checkout",
        )
        for name, run, whole, parameters, memory in zip(
            names,
            runs,
            _cost_cells(runs, "seconds", whole_run_text),
            _cost_cells(runs, "n_parameters", lambda metrics: f"{metrics['n_parameters']:,}"),
            _cost_cells(runs, "peak_memory_mb", peak_memory_text),
            strict=True,
        )
    )
    columns = ("run", "whole run", "best epoch", "parameters", "peak memory", "machine", "commit")
    return Section(
        "time", "Time and memory", "Time", (), charts, (Table(columns, rows),), (MARK_NOTE,)
    )


def _cost_cells(
    runs: Sequence[RunFiles], name: str, text: Callable[[Mapping[str, Any]], str]
) -> tuple[Cell, ...]:
    """A cost of each run; the lowest is the better one."""
    values = [float(run.metrics[name]) for run in runs]
    return marked([text(run.metrics) for run in runs], values, lower=True)


def _settings(names: Sequence[str], runs: Sequence[RunFiles]) -> Section:
    """The settings that differ; those of one model only, too."""
    keys = list(dict.fromkeys(key for run in runs for key in run.settings))
    rows = tuple(
        (key, *(_setting(run, key) for run in runs))
        for key in keys
        if key not in settings_with("machine") and _differs([_setting(run, key) for run in runs])
    )
    words = () if rows else ("All settings are the same.",)
    tables = (Table(("setting", *names), rows),) if rows else ()
    return Section("settings", "Settings that differ", "Settings", words, (), tables)


def _setting(run: RunFiles, key: str) -> str:
    if key not in run.settings:
        return NONE
    value = run.settings[key]
    return "null" if value is None else str(value)
