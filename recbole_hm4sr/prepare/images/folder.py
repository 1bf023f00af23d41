"""A folder of downloaded images: names, the ledger, and what counts as an image."""

import contextlib
import hashlib
import io
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import write_text
from recbole_hm4sr.prepare.images.fetch import FetchError
from recbole_hm4sr.prepare.images.pictures import FORMATS

_MAX_PIXELS = 50_000_000
_LONGEST_NAME = 150


def make_folder(folder: Path) -> Path:
    """Make a folder of images, rid of what a killed process left half written.

    Returns:
        Its ledger.

    Raises:
        DataError: If it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".*.new"):
            left.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror}") from error
    return folder / "images.jsonl"


def kept_images(folder: Path, ledger: Path, addresses: dict[str, str]) -> set[str]:
    """The items whose image is there, whole, and of the address that the table has now."""
    kept: dict[str, bool] = {}
    if ledger.is_file():
        for line in ledger.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                path, size = folder / str(entry.get("file")), entry.get("bytes")
                fits = entry["reason"] == "" and addresses.get(entry["token"]) == entry["url"]
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # the last line of a process that was killed
            kept[entry["token"]] = fits and path.is_file() and path.stat().st_size == size
    return {token for token, there in kept.items() if there}


def file_stem(token: str) -> str:
    """A token as a file name: other characters as ``%XX``, a long one by its hash."""
    stem = quote(token, safe=" !#$&'()+,;=@[]{}~")
    if stem.startswith("."):
        stem = "%2E" + stem[1:]
    if len(stem) > _LONGEST_NAME:
        digest = hashlib.sha256(token.encode()).hexdigest()[:16]
        stem = f"{stem[:_LONGEST_NAME]}-{digest}"
    return stem


def decode_image(body: bytes) -> tuple[str, int, int]:
    """Ending, width and height of an image, after all of it has been decoded.

    Raises:
        FetchError: If it is none, is cut off, or is too large to decode.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(body), formats=list(FORMATS)) as image:
                width, height = image.size
                if width * height > _MAX_PIXELS:
                    raise FetchError("too many pixels")
                image.verify()  # checksums, where the format has them; the image is used up
            with Image.open(io.BytesIO(body), formats=list(FORMATS)) as image:
                image.load()
                return FORMATS[str(image.format)][0], width, height
    except FetchError:
        raise
    except Image.DecompressionBombError as error:
        raise FetchError("too many pixels") from error
    except Exception as error:  # Pillow's decoders raise what they like
        raise FetchError("not a whole image") from error


def require_pillow() -> None:
    """Say which extra to install before anything begins.

    Raises:
        DataError: If pillow is missing.
    """
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise DataError(
            "checking images needs pillow; install it by pip install 'recbole-hm4sr[prepare]'"
        ) from error


@contextlib.contextmanager
def open_ledger(path: Path) -> Iterator[TextIO]:
    """The ledger to append to; a line that a killed process left half written is closed first.

    Raises:
        DataError: If it cannot be written.
    """
    try:
        with path.open("a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
        with path.open("a", encoding="utf-8") as text:
            yield text
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error


def write_missing(path: Path, missing: dict[str, tuple[str, str]]) -> None:
    """Write item, reason and address of what is not there.

    Raises:
        DataError: If it cannot be written.
    """
    rows = (f"{token}\t{reason}\t{url}\n" for token, (url, reason) in sorted(missing.items()))
    write_text(path, "item_id\treason\taddress\n" + "".join(rows))
