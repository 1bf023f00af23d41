"""Features and encoders that the next state of a data set keeps.

What was fitted to the first items is applied to those that come, never fitted again: the row of an
item whose words stay is the same to the last bit.
"""

import os
import shutil
from pathlib import Path

import numpy as np

from recbole_hm4sr.data.features import (
    TFIDF_SVD,
    ItemFeatures,
    kept_text_encoder,
    save_features,
)
from recbole_hm4sr.data.text_encoder import SUFFIX, TextEncoder, encoder_path
from recbole_hm4sr.data.texts import read_item_texts
from recbole_hm4sr.prepare.encode.tfidf import make_text_features
from recbole_hm4sr.prepare.tables.earlier import Earlier

_ITEM = "item_id"


def keep_features(earlier: Earlier, folder: Path, name: str) -> list[Path]:
    """Write the feature files and encoders of the next state of a data set.

    A file whose encoder was fitted here is encoded for all items, others are as they were.

    Args:
        earlier: The state before.
        folder: With the next state's ``.item`` file.
        name: Of the next state.

    Returns:
        The files that were written.

    Raises:
        DataError: If a file of the state before cannot be read.
    """
    before, items = earlier.folder.name, folder / f"{name}.item"
    written = []
    for path in sorted(earlier.folder.glob("*.npz")):
        if not path.name.startswith(f"{before}.") or path.name.endswith(SUFFIX):
            continue
        own = folder / f"{name}{path.name.removeprefix(before)}"
        written.append(own)
        if not encoder_path(path).is_file():
            _copy(path, own)
            continue
        _encode(encoder_path(path), items, own)
        written.append(encoder_path(own))
    sources = (earlier.settings.get("modalities") or {}).values()
    if TFIDF_SVD in sources and earlier.items is not None:
        fields = tuple(earlier.settings["text_fields"])
        features = make_text_features(earlier.items, fields, item_field=_ITEM)
        written.append(kept_text_encoder(items))
        shutil.copyfile(encoder_path(features), written[-1])
    return written


def _encode(encoder_file: Path, items: Path, out: Path) -> None:
    """Encode all items by a kept encoder."""
    encoder = TextEncoder.load(encoder_file)
    tokens, texts = read_item_texts(items, encoder.fields, item_field=_ITEM)
    has_words = np.array([bool(text.strip()) for text in texts])
    values = encoder.encode(texts)[has_words]
    shutil.copyfile(encoder_file, encoder_path(out))
    features = ItemFeatures(tokens[has_words], values, TFIDF_SVD, encoder.revision, str(out))
    save_features(out, features)


def _copy(path: Path, out: Path) -> None:
    """The same bytes: shared where the file system can, since nobody changes a file in place."""
    try:
        os.link(path, out)
    except OSError:
        shutil.copyfile(path, out)
