"""Hugging Face models: packages, devices, and which weights a name stands for."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.data.features import TFIDF_SVD
from recbole_hm4sr.data.npz import first_sentence
from recbole_hm4sr.prepare.encode.feature_job import EncoderSpec, Pooling

Reads = Literal["texts", "images"]
# Names in the configurations of models that take the one or the other; some take both.
_TAKES = {
    "texts": ("vocab_size", "text_config"),
    "images": ("num_channels", "image_size", "vision_config", "image_config"),
}
# Seconds that the hub may take to answer.
_PATIENCE = 10
_A_COPY = "give --encoder the folder of a copy"


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


def require_model(name: str, reads: Reads) -> None:
    """Refuse at once what is no model, cannot be reached, or reads something else.

    The hub is asked once and without a second try, where transformers would try for minutes and
    then go on as if the model lacked the file.

    Args:
        name: Name of a model on the hub, or its folder.
        reads: What is to be encoded.

    Raises:
        ConfigError: If the model reads something else.
        DataError: If the name is neither a folder with a model nor a model of the hub that can be
            reached.
    """
    if name == TFIDF_SVD:
        raise ConfigError(
            f"the encoder must read {reads}, and {TFIDF_SVD} reads texts; give --encoder a model "
            f"of {reads}"
        )
    if Path(name).is_dir():
        _require_files(Path(name))
    else:
        _require_name(name)
    if find_model_file(name, "config.json") is None:
        return  # a sentence-transformers model, whose parts have folders of their own
    from transformers import AutoConfig

    with reading(name):
        config = AutoConfig.from_pretrained(name)
    takes = [kind for kind, names in _TAKES.items() if any(hasattr(config, key) for key in names)]
    if takes and reads not in takes:
        raise ConfigError(
            f"the encoder must read {reads}, but {name!r} ({config.model_type}) reads {takes[0]}; "
            f"hm4sr encode {'text' if reads == 'images' else 'image'} is for such"
        )


def _require_files(folder: Path) -> None:
    has = {path.name for path in folder.iterdir()}
    if not has & {"config.json", "modules.json"}:
        raise DataError(f"cannot read the encoder {str(folder)!r}: its folder has no config.json")
    if not any(path.suffix in (".safetensors", ".bin") for path in folder.rglob("*")):
        raise DataError(
            f"cannot read the encoder {str(folder)!r}: its folder has no weights, such as "
            f"model.safetensors"
        )


def _require_name(name: str) -> None:
    import huggingface_hub
    from huggingface_hub import utils

    if Path(name).is_absolute():
        raise DataError(f"the folder {name} of the encoder does not exist")
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        if not any(find_model_file(name, file) for file in ("config.json", "modules.json")):
            raise DataError(
                f"there is no folder {name!r}, and with HF_HUB_OFFLINE set the encoder must be in "
                f"the hub's cache, which it is not; {_A_COPY}"
            )
        return
    try:
        url = huggingface_hub.hf_hub_url(name, "config.json")
        huggingface_hub.get_hf_file_metadata(url, timeout=_PATIENCE)
    except utils.EntryNotFoundError:
        return  # there is such a model
    except utils.GatedRepoError as error:
        raise DataError(
            f"the hub gives the encoder {name!r} to those alone who have asked for it: do so on "
            f"its page and log in with 'hf auth login'"
        ) from error
    except (utils.RepositoryNotFoundError, ValueError) as error:
        raise DataError(
            f"the encoder must be a folder, or a model of the Hugging Face hub; there is no "
            f"folder {name!r}, and no public model of that name"
        ) from error
    except Exception as error:  # of whichever package the hub's client asks with
        raise DataError(
            f"there is no folder {name!r}, and {huggingface_hub.constants.ENDPOINT} cannot be "
            f"asked for such a model: {first_sentence(error)}; set HF_HUB_OFFLINE=1 if it is in "
            f"the hub's cache, or {_A_COPY}"
        ) from error


def model_revision(name: str) -> str:
    """What identifies a model's weights: the hub's commit, or a hash of the folder's content."""
    folder = Path(name)
    if folder.is_dir():
        digest = hashlib.sha256()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(f"{path.relative_to(folder)}:{path.stat().st_size}:".encode())
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return f"sha256 {digest.hexdigest()[:16]}"
    found = find_model_file(name, "config.json") or find_model_file(name, "modules.json")
    # The hub's cache: .../snapshots/<commit>/config.json
    return Path(found).parent.name if found else "unknown"


def find_model_file(name: str, file: str) -> str | None:
    """A file of a model, downloaded if need be; None if the model has none of that name.

    Args:
        name: A model that :func:`require_model` has found.
        file: Name of the file.

    Raises:
        DataError: If it cannot be had.
    """
    from transformers.utils import cached_file

    with reading(name):
        found = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
    return None if found is None else str(found)


def read_model(encoder: EncoderSpec, device: Any) -> tuple[Any, dict[str, Any]]:
    """A model on a device, ready to encode; and for :func:`refuse_missing_weights`, what it lacks.

    Raises:
        DataError: If it cannot be read.
    """
    from transformers import AutoModel

    with reading(encoder.name):
        model, info = AutoModel.from_pretrained(encoder.name, output_loading_info=True)
    return model.eval().to(device), info


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what transformers raises on reading a part of an encoder into our error.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"cannot read the encoder {name!r}: {first_sentence(error)}") from error


def refuse_missing_weights(info: dict[str, Any], encoder: EncoderSpec, pooling: Pooling) -> None:
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


def mixed_precision(encoder: EncoderSpec, device: Any) -> Any:
    """The context in which a model computes in the encoder's type."""
    import torch

    is_mixed = encoder.dtype != "float32"
    dtype = getattr(torch, encoder.dtype) if is_mixed else None
    return torch.autocast(device.type, dtype=dtype, enabled=is_mixed)
