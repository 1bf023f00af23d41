"""A run in a notebook: its epochs as a frame, its numbers as a table, its curves as a figure."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from recbole_hm4sr.evaluate.candidates import CANDIDATES
from recbole_hm4sr.evaluate.group_scores import scores_by_group
from recbole_hm4sr.evaluate.rank_file import RANK_FILE, read_ranks
from recbole_hm4sr.model.registry import display_name
from recbole_hm4sr.page.format import NONE
from recbole_hm4sr.train.epochs import EpochRecord

if TYPE_CHECKING:
    from recbole_hm4sr.run.results import RunResult

_CUT = "@10"
_GROUP_METRIC = "NDCG@10"
_HEIGHT, _HEIGHT_OF_A_BAR = 520, 24  # pixels


def epochs_frame(epochs: Sequence[EpochRecord]) -> pd.DataFrame:
    """A row an epoch.

    Args:
        epochs: Of a run.

    Returns:
        Indexed by ``epoch``, from 1. ``loss``, ``loss.<name>`` of each named loss,
        ``valid.<metric>``, ``is_best`` (whether it was the best so far), ``train_seconds``,
        ``valid_seconds``; with several views ``valid.<view>.<metric>`` of those after the first.
    """
    return pd.DataFrame.from_records([_row(record) for record in epochs]).set_index("epoch")


def _row(record: EpochRecord) -> dict[str, Any]:
    return {
        "epoch": record.epoch,
        "loss": record.loss,
        **{f"loss.{name}": value for name, value in record.losses.items()},
        **{f"valid.{name}": value for name, value in record.valid.items()},
        **{
            f"valid.{view}.{name}": value
            for view, found in record.views.items()
            for name, value in found.valid.items()
        },
        "is_best": record.is_best,
        "train_seconds": record.train_seconds,
        "valid_seconds": record.valid_seconds,
    }


def as_html(result: "RunResult") -> str:
    """What a notebook shows of a result: a sentence and a table of metrics."""
    data = f"{result.dataset}, GENERATED data" if result.generated else result.dataset
    budget = "; ended by max_cpu_minutes" if result.ended_by == "budget" else ""
    columns: dict[str, Mapping[str, float]] = {"validation": result.valid}
    if result.test_include:
        columns["test, seen items kept"] = result.test_include
    if result.test_exclude:
        columns["test, seen items removed"] = result.test_exclude
    heads = "".join(f"<th>{escape(name)}</th>" for name in columns)
    rows = "".join(
        f"<tr><th>{escape(name)}</th>"
        + "".join(f"<td>{_text(values.get(name))}</td>" for values in columns.values())
        + "</tr>"
        for name in result.valid
    )
    return (
        f"<p><b>{escape(display_name(result.model))}</b> on {escape(data)}: "
        f"best epoch {result.best_epoch} of {len(result.epochs)}, chosen on validation{budget}. "
        f"Folder: <code>{escape(str(result.run_dir))}</code></p>"
        f"<table><thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _text(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def figure(result: "RunResult") -> Any:
    """Losses and validation over the epochs, and a test metric by groups of users and items.

    Args:
        result: Of a run with at least one epoch. The groups are read from its folder; a run whose
            metrics do not follow from ranks, or that was not tested, has none.

    Returns:
        A ``plotly.graph_objects.Figure``.
    """
    from plotly import graph_objects
    from plotly.subplots import make_subplots

    frame = epochs_frame(result.epochs)
    losses = [name for name in frame.columns if name.startswith("loss.")]
    metrics = [
        name for name in frame.columns if name.startswith("valid.") and name.endswith(_CUT)
    ] or [name for name in frame.columns if name.startswith("valid.")]
    groups = _groups(result)
    below = [f"test {_GROUP_METRIC}, {CANDIDATES[result.rank_history]}"] * bool(groups)
    figure = make_subplots(
        rows=1 + len(below),
        cols=2,
        specs=[[{}, {}], [{"colspan": 2}, None]][: 1 + len(below)],
        subplot_titles=["training loss", "validation", *below],
    )
    for column, names in enumerate((losses or ["loss"], metrics), start=1):
        for name in names:
            line = graph_objects.Scatter(
                x=frame.index,
                y=frame[name],
                name=name.partition(".")[2] or name,
                mode="lines+markers",
            )
            figure.add_trace(line, row=1, col=column)
        figure.update_xaxes(title_text="epoch", row=1, col=column)
    if result.best_epoch:
        for column in (1, 2):
            figure.add_vline(x=result.best_epoch, line_dash="dash", row=1, col=column)
    if groups:
        bars = graph_objects.Bar(
            x=list(groups.values()), y=list(groups), orientation="h", showlegend=False
        )
        figure.add_trace(bars, row=2, col=1)
        figure.update_yaxes(autorange="reversed", automargin=True, row=2, col=1)
        figure.update_layout(height=_HEIGHT + _HEIGHT_OF_A_BAR * len(groups))
    title = (
        f"{display_name(result.model)} on {result.dataset}" + " (GENERATED data)" * result.generated
    )
    figure.update_layout(title=title)
    return figure


def _groups(result: "RunResult") -> dict[str, float]:
    """The mean of the metric in each group of at least so many users that it says something."""
    if not (result.run_dir / RANK_FILE).is_file():
        return {}
    scores = scores_by_group(read_ranks(result.run_dir), result.rank_history, _GROUP_METRIC)
    return {score.name: score.mean for own in scores.values() for score in own if not score.small}
