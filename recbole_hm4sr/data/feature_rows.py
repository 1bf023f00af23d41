"""Item features as a service compares them: unit rows in half precision, mapped from files.

The inner product of two rows is the cosine of the items' features, to about a thousandth.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.data.array_files import ArrayWriter, open_array, remove_arrays
from recbole_hm4sr.data.features import AlignedFeatures
from recbole_hm4sr.data.matrices import rows_at_a_time

Array = np.ndarray[Any, Any]
_FOLDER = "features"


def unit_rows(values: Array) -> Array:
    """Rows of length 1, in float32; rows of zeros stay."""
    rows = values.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def write_feature_rows(
    run_dir: Path, modalities: Mapping[str, AlignedFeatures], *, kept: Collection[str] = ()
) -> dict[str, str]:
    """Keep the features of a run's items, some rows at a time; those of an earlier end go.

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
    remove_arrays(folder, {*hashes.values(), *kept})
    return hashes


def open_feature_rows(run_dir: Path, name: str) -> Array:
    """Map a file by its hash. Shape ``[I, F]``, float16.

    Raises:
        DataError: If it is missing or damaged.
    """
    return open_array(run_dir / _FOLDER, name)
