"""A run as a folder for the Hugging Face Hub: its files, and what is asked of them.

It is the folder of a run that serves: ``config.yaml``, ``serving.npz`` and what that names, with
``model.safetensors`` in place of the checkpoint. So every command that needs no data set takes it.
No user's token and no user's history is in it, hence nothing that goes on from the run's
interactions takes it. Nothing here needs torch.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import write_text
from recbole_hm4sr.base.raw_lines import hash_file

WEIGHTS = "model.safetensors"
# The name by which the Hub knows a folder as a model's, and counts its downloads.
MANIFEST = "config.json"
CARD = "README.md"
LIBRARY = "recbole-hm4sr"
_FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """What a hub folder says of itself.

    Attributes:
        model: Name of the model.
        dataset: Name of the data set.
        generated: Whether that was made up.
        facts: Of the run: metrics, seed, versions.
        files: SHA-256 of each file, by its path in the folder; the model card is free to change.
        format: Of the folder.
        library_name: Of the package that reads it.
    """

    model: str
    dataset: str
    generated: bool
    facts: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)
    format: int = _FORMAT
    library_name: str = LIBRARY

    def write(self, folder: Path) -> None:
        """Write it last: it names the files that are there.

        Raises:
            WriteError: If it cannot be written.
        """
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): hash_file(path) for path in paths}
        files.pop(CARD, None)
        content = asdict(self) | {"files": files}
        write_text(folder / MANIFEST, json.dumps(content, indent=2) + "\n")


def is_hub_folder(folder: Path) -> bool:
    """Whether a folder is one of these rather than the folder of a run."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> Manifest:
    """What a hub folder says of itself.

    Raises:
        DataError: If it is no such folder, damaged, or of a newer release.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} must be a folder that save_pretrained or hm4sr export --format=hub wrote, "
            f"but holds no {MANIFEST}"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}; get the folder again") from error
    if not isinstance(content, dict) or content.get("library_name") != LIBRARY:
        raise DataError(f"{path} must be of {LIBRARY}, but is of another library or damaged")
    form = content.get("format")
    if not isinstance(form, int) or form > _FORMAT:
        raise DataError(
            f"{folder} has format {form!r}, and this release reads {_FORMAT}; install a later "
            f"release of {LIBRARY}"
        )
    try:
        return Manifest(**content)
    except TypeError as error:
        raise DataError(f"{path} is damaged ({error}); get the folder again") from error


def check_hub_folder(folder: Path) -> Manifest:
    """Read what a folder says of itself, and hold its files to that.

    Raises:
        DataError: If it is no such folder, of a newer release, incomplete or damaged.
    """
    manifest = read_manifest(folder)
    if not isinstance(manifest.files, dict) or WEIGHTS not in manifest.files:
        raise DataError(f"{folder / MANIFEST} is damaged: it names no {WEIGHTS}")
    missing = [name for name in manifest.files if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{folder} is incomplete: {len(missing)} of its {len(manifest.files)} files are "
            f"missing, as {missing[0]}; get the folder again"
        )
    for name, expected in manifest.files.items():
        try:
            found = hash_file(folder / name)
        except OSError as error:
            raise DataError(f"cannot read {folder / name}: {error.strerror}") from error
        if found != expected:
            raise DataError(
                f"{folder / name} is not the file that was published: it is damaged or was "
                f"changed; get the folder again"
            )
    return manifest


def refuse_hub_folder(folder: Path, what: str) -> None:
    """Refuse what a hub folder cannot do.

    Args:
        folder: Perhaps one.
        what: What would be done, as "an update".

    Raises:
        DataError: If it is one.
    """
    if is_hub_folder(folder):
        raise DataError(
            f"{what} needs the interactions of a run, but {folder} was published without them; "
            f"name the run that it was made from, and publish that again"
        )
