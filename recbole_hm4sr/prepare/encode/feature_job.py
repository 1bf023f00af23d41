"""What all encoders share: batches by length, kept batches to go on from, the feature file.

An encoding is a pure function of its inputs and its :class:`EncoderSpec`. Its batches are cut in
one fixed order, so a run that was interrupted and goes on writes the very bytes of one that was
not.
"""

import contextlib
import hashlib
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.files import write_npz
from recbole_hm4sr.data.atomic import read_atomic
from recbole_hm4sr.data.features import TFIDF_SVD

Array = np.ndarray[Any, Any]
Pooling = Literal["auto", "cls", "mean", "model"]
Precision = Literal["float32", "bfloat16", "float16"]
Storage = Literal["float16", "float32"]
# Rows of one batch (positions in the whole) to the rows that could be encoded, and their values.
EncodeBatch = Callable[[Array], tuple[Array, Array]]
# Called once with 0 items when the model is ready, then after each batch: its items, whether an
# earlier run had encoded them, and how many items there are in all.
OnBatch = Callable[[int, bool, int], None]


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """Everything about an encoder that decides the values it gives.

    Attributes:
        name: Name of a model on the Hugging Face hub, or its folder.
        pooling: ``cls``: the first token; ``mean``: the mean over tokens or patches; ``model``:
            what the model itself makes of them (sentence-transformers' modules, CLIP's
            projection, a pooler); ``auto``: ``model`` where the model was trained for it, else
            the mean over tokens of a text, and the class token of an image or, where there is
            none, the mean over patches.
        max_length: Tokens of a text that are read; None for as many as the model takes.
        dtype: Type the model computes in; float16 and bfloat16 are mixed precision.
        storage: Type of the values that are kept.
        layers: Layers of a text model whose states are kept, one vector each: 0 for what its first
            block reads, k for what its k-th makes, rising. Empty for one vector of its last.
    """

    name: str
    pooling: Pooling = "auto"
    max_length: int | None = None
    dtype: Precision = "float32"
    storage: Storage = "float16"
    layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        choices = (("pooling", Pooling), ("dtype", Precision), ("storage", Storage))
        for name, kind in choices:
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(
                    f"{name} must be one of {', '.join(get_args(kind))}, got "
                    f"{getattr(self, name)!r}"
                )
        if self.max_length is not None and self.max_length < 1:
            raise ConfigError(f"max_length must be 1 or more, got {self.max_length}")
        if self.layers:
            self._check_layers()

    def _check_layers(self) -> None:
        if min(self.layers) < 0 or list(self.layers) != sorted(set(self.layers)):
            raise ConfigError(f"layers must be numbers from 0, rising, got {list(self.layers)}")
        if self.name == TFIDF_SVD:
            raise ConfigError(f"layers must go with a transformer model, got {TFIDF_SVD}")
        if self.pooling == "model":
            raise ConfigError("pooling must be cls or mean with layers, got 'model'")

    @property
    def label(self) -> str:
        """The name for a feature file: of a folder its last part, for files are passed on."""
        return Path(self.name).name if Path(self.name).is_dir() else self.name


@dataclass(frozen=True)
class FeatureReport:
    """What became of the items.

    Attributes:
        path: The file that was written.
        n_items: Rows in it.
        width: Values a row.
        skipped: Reason to the tokens without a row, or rows without an item.
        notes: Further things to say, a sentence each.
    """

    path: Path
    n_items: int
    width: int
    skipped: dict[str, list[str]]
    notes: list[str] = field(default_factory=list)


def encode_in_batches(
    lengths: Sequence[int],
    encode_batch: EncodeBatch,
    *,
    batch_size: int,
    storage: Storage,
    keep: Path | None = None,
    on_batch: OnBatch | None = None,
) -> tuple[Array, Array]:
    """Encode items in batches of similar length, the longest first.

    The longest first, so that a batch that does not fit the memory fails at once. The values are
    held once, in ``storage``.

    Args:
        lengths: Length of each item, in any unit.
        encode_batch: Encodes the items at some positions.
        batch_size: Items a batch.
        storage: Type of the values.
        keep: Folder of finished batches: read if there, written, left for the caller to remove.
        on_batch: Called after each batch.

    Returns:
        Which items were encoded, shape ``[N]``, bool; and their values, shape ``[M, F]``.

    Raises:
        ConfigError: If the batch size is not positive.
        DataError: If a value is not finite, or no item can be encoded.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be 1 or more, got {batch_size}")
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    done = np.zeros(len(order), dtype=np.bool_)
    values: Array | None = None
    say = on_batch or (lambda *_: None)
    say(0, False, len(order))
    for number, start in enumerate(range(0, len(order), batch_size)):
        wanted = order[start : start + batch_size]
        path = None if keep is None else keep / f"{number:07d}.npz"
        part = None if path is None else _read_part(path)
        kept = part is not None
        if part is None:
            rows, fresh = encode_batch(wanted)
            part = rows, _store(fresh, rows, storage)
            if path is not None:
                _write_part(path, *part)
        rows, batch = part
        if len(rows):
            if values is None:
                values = np.zeros((len(order), batch.shape[1]), dtype=storage)
            values[rows], done[rows] = batch, True
        say(len(wanted), kept, len(order))
    if values is None:
        raise DataError("at least one item must be encodable, got none")
    return done, values if done.all() else values[done]


def _store(values: Array, rows: Array, storage: Storage) -> Array:
    with np.errstate(over="ignore"):
        stored = values.astype(storage)
    if not np.isfinite(values).all():
        raise DataError(
            f"the encoder must give finite values, got NaN or infinity for the item in row "
            f"{rows[~np.isfinite(values).all(axis=1)][0]}; use dtype float32"
        )
    if not np.isfinite(stored).all():
        raise DataError(
            f"values must fit {storage}, got up to {np.abs(values).max():.6g}; use storage float32"
        )
    return stored


def _write_part(path: Path, rows: Array, values: Array) -> None:
    write_npz(path, {"rows": rows, "values": values})


def _read_part(path: Path) -> tuple[Array, Array] | None:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive["rows"], archive["values"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        # Missing, or spoilt by something other than this program: encode it again.
        return None


@contextlib.contextmanager
def kept_batches(out: Path, *inputs: object) -> Iterator[Path]:
    """The folder of finished batches beside an output, named by a fingerprint of all inputs.

    It is removed when the block ends well, in which the output is written. Otherwise it stays, for
    the next call with the same inputs.
    """
    digest = hashlib.sha256()
    for value in inputs:
        parts = value if isinstance(value, (list, tuple)) else [value]
        for part in [str(len(parts)), *map(str, parts)]:
            digest.update(f"{len(part)}:{part}".encode())
    folder = out.with_name(f".{out.name}.{digest.hexdigest()[:16]}.part")
    yield folder
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def read_tokens(path: Path, item_field: str) -> Array:
    """The item tokens of an atomic file, each once, in the file's order.

    Raises:
        DataError: If the file breaks the contract.
    """
    tokens = read_atomic(path, [item_field]).tokens(item_field)
    return np.array(list(dict.fromkeys(tokens)), dtype=np.str_)


def refuse_duplicates(tokens: Iterable[str], source: object) -> None:
    """Refuse a token that stands twice before hours are spent on encoding.

    Raises:
        DataError: If a token stands twice.
    """
    seen: set[str] = set()
    for token in tokens:
        if token in seen:
            raise DataError(f"{source}: an item must be on one line, got {str(token)!r} again")
        seen.add(token)
