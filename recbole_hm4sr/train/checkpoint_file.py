"""Files of checkpoints: plain tensors and numbers, written whole or not at all, checked when read.

The file is torch's own zip archive. Its comment, at the very end, is the SHA-256 of all that comes
before it (of the archive without a comment), so that one altered bit anywhere is noticed; the
archive's own sums cover the tensors only.
"""

import contextlib
import hashlib
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from recbole_hm4sr.base.errors import CheckpointError, DataError
from recbole_hm4sr.base.files import write_whole

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


def read_file(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a file without running any code in it.

    Args:
        path: The file.
        device: Where its tensors go.

    Raises:
        CheckpointError: If it is missing, truncated, altered, or no checkpoint of this package.
    """
    try:
        with path.open("rb") as file:
            refuse_unless_whole(path, file)
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


def refuse_unless_whole(path: Path, file: BinaryIO) -> None:
    """Refuse a file that does not meet the sum at its end; nothing is unpickled before.

    Args:
        path: For messages.
        file: The same, open.

    Raises:
        CheckpointError: If it is truncated or altered.
    """
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
