"""Folders that a run is exported to, and the indexes that a refresh writes anew; no torch here."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.errors import ConfigError, DataError

FACTS_FILE = "index.json"
# Without torch an index is served by these, besides those of any service.
PACKAGES = ("numpy", "onnxruntime")
# What a service needs of the facts, which earlier releases did not write.
_SERVED_BY = ("served", "keep", "asks_when", "files")
_BEFORE = ".old"


def indexes_of(run_dir: Path) -> dict[Path, Mapping[str, Any]]:
    """The indexes in the folder of a run, each with what it says of itself.

    One that was to be replaced by a process that was killed is put back first.

    Args:
        run_dir: Folder of the run.

    Raises:
        DataError: If the facts of an index cannot be read.
    """
    for before in run_dir.glob(f".*{_BEFORE}"):
        folder = run_dir / before.name[1 : -len(_BEFORE)]
        if folder.exists():
            shutil.rmtree(before, ignore_errors=True)
        else:
            before.replace(folder)
    found: dict[Path, Mapping[str, Any]] = {}
    for path in sorted(run_dir.glob(f"[!.]*/{FACTS_FILE}")):
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} must be the JSON file of an exported index, but: {error}; remove its "
                f"folder"
            ) from error
        if isinstance(facts, dict) and "n_items" in facts:
            found[path.parent] = facts
    return found


def read_facts(folder: Path) -> Mapping[str, Any]:
    """What an index says of itself.

    Args:
        folder: The index.

    Raises:
        DataError: If it is no index, or one that cannot be served.
    """
    path = folder / FACTS_FILE
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{folder} must be a folder that hm4sr export has written, but {path.name} cannot be "
            f"read: {reason}"
        ) from error
    if not isinstance(facts, dict) or any(name not in facts for name in _SERVED_BY):
        raise DataError(
            f"{path} must say what a service needs, which an index of an earlier release does not; "
            f"export the run again"
        )
    return facts


@contextlib.contextmanager
def written(folder: Path) -> Iterator[Path]:
    """An empty folder beside the one that is to be written; it is removed at the end.

    Raises:
        DataError: If something cannot be written.
    """
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def replace_folder(new: Path, folder: Path) -> None:
    """Put a folder in the place of another one.

    If the process is killed meanwhile, :func:`indexes_of` puts the other one back.
    """
    before = folder.with_name(f".{folder.name}{_BEFORE}")
    shutil.rmtree(before, ignore_errors=True)
    folder.replace(before)
    new.replace(folder)
    shutil.rmtree(before, ignore_errors=True)


def require_export(index: Path, what: str) -> None:
    """Refuse early where an index could not be written anew.

    Args:
        index: Its folder.
        what: What is about to change the run.

    Raises:
        ConfigError: If the packages of the extra are missing.
    """
    from recbole_hm4sr.serve.export import require_packages  # it imports torch

    try:
        require_packages()
    except ConfigError as error:
        raise ConfigError(
            f"{what} writes the index {index} anew, but {error}; or remove the folder"
        ) from error
