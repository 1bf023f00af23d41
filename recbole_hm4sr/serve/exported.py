"""Exported indexes in the folder of a run, which a refresh writes anew; torch is not needed."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.errors import DataError

# In the folder of a run: where an index goes if no other place is named.
FOLDER_NAME = "index"
FACTS_FILE = "index.json"
_BEFORE = ".old"


def indexes_of(run_dir: Path) -> dict[Path, Mapping[str, Any]]:
    """The indexes with a memory in the folder of a run, each with what it says of that memory.

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
    found = {}
    for path in sorted(run_dir.glob(f"[!.]*/{FACTS_FILE}")):
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} must be the JSON file of an exported index, but: {error}; remove its "
                f"folder"
            ) from error
        if isinstance(facts, dict) and "memory" in facts:
            found[path.parent] = facts["memory"]
    return found


def replace_folder(new: Path, folder: Path) -> None:
    """Put a folder in the place of another one.

    If the process is killed meanwhile, :func:`indexes_of` puts the other one back.
    """
    before = folder.with_name(f".{folder.name}{_BEFORE}")
    shutil.rmtree(before, ignore_errors=True)
    folder.replace(before)
    new.replace(folder)
    shutil.rmtree(before, ignore_errors=True)
