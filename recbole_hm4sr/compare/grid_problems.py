"""What is wrong with the values of a grid, and with values beside each other."""

from collections import Counter
from typing import TYPE_CHECKING

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.compare.cells import slug
from recbole_hm4sr.config.fields import MAX_SEED
from recbole_hm4sr.evaluate.statistics import parse_metric

if TYPE_CHECKING:  # it asks what is wrong with it
    from recbole_hm4sr.compare.grid import Grid, ModelSpec

# What a column of a results table can be besides a metric; "difference" is the relative one to the
# baseline, beside every metric.
COLUMNS = ("seeds", "trials", "difference", "unknown", "seconds", "parameters", "memory")


def problems_of(grid: "Grid") -> list[str]:
    """What is wrong with a grid, a sentence each.

    Args:
        grid: Its keys are of the right kind.
    """
    labels = [spec.label for spec in grid.models]
    found = [
        *_seed_problems(grid),
        *_given_twice(grid),
        *_label_problems(grid),
        *_metric_problems(grid),
        *_column_problems(grid),
    ]
    if labels and grid.baseline_model not in labels:
        found.append(f"baseline must be one of {', '.join(labels)}, got {grid.baseline!r}")
    if any("data_path" in spec.settings for spec in grid.models):
        found.append("settings of a row must leave data_path to the grid's, since all share it")
    return found + [problem for spec in grid.models for problem in _set_twice(grid, spec)]


def _seed_problems(grid: "Grid") -> list[str]:
    found = [
        f"a seed must be a whole number from 0 to {MAX_SEED}, or a range of them as 1-3, got "
        f"{seed!r}"
        for seed in (*grid.seeds, *(seed for spec in grid.models for seed in spec.seeds))
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MAX_SEED
    ]
    if any("seed" in settings for settings in (grid.settings, *(m.settings for m in grid.models))):
        found.append("settings must leave the seed to seeds")
    return found


def _given_twice(grid: "Grid") -> list[str]:
    lists = {
        "datasets": grid.datasets,
        "seeds": grid.seeds,
        "metrics": [metric.lower() for metric in grid.metrics],
        "columns": grid.columns,
        "labels of models": [slug(spec.label) for spec in grid.models],
        **{f"seeds of {spec.label}": spec.seeds for spec in grid.models},
    }
    counts = {name: Counter(map(str, entries)) for name, entries in lists.items()}
    return [
        f"{name} must differ, got {entry!r} twice"
        for name, counted in counts.items()
        for entry, number in counted.items()
        if number > 1
    ]


def _label_problems(grid: "Grid") -> list[str]:
    return [
        f"a label must have no comma, since --models is split there, got {spec.label!r}; write "
        f"brackets, as {spec.model} (small)"
        for spec in grid.models
        if "," in spec.label
    ]


def _metric_problems(grid: "Grid") -> list[str]:
    found = []
    for metric in grid.metrics:
        try:
            parse_metric(metric)
        except ConfigError as error:
            found.append(str(error))
    return found


def _column_problems(grid: "Grid") -> list[str]:
    known = (*grid.metrics, *COLUMNS)
    found = [
        f"columns must be among {', '.join(known)} (metrics adds others), got {name!r}"
        for name in grid.columns
        if name not in known
    ]
    if grid.columns and not set(grid.columns) & set(grid.metrics):
        found.append(f"columns must hold a metric, as {grid.metrics[0]}, got {list(grid.columns)}")
    return found


def _set_twice(grid: "Grid", spec: "ModelSpec") -> list[str]:
    """What a search has found for a row, and the grid sets too."""
    if spec.tuned is None:
        return []
    both = sorted({*grid.settings, *spec.settings} & set(spec.tuned.best.settings))
    return [
        f"{spec.label}: settings must leave what was searched to {spec.tuned.folder}, got {name}"
        for name in both
    ]
