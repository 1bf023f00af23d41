"""Checkpoints: read, checked against a run, and given to a model; states of random numbers."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_hm4sr.base.errors import CheckpointError
from recbole_hm4sr.train.checkpoint_file import read_file, refusing_damage
from recbole_hm4sr.train.diagnose import refuse_weights
from recbole_hm4sr.train.row_files import RowReader, read_rows
from recbole_hm4sr.train.safetensors_file import SUFFIX, read_safetensors


def read_checkpoint(
    path: Path, device: torch.device | str = "cpu", reader: RowReader | None = None
) -> dict[str, Any]:
    """Read a checkpoint without running any code in it.

    Args:
        path: The file; rows of items may lie in files beside it. A hub folder has safetensors.
        device: Where its tensors go.
        reader: Which rows of items are wanted; None for all.

    Raises:
        CheckpointError: If it is missing, truncated, altered, or no checkpoint of this package.
    """
    if path.suffix == SUFFIX:
        return read_safetensors(path, device)
    return read_rows(read_file(path, device), path, reader, device)


def refuse_foreign(
    state: Mapping[str, Any], path: Path, *, name: str, fingerprints: Mapping[str, str]
) -> None:
    """Refuse the checkpoint of another model or other data.

    Args:
        state: From :func:`read_checkpoint`.
        path: Where it was read, for messages.
        name: Name of the model.
        fingerprints: Hashes of what the model reads, which must be those of the run.

    Raises:
        CheckpointError: If it is foreign, or lacks what says whose it is.
    """
    with refusing_damage(path):
        if state["model"] != name:
            raise CheckpointError(
                f"the checkpoint {path} must be of the model {name}, got {state['model']}"
            )
        for part, value in fingerprints.items():
            if state["fingerprints"].get(part) != value:
                raise CheckpointError(
                    f"the checkpoint {path} must meet the {part} it was trained on, but they have "
                    f"changed since; train anew, or put the old files back"
                )


# What parameters were called in earlier releases, to what they are called now.
_RENAMED = {".attention.norm.": ".attention_norm."}


def renamed(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The weights of a checkpoint under the names that parameters have now."""
    found = {}
    for name, value in weights.items():
        for old, new in _RENAMED.items():
            name = name.replace(old, new)
        found[name] = value
    return found


def set_weights(model: Any, state: Mapping[str, Any], path: Path) -> None:
    """Set a model to a checkpoint.

    Args:
        model: The model, built as the run's was.
        state: From :func:`read_checkpoint`.
        path: Where it was read, for messages.

    Raises:
        CheckpointError: If it does not fit, or holds weights that are no numbers.
    """
    with refusing_damage(path):
        try:
            model.load_state_dict(renamed(state["state_dict"]))
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"the checkpoint {path} does not fit the model: {reason}"
            ) from error
        refuse_weights(model, path)
        model.load_other_parameter(state["other_parameter"])


def random_states() -> dict[str, Any]:
    """The states of all random number generators a run draws from."""
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": (
            name,
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            position,
            has_gauss,
            cached,
        ),
        "torch": torch.get_rng_state(),
        # Where no GPU is in use, asking for its state would start it.
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Put generators back to the states that :func:`random_states` saw."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    numpy_keys = keys.cpu().numpy().astype(np.uint32)
    np.random.set_state((name, numpy_keys, position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"] and torch.cuda.is_available():
        n_devices = torch.cuda.device_count()  # perhaps fewer than the run began with
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"][:n_devices]])
