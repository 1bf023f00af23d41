"""An image file of any kind as RGB of 8 bits: what an encoder and a report look at."""

from pathlib import Path
from typing import Any

import numpy as np

# What is downloaded and read: Pillow's name of a format to the endings of its files, of which the
# first is the one that is written. In this order of preference, if an item has several images.
FORMATS = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
}
IMAGE_SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
# Of what this module makes of a file; part of the fingerprint of features.
PIXELS_VERSION = 2
# Pillow reads their 16 bits as mode I as well as I;16.
_SIXTEEN_BITS = ("PNG", "PPM")
_ORIENTATION = 0x0112


def read_rgb(path: Path, *, at_least: int | None = None) -> Any:
    """An image as it is shown, on white: 8 bits a channel, upright, of several frames the first.

    Args:
        path: The file; its content and not its name says of what format it is.
        at_least: Pixels a side that are enough, which a JPEG may be decoded to; None for all.

    Returns:
        A pillow image of mode RGB; None if the file is damaged, has more pixels than pillow
        decodes, or holds numbers that have no largest one (32 bits, floats).
    """
    import PIL.Image

    try:
        with PIL.Image.open(path) as image:
            if at_least is not None:
                image.draft(None, (at_least, at_least))
            image.load()
            rgb, turn = _to_rgb(image), _turn(image)
            return rgb if turn is None else rgb.transpose(turn)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # Pillow's decoders raise what they like
        return None


def _to_rgb(image: Any) -> Any:
    import PIL.Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in _SIXTEEN_BITS):
        return _from_sixteen_bits(image)
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode} has no white")
    if not _is_transparent(image):
        return image.convert("RGB")
    straight = image.convert("LA") if image.mode == "La" else image
    white = PIL.Image.new("RGBA", image.size, "white")
    return PIL.Image.alpha_composite(white, straight.convert("RGBA")).convert("RGB")


def _from_sixteen_bits(image: Any) -> Any:
    """Grey of 16 bits, which pillow's own ``convert`` cuts off above 255: all white."""
    import PIL.Image

    values = np.asarray(image).astype(np.int64).clip(0, 0xFFFF)
    grey = ((values + 128) // 257).astype(np.uint8)
    if isinstance(key := image.info.get("transparency"), int):
        grey[values == key] = 255
    return PIL.Image.fromarray(grey).convert("RGB")


def _is_transparent(image: Any) -> bool:
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return True
    if image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A"):
        return True
    key = image.info.get("transparency")
    # A PNG of 16 bits a colour is read in 8, and its transparent colour is not.
    return key is not None and not (isinstance(key, tuple) and max(key) > 255)


def _turn(image: Any) -> Any:
    """What makes the image upright by its camera's note; None without one that can be read."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        return turns.get(image.getexif().get(_ORIENTATION))
    except Exception:  # noqa: BLE001  # so do its readers of notes, and the image is whole
        return None
