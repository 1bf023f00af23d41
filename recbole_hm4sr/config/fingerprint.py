"""Hashes of all that a result depends on, so that a finished run is known when it is met again."""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any


def settings_hash(
    model: str,
    dataset: str,
    data: str,
    settings: Mapping[str, Any],
    *,
    left_out: Collection[str],
) -> str:
    """Hash of a model, the files of its data set and its settings, but not of the machine's.

    Args:
        model: Name of the model.
        dataset: Name of the data set.
        data: What :func:`data_hash` says of its folder.
        settings: All settings of the run.
        left_out: Names of those that no result depends on: a finished run stays finished when
            these change (``model.registry.settings_with("machine")``).
    """
    values = {name: value for name, value in settings.items() if name not in left_out}
    text = json.dumps([model, dataset, data, values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def data_hash(folder: Path) -> str:
    """Hash of the files of a data set."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob(f"{folder.name}.*")):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
