"""Item features as a service compares them: unit rows in half precision, mapped from files.

The inner product of two rows is the cosine of the items' features, to about a thousandth.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.data.array_files import (
    ArrayWriter,
    keep_array,
    open_array,
    remove_arrays,
    write_array,
)
from recbole_hm4sr.data.features import AlignedFeatures
from recbole_hm4sr.data.matrices import rows_at_a_time

Array = np.ndarray[Any, Any]
_FOLDER = "features"


def unit_rows(values: Array) -> Array:
    """Rows of length 1, in float32; rows of zeros stay."""
    rows = values.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def write_feature_rows(run_dir: Path, modalities: Mapping[str, AlignedFeatures]) -> dict[str, str]:
    """Keep the features of a run's items, some rows at a time.

    Args:
        run_dir: Folder of the run.
        modalities: By name.
        kept: Hashes of files of before that stay.

    Returns:
        Hash of each file, by the name of its modality.

    Raises:
        WriteError: If they cannot be written.
    """
    folder, hashes = run_dir / _FOLDER, {}
    for name, features in modalities.items():
        n_items, step = len(features.rows), rows_at_a_time(features.stored)
        writer = ArrayWriter(folder, np.float16, (n_items, features.width))
        for begin in range(0, n_items, step):
            items = np.arange(begin, min(begin + step, n_items))
            writer.write(unit_rows(features.take(items)).astype(np.float16))
        hashes[name] = writer.close()
    return hashes


def add_feature_rows(
    run_dir: Path,
    hashes: Mapping[str, str],
    added: Mapping[str, Array],
    numbers: Array,
    n_items: int,
) -> dict[str, str]:
    """Keep the features of further items beside those of a run's; the old files stay.

    Args:
        run_dir: Folder of the run.
        hashes: Of its files, by modality.
        added: Features of the items by modality; zeros for one without. Shape ``[A, F]``.
        numbers: Of the items. Shape ``[A]``, int64.
        n_items: How many items there are now, padding included; those of no file and none of
            these have zeros.

    Returns:
        Hash of each new file, by modality.

    Raises:
        DataError: If a file is missing or damaged.
        WriteError: If they cannot be written.
    """
    found = {}
    for name, value in hashes.items():
        known = open_feature_rows(run_dir, value)
        rows = np.zeros((n_items, known.shape[1]), dtype=np.float16)
        rows[: len(known)] = known
        rows[numbers] = unit_rows(added[name])
        found[name] = write_array(run_dir / _FOLDER, rows)
    return found


def copy_feature_rows(run_dir: Path, hashes: Mapping[str, str], target: Path) -> None:
    """Give the files of a run's features a place in another folder, too.

    Raises:
        DataError: If a file is missing or damaged.
        WriteError: If they cannot be written.
    """
    for value in hashes.values():
        keep_array(target / _FOLDER, open_feature_rows(run_dir, value))


def remove_feature_rows(run_dir: Path, *kept: Mapping[str, str]) -> None:
    """Remove the files of a run's features but those of some hashes by modality."""
    remove_arrays(run_dir / _FOLDER, {value for hashes in kept for value in hashes.values()})


def open_feature_rows(run_dir: Path, name: str) -> Array:
    """Map a file by its hash. Shape ``[I, F]``, float16.

    Raises:
        DataError: If it is missing or damaged.
    """
    return open_array(run_dir / _FOLDER, name)
