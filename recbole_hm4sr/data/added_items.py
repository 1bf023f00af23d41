"""Items that a run serves and was not trained on: what is known of them, kept with the run."""

import hashlib
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import write_whole
from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.data.features import AlignedFeatures, ItemFeatures, find_rows
from recbole_hm4sr.data.npz import read_npz

Array = np.ndarray[Any, Any]
_FOLDER = "added_items"
_PARTS = ("values", "present", "letters", "ends")


@dataclass(frozen=True)
class ModalityRows:
    """What is known of some items in one modality.

    Attributes:
        values: Features; zeros for items without. Shape ``[A, F]``, float32.
        present: Which items have features. Shape ``[A]``, bool.
        texts: Words by which items are compared, one text an item; empty where features are
            compared. Length A or 0.
    """

    values: Array
    present: Array
    texts: tuple[str, ...] = ()

    @classmethod
    def find(
        cls, features: ItemFeatures, tokens: Array, texts: Sequence[str] = ()
    ) -> "ModalityRows":
        """Those of some items among stored features.

        Args:
            features: Stored features.
            tokens: Raw tokens. Shape ``[A]``, unicode.
            texts: As the attribute.
        """
        rows = find_rows(features.tokens, tokens)
        values = np.zeros((len(tokens), features.values.shape[1]), dtype=np.float32)
        values[rows >= 0] = features.values[rows[rows >= 0]]
        return cls(values, rows >= 0, tuple(texts))

    def aligned(self) -> AlignedFeatures:
        """The features as a model takes them: item k is row k, and there is no padding."""
        rows = np.where(self.present, np.arange(len(self.present)), -1)
        return AlignedFeatures(self.values, rows, "", "")

    def where(self, flags: Array) -> "ModalityRows":
        """Some of the items. Flags of shape ``[A]``, bool."""
        texts = tuple(itertools.compress(self.texts, flags))
        return ModalityRows(self.values[flags], self.present[flags], texts)

    def behind(self, first: "ModalityRows") -> "ModalityRows":
        """The rows of others, then these."""
        return ModalityRows(
            np.concatenate([first.values, self.values]),
            np.concatenate([first.present, self.present]),
            (*first.texts, *self.texts),
        )


@dataclass(frozen=True)
class AddedItems:
    """Items in the order in which they were added.

    Attributes:
        tokens: Raw tokens, each once. Shape ``[A]``, unicode.
        modalities: What is known of them, by modality.
        sources: SHA-256 of the item files that they came from, in their order.
    """

    tokens: Array
    modalities: Mapping[str, ModalityRows]
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    def features_behind(self, features: ItemFeatures, name: str) -> ItemFeatures:
        """Stored features of a modality, then those of these items that are not among them."""
        rows = self.modalities[name]
        new = rows.present & ~np.isin(self.tokens, features.tokens)
        values = rows.values[new].astype(features.values.dtype)
        return replace(
            features,
            tokens=np.concatenate([features.tokens, self.tokens[new]]),
            values=np.concatenate([features.values, values]),
        )

    def texts(self) -> dict[str, str]:
        """The words by which they are compared, by token; empty where features are."""
        found: dict[str, str] = {}
        for rows in self.modalities.values():
            found |= dict(zip(self.tokens.tolist(), rows.texts, strict=False))
        return found

    def without(self, tokens: Array) -> "AddedItems":
        """Those that are not among some tokens."""
        flags = ~np.isin(self.tokens, np.asarray(tokens, dtype=np.str_))
        modalities = {name: it.where(flags) for name, it in self.modalities.items()}
        return AddedItems(self.tokens[flags], modalities, self.sources)

    def behind(self, first: "AddedItems | None") -> "AddedItems":
        """Items that were added before, then these."""
        if first is None:
            return self
        return AddedItems(
            np.concatenate([first.tokens, self.tokens]),
            {name: it.behind(first.modalities[name]) for name, it in self.modalities.items()},
            (*first.sources, *self.sources),
        )

    def save(self, run_dir: Path) -> str:
        """Write them to a file of the run, whose name is its SHA-256, which is returned.

        Raises:
            WriteError: If it cannot be written.
        """
        arrays: dict[str, Any] = {
            "tokens": self.tokens,
            "sources": np.array(self.sources, dtype=np.str_),
            "modalities": np.array(list(self.modalities), dtype=np.str_),
        }
        for name, rows in self.modalities.items():
            letters, ends = _packed(rows.texts)
            values = (rows.values, rows.present, letters, ends)
            arrays |= {f"{name}.{part}": it for part, it in zip(_PARTS, values, strict=True)}
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)
        name = hashlib.sha256(content.getvalue()).hexdigest()
        write_whole(_path(run_dir, name), lambda file: file.write(content.getvalue()))
        return name

    @classmethod
    def load(cls, run_dir: Path, name: str) -> "AddedItems":
        """Read a file that :meth:`save` has written.

        Raises:
            DataError: If it is missing or damaged.
        """
        path = _path(run_dir, name)
        named = read_npz(path, ("tokens", "sources", "modalities"))
        if hash_file(path) != name:
            raise DataError(f"{path} must be what its name says, but has changed; copy it anew")
        names = named["modalities"].tolist()
        parts = read_npz(path, [f"{it}.{part}" for it in names for part in _PARTS])
        modalities = {}
        for it in names:
            values, present, letters, ends = (parts[f"{it}.{part}"] for part in _PARTS)
            modalities[it] = ModalityRows(values, present, _unpacked(letters, ends))
        return cls(named["tokens"], modalities, tuple(named["sources"].tolist()))


def remove_others(run_dir: Path, *kept: str) -> None:
    """Remove the files of a run's added items but some.

    Args:
        run_dir: Folder of the run.
        kept: Their names: of what is served, and of what a service may be opening.
    """
    for path in (run_dir / _FOLDER).glob("[!.]*.npz"):
        if path.stem not in kept:
            path.unlink(missing_ok=True)


def _path(run_dir: Path, name: str) -> Path:
    return run_dir / _FOLDER / f"{name}.npz"


def _packed(texts: Sequence[str]) -> tuple[Array, Array]:
    """Texts as letters and where each ends: of one width all would be as long as the longest."""
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(it) for it in encoded], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), ends


def _unpacked(letters: Array, ends: Array) -> tuple[str, ...]:
    content, begins = letters.tobytes(), [0, *ends[:-1].tolist()]
    return tuple(
        content[begin:end].decode() for begin, end in zip(begins, ends.tolist(), strict=False)
    )
