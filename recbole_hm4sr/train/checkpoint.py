"""Checkpoints: plain tensors and numbers, written whole or not at all, checked when read.

The file is torch's own zip archive. Its comment, at the very end, is the SHA-256 of all that comes
before it (of the archive without a comment), so that one altered bit anywhere is noticed; the
archive's own sums cover the tensors only.
"""

import contextlib
import hashlib
import os
import pickle
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch

from recbole_hm4sr.base.errors import CheckpointError, DataError
from recbole_hm4sr.base.files import write_whole
from recbole_hm4sr.train.diagnose import refuse_weights
from recbole_hm4sr.train.safetensors_file import SUFFIX, read_safetensors

_FORMAT = "recbole-hm4sr checkpoint"
_VERSION = 2
_LABEL = b"sha256:"
_COMMENT_SIZE = len(_LABEL) + 2 * hashlib.sha256().digest_size
_NO_COMMENT = bytes(2)  # how a zip archive without a comment ends: with the comment's length
_BLOCK = 1 << 20


def write_checkpoint(path: Path, state: dict[str, Any], *, keep_as: Path | None = None) -> None:
    """Write a checkpoint to a temporary name, then rename it.

    Args:
        path: Where it will be.
        state: Tensors, numbers, texts, and lists, tuples and dictionaries of them.
        keep_as: Where the file before it goes; None to replace it.

    Raises:
        WriteError: If it cannot be written; the file before it is still there.
    """
    content = {"format": _FORMAT, "version": _VERSION, **state}
    write_whole(path, lambda file: _save(content, file), keep_as=keep_as)


def _save(content: dict[str, Any], file: BinaryIO) -> None:
    """Write the archive, and its sum as its comment."""
    writer = _SummingWriter(file)
    try:
        torch.save(content, cast(Any, writer))
    except RuntimeError:
        if writer.error is None:
            raise
    if writer.error is not None:
        raise writer.error
    comment = _LABEL + writer.sum.hexdigest().encode()
    file.seek(-len(_NO_COMMENT), os.SEEK_END)
    file.write(len(comment).to_bytes(2, "little") + comment)


class _SummingWriter:
    """Passes bytes on to a file and sums them.

    Where a write fails, torch ends in an error of its own that does not say why. So the first
    error is kept, and what comes after it is dropped.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sum = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, part: Any) -> int:
        """Write bytes, unless an earlier write has failed."""
        if self.error is None:
            try:
                self._file.write(part)
            except OSError as error:
                self.error = error
            self.sum.update(part)
        return len(part)

    def flush(self) -> None:
        """For torch; ``write_whole`` flushes when all is written."""


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint without running any code in it.

    Args:
        path: The file; one of a hub folder is a safetensors file.
        device: Where its tensors go.

    Raises:
        CheckpointError: If it is missing, truncated, altered, or no checkpoint of this package.
    """
    if path.suffix == SUFFIX:
        return read_safetensors(path, device)
    try:
        with path.open("rb") as file:
            _refuse_unless_whole(path, file)
            file.seek(0)
            state = torch.load(file, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"the checkpoint {path} does not exist") from error
    except (
        OSError,
        RuntimeError,
        EOFError,
        MemoryError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        pickle.UnpicklingError,
    ) as error:
        if isinstance(error, CheckpointError):
            raise
        # Without torch's advice to load it unsafely.
        reason = (str(error).splitlines() or [""])[0].split(". ")[0] or type(error).__name__
        raise CheckpointError(f"the checkpoint {path} cannot be read: {reason}") from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path} must be a checkpoint of this package, got another kind of file"
        )
    if state.get("version") != _VERSION:
        raise CheckpointError(
            f"the checkpoint {path} must have version {_VERSION}, got {state.get('version')}; "
            f"read it with the release that wrote it"
        )
    return state


def _refuse_unless_whole(path: Path, file: BinaryIO) -> None:
    """Nothing is unpickled before the whole file meets the sum at its end."""
    size = file.seek(0, os.SEEK_END)
    begin = max(0, size - _COMMENT_SIZE - len(_NO_COMMENT))
    file.seek(begin)
    length, comment = file.read(len(_NO_COMMENT)), file.read()
    if length != _COMMENT_SIZE.to_bytes(2, "little") or not comment.startswith(_LABEL):
        raise CheckpointError(
            f"{path} must be a checkpoint of this package with its check sum at the end, got a "
            f"file that is cut short, altered, older or of another kind"
        )
    file.seek(0)
    digest, left = hashlib.sha256(), begin
    while left > 0:
        block = file.read(min(_BLOCK, left))
        left -= len(block)
        digest.update(block)
    digest.update(_NO_COMMENT)
    if comment != _LABEL + digest.hexdigest().encode():
        raise CheckpointError(f"the checkpoint {path} is altered: it does not meet its check sum")


@contextlib.contextmanager
def refusing_damage(path: Path) -> Iterator[None]:
    """Turn what taking a checkpoint's parts raises into one sentence.

    Raises:
        CheckpointError: If a part is missing or is not what it should be.
    """
    try:
        yield
    except DataError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        reason = " ".join(str(e).split())[:200]
        raise CheckpointError(
            f"the checkpoint {path} must hold all parts of a run, but one is missing or another "
            f"thing ({type(e).__name__}: {reason}); train anew"
        ) from e


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
