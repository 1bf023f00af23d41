"""Checkpoints: plain tensors and numbers, written whole or not at all, checked when read."""

import contextlib
import pickle
import random
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_hm4sr.diagnose import refuse_weights
from recbole_hm4sr.errors import DataError
from recbole_hm4sr.files import write_whole

_FORMAT = "recbole-hm4sr checkpoint"
_VERSION = 1


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint to a temporary name, then rename it.

    Args:
        path: Where it will stand.
        state: Tensors, numbers, texts, and lists, tuples and dictionaries of them.

    Raises:
        DataError: If it cannot be written; what stood there before is still there.
    """
    content = {"format": _FORMAT, "version": _VERSION, **state}
    write_whole(path, lambda file: torch.save(content, file))


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint without running any code in it.

    Args:
        path: The file.
        device: Where its tensors go.

    Raises:
        DataError: If it is missing, truncated, altered, or no checkpoint of this package.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # torch.save packs nothing, so more than the file holds is a trap for memory.
            if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                raise zipfile.BadZipFile("its members say they are larger than the file")
            broken = archive.testzip()
        if broken is not None:
            raise zipfile.BadZipFile(f"{broken} fails its check sum")
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise DataError(f"the checkpoint {path} does not exist") from error
    except (
        OSError,
        RuntimeError,
        EOFError,
        MemoryError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        zlib.error,
        zipfile.BadZipFile,
        pickle.UnpicklingError,
    ) as error:
        # Without torch's advice to load it unsafely.
        reason = (str(error).splitlines() or [""])[0].split(". ")[0] or type(error).__name__
        raise DataError(f"the checkpoint {path} cannot be read: {reason}") from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise DataError(f"{path} must be a checkpoint of this package, got another kind of file")
    if state.get("version") != _VERSION:
        raise DataError(
            f"the checkpoint {path} must have version {_VERSION}, got {state.get('version')}; "
            f"read it with the release that wrote it"
        )
    return state


@contextlib.contextmanager
def refusing_damage(path: Path) -> Iterator[None]:
    """Turn what taking a checkpoint's parts raises into one sentence.

    Raises:
        DataError: If a part is missing or is not what it should be.
    """
    try:
        yield
    except DataError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        reason = " ".join(str(e).split())[:200]
        raise DataError(
            f"the checkpoint {path} must hold all parts of a run, but one is missing or another "
            f"thing ({type(e).__name__}: {reason}); train anew"
        ) from e


def restore_weights(
    model: Any, state: dict[str, Any], path: Path, *, name: str, fingerprints: Mapping[str, str]
) -> None:
    """Set a model to a checkpoint, and refuse a foreign one.

    Args:
        model: The model, built as the run's was.
        state: From :func:`read_checkpoint`.
        path: Where it was read, for messages.
        name: Name of the model.
        fingerprints: Hashes of what the model reads, which must be those of the run.

    Raises:
        DataError: If the checkpoint is of another model or other data, or does not fit.
    """
    with refusing_damage(path):
        _restore(model, state, path, name=name, fingerprints=fingerprints)


def _restore(
    model: Any, state: dict[str, Any], path: Path, *, name: str, fingerprints: Mapping[str, str]
) -> None:
    if state["model"] != name:
        raise DataError(f"the checkpoint {path} must be of the model {name}, got {state['model']}")
    for part, value in fingerprints.items():
        if state["fingerprints"].get(part) != value:
            raise DataError(
                f"the checkpoint {path} must meet the {part} it was trained on, but they have "
                f"changed since; train anew, or put the old files back"
            )
    try:
        model.load_state_dict(state["state_dict"])
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"the checkpoint {path} does not fit the model: {reason}") from error
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
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
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
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])
