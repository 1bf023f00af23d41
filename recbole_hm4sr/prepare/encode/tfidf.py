"""Text features without a download: TF-IDF, then a truncated singular value decomposition."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.config.settings import DataSettings
from recbole_hm4sr.data.features import (
    TFIDF_SVD,
    TFIDF_SVD_WIDTH,
    ItemFeatures,
    check_features,
    save_features,
    text_features_path,
    tfidf_svd_revision,
)
from recbole_hm4sr.data.text_encoder import TextEncoder, encoder_path
from recbole_hm4sr.data.texts import read_item_texts

logger = logging.getLogger(__name__)


def encode_tfidf_svd(texts: Sequence[str], *, width: int) -> "np.ndarray[Any, Any]":
    """Encode texts by latent semantic analysis.

    TF-IDF with logarithmic term counts over words and word pairs, truncated SVD, rows scaled to
    length 1. A text without a known word is a row of zeros.

    Args:
        texts: One text an item.
        width: Largest number of dimensions; fewer if there are fewer texts or words.

    Returns:
        Shape ``[N, F]``, float32, deterministic for one version of scikit-learn.

    Raises:
        DataError: If no text holds a word.
    """
    return TextEncoder.fit(texts, width=width).encode(texts)


def make_missing_text_features(
    folder: Path, dataset: str, settings: DataSettings, *, item_field: str
) -> Path | None:
    """Make the text features that a data set's ``tfidf-svd`` source needs, unless they are cached.

    Args:
        folder: Folder of the atomic files.
        dataset: Name of the data set.
        settings: Its settings.
        item_field: Name of the column of item tokens.

    Returns:
        The cached feature file; None if no modality has this source.

    Raises:
        DataError: If the ``.item`` file breaks the contract.
    """
    if TFIDF_SVD not in settings.modalities.values():
        return None
    item_file = folder / f"{dataset}.item"
    path = text_features_path(item_file, settings.text_fields)
    # The encoder is written before the features, and is needed once items come.
    if not (path.is_file() and encoder_path(path).is_file()):
        logger.info("making text features of %s from %s", item_file, settings.text_fields)
        tokens, texts = read_item_texts(item_file, settings.text_fields, item_field=item_field)
        encoder = TextEncoder.fit(texts, width=TFIDF_SVD_WIDTH).described(
            fields=settings.text_fields, storage="float32", revision=tfidf_svd_revision()
        )
        values = encoder.encode(texts)
        features = ItemFeatures(tokens, values, TFIDF_SVD, encoder.revision, str(item_file))
        check_features(features)
        encoder.save(encoder_path(path))
        save_features(path, features)
    return path
