"""Hugging Face models: packages, devices, and which weights a name stands for."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recbole_hm4sr.errors import ConfigError, DataError
from recbole_hm4sr.prepare.encode import Encoder, Pooling


def import_transformers(extra: str) -> Any:
    """The package transformers, made quiet.

    Args:
        extra: The extra of this package that installs it.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise missing_package("transformers", extra) from error
    # Its bars and notices would stand between ours.
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def missing_package(name: str, extra: str) -> ConfigError:
    """The error that says how to install what an encoder needs."""
    return ConfigError(
        f"this encoder must have the package {name}, which is not installed; install it with: "
        f"pip install 'recbole-hm4sr[{extra}]'"
    )


def choose_torch_device(name: str) -> Any:
    """The torch device of a name; ``auto`` is a GPU if there is one.

    Raises:
        ConfigError: If there is no such device.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        # torch built without CUDA raises AssertionError.
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device must be auto, cpu or cuda, got {name!r}: {reason}") from error
    return device


def model_revision(name: str) -> str:
    """What identifies a model's weights: the hub's commit, or a hash of the folder's content.

    Raises:
        DataError: If the name is neither a folder nor a model of the hub that can be reached.
    """
    folder = Path(name)
    if folder.is_dir():
        digest = hashlib.sha256()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(f"{path.relative_to(folder)}:{path.stat().st_size}:".encode())
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return f"sha256 {digest.hexdigest()[:16]}"
    found = find_model_file(name, "config.json")
    # The hub's cache: .../snapshots/<commit>/config.json
    return Path(found).parent.name if found else "unknown"


def find_model_file(name: str, file: str) -> str | None:
    """A file of a model, downloaded if need be; None if the model has none of that name.

    Raises:
        DataError: If the model cannot be found or reached.
    """
    from transformers.utils import cached_file

    if Path(name).is_absolute() and not Path(name).is_dir():
        raise DataError(f"the folder {name} of the encoder does not exist")
    try:
        found = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"the encoder must be a folder, or a model of the Hugging Face hub that can be "
            f"reached, got {name!r}: {str(error).splitlines()[0]}"
        ) from error
    return None if found is None else str(found)


def read_model(encoder: Encoder, device: Any) -> tuple[Any, dict[str, Any]]:
    """A model on a device, ready to encode; and for :func:`refuse_missing_weights`, what it lacks.

    Raises:
        DataError: If it cannot be read.
    """
    from transformers import AutoModel

    with reading(encoder):
        model, info = AutoModel.from_pretrained(encoder.name, output_loading_info=True)
    return model.eval().to(device), info


@contextlib.contextmanager
def reading(encoder: Encoder) -> Iterator[None]:
    """Turn what transformers raises on reading a part of an encoder into our error.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"cannot read the encoder {encoder.name!r}: {error}") from error


def refuse_missing_weights(info: dict[str, Any], encoder: Encoder, pooling: Pooling) -> None:
    """Refuse a model whose checkpoint lacks weights that the values would depend on.

    transformers fills them with random numbers and goes on; poolers are the common case.

    Raises:
        DataError: If such weights are missing.
    """
    missing = sorted(
        key for key in info["missing_keys"] if pooling == "model" or "pooler" not in key
    )
    if missing:
        raise DataError(
            f"the checkpoint {encoder.name!r} must hold all weights that are used, but lacks "
            f"{len(missing)}, e.g. {missing[0]!r}; try another pooling than {pooling!r}"
        )


def mixed_precision(encoder: Encoder, device: Any) -> Any:
    """The context in which a model computes in the encoder's type."""
    import torch

    is_mixed = encoder.dtype != "float32"
    dtype = getattr(torch, encoder.dtype) if is_mixed else None
    return torch.autocast(device.type, dtype=dtype, enabled=is_mixed)
