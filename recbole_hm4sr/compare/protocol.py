"""Check, before anything runs, that all models of a comparison share one protocol."""

import re
from typing import Any

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.compare.grid import Grid, ModelSpec
from recbole_hm4sr.compare.rows import allowed_baselines
from recbole_hm4sr.config.compose import check_settings
from recbole_hm4sr.config.protocol import PROTOCOL
from recbole_hm4sr.config.settings import require
from recbole_hm4sr.model.registry import find_model, reads_moment, view_labels

_METRICS = {"hit", "map", "mrr", "ndcg", "precision", "recall"}


def check_grid(grid: Grid) -> None:
    """Refuse, before anything runs, what no cell could run or what would not compare.

    Raises:
        ConfigError: If a model is unknown, a setting is unknown or wrong for a model, or models
            of a data set differ in what the protocol fixes.
    """
    found: list[str] = []
    wrong: dict[tuple[str, str], list[str]] = {}
    for dataset in grid.datasets:
        found += _problems_on(grid, dataset, wrong)
    # What is wrong with all rows is said once.
    found = [f"{', '.join(rows)} on {name}: {why}" for (name, why), rows in wrong.items()] + found
    if found:
        raise ConfigError("; ".join(found))


def _problems_on(grid: Grid, dataset: str, wrong: dict[tuple[str, str], list[str]]) -> list[str]:
    """What would not compare on a data set; what a row cannot run with is added to ``wrong``."""
    found, protocols, moments, baselines = list[str](), {}, {}, list[str]()
    for spec in sorted(grid.models, key=lambda spec: spec.added):  # the grid's own first
        values = _settings_of(grid, spec, dataset, wrong)
        if values is None:
            continue
        found += [] if spec.added else _not_by_rank(spec.label, values)
        protocols[spec.label] = {name: values.get(name) for name in PROTOCOL}
        if reads_moment(spec.model, values) and not spec.added:
            moments[spec.label] = str(values.get("request_time"))
        views = view_labels(spec.model, values).values()
        baselines += allowed_baselines(spec.label, views)
    found += _protocol_differences(dataset, protocols)
    found += _mixed_moments(dataset, moments)
    if len(protocols) == len(grid.models):
        rule = f"baseline must be one of {', '.join(baselines)}"
        found += require(grid.baseline in baselines, rule, grid.baseline)
    return found


def _settings_of(
    grid: Grid, spec: ModelSpec, dataset: str, wrong: dict[tuple[str, str], list[str]]
) -> dict[str, Any] | None:
    """All settings of a row; None if it cannot run with them."""
    entry = find_model(spec.model)
    try:
        values = check_settings(
            spec.model,
            dataset,
            settings_class=entry.settings_class,
            losses=entry.losses,
            overrides=grid.overrides(spec),
        )
    except ConfigError as error:
        if not (spec.added and (dataset, str(error)) in wrong):
            wrong.setdefault((dataset, str(error)), []).append(spec.label)
        return None
    if grid.real_data and values["generated"]:
        raise ConfigError(
            f"this grid is for real data, but {values['data_path']} is generated; name the "
            f"folder above the real {dataset} with --data_path"
        )
    return values


def _not_by_rank(label: str, values: dict[str, Any]) -> list[str]:
    """Tables and tests need the one rank of each user's target among all items."""
    mode, metrics = values["eval_args"].get("mode"), values["metrics"]
    metrics = [metrics] if isinstance(metrics, str) else metrics
    return require(
        mode == "full", f"{label}: eval_args.mode must be full for comparisons", mode
    ) + require(
        {name.lower() for name in metrics} <= _METRICS,
        f"{label}: metrics must be of {', '.join(sorted(_METRICS))} for comparisons",
        metrics,
    )


def _mixed_moments(dataset: str, moments: dict[str, str]) -> list[str]:
    """Rows that answer at different moments and do not say so.

    Args:
        dataset: Name of the data set.
        moments: ``request_time`` of the models whose scores depend on it, by label.
    """
    unsaid = {
        label: moment for label, moment in moments.items() if not re.search(rf"\b{moment}\b", label)
    }
    if len(set(unsaid.values())) < 2:
        return []
    rows = ", ".join(f"{label} ({moment})" for label, moment in unsaid.items())
    return [
        f"request_time must be the same for all models of {dataset} whose scores depend on it, or "
        f"a row's label must say its own, as '<model> (target time)', got {rows}"
    ]


def _protocol_differences(dataset: str, protocols: dict[str, dict[str, Any]]) -> list[str]:
    found = []
    labels = list(protocols)
    for name in PROTOCOL:
        for label in labels[1:]:
            first, other = protocols[labels[0]][name], protocols[label][name]
            if first != other:
                found.append(
                    f"{name} must be the same for all models of {dataset}, got {first!r} for "
                    f"{labels[0]} and {other!r} for {label}; put it into the grid's settings"
                )
    return found
