"""Which folder is a run's, and which may become one. Nothing here needs torch."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.config.compose import UNSUPPORTED, read_yaml
from recbole_hm4sr.config.renamed import with_new_names
from recbole_hm4sr.model.registry import settings_with

# In the folder of a run that another one has trained: which, and what that one ran on.
TRAINED_BY = "trained_by.json"


def find_dataset(
    dataset: "str | os.PathLike[str]", overrides: Mapping[str, Any] | None
) -> tuple[str, dict[str, Any]]:
    """The name of a data set that may be given by its folder, and the settings that say where.

    Args:
        dataset: A name, or the path of a folder: an object that is one, or a text with a ``/``.
        overrides: Settings of the user.

    Raises:
        ConfigError: If a folder and ``data_path`` are given.
    """
    settings = dict(overrides or {})
    if isinstance(dataset, str) and "/" not in dataset and os.sep not in dataset:
        return dataset, settings
    folder = Path(dataset).absolute()
    if settings.get("data_path") is not None:
        raise ConfigError(
            f"dataset must be a name where data_path is given, got {os.fspath(dataset)!r}"
        )
    return folder.name, {**settings, "data_path": str(folder.parent)}


def require_free_folder(folder: Path) -> None:
    """Refuse a run's folder that cannot be written, before anything is.

    Raises:
        ConfigError: If it holds a run already, or if it or the folder above is no folder.
    """
    if (folder / "config.yaml").exists():
        raise ConfigError(
            f"run_dir must not hold a run already, got {folder}; resume it by --resume {folder}"
        )
    there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), None)
    if there is not None and not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise ConfigError(
            f"run_dir must be a folder that can be written, got {folder}, where {there} cannot"
        )


def refuse_existing(folder: Path) -> None:
    """Refuse a folder to write that is there already.

    Raises:
        ConfigError: If it exists.
    """
    if folder.exists():
        raise ConfigError(f"--out must be a folder that does not exist yet, got {folder}")


def no_run_there(folder: Path, name: str) -> str:
    """What is said of a folder that lacks a file of a run, and which one may have been meant.

    Args:
        folder: The folder.
        name: The file.
    """
    if folder.exists():
        return f"but holds no {name}; {_hint_for_folder(folder)}"
    beside = [path.parent.name for path in folder.parent.glob("*/config.yaml")]
    near = difflib.get_close_matches(folder.name, sorted(beside), n=1)
    hint = f"did you mean {folder.parent / near[0]}?" if near else "hm4sr runs FOLDER lists runs"
    return f"but does not exist; {hint}"


def _hint_for_folder(folder: Path) -> str:
    if (folder.parent / "config.yaml").is_file():
        return f"the run is the folder above, {folder.parent}"
    if (folder / "results.jsonl").is_file():
        return "it is a comparison: name one of its runs, <data set>/<model>/seed-<seed>"
    if (folder / "trials.jsonl").is_file():
        return "it is a search: name one of its trials, trial-<number>"
    if (folder / "config.yaml").is_file():
        return f"it has not ended: resume it by hm4sr train --resume {folder}"
    return "a run that was stopped before it began is started by its own command"


def read_run_settings(run_dir: Path) -> tuple[str, str, dict[str, Any]]:
    """The model, the data set and the other settings that a run was started with.

    Raises:
        DataError: If the folder holds no run.
    """
    path = run_dir / "config.yaml"
    if not path.is_file():
        raise DataError(
            f"{run_dir} must be the folder of a run, {no_run_there(run_dir, 'config.yaml')}"
        )
    values = read_yaml(path)
    missing = [name for name in ("dataset", "model") if not isinstance(values.get(name), str)]
    if missing:
        raise DataError(f"{path} must name the {' and the '.join(missing)} of the run")
    # A run's folder may come from elsewhere: it names no place to write. It may be of an older
    # release, which took settings that have gone or have another name now.
    left_out = UNSUPPORTED.keys() | settings_with("flag only")
    values = {k: v for k, v in with_new_names(values).items() if k not in left_out}
    return values.pop("model"), values.pop("dataset"), values
