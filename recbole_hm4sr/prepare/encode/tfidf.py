"""Text features without a download: TF-IDF, then a truncated singular value decomposition."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.config.settings import DataSettings
from recbole_hm4sr.data.features import (
    TFIDF_SVD,
    TFIDF_SVD_WIDTH,
    ItemFeatures,
    check_features,
    kept_text_encoder,
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
    return make_text_features(item_file, settings.text_fields, item_field=item_field)


def make_text_features(item_file: Path, fields: Sequence[str], *, item_field: str) -> Path:
    """Make the text features of an ``.item`` file, unless they are cached.

    The encoder of an earlier state of the data set, where one lies beside the file, is applied and
    not fitted again.

    Args:
        item_file: The file.
        fields: Columns whose words are encoded.
        item_field: Name of its column of item tokens.

    Returns:
        The cached feature file, beside which its encoder lies.

    Raises:
        DataError: If a file cannot be read, or the kept encoder is of other columns.
    """
    path = text_features_path(item_file, fields)
    # The encoder is written before the features, and is needed once items come.
    if not (path.is_file() and encoder_path(path).is_file()):
        logger.info("making text features of %s from %s", item_file, fields)
        tokens, texts = read_item_texts(item_file, fields, item_field=item_field)
        encoder = _kept_encoder(item_file, fields) or TextEncoder.fit(
            texts, width=TFIDF_SVD_WIDTH
        ).described(fields=fields, storage="float32", revision=tfidf_svd_revision())
        values = encoder.encode(texts)
        features = ItemFeatures(tokens, values, TFIDF_SVD, encoder.revision, str(item_file))
        check_features(features)
        encoder.save(encoder_path(path))
        save_features(path, features)
    return path


def _kept_encoder(item_file: Path, fields: Sequence[str]) -> TextEncoder | None:
    path = kept_text_encoder(item_file)
    if not path.is_file():
        return None
    kept = TextEncoder.load(path)
    if kept.fields != tuple(fields):
        raise DataError(
            f"{path} was fitted to the columns {', '.join(kept.fields)}, but text_fields are "
            f"{', '.join(fields)}; remove it to fit a new one"
        )
    return kept
