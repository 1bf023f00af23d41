"""Item features of one modality: stored by item token, aligned to RecBole's item ids.

A feature file is an ``.npz`` with ``tokens`` (unicode, [N]), ``values`` (float16 or float32,
[N, F], or [N, H, F] for H layers or tokens of an encoder), ``encoder`` and ``revision`` (text: what
made it). Rows are found by token, never by their order, so a missing or an extra item can never
shift the rest. In memory layers stand side by side, the last one last: who reads one vector an item
reads the last layer.
"""

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import write_npz
from recbole_hm4sr.data.atomic import parse_float_sequences, read_atomic
from recbole_hm4sr.data.matrices import check_rows, release_pages, rows_at_a_time, take_rows
from recbole_hm4sr.data.npz import read_npz

logger = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
# The encoder of texts that needs no model.
TFIDF_SVD = "tfidf-svd"
TFIDF_SVD_WIDTH = 128


@dataclass(frozen=True)
class ItemFeatures:
    """Features as they are stored: one row a token, in any order.

    Attributes:
        tokens: Raw item tokens, each once. Shape ``[N]``, unicode.
        values: Shape ``[N, H F]``, float16 or float32, finite.
        encoder: What made the values.
        revision: Its version.
        source: File they were read from, for messages.
        n_layers: H; 1 for one vector an item.
    """

    tokens: Array
    values: Array
    encoder: str
    revision: str
    source: str
    n_layers: int = 1


@dataclass(frozen=True)
class AlignedFeatures:
    """Features as a model takes them: by RecBole's internal item id.

    The values stay where they are stored, in memory or in a mapped file.

    Attributes:
        stored: Values in the order of the source. Shape ``[N, H F]``, float16 or float32.
        rows: Row of each item in ``stored``; -1 for padding and items without features. Shape
            ``[I]``, int64.
        fingerprint: SHA-256 over the values by item and ``present``, hexadecimal: two runs with
            equal fingerprints saw equal features.
        encoder: What made the values.
        n_layers: H; 1 for one vector an item.
    """

    stored: Array
    rows: Array
    fingerprint: str
    encoder: str
    n_layers: int = 1

    @property
    def present(self) -> Array:
        """False for padding and items without features. Shape ``[I]``, bool."""
        return self.rows >= 0

    @property
    def width(self) -> int:
        """F, of a layer."""
        return int(self.stored.shape[1]) // self.n_layers

    @property
    def _last_layer(self) -> Array:
        return self.stored[:, self.stored.shape[1] - self.width :]

    @property
    def values(self) -> Array:
        """The last layer of all items, made anew at each call. Shape ``[I, F]``, float32."""
        return take_rows(self._last_layer, self.rows)

    def take(self, items: Array) -> Array:
        """The last layer of some items; zeros for padding and items without features.

        Args:
            items: Internal item ids. Shape ``[N]``, int64.

        Returns:
            Shape ``[N, F]``, float32.
        """
        return take_rows(self._last_layer, self.rows[items])

    def take_layers(self, items: Array) -> Array:
        """All layers of some items, side by side; zeros where there are none. ``[N, H F]``."""
        return take_rows(self.stored, self.rows[items])


def save_features(path: Path, features: ItemFeatures) -> None:
    """Write a feature file whole or not at all.

    Raises:
        DataError: If the features break the contract, or the folder cannot be written.
    """
    check_features(features)
    arrays = {
        "tokens": features.tokens,
        "values": _as_layers(features.values, features.n_layers),
        "encoder": np.array(features.encoder),
        "revision": np.array(features.revision),
    }
    write_npz(path, arrays)


def load_features(path: Path) -> ItemFeatures:
    """Read a feature file.

    The values of an uncompressed archive are mapped, not read: they take memory only as they are
    used. All of them are checked here, against the checksum too.

    Raises:
        DataError: If it is missing, truncated, needs unpickling, lacks a part, is larger than
            memory or breaks the contract.
    """
    parts = read_npz(path, ("tokens", "values", "encoder", "revision"), map_values=True)
    finite, values, n_layers = parts.get("finite"), parts["values"], 1
    if values.ndim == 3 and values.size:
        n_layers = values.shape[1]
        values = values.reshape(len(values), -1)  # a view, of a mapped file too
    features = ItemFeatures(
        parts["tokens"],
        values,
        str(parts["encoder"]),
        str(parts["revision"]),
        str(path),
        n_layers,
    )
    check_features(features, finite=finite)
    return features


def _as_layers(values: Array, n_layers: int) -> Array:
    """Values as a file has them: ``[N, F]``, or ``[N, H, F]`` where there are layers."""
    return values if n_layers == 1 else values.reshape(len(values), n_layers, -1)


def features_from_column(path: Path, item_field: str, column: str) -> ItemFeatures:
    """Features from a float_seq column of an atomic file.

    Args:
        path: A ``.item`` file or a side file.
        item_field: Its column of item tokens.
        column: Its float_seq column.

    Raises:
        DataError: If the file or the column breaks the contract.
    """
    table = read_atomic(path, [item_field, column])
    tokens = table.tokens(item_field).astype(np.str_)
    values = parse_float_sequences(table, column)
    features = ItemFeatures(tokens, values, f"column {column}", "", str(path))
    check_features(features)
    return features


def check_features(features: ItemFeatures, *, finite: Array | None = None) -> None:
    """Check stored features against the contract.

    Args:
        features: Stored features.
        finite: Which rows hold finite values only, where that is known. Shape ``[N]``, bool.

    Raises:
        DataError: For wrong shapes or types, duplicate tokens, or values that are not finite.
    """
    tokens, values, where = features.tokens, features.values, features.source
    if tokens.ndim != 1 or tokens.dtype.kind != "U":
        raise DataError(
            f"{where}: tokens must be a list of texts, got {tokens.dtype} of shape {tokens.shape}"
        )
    if values.ndim != 2 or values.dtype not in (np.float16, np.float32):
        raise DataError(
            f"{where}: values must be float16 or float32 of shape (items, width) or (items, "
            f"layers, width), got {values.dtype} of shape {values.shape}"
        )
    if len(tokens) != len(values) or not len(tokens) or not values.shape[1]:
        raise DataError(
            f"{where}: tokens and values must have the same number of rows, at least 1, got "
            f"{len(tokens)} tokens and values of shape {values.shape}"
        )
    unique, counts = np.unique(tokens, return_counts=True)
    if len(unique) != len(tokens):
        twice = unique[counts > 1]
        raise DataError(f"{where}: a token must appear once, got more of {_examples(twice)}")
    if finite is None:
        finite, _ = check_rows(values)
    if not finite.all():
        raise DataError(
            f"{where}: values must be finite, but the rows of {_examples(tokens[~finite])} hold "
            f"NaN or infinity"
        )


def align_features(
    features: ItemFeatures,
    item_tokens: Sequence[str] | Array,
    *,
    modality: str,
    missing: Literal["error", "zero"],
) -> AlignedFeatures:
    """Put rows where a model looks for them.

    Args:
        features: Stored features.
        item_tokens: Raw token of each internal item id; entry 0 is padding. Length I.
        modality: Name, for messages.
        missing: ``error`` refuses items without a row; ``zero`` gives them a row of zeros.

    Returns:
        Features by internal item id.

    Raises:
        DataError: If no token matches, or items lack a row and ``missing`` is ``error``.
    """
    names = np.asarray(item_tokens[1:], dtype=np.str_)
    rows = find_rows(features.tokens, names)
    found = rows >= 0
    if not found.any():
        raise DataError(
            f"{features.source}: tokens must be the item tokens of the data set, but none matches; "
            f"they look like {str(features.tokens[0])!r}, the data set's like {str(names[0])!r}"
        )
    if missing == "error" and not found.all():
        raise DataError(
            f"{(~found).sum():,} of {len(names):,} items have no {modality} feature in "
            f"{features.source}, e.g. {_examples(names[~found], count=False)}; encode them or set "
            f"missing_features: zero"
        )
    unused = len(features.tokens) - int(found.sum())
    if unused:
        logger.warning(
            "%s: %d of %d rows belong to items outside the catalogue and are not used",
            features.source,
            unused,
            len(features.tokens),
        )
    rows = np.concatenate([[-1], rows])
    fingerprint = _fingerprint(features.values, rows, features.n_layers)
    return AlignedFeatures(features.values, rows, fingerprint, features.encoder, features.n_layers)


def find_rows(tokens: Array, wanted: Array) -> Array:
    """Where some tokens stand among others.

    Args:
        tokens: Each once, at least one. Shape ``[N]``, unicode.
        wanted: Shape ``[A]``, unicode.

    Returns:
        -1 for one that is not there. Shape ``[A]``, int64.
    """
    order = np.argsort(tokens)
    place = np.searchsorted(tokens, wanted, sorter=order).clip(max=len(order) - 1)
    rows = order[place]
    return np.where(tokens[rows] == wanted, rows, -1)


def _fingerprint(stored: Array, rows: Array, n_layers: int) -> str:
    """SHA-256 over the shape, the float32 values by item and which items have some."""
    layers = (n_layers,) if n_layers > 1 else ()
    digest = hashlib.sha256(repr((len(rows), stored.shape[1], *layers)).encode())
    step = rows_at_a_time(stored)
    for begin in range(0, len(rows), step):
        digest.update(take_rows(stored, rows[begin : begin + step]).data)
    release_pages(stored)
    digest.update((rows >= 0).data)
    return digest.hexdigest()


def cache_dir() -> Path:
    """Where features made on first use are kept: the user's cache directory."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "recbole_hm4sr"


def tfidf_svd_revision() -> str:
    """What decides the values that the encoder ``tfidf-svd`` gives to a text."""
    return f"width {TFIDF_SVD_WIDTH}, scikit-learn {version('scikit-learn')}"


def kept_text_encoder(item_file: Path) -> Path:
    """The encoder of the source ``tfidf-svd`` that was fitted to an earlier state of a data set.

    Args:
        item_file: The ``.item`` file, beside which it lies; most data sets have none.
    """
    return item_file.with_name(f"{item_file.stem}.{TFIDF_SVD}.encoder.npz")


def text_features_path(item_file: Path, text_fields: Sequence[str]) -> Path:
    """Where the text features of an item file are cached.

    The name holds a hash of everything that decides the values, so a changed file, recipe or kept
    encoder never meets a stale cache.

    Args:
        item_file: The ``.item`` file.
        text_fields: Columns whose text is encoded.

    Raises:
        DataError: If the file cannot be read.
    """
    try:
        digest = hashlib.sha256(item_file.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {item_file}: {error.strerror}") from error
    digest.update(repr((tuple(text_fields), tfidf_svd_revision())).encode())
    kept = kept_text_encoder(item_file)
    if kept.is_file():
        digest.update(kept.read_bytes())
    return cache_dir() / "text" / f"{item_file.stem}-{digest.hexdigest()[:16]}.npz"


def _examples(tokens: Array, *, count: bool = True) -> str:
    shown = ", ".join(repr(str(token)) for token in tokens[:3])
    items = "1 item" if len(tokens) == 1 else f"{len(tokens):,} items"
    return f"{items}, e.g. {shown}" if count else shown
