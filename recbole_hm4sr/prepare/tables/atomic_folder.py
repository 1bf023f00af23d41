"""The finished folder: atomic files, the data set's YAML, and where all of it comes from."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from recbole_hm4sr.base.files import write_text
from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.data.interaction_columns import PROVENANCE
from recbole_hm4sr.prepare.tables.earlier import Earlier
from recbole_hm4sr.prepare.tables.kept_features import keep_features
from recbole_hm4sr.prepare.tables.tables import WorkTables

_TEXT_FIELDS = ("title", "brand", "categories", "description")


def write_folder(
    folder: Path,
    name: str,
    tables: WorkTables,
    unit: str,
    provenance: dict[str, Any],
    *,
    with_items: bool,
    earlier: Earlier | None = None,
) -> None:
    """Write all files; the provenance last, since it has the hashes of the others.

    Args:
        folder: Where; what stands there is removed.
        name: The data set's.
        tables: What to write.
        unit: Unit of the times.
        provenance: What is known so far; what is counted and hashed here is added.
        with_items: Whether there is an ``.item`` file; its counts go to the last step.
        earlier: The state before this one, whose settings, features and encoders are kept.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    files = [folder / f"{name}.inter"]
    tables.write_interactions(files[0])
    columns: list[str] = []
    if with_items:
        columns = tables.filled_columns() or ["item_id"]
        files.append(folder / f"{name}.item")
        provenance["steps"][-1].update(tables.write_items(files[-1], columns))
    files.append(folder / f"{name}.yaml")
    if earlier is None:
        write_text(files[-1], _settings(columns, unit))
    else:
        write_text(files[-1], earlier.settings_for(columns, unit))
        files += keep_features(earlier, folder, name)
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    provenance["outputs"] = [
        {"file": path.name, "n_bytes": path.stat().st_size, "sha256": hash_file(path)}
        for path in files
    ]
    write_text(folder / PROVENANCE, json.dumps(provenance, indent=2, ensure_ascii=False) + "\n")


def _settings(columns: Sequence[str], unit: str) -> str:
    """The data set's YAML: text from the columns that have words."""
    text_fields = [name for name in _TEXT_FIELDS if name in columns]
    settings = {
        "timestamp_unit": unit,
        "modalities": {"text": "tfidf-svd"} if text_fields else {},
        "text_fields": text_fields,
        "category_field": "categories" if "categories" in columns else None,
    }
    head = f"# Made by hm4sr prepare; {PROVENANCE} says from what.\n"
    return head + yaml.safe_dump(settings, sort_keys=False, default_flow_style=None)
