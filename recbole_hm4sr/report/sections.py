"""What any run shows: its metrics, its training, where the time went, and groups of users."""

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_hm4sr.report.bar_chart import RowChart, horizontal_bars
from recbole_hm4sr.report.charts import NONE, LineChart, line_chart
from recbole_hm4sr.report.format import CANDIDATES, Section, Table, moment, percent, seconds_text
from recbole_hm4sr.report.groups import GROUPINGS, GroupScore, scores_by_group
from recbole_hm4sr.report.run_costs import peak_memory_text
from recbole_hm4sr.report.run_files import RunFiles

_SHORT = {"history_length": "history", "target_count": "in training", "gap_seconds": "after"}


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
            "RecBole and the paper. Seen items removed: they are not, as in a shop that shows "
            "nothing twice. Both are always measured; rank_history: include (kept) or exclude "
            "(removed) says which of them chooses the best epoch. Higher is better.",
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
    history = run.history
    if not history:
        return Section("training", "Training", "Training", ("No epoch was trained.",))
    epochs = [record["epoch"] for record in history]
    best = run.metrics["best_epoch"]
    charts = [
        line_chart(
            f"Training loss: {name.replace('_', ' ')}",
            epochs,
            {name.replace("_", " "): [record["losses"].get(name) for record in history]},
            x_title="epoch",
            y_title="loss, mean over the steps",
            from_zero=False,
            marker=best or None,
        )
        for name in history[0]["losses"]
    ]
    charts += [
        line_chart(
            f"Validation: {metric_title(name)}",
            epochs,
            {
                f"@{cut}": [record["valid"].get(f"{name}@{cut}") for record in history]
                for cut in cuts
            },
            x_title="epoch",
            y_title=metric_title(name),
            marker=best or None,
        )
        for name, cuts in validation_metrics(history[0]["valid"]).items()
    ]
    words = (
        f"The dashed line is epoch {best}, the best by {run.settings.get('valid_metric')} on the "
        f"validation part. Axes of losses do not start at zero.",
    )
    return Section("training", "Training", "Training", words, tuple(charts))


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
        (name, [seconds], f"{seconds_text(seconds)}, {percent(seconds / whole)}")
        for name, seconds in known
    ]
    charts: list[LineChart | RowChart] = [
        horizontal_bars("Where the time went", rows, x_title="seconds")
    ]
    if history:
        charts.append(
            line_chart(
                "Seconds an epoch",
                [record["epoch"] for record in history],
                {
                    "training": [record["train_seconds"] for record in history],
                    "validation": [record["valid_seconds"] for record in history],
                },
                x_title="epoch",
                y_title="seconds",
            )
        )
    facts = (
        ("an epoch of training, median", seconds_text(run.metrics["train_seconds_per_epoch"])),
        ("peak memory", peak_memory_text(run.metrics)),
        ("machine", f"{run.metrics['device']} ({run.metrics['machine']})"),
    )
    return Section("time", "Time", "Time", (), tuple(charts), (Table(("", ""), facts, words=True),))


def _stages(run: RunFiles) -> list[tuple[str, float]]:
    """Seconds of each stage that is known, of all the processes of the run."""
    history = run.history
    stages = run.metrics.get("stages", {})
    training = sum(record["train_seconds"] for record in history)
    validation = sum(record["valid_seconds"] for record in history)
    parts = [
        ("read data, build model", stages.get("opening")),
        ("training", training),
        ("validation", validation),
        ("final test", stages.get("testing")),
        ("for this report", (run.facts or {}).get("seconds")),
    ]
    known = [(name, seconds) for name, seconds in parts if seconds is not None]
    rest = run.metrics["seconds"] - sum(s for name, s in known if name != "for this report")
    if stages and rest > 0:
        known.insert(-1 if run.facts else len(known), ("checkpoints and other", rest))
    return known


def groups_section(run: RunFiles) -> Section:
    """Metrics by history length, popularity of the target, and time since the last interaction."""
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
    charts = tuple(
        group_chart(buckets.title, scores["ndcg"][column], f"NDCG@{cut}", colour=0)
        for column, buckets in GROUPINGS.items()
    )
    rows = [
        (
            f"{_SHORT[column]} {group.label}",
            f"{group.n_users:,}",
            *(metric_text(scores[name][column][place].mean) for name in scores),
        )
        for column, buckets in GROUPINGS.items()
        for place, group in enumerate(scores["ndcg"][column])
    ]
    columns = ("group", "users", *(metric_title(f"{name}@{cut}") for name in scores))
    return Section(
        "groups",
        title,
        "Groups",
        (
            f"NDCG@{cut} of the {len(run.ranks['user']):,} test users, {CANDIDATES[protocol]}, by "
            f"how much the model knew of them and of the item they interacted with next. A whisker "
            f"is the 95 % "
            f"interval of the mean; where it is wide, the group is small, and there is none where "
            f"all users of a group have the same value.",
        ),
        charts,
        (Table(columns, tuple(rows), caption="The same with other metrics"),),
    )


def group_chart(title: str, scores: Sequence[GroupScore], metric: str, *, colour: int) -> RowChart:
    """A metric of each group with its interval."""
    return horizontal_bars(
        title,
        [
            (score.label, [score.mean], f"{score.mean:.3f} ({score.n_users:,} users)")
            for score in scores
        ],
        x_title=metric,
        intervals=[score.interval for score in scores],
        colour=colour,
    )


def run_section(run: RunFiles) -> Section:
    """What was run, on what data, by which versions."""
    metrics = run.metrics
    versions = ", ".join(f"{name} {text}" for name, text in metrics["versions"].items())
    rows = [
        ("model", f"{metrics['model']}, {metrics['n_parameters']:,} trained parameters"),
        ("data set", metrics["dataset"] + (" (GENERATED)" if metrics["generated"] else "")),
        *data_rows((run.facts or {}).get("data")),
        ("seed", str(metrics["seed"])),
        ("epochs", f"{metrics['epochs']}, the best {metrics['best_epoch']}"),
        ("folder", run.name),
        ("command", metrics["command"]),
        ("commit", metrics["git_revision"] or "not a checkout"),
        ("versions", versions),
    ]
    return Section(
        "run", "What was run", "Run", (), (), (Table(("", ""), tuple(rows), words=True),)
    )


def data_rows(data: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """What is known of the data, in words."""
    if data is None:
        return []
    train, valid, test = data["samples"]
    days = bool(data["whole_days"])
    first, last = (moment(data[name], whole_days=True) for name in ("first", "last"))
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
