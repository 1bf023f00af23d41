"""A checkpoint's weights as a safetensors file, which any tool of the Hugging Face Hub can read.

What a checkpoint says besides its tensors is text in the file's header: whose weights they are, and
plain values of RecBole's ``other_parameter``. State of a training is not kept.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from recbole_hm4sr.base.errors import CheckpointError, ConfigError
from recbole_hm4sr.base.files import write_whole

SUFFIX = ".safetensors"
_KEY = "recbole_hm4sr"
_VERSION = 1
# Other tools read a file as PyTorch's only where its header says so.
_FRAMEWORK = {"format": "pt"}


def require_safetensors(what: str) -> Any:
    """The package ``safetensors``.

    Args:
        what: What needs it, for the message.

    Raises:
        ConfigError: If it is missing.
    """
    try:
        import safetensors.torch
    except ImportError as error:
        raise ConfigError(
            f"{what} needs the package safetensors; pip install 'recbole-hm4sr[hub]'"
        ) from error
    return safetensors


def write_safetensors(path: Path, state: Mapping[str, Any]) -> None:
    """Write the weights of a checkpoint.

    Args:
        path: Where they will be.
        state: From :func:`~recbole_hm4sr.train.checkpoint.read_checkpoint`.

    Raises:
        ConfigError: If the model keeps something that is no tensor and no plain value.
        WriteError: If it cannot be written.
    """
    package = require_safetensors(f"writing {path.name}")
    weights = state["state_dict"]
    besides = sorted(name for name, value in weights.items() if not torch.is_tensor(value))
    if besides:
        raise ConfigError(
            f"a safetensors file holds tensors, but {state['model']} also keeps {besides[0]}"
        )
    facts = {
        "version": _VERSION,
        **{name: state[name] for name in ("model", "fingerprints", "epoch", "other_parameter")},
    }
    try:
        text = json.dumps(facts)
    except TypeError as error:
        raise ConfigError(
            f"{state['model']} keeps more than weights and plain values (other_parameter), which a "
            f"safetensors file cannot hold"
        ) from error
    # Tied weights share memory, which the format has no way to say: each gets its own copy.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    content = package.torch.save(tensors, {**_FRAMEWORK, _KEY: text})
    write_whole(path, lambda file: file.write(content))


def read_safetensors(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what :func:`write_safetensors` wrote, as a checkpoint's state.

    Args:
        path: The file.
        device: Where its tensors go.

    Raises:
        CheckpointError: If it is missing, damaged, of another tool or of a newer release.
        ConfigError: If the package is missing.
    """
    package = require_safetensors(f"reading {path}")
    try:
        with package.safe_open(path, framework="pt", device=str(device)) as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts = json.loads(header.get(_KEY, "null"))
    except FileNotFoundError as error:
        raise CheckpointError(f"the weights {path} do not exist") from error
    except (OSError, ValueError, package.SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"the weights {path} cannot be read: {reason}") from error
    if not isinstance(facts, dict):
        raise CheckpointError(
            f"{path} must be weights that this package wrote, got those of another tool"
        )
    if facts.get("version") != _VERSION:
        raise CheckpointError(
            f"the weights {path} must have version {_VERSION}, got {facts.get('version')}; "
            f"install the release of recbole-hm4sr that wrote them, or a later one"
        )
    return {**facts, "state_dict": weights}
