"""The rows of a table: one for each model, or for each view in which a model is measured."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recbole_hm4sr.compare.grid import Grid
from recbole_hm4sr.compare.results import Outcome, row_label
from recbole_hm4sr.config.compose import read_yaml
from recbole_hm4sr.model.baselines import knows_no_target
from recbole_hm4sr.model.registry import view_labels


def split_by_view(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """One outcome for each row: a run whose model has several views gives one for each of them.

    A run without a result stands in every row that another seed of its model has.

    Args:
        outcomes: What is known of the cells of a data set.
    """
    views: dict[str, dict[str, str]] = {}
    for outcome in outcomes:
        if outcome.done:
            views.setdefault(outcome.cell.label, _views(outcome))
    return [
        _seen_as(outcome, name, label)
        for outcome in outcomes
        for name, label in (views.get(outcome.cell.label) or {"": ""}).items()
    ]


def _views(outcome: Outcome) -> dict[str, str]:
    """What tables add to the model's name, by the name of the view; empty for a single one."""
    names = (outcome.record or {}).get("views") or {}
    path = outcome.folder / "config.yaml"
    settings = read_yaml(path) if names and path.is_file() else {}
    labels = view_labels(outcome.cell.model, settings)
    return {name: labels.get(name, name) for name in names}


def _seen_as(outcome: Outcome, name: str, label: str) -> Outcome:
    """The outcome of one view: its metrics, its ranks and its row."""
    if not outcome.done or not name:
        return dataclasses.replace(outcome, view=label)
    record = dict(outcome.record or {})
    views = record.pop("views")
    found = views[name]
    if name != next(iter(views)):  # in runs of earlier releases the first alone has lists
        record.pop("lists", None)
    return dataclasses.replace(
        outcome, view=label, ranks=found["ranks"], record={**record, **found}
    )


def left_out(grid: Grid, outcomes: Sequence[Outcome]) -> list[str]:
    """Labels of the added models whose row would say nothing.

    Args:
        grid: What is compared.
        outcomes: What is known of the cells of a data set.
    """
    records: dict[str, list[Mapping[str, Any]]] = {}
    for outcome in outcomes:
        if outcome.done:
            records.setdefault(outcome.cell.label, []).append(outcome.record or {})
    return [
        spec.label
        for spec in grid.models
        if spec.added and knows_no_target(spec.model, records.get(spec.label, []))
    ]


def row_labels(grid: Grid, outcomes: Sequence[Outcome]) -> dict[str, str]:
    """The label of each row's model, by the row's own, in the order of the table.

    Args:
        grid: What is compared.
        outcomes: From :func:`split_by_view`.
    """
    rows = [outcome for outcome in outcomes if outcome.cell.label not in left_out(grid, outcomes)]
    return {
        outcome.row: spec.label
        for spec in grid.models
        for outcome in rows
        if outcome.cell.label == spec.label
    }


def baseline_row(grid: Grid, labels: dict[str, str]) -> str:
    """The row that the others are compared with: the grid's, or the first one of that model.

    Args:
        grid: What is compared.
        labels: From :func:`row_labels`.
    """
    if grid.baseline in labels:
        return grid.baseline
    model = grid.baseline_model
    return next((row for row, label in labels.items() if label == model), grid.baseline)


def allowed_baselines(label: str, views: Iterable[str]) -> list[str]:
    """What a grid may call the baseline for one of its models: the model, or one of its rows."""
    return [label, *(row_label(label, view) for view in views)]
