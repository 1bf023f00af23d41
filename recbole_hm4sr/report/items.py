"""Titles, categories and images of items, where there are files of them."""

import base64
import io
from collections.abc import Collection
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.atomic import read_atomic, read_header
from recbole_hm4sr.data.item_table import title_column
from recbole_hm4sr.prepare.encode.image_encoders import find_images
from recbole_hm4sr.prepare.images.folder import file_stem
from recbole_hm4sr.prepare.images.pictures import read_rgb

_LONGEST_TITLE = 200
_PIXELS = 72  # side of a thumbnail; shown at half of it, sharp on a phone
_QUALITY = 60


def describe_items(dataset: Any, tokens: Collection[str]) -> dict[str, dict[str, str]]:
    """Title and categories of some items from the ``.item`` file.

    Args:
        dataset: A ``MultiModalSequentialDataset``.
        tokens: Raw item tokens.

    Returns:
        By token ``title`` and ``categories``, each empty where the file says nothing; nothing at
        all without the file.

    Raises:
        DataError: If the file is there and cannot be read.
    """
    path = Path(dataset.dataset_path) / f"{dataset.dataset_name}.item"
    item_field, settings = dataset.iid_field, dataset.settings
    if not path.is_file():
        return {}
    kinds = dict(read_header(path))
    title = title_column(kinds, settings.text_fields, settings.category_field)
    columns = {"title": title, "categories": settings.category_field}
    asked = {what: name for what, name in columns.items() if name in kinds}
    table = read_atomic(path, [item_field, *asked.values()])
    rows = table.frame[table.frame[item_field].isin(list(tokens))]
    texts = {what: rows[asked[what]].tolist() if what in asked else None for what in columns}
    return {
        token: {
            what: " ".join(str(values[row]).split())[:_LONGEST_TITLE] if values else ""
            for what, values in texts.items()
        }
        for row, token in enumerate(rows[item_field].tolist())
    }


def image_folder(dataset: Any) -> Path | None:
    """The folder ``images`` beside the data set's files, if it is there."""
    folder = Path(dataset.dataset_path) / "images"
    return folder if folder.is_dir() else None


def make_thumbnails(folder: Path, tokens: Collection[str]) -> dict[str, str]:
    """Small WebP images of items, as base64.

    Args:
        folder: Holds images named by item token.
        tokens: Items that are to have one.

    Returns:
        By token; items without a file, or whose file cannot be decoded, are left out.

    Raises:
        DataError: If the folder cannot be read or holds no image of these items, or pillow is
            missing.
    """
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise DataError(
            "images in the report need pillow; install it by pip install 'recbole-hm4sr[image]'"
        ) from error

    # Both as hm4sr prepare images names its files and as the tokens are.
    names = {name: token for token in sorted(tokens) for name in (file_stem(token), token)}
    found: dict[str, str] = {}
    for name, path in find_images(folder, list(names)).paths.items():
        small = read_rgb(path, at_least=_PIXELS)
        if small is None:
            continue
        small.thumbnail((_PIXELS, _PIXELS))
        body = io.BytesIO()
        small.save(body, "WEBP", quality=_QUALITY)
        found[names[name]] = base64.b64encode(body.getvalue()).decode("ascii")
    return found
