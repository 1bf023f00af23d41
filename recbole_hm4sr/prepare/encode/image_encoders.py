"""Item images to vectors with a Hugging Face vision model (CLIP, ViT, DINOv2, SigLIP and kin).

Or with EfficientNet-Lite0, which needs no hub (:mod:`.efficientnet_lite`).

The heavy packages are the extra ``image`` and are imported where they are used.
"""

import itertools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.data.features import ItemFeatures, save_features
from recbole_hm4sr.prepare.encode import efficientnet_lite
from recbole_hm4sr.prepare.encode.feature_job import (
    Array,
    EncoderSpec,
    FeatureReport,
    OnBatch,
    Pooling,
    encode_in_batches,
    kept_batches,
    refuse_duplicates,
)
from recbole_hm4sr.prepare.encode.hub import (
    choose_torch_device,
    import_transformers,
    missing_package,
    mixed_precision,
    model_revision,
    read_model,
    reading,
    refuse_missing_weights,
    require_model,
)
from recbole_hm4sr.prepare.images.folder import file_stem
from recbole_hm4sr.prepare.images.pictures import IMAGE_SUFFIXES, PIXELS_VERSION, read_rgb

# The paper's, 768 wide as the authors' files are: before CLIP's projection to 512.
IMAGE_PRESETS = {"paper": EncoderSpec(name="openai/clip-vit-base-patch16", pooling="cls")}
NO_IMAGE = "no image file"
UNDECODABLE = "the image is damaged, too large, or not of 1 to 16 bits a channel"
_DECODERS = 4


@dataclass(frozen=True)
class ImageFiles:
    """The image of each item.

    Attributes:
        paths: Token to its file, in the order of the tokens.
        without: Tokens that have none.
        unused: Image files that belong to no item.
        doubled: Tokens that have several, of which one is taken.
        unread: Files of tokens without an image whose ending is not one that is read.
    """

    paths: dict[str, Path]
    without: list[str]
    unused: list[str]
    doubled: list[str]
    unread: list[str]


def find_images(folder: Path, tokens: Sequence[str]) -> ImageFiles:
    """Find the images named by item token in a folder.

    The folder is listed and names compared, so a token never becomes part of a path.

    Args:
        folder: Holds ``<token>.jpg`` or another of :data:`.pictures.IMAGE_SUFFIXES`, in any case;
            tokens as they are, or as ``hm4sr prepare images`` writes those that cannot be a file's
            name.
        tokens: Item tokens.

    Raises:
        DataError: If the folder cannot be read, or holds no image of an item.
    """
    found, others = _by_stem(folder)
    stems = {token: token if token in found else file_stem(token) for token in map(str, tokens)}
    best = {stem: folder / min(names, key=_preference) for stem, names in found.items()}
    paths = {token: best[stem] for token, stem in stems.items() if stem in best}
    if not paths:
        n_files = sum(map(len, [*found.values(), *others.values()]))
        raise DataError(
            f"{folder} must hold images named by item token, such as {tokens[0]}.jpg, got "
            f"{n_files:,} files and none of an item; endings that are read: "
            f"{' '.join(IMAGE_SUFFIXES)}"
        )
    return _matched(stems, paths, found, others)


def _matched(
    stems: Mapping[str, str],
    paths: dict[str, Path],
    found: Mapping[str, list[str]],
    others: Mapping[str, list[str]],
) -> ImageFiles:
    """What became of the tokens and of the files, given the stem of each token."""
    without = {token: stem for token, stem in stems.items() if token not in paths}
    unused = found.keys() - stems.values()
    several = [token for token in paths if len(found[stems[token]]) > 1]
    return ImageFiles(
        paths,
        without=list(without),
        unused=_joined(found[stem] for stem in found if stem in unused),
        doubled=several,
        unread=_joined(others.get(stem, []) for stem in without.values()),
    )


def _joined(lists: Iterable[list[str]]) -> list[str]:
    return list(itertools.chain.from_iterable(lists))


def _by_stem(folder: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Names of a folder's files by what comes before their ending: images, and all others."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise DataError(f"images must be in a folder, got {folder}: {error.strerror}") from error
    images: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for name in names:
        suffix = Path(name).suffix
        kind = images if suffix.lower() in IMAGE_SUFFIXES else others
        kind.setdefault(name.removesuffix(suffix), []).append(name)
    return images, others


def _preference(name: str) -> tuple[int, str]:
    return IMAGE_SUFFIXES.index(Path(name).suffix.lower()), name


def encode_images(
    paths: Sequence[Path],
    *,
    encoder: EncoderSpec,
    batch_size: int = 32,
    device: str = "auto",
    keep: Path | None = None,
    on_batch: OnBatch | None = None,
) -> tuple[Array, Array]:
    """Encode image files.

    Args:
        paths: The files.
        encoder: What to encode with.
        batch_size: Images a batch.
        device: ``auto``, or a name of torch's.
        keep: Folder of finished batches: those of an earlier call with the very same arguments
            are read, the others written. See :func:`.encode.kept_batches`.
        on_batch: Called after each batch with its size and whether it had been kept.

    Returns:
        Which files could be decoded, shape ``[N]``, bool; and the vectors of those, in their
        order, shape ``[M, F]``, of the encoder's storage type.

    Raises:
        ConfigError: If an option is out of range, or a package is not installed.
        DataError: If the model cannot be read, or no file decoded.
    """
    encode = open_image_model(encoder, device=device)
    import PIL.Image

    def encode_batch(rows: Array) -> tuple[Array, Array]:
        images = list(pool.map(read_rgb, (paths[row] for row in rows)))
        good = np.array([image is not None for image in images])
        if not good.any():
            return rows[good], np.zeros((0, 0), dtype=np.float32)
        return rows[good], encode([image for image in images if image is not None])

    with warnings.catch_warnings(), ThreadPoolExecutor(_DECODERS) as pool:
        # An image that pillow only warns of is decoded, one that it refuses is counted.
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        return encode_in_batches(
            [0] * len(paths),
            encode_batch,
            batch_size=batch_size,
            storage=encoder.storage,
            keep=keep,
            on_batch=on_batch,
        )


def encode_item_images(
    folder: Path,
    tokens: Sequence[str],
    out: Path,
    *,
    encoder: EncoderSpec,
    batch_size: int = 32,
    device: str = "auto",
    on_batch: OnBatch | None = None,
) -> FeatureReport:
    """Encode the image of every item into a feature file.

    Args:
        folder: Holds the images, named by item token.
        tokens: Item tokens.
        out: Feature file to write.
        encoder: What to encode with.
        batch_size: Images a batch.
        device: ``auto``, or a name of torch's.
        on_batch: Called after each batch with its size and whether it had been kept.

    Raises:
        ConfigError: If an option is out of range, or a package is not installed.
        DataError: If a file cannot be read or written, or no item has an image.
    """
    refuse_duplicates(tokens, folder)
    files = find_images(folder, tokens)
    names, paths = np.array(list(files.paths)), list(files.paths.values())
    revision, place = image_revision(encoder), choose_torch_device(device)
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    with kept_batches(out, encoder, revision, batch_size, place, stats) as keep:
        good, values = encode_images(
            paths,
            encoder=encoder,
            batch_size=batch_size,
            device=device,
            keep=keep,
            on_batch=on_batch,
        )
        save_features(out, ItemFeatures(names[good], values, encoder.label, revision, str(out)))
    skipped = {
        NO_IMAGE: files.without,
        UNDECODABLE: [str(name) for name in names[~good]],
        "image of no item": files.unused,
    }
    skipped = {reason: tokens for reason, tokens in skipped.items() if tokens}
    return FeatureReport(out, len(values), values.shape[1], skipped, _notes(files))


def _notes(files: ImageFiles) -> list[str]:
    notes = []
    if files.doubled:
        notes.append(
            f"{len(files.doubled):,} items have several images, of which one is taken, e.g. "
            f"{files.doubled[0]!r}"
        )
    if files.unread:
        notes.append(
            f"{len(files.unread):,} files have the name of an item and an ending that is not read, "
            f"e.g. {files.unread[0]!r}; read are {' '.join(IMAGE_SUFFIXES)}"
        )
    return notes


def image_revision(encoder: EncoderSpec) -> str:
    """What decides the values besides the encoder's name, for the feature file."""
    if encoder.name == efficientnet_lite.NAME:
        return efficientnet_lite.revision(encoder)
    transformers = _import_packages()
    require_model(encoder.name, "images")
    return (
        f"{model_revision(encoder.name)}, pooling {encoder.pooling}, {encoder.dtype}, "
        f"transformers {transformers.__version__}, pixels {PIXELS_VERSION}"
    )


def _import_packages() -> Any:
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise missing_package("pillow", "image") from error
    return import_transformers("image")


def open_image_model(encoder: EncoderSpec, *, device: str) -> Callable[[list[Any]], Array]:
    """Read a vision model and its preprocessing.

    Returns:
        A function that encodes one batch of pillow images, to float32.

    Raises:
        ConfigError: If a package is not installed, or the pooling does not suit the model.
        DataError: If the model cannot be read.
    """
    if encoder.name == efficientnet_lite.NAME:
        return efficientnet_lite.open_model(encoder, choose_torch_device(device))
    _import_packages()
    import torch
    from transformers import AutoImageProcessor

    require_model(encoder.name, "images")
    place = choose_torch_device(device)
    with reading(encoder.name):
        processor = AutoImageProcessor.from_pretrained(encoder.name)
    model, info = read_model(encoder, place)
    pooling = encoder.pooling
    if pooling == "auto" and hasattr(model, "get_image_features"):
        pooling = "model"
    refuse_missing_weights(info, encoder, pooling)

    @torch.inference_mode()
    def encode(images: list[Any]) -> Array:
        pixels = processor(images, return_tensors="pt")["pixel_values"].to(place)
        with mixed_precision(encoder, place):
            vectors = _pool(model, pixels, pooling)
        return np.asarray(vectors.float().cpu().numpy())

    return encode


def _pool(model: Any, pixels: Any, pooling: Pooling) -> Any:
    """One vector an image. Shape ``[B, F]``."""
    import torch

    has_two_towers = hasattr(model, "get_image_features")
    if pooling == "model" and has_two_towers:
        vectors = model.get_image_features(pixel_values=pixels)
        # A tensor up to transformers 4, a model's output since.
        return vectors if isinstance(vectors, torch.Tensor) else vectors.pooler_output
    outputs = (model.vision_model if has_two_towers else model)(pixel_values=pixels)
    is_clip = model.config.model_type in ("clip", "clip_vision_model")
    if pooling == "model" or (pooling != "mean" and is_clip):
        # CLIP's own is the first token after the last normalisation, which it does outside.
        if getattr(outputs, "pooler_output", None) is None:
            raise ConfigError("pooling model must have a model with a pooler; use cls or mean")
        return outputs.pooler_output.flatten(1)  # of convolutions it has a height and width of 1
    return _pool_tokens(outputs.last_hidden_state, model.config, pixels, pooling)


def _pool_tokens(hidden: Any, config: Any, pixels: Any, pooling: Pooling) -> Any:
    """The class token, or the mean of the patches. Shapes of the last layer to ``[B, F]``."""
    if hidden.ndim == 4:  # convolutions: [B, F, height, width]
        hidden = hidden.flatten(2).transpose(1, 2)
        n_patches = hidden.shape[1]
    else:  # [B, 1 + registers + patches, F]; Swin merges patches and ends with fewer
        size = getattr(config, "vision_config", config).patch_size
        n_patches = (pixels.shape[-2] // size) * (pixels.shape[-1] // size)
    has_class_token = hidden.shape[1] > n_patches
    if pooling == "cls" and not has_class_token:
        raise ConfigError("pooling cls must have a model with a class token; use model or mean")
    if pooling == "mean" or not has_class_token:
        return hidden[:, -n_patches:].mean(dim=1)
    return hidden[:, 0]
