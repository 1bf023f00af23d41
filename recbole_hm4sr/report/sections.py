"""Sections of every run: metrics, training, time, and groups of test targets."""

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_hm4sr.base.shown_paths import shortened
from recbole_hm4sr.evaluate.candidates import CANDIDATES
from recbole_hm4sr.evaluate.group_scores import GroupScore, scores_by_group
from recbole_hm4sr.evaluate.groups import (
    GAPS,
    GROUP_NOTE,
    HISTORY,
    SMALL_WORDS,
    one_moment_notes,
)
from recbole_hm4sr.page.bar_chart import RowChart, horizontal_bars
from recbole_hm4sr.page.charts import LineChart, line_chart
from recbole_hm4sr.page.format import NONE, day, duration, percent
from recbole_hm4sr.page.section import Section, Table, facts_table
from recbole_hm4sr.report.run_costs import peak_memory_text
from recbole_hm4sr.report.run_files import RunFiles

SMALL_NOTE = (
    f"Grey: groups of {SMALL_WORDS}, and axes are not made for them. A bar that ends at an arrow "
    f"goes on beyond the axis; its number is at its end."
)
_GROUPS_EXPLAINED = {
    HISTORY.title: "How much a longer history helps.",
    "Popularity of the target in training": "How well rare items are found: the head is the most "
    "frequent fifth of the items, the tail the least frequent half.",
    "Target seen in training": "Whether items are found that the training had never seen.",
    "How often the target was seen in training": "How well items are found of which the training "
    "had seen little.",
    "User seen in training": "Whether users are served that the training had never seen.",
    "Ties: target at the time of the interaction before": "Items of one basket are easier to "
    "find than those of a later visit.",
    f"{GAPS.title}, ties left out": "How well the model finds what comes after a break of that "
    "length.",
}


def metrics_section(run: RunFiles) -> Section:
    """All metrics of the test and the validation part."""
    parts = {
        **{f"test, {CANDIDATES[name]}": run.metrics[f"test_{name}"] for name in CANDIDATES},
        f"validation, {CANDIDATES[run.metrics['rank_history']]}": run.metrics["valid"],
    }
    parts = {title: values for title, values in parts.items() if values}
    rows = tuple(
        (metric_title(name), *(metric_text(values.get(name)) for values in parts.values()))
        for name in run.metrics["valid"]
    )
    return Section(
        "metrics",
        "Metrics",
        "Metrics",
        (
            "The item that each user interacted with next is ranked among all items of the "
            "catalogue. Seen items kept: the items of the user's history are candidates too, as in "
            "RecBole. Seen items removed: they are not candidates. Both are always measured. "
            "rank_history: include (kept) or exclude (removed) says which of them chooses the best "
            "epoch. Higher is better.",
        ),
        tables=(Table(("metric", *parts), rows),),
    )


def metric_title(name: str) -> str:
    """A metric as it is usually written: ``NDCG@10``, ``Hit@10``."""
    metric, _, cut = name.partition("@")
    title = metric.upper() if metric in ("ndcg", "mrr", "map", "auc") else metric.capitalize()
    return f"{title}@{cut}" if cut else title


def metric_text(value: float | None) -> str:
    """A metric with four decimals; a dash for none."""
    return NONE if value is None else f"{value:.4f}"


def training_section(run: RunFiles) -> Section:
    """Each named loss, and validation, over the epochs."""
    if not run.history:
        return Section("training", "Training", "Training", ("No epoch was trained.",))
    best = run.metrics["best_epoch"]
    words = (
        f"The dashed line is epoch {best}, the best by {run.settings.get('valid_metric')} on the "
        f"validation part.",
    )
    charts = (*_loss_charts(run.history, best), *_validation_charts(run.history, best))
    return Section("training", "Training", "Training", words, charts)


def _loss_charts(history: Sequence[Mapping[str, Any]], best: int) -> list[LineChart]:
    epochs = [record["epoch"] for record in history]
    return [
        line_chart(
            f"Training loss: {name.replace('_', ' ')}",
            epochs,
            {name.replace("_", " "): [record["losses"].get(name) for record in history]},
            x_title="epoch",
            y_title="loss, mean over the steps",
            explained="What training makes smaller; it should fall. The axis does not start at 0.",
            from_zero=False,
            marker=best or None,
        )
        for name in history[0]["losses"]
    ]


def _validation_charts(history: Sequence[Mapping[str, Any]], best: int) -> list[LineChart]:
    epochs = [record["epoch"] for record in history]
    return [
        line_chart(
            f"Validation: {metric_title(name)}",
            epochs,
            {
                f"@{cut}": [record["valid"].get(f"{name}@{cut}") for record in history]
                for cut in cuts
            },
            x_title="epoch",
            y_title=metric_title(name),
            explained="Quality on the validation part, for lists of several lengths; where it no "
            "longer rises, more epochs do not help.",
            marker=best or None,
        )
        for name, cuts in validation_metrics(history[0]["valid"]).items()
    ]


def validation_metrics(values: Mapping[str, float]) -> dict[str, list[int]]:
    """Metrics that have a cut-off, with their cut-offs ascending."""
    found: dict[str, list[int]] = {}
    for name in values:
        metric, _, cut = name.partition("@")
        if cut.isdigit():
            found.setdefault(metric, []).append(int(cut))
    return {metric: sorted(cuts) for metric, cuts in found.items()}


def time_section(run: RunFiles) -> Section:
    """Seconds of each stage, and of each epoch."""
    history, known = run.history, _stages(run)
    whole = sum(seconds for _, seconds in known) or 1.0
    rows = [
        (name, [seconds], f"{duration(seconds)}, {percent(seconds / whole)}")
        for name, seconds in known
    ]
    charts: list[LineChart | RowChart] = [
        horizontal_bars(
            "Where the time went",
            rows,
            x_title="seconds",
            explained="The longest bar is what a faster machine or a smaller setting would save.",
        )
    ]
    if history:
        charts.append(
            line_chart(
                "Seconds per epoch",
                [record["epoch"] for record in history],
                {
                    "training": [record["train_seconds"] for record in history],
                    "validation": [record["valid_seconds"] for record in history],
                },
                x_title="epoch",
                y_title="seconds",
                explained="Level lines: every epoch costs the same; a rise is other work on the "
                "machine.",
            )
        )
    facts = (
        ("training per epoch, median", duration(run.metrics["train_seconds_per_epoch"])),
        ("peak memory", peak_memory_text(run.metrics)),
        ("machine", f"{run.metrics['device']} ({run.metrics['machine']})"),
    )
    return Section("time", "Time", "Time", (), tuple(charts), (facts_table(facts),))


def _stages(run: RunFiles) -> list[tuple[str, float]]:
    """Seconds of each stage that is known, of all the processes of the run."""
    stages = run.metrics.get("stages", {})
    seconds = {
        "read data, build model": stages.get("opening"),
        "training": sum(record["train_seconds"] for record in run.history),
        "validation": sum(record["valid_seconds"] for record in run.history),
        "final test": stages.get("testing"),
    }
    known = [(name, value) for name, value in seconds.items() if value is not None]
    rest = run.metrics["seconds"] - sum(value for _, value in known)
    if stages and rest > 0:
        known.append(("checkpoints and other", rest))
    if run.facts:
        known.append(("for this report", run.facts["seconds"]))
    return known


def groups_section(run: RunFiles) -> Section:
    """Metrics of the groups of test targets."""
    title = "For whom it works"
    if run.ranks is None:
        why = (
            "No ranks of single users were kept: the metrics of this run need more than ranks, or "
            "candidates were sampled. With eval_args: {mode: full} and metrics among NDCG, MRR and "
            "Hit they are."
        )
        return Section("groups", title, "Groups", (why,))
    protocol, cut = run.metrics["rank_history"], run.cut
    scores = {
        name: scores_by_group(run.ranks, protocol, f"{name}@{cut}")
        for name in ("ndcg", "hit", "mrr")
    }
    words = (
        f"NDCG@{cut} of the {len(run.ranks['user']):,} test targets, {CANDIDATES[protocol]}, by "
        f"what the model knew of the user and of the target. In parentheses the targets of a "
        f"group. A whisker is the 95 % interval of the mean over the users. It is missing where "
        f"all targets of a group have the same value. Questions with the same answer for all "
        f"targets are left out.",
    )
    charts = tuple(
        group_chart(title, groups, f"NDCG@{cut}") for title, groups in scores["ndcg"].items()
    )
    table = _group_table(scores, cut)
    notes = (*[SMALL_NOTE] * bool(table.faint), GROUP_NOTE)
    if "one_moment" in run.metrics:
        notes += one_moment_notes(run.metrics["one_moment"]["test_without_history"])
    return Section("groups", title, "Groups", words, charts, (table,) if charts else (), notes)


def _group_table(scores: Mapping[str, Mapping[str, Sequence[GroupScore]]], cut: int) -> Table:
    """The groups with several metrics."""
    flat = {name: [g for groups in one.values() for g in groups] for name, one in scores.items()}
    rows = tuple(
        (groups[0].name, f"{groups[0].n_targets:,}", *(metric_text(g.mean) for g in groups))
        for groups in zip(*flat.values(), strict=True)
    )
    faint = frozenset(number for number, group in enumerate(flat["ndcg"]) if group.small)
    columns = ("group", "targets", *(metric_title(f"{name}@{cut}") for name in scores))
    return Table(columns, rows, caption="The same with other metrics", faint=faint, folded=True)


def group_explained(title: str) -> str:
    """What the chart of a grouping says, in a sentence."""
    return _GROUPS_EXPLAINED.get(title, "A low value is a group that is served badly.")


def group_chart(title: str, scores: Sequence[GroupScore], metric: str) -> RowChart:
    """A metric of each group with its interval."""
    return horizontal_bars(
        title,
        [
            (score.label, [score.mean], f"{score.mean:.3f} ({score.n_targets:,})")
            for score in scores
        ],
        x_title=metric,
        explained=group_explained(title),
        intervals=[score.interval for score in scores],
        faint=[number for number, score in enumerate(scores) if score.small],
    )


def run_section(run: RunFiles) -> Section:
    """What was run, on what data, by which versions."""
    metrics = run.metrics
    versions = ", ".join(f"{name} {text}" for name, text in metrics["versions"].items())
    rows = [
        ("model", f"{run.model}, {metrics['n_parameters']:,} trained parameters"),
        ("data set", metrics["dataset"] + (" (GENERATED)" if metrics["generated"] else "")),
        *data_rows((run.facts or {}).get("data")),
        ("seed", str(metrics["seed"])),
        ("epochs", _epochs(metrics)),
        ("folder", run.name),
        ("command", shortened(metrics["command"])),
        ("commit", metrics["git_revision"] or "not a checkout"),
        ("versions", versions),
    ]
    return Section("run", "What was run", "Run", (), (), (facts_table(tuple(rows)),))


def _epochs(metrics: Mapping[str, Any]) -> str:
    """How many there were, and whether more might have been better."""
    ended = ", ended by max_cpu_minutes" if metrics.get("ended_by") == "budget" else ""
    return f"{metrics['epochs']}, the best {metrics['best_epoch']}{ended}"


def data_rows(data: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """What is known of the data, in words."""
    if data is None:
        return []
    train, valid, test = data["samples"]
    days = bool(data["whole_days"])
    first, last = day(data["first"]), day(data["last"])
    modalities = "; ".join(
        f"{one['name']}: {one['width']:,} wide, {one['items']:,} items, made by {one['encoder']}"
        for one in data["modalities"]
    )
    return [
        (
            "size",
            f"{data['users']:,} users, {data['items']:,} items, {data['interactions']:,} "
            f"interactions, after filters",
        ),
        ("time", f"{first} to {last}, " + ("whole days" if days else "to the second") + ", UTC"),
        ("targets", f"{train:,} training, {valid:,} validation, {test:,} test"),
        ("modalities", modalities or "none"),
    ]
