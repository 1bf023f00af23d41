"""Encoders that were fitted to the first items, kept with a run for those that come later."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.data.text_encoder import SUFFIX, TextEncoder, WordWeights

Array = np.ndarray[Any, Any]


class KeptEncoder(NamedTuple):
    """What is known of the encoder of a modality.

    Attributes:
        label: What made the features.
        encoder: SHA-256 of the encoder that was fitted for them; empty where none was, or it was
            not kept.
        words: SHA-256 of the words by which items are compared; empty where features are.
    """

    label: str
    encoder: str
    words: str


def keep_encoders(run_dir: Path, dataset: Any) -> dict[str, KeptEncoder]:
    """Write the encoders of a data set's modalities into the folder of a run.

    Args:
        run_dir: The folder.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Returns:
        By modality.

    Raises:
        DataError: If an encoder cannot be read.
        WriteError: If it cannot be written.
    """
    kept = {}
    for name in dataset.modality_names:
        encoder, words = dataset.text_encoder(name), dataset.words(name)
        kept[name] = KeptEncoder(
            dataset.modality(name).encoder,
            "" if encoder is None else encoder.save(_path(run_dir, dataset.dataset_name, name)),
            "" if words is None else _save_words(run_dir, dataset.dataset_name, name, words),
        )
    return kept


def load_encoder(run_dir: Path, dataset: str, modality: str, kept: KeptEncoder) -> TextEncoder:
    """The encoder that was fitted for a modality.

    Args:
        run_dir: Folder of the run.
        dataset: Name of its data set.
        modality: Name of the modality.
        kept: Names an encoder.

    Raises:
        DataError: If it is missing, damaged or has changed.
    """
    return _load(_path(run_dir, dataset, modality), kept.encoder)


def load_words(run_dir: Path, dataset: str, modality: str, kept: KeptEncoder) -> WordWeights:
    """The words by which items are compared in a modality; see :func:`load_encoder`."""
    return _load(_path(run_dir, dataset, f"{modality}.words"), kept.words).words


def to_array(kept: Mapping[str, KeptEncoder]) -> Array:
    """As ``serving.npz`` holds them. Shape ``[M, 4]``, unicode."""
    return np.array([(name, *it) for name, it in kept.items()], dtype=np.str_).reshape(-1, 4)


def of_array(values: Array) -> dict[str, KeptEncoder]:
    """What :func:`to_array` has made."""
    return {name: KeptEncoder(*it) for name, *it in values.tolist()}


def _save_words(run_dir: Path, dataset: str, modality: str, words: WordWeights) -> str:
    whole = TextEncoder(words, np.zeros((0, len(words.terms))))
    return whole.save(_path(run_dir, dataset, f"{modality}.words"))


def _path(run_dir: Path, dataset: str, name: str) -> Path:
    return run_dir / f"{dataset}.{name}{SUFFIX}"


def _load(path: Path, expected: str) -> TextEncoder:
    encoder = TextEncoder.load(path)
    if hash_file(path) != expected:
        raise DataError(
            f"{path} must be the encoder that serving.npz names, but has changed; copy it anew"
        )
    return encoder
