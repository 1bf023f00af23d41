"""Read ``test_ranks.npz``, the ranks that a run keeps of its test targets."""

from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.npz import DAMAGE
from recbole_hm4sr.evaluate.groups import GROUP_COLUMNS, OPTIONAL_COLUMNS

RANK_FILE = "test_ranks.npz"


def rank_file(view: str = "") -> str:
    """Name of the file with the ranks of a view of a model; empty for the first view."""
    return f"test_ranks-{view}.npz" if view else RANK_FILE


# Without training_length no user counts as new, without interactions_before no item as cold.
_NEEDED = (GROUP_COLUMNS - OPTIONAL_COLUMNS) | {"user", "target", "rank_include", "rank_exclude"}


def read_ranks(run_dir: Path, name: str = RANK_FILE) -> dict[str, "np.ndarray[Any, Any]"]:
    """The columns of the file, ordered by user; a user's targets keep their order.

    Args:
        run_dir: Folder of the run.
        name: Name of the file.

    Returns:
        By name, one value for each target. Shape ``[S]``.

    Raises:
        DataError: If the file cannot be read or lacks a column.
    """
    path = run_dir / name
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
    except DAMAGE as error:
        raise DataError(f"cannot read the ranks of a run, {path}: {error}") from error
    missing = _NEEDED - set(columns)
    if missing:
        raise DataError(
            f"cannot read the ranks of a run, {path}: it must hold the columns "
            f"{', '.join(sorted(_NEEDED))}, but lacks {', '.join(sorted(missing))}"
        )
    order = np.argsort(columns["user"], kind="stable")
    return {name: values[order] for name, values in columns.items()}
