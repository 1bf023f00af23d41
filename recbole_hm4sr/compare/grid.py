"""Grids of data sets, models and seeds, from a YAML file and flags, checked at once."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.compare.cells import Cell, slug
from recbole_hm4sr.compare.grid_problems import problems_of
from recbole_hm4sr.compare.seeds import read_seeds
from recbole_hm4sr.config.compose import properties_dir, read_yaml
from recbole_hm4sr.config.settings import require
from recbole_hm4sr.model.baselines import baseline_entry, settings_of_baseline
from recbole_hm4sr.model.registry import display_name
from recbole_hm4sr.tune.search_result import SearchResult, read_found

VIEW_SEPARATOR = " · "  # between a model's label and what tells one of its rows
_DEFAULTS = {"seeds": [2020], "metrics": ["NDCG@10", "MRR@10", "Hit@10"]}


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """One row of a table.

    Attributes:
        label: Its name in the table.
        model: Name of the model.
        settings: Settings of this row alone; they win over the grid's.
        tuned: What a search has found for it, whose settings win over the YAML files only; None
            without a search. A grid file names the folder of the search.
        note: What the label does not say, for a footnote below the table.
        added: Whether it is one of ``baselines``: it takes only those settings that it has.
        seeds: Its own seeds, a part of the grid's or others; empty for the grid's.
    """

    label: str
    model: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tuned: SearchResult | None = None
    note: str = ""
    seeds: tuple[int, ...] = ()
    added: bool = False


@dataclasses.dataclass(frozen=True)
class Grid:
    """Everything that is compared.

    Attributes:
        datasets: Names of data sets; each has its own tables.
        models: The rows.
        seeds: Seeds of every row that has none of its own.
        settings: Settings of all runs; they win over the YAML files.
        baseline: Label of the row that the others are compared with; of a model that has several
            rows, the first one's where it is the model's.
        metrics: Metrics of the tables, as ``NDCG@10``; the first one leads.
        columns: Columns of the main table for a paper: metrics, and names of
            :data:`~recbole_hm4sr.compare.grid_problems.COLUMNS`; empty for the metrics.
        real_data: Whether the grid is of real data, so that a generated data set of the same name
            is refused.
    """

    datasets: tuple[str, ...]
    models: tuple[ModelSpec, ...]
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    baseline: str
    metrics: tuple[str, ...]
    columns: tuple[str, ...] = ()
    real_data: bool = False

    def cells(self) -> list[Cell]:
        """All runs, a data set and seed at a time, so that early results compare all models."""
        seeds = dict.fromkeys((*self.seeds, *(seed for spec in self.models for seed in spec.seeds)))
        return [
            Cell(dataset, spec.label, spec.model, self.overrides(spec), seed)
            for dataset in self.datasets
            for seed in seeds
            for spec in self.models
            if seed in self.seeds_of(spec.label)
        ]

    def seeds_of(self, label: str) -> tuple[int, ...]:
        """The seeds of a model."""
        return next(spec.seeds for spec in self.models if spec.label == label) or self.seeds

    @property
    def baseline_model(self) -> str:
        """Label of the model that the baseline is a row of."""
        labels = [spec.label for spec in self.models]
        whole = self.baseline
        return whole if whole in labels else whole.rpartition(VIEW_SEPARATOR)[0]

    def overrides(self, spec: ModelSpec) -> dict[str, Any]:
        """Settings of a row that win over the YAML files."""
        if spec.added:
            return {**settings_of_baseline(spec.model, self.settings), **spec.settings}
        found = spec.tuned.settings if spec.tuned is not None else {}
        return {**found, **self.settings, **spec.settings}

    def tuned(self, label: str) -> SearchResult | None:
        """What a search has found for a row."""
        return next(spec.tuned for spec in self.models if spec.label == label)


def find_grid(name: str) -> Path:
    """A grid file by its path, or by its name in ``properties/compare``.

    Raises:
        ConfigError: If there is none.
    """
    path, known = Path(name), properties_dir() / "compare"
    if path.is_file():
        return path
    names = sorted(file.stem for file in known.glob("*.yaml"))
    if name not in names:
        raise ConfigError(f"--grid must be a YAML file or one of {', '.join(names)}, got {name!r}")
    return known / f"{name}.yaml"


def read_grid(
    path: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    config_files: Iterable[str | Path] = (),
    default_baselines: Iterable[str] = (),
) -> Grid:
    """A grid from a file, from flags, or from both; flags win, their settings are added.

    Args:
        path: YAML file with the fields of :class:`Grid` as keys, and ``baselines``: models without
            training, whose rows stand first.
        flags: The same keys; None leaves a key to the file. A name among ``models`` that is the
            label of a row of the file is that row.
        config_files: YAML files of settings, later ones win; those of the grid win over them.
        default_baselines: The ``baselines`` of a grid that does not say which.

    Raises:
        ConfigError: If a key is unknown, or a value is missing or wrong; one error for all.
    """
    in_file = read_yaml(path) if path is not None else {}
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    of_flags = given.pop("settings", {})
    rows = _rows(in_file.get("models"))
    own = _mapping(in_file.get("settings"))
    values = {**_DEFAULTS, **in_file, **given}
    values["settings"] = {**_settings(config_files), **own, **of_flags}
    keys = [field.name for field in dataclasses.fields(Grid)]
    found = _unknown_keys(values, [*keys, "baselines"])
    entries = [rows.get(str(entry), entry) for entry in _entries(values, "models", found)]
    models = _own_models(entries, found, one_for_all="seeds" in given)
    found += _set_by_a_row(rows, entries, of_flags)
    baselines = values.get("baselines", list(default_baselines))
    labels = {spec.label for spec in models if spec}
    row, *view = str(values.get("baseline") or "").partition(VIEW_SEPARATOR)
    row = row if row in labels else display_name(row)
    values["baseline"] = "".join([row, *view])
    if "models" in given and "baseline" not in given and row not in labels:
        values["baseline"] = ""  # some rows of a file, and that one is not among them
    grid = _grid(values, models, found)
    grid = dataclasses.replace(grid, models=(*_added(baselines, grid, found), *grid.models))
    found += problems_of(grid)
    if found:
        raise ConfigError(f"{path or 'the comparison'}: " + "; ".join(found))
    return grid


def _grid(values: Mapping[str, Any], models: list[ModelSpec | None], found: list[str]) -> Grid:
    """The grid as far as its keys are of the right kind; what is wrong with them is added."""
    lists = {name: _entries(values, name, found) for name in ("datasets", "seeds", "metrics")}
    real_data = values.get("real_data", False)
    found += require(
        isinstance(real_data, bool), "real_data must be true or false", values.get("real_data")
    )
    first = models[0].label if models and models[0] else ""
    return Grid(
        datasets=tuple(map(str, lists["datasets"])),
        models=tuple(spec for spec in models if spec is not None),
        seeds=tuple(seed for entry in lists["seeds"] for seed in read_seeds(entry)),
        settings=values["settings"],
        baseline=str(values.get("baseline") or first),
        metrics=tuple(map(str, lists["metrics"])),
        columns=_columns(values, lists["metrics"], found),
        real_data=real_data is True,
    )


def _own_models(
    entries: list[Any], found: list[str], *, one_for_all: bool
) -> list[ModelSpec | None]:
    """The rows of ``models``; without seeds of their own where a flag holds for all."""
    models = [_model_spec(entry, found) for entry in entries]
    if one_for_all:
        models = [spec and dataclasses.replace(spec, seeds=()) for spec in models]
    return models


def _added(entries: Any, grid: Grid, found: list[str]) -> list[ModelSpec]:
    """The rows of ``baselines``, but for those that are among the models."""
    if not isinstance(entries, list):
        found.append(f"baselines must be a list of models without training, got {entries!r}")
        return []
    there = {slug(spec.label) for spec in grid.models}
    specs = []
    for entry in entries:
        try:
            spec = _model_spec(baseline_entry(entry), found)
        except ConfigError as error:
            found.append(str(error))
            continue
        if spec is not None and slug(spec.label) not in there:
            specs.append(dataclasses.replace(spec, added=True))
    return specs


def _settings(config_files: Iterable[str | Path]) -> dict[str, Any]:
    """The settings of YAML files, later ones win."""
    return {name: value for file in config_files for name, value in read_yaml(Path(file)).items()}


def _set_by_a_row(
    rows: Mapping[str, dict[str, Any]], entries: list[Any], of_flags: Mapping[str, Any]
) -> list[str]:
    """Flags that a row of the grid, which is among the entries, sets to another value."""
    shown = {
        label: _own_settings(row)
        for label, row in rows.items()
        if any(row is entry for entry in entries)
    }
    return [
        f"the flag --{name} must leave it to the row {label!r} of the grid, which sets it to "
        f"{settings[name]!r}, got {value!r}"
        for label, settings in shown.items()
        for name, value in of_flags.items()
        if settings.get(name, value) != value
    ]


def _own_settings(row: Mapping[str, Any]) -> dict[str, Any]:
    return settings if isinstance(settings := row.get("settings"), dict) else {}


def _columns(values: Mapping[str, Any], metrics: list[Any], found: list[str]) -> tuple[str, ...]:
    """The columns, metrics spelled as among the metrics."""
    if "columns" not in values:
        return ()
    spelled = {str(metric).lower(): str(metric) for metric in metrics}
    return tuple(spelled.get(str(c).lower(), str(c)) for c in _entries(values, "columns", found))


def _rows(entries: Any) -> dict[str, dict[str, Any]]:
    """The rows of a grid file that have settings of their own, by their labels."""
    rows = entries if isinstance(entries, list) else []
    return {str(row.get("label", row.get("model"))): row for row in rows if isinstance(row, dict)}


def _model_spec(entry: Any, found: list[str]) -> ModelSpec | None:
    if isinstance(entry, str):
        return ModelSpec(display_name(entry), entry)
    if not isinstance(entry, dict) or not isinstance(entry.get("model"), str):
        found.append(f"an entry of models must be a name or have the key model, got {entry!r}")
        return None
    keys = [field.name for field in dataclasses.fields(ModelSpec)]
    found += _unknown_keys(entry, [key for key in keys if key != "added"])
    label = str(entry.get("label", display_name(entry["model"])))
    tuned = _tuned(label, entry, found) if entry.get("tuned") is not None else None
    own = _entries(entry, "seeds", found) if "seeds" in entry else ()
    return ModelSpec(
        label,
        entry["model"],
        _mapping(entry.get("settings")),
        tuned,
        note=str(entry.get("note", "")),
        seeds=tuple(seed for seeds in own for seed in read_seeds(seeds)),
    )


def _tuned(label: str, entry: Mapping[str, Any], found: list[str]) -> SearchResult | None:
    try:
        tuned = read_found(Path(str(entry["tuned"])))
    except ConfigError as error:
        found.append(f"{label}: tuned: {error}")
        return None
    if tuned.model != entry["model"]:
        found.append(
            f"{label}: tuned must be a search of {entry['model']}, but {tuned.folder} is one of "
            f"{tuned.model}"
        )
    return tuned


def _mapping(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"settings must hold lines of the form name: value, got {value!r}")
    return dict(value)


def _entries(values: Mapping[str, Any], name: str, found: list[str]) -> list[Any]:
    entries = values.get(name)
    if isinstance(entries, list) and entries:
        return entries
    found.append(f"{name} must be a list with at least one entry, got {entries!r}")
    return []


def _unknown_keys(values: Iterable[str], known: list[str]) -> list[str]:
    found = []
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(sorted(known))}"
            found.append(f"the key {name!r} is unknown; {hint}")
    return found
