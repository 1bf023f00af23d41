"""What the rows of a run's tables stand for: users and items by number, and the rest by key.

A model's tables have a row for each number. A later run that begins from the vocabulary of an
earlier one keeps the rows of known tokens; new tokens get the rows after them. Numbers are append
only. The vocabulary is saved with a run.
"""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import write_npz
from recbole_hm4sr.data.columns import PADDING, Array

# In the folder of a run.
FILE_NAME = "vocabulary.npz"
_FORMAT = "recbole-hm4sr vocabulary 1"
_COLUMNS = ("users", "items")
_ORIGIN, _KEYS = "origin", "keys."


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by number, and what the rows of other tables stand for.

    Attributes:
        users: Raw tokens of the users; entry 0 is padding. Shape ``[U]``, unicode.
        items: Raw tokens of the items; entry 0 is padding. Shape ``[I]``, unicode.
        origin: The moment from which the run counts times, in whole seconds since the epoch; None
            where nobody has said.
        row_keys: What the rows of a model's other tables stand for, by the weight's name: names, or
            whole numbers at which each row begins, rising. Shape ``[R]`` each.
    """

    users: Array
    items: Array
    origin: int | None = None
    row_keys: Mapping[str, Array] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the file that :meth:`load` reads.

        Raises:
            WriteError: If it cannot be written.
        """
        arrays = {name: np.asarray(getattr(self, name), dtype=np.str_) for name in _COLUMNS}
        arrays |= {_KEYS + name: keys for name, keys in self.row_keys.items()}
        if self.origin is not None:
            arrays[_ORIGIN] = np.array(self.origin, dtype=np.int64)
        write_npz(path, {"format": np.array(_FORMAT), **arrays}, compress=True)

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read a vocabulary that a run has saved.

        Raises:
            DataError: If the file is missing or damaged, or contradicts itself: entry 0 is not
                padding, or a token has two numbers.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = dict(archive)
            form, columns = str(arrays["format"]), [arrays[name] for name in _COLUMNS]
        except FileNotFoundError as error:
            raise DataError(
                f"{path} does not exist; a run of an older release has saved no vocabulary, so "
                f"train it again to begin from it"
            ) from error
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{path} must be the vocabulary of a run, but: {error}") from error
        if form != _FORMAT:
            raise DataError(
                f"{path} must have the format {_FORMAT!r}, got {form!r}; use the release that "
                f"wrote it"
            )
        for name, tokens in zip(_COLUMNS, columns, strict=True):
            _require_distinct(tokens, f"{path}: {name}")
        keys = {it.removeprefix(_KEYS): arrays[it] for it in arrays if it.startswith(_KEYS)}
        origin = int(arrays[_ORIGIN]) if _ORIGIN in arrays else None
        users, items = columns
        return cls(users, items, origin=origin, row_keys=keys)


def _require_distinct(tokens: Array, where: str) -> None:
    if tokens.ndim != 1 or tokens.dtype.kind != "U" or tokens[:1].tolist() != [PADDING]:
        raise DataError(f"{where} must be tokens by number, with {PADDING} as number 0")
    _, first, counts = np.unique(tokens, return_index=True, return_counts=True)
    if len(first) != len(tokens):
        place = int(first[counts > 1].min())
        places = np.flatnonzero(tokens == tokens[place])
        raise DataError(
            f"{where} must give a token one number, got {places[0]} and {places[1]} for "
            f"{str(tokens[place])!r}"
        )
