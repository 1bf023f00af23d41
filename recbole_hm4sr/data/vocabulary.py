"""The numbers of users and items: append only, saved with a run.

A model's tables have a row for each number. A later run that begins from the vocabulary of an
earlier one keeps the rows of known tokens; new tokens get the rows after them.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import write_npz
from recbole_hm4sr.data.columns import PADDING, Array

# In the folder of a run.
FILE_NAME = "vocabulary.npz"
_FORMAT = "recbole-hm4sr vocabulary 1"
_COLUMNS = ("users", "items")


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by number.

    Attributes:
        users: Raw tokens of the users; entry 0 is padding. Shape ``[U]``, unicode.
        items: Raw tokens of the items; entry 0 is padding. Shape ``[I]``, unicode.
    """

    users: Array
    items: Array

    def save(self, path: Path) -> None:
        """Write the file that :meth:`load` reads.

        Raises:
            WriteError: If it cannot be written.
        """
        arrays = {name: np.asarray(getattr(self, name), dtype=np.str_) for name in _COLUMNS}
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
        return cls(*columns)


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
