"""The plan of a run: all its settings, composed and checked once, before any data are read."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_hm4sr.config.compose import UNSUPPORTED, check_settings
from recbole_hm4sr.config.protocol import PROTOCOL
from recbole_hm4sr.config.settings import DataSettings, RunSettings, read_settings
from recbole_hm4sr.model.registry import ModelEntry, find_baselines, find_model
from recbole_hm4sr.run.hub_folder import refuse_hub_folder
from recbole_hm4sr.run.place import read_run_settings


@dataclass(frozen=True)
class RunPlan:
    """The settings of a run. Nothing changes them later; RecBole gets copies.

    Attributes:
        entry: The model.
        dataset: Name of the data set.
        values: All settings by name, RecBole's too.
        data: What this package adds to RecBole's description of a data set.
        run: Settings of a run that neither RecBole nor a model has.
        model: The model's settings; None for RecBole's own models, which read RecBole's ``Config``.
    """

    entry: ModelEntry
    dataset: str
    values: Mapping[str, Any]
    data: DataSettings
    run: RunSettings
    model: Any

    @property
    def protocol(self) -> dict[str, Any]:
        """What makes runs comparable (``protocol.PROTOCOL``), by name."""
        return {name: self.values[name] for name in PROTOCOL if name in self.values}

    def device(self) -> Any:
        """The ``torch.device`` of this process.

        Raises:
            ConfigError: If the settings name a GPU that is not there.
        """
        from recbole_hm4sr.config.recbole_config import run_device  # it imports torch

        return run_device(self.values)

    def to_recbole(self) -> Any:
        """A RecBole ``Config`` of its own, with the device of this process.

        Raises:
            ConfigError: If RecBole refuses the settings.
        """
        from recbole_hm4sr.config.recbole_config import make_config  # it imports torch

        return make_config(self.entry.model_class, self.dataset, copy.deepcopy(dict(self.values)))

    def to_plain(self) -> dict[str, Any]:
        """What ``config.yaml`` of a run holds: model, data set, and settings as they were given.

        Paths of the data and of a run to begin from are absolute, so that the run can be resumed
        from another working directory.
        """
        values = {k: v for k, v in self.values.items() if k not in UNSUPPORTED}
        values["data_path"] = str(Path(values["data_path"]).resolve().parent)
        if values.get("init_from"):
            values["init_from"] = str(Path(values["init_from"]).resolve())
        return {"model": self.entry.name, "dataset": self.dataset, **copy.deepcopy(values)}


def compose(
    model: str | ModelEntry,
    dataset: str,
    *,
    config_files: Iterable[str | Path] = (),
    overrides: Mapping[str, Any] | None = None,
    needs_data: bool = True,
) -> RunPlan:
    """Compose and check the settings of a run.

    Args:
        model: Name of a model of this package, of RecBole or of another package; or its entry.
        dataset: Name of the data set.
        config_files: The user's YAML files, later ones win.
        overrides: The user's flags, parsed; they win over all files.
        needs_data: False where the data set may be on another machine: its folder is not looked
            for, and ``overrides`` hold the settings of a whole run.

    Raises:
        ConfigError: If a name is unknown, or a value is missing or wrong; one error for all.
    """
    entry = find_model(model) if isinstance(model, str) else model
    values = check_settings(
        entry.name,
        dataset,
        settings_class=entry.settings_class,
        losses=entry.losses,
        config_files=config_files,
        overrides=overrides,
        needs_data=needs_data,
    )
    of_model, run = entry.settings_class, read_settings(values, RunSettings)
    find_baselines(run.baselines)
    return RunPlan(
        entry=entry,
        dataset=dataset,
        values=values,
        data=read_settings(values, DataSettings),
        run=run,
        model=None if of_model is None else read_settings(values, of_model),
    )


def read_plan(
    run_dir: Path, *, machine: Mapping[str, Any] | None = None, needs_data: bool = True
) -> RunPlan:
    """The settings that a run was started with.

    Args:
        run_dir: Folder of the run.
        machine: Settings of the machine that have changed since.
        needs_data: False if its data set may be elsewhere.

    Raises:
        ConfigError: If its model or data set is not here, or a setting is wrong.
        DataError: If the folder holds no run, or a published one where the data set is needed.
    """
    if needs_data:
        refuse_hub_folder(run_dir, "this")
    model, dataset, values = read_run_settings(run_dir)
    return compose(model, dataset, overrides={**values, **(machine or {})}, needs_data=needs_data)
