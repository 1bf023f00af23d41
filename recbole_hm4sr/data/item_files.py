"""The files that describe items: features of each modality, and categories, by item number."""

import copy
import dataclasses
import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.config.settings import DataSettings
from recbole_hm4sr.data.added_items import AddedItems, ModalityRows
from recbole_hm4sr.data.atomic import read_atomic, read_header
from recbole_hm4sr.data.attributes import ItemAttribute, read_attribute
from recbole_hm4sr.data.categories import read_categories
from recbole_hm4sr.data.columns import Array
from recbole_hm4sr.data.features import (
    TFIDF_SVD,
    AlignedFeatures,
    ItemFeatures,
    align_features,
    features_from_column,
    load_features,
    text_features_path,
)
from recbole_hm4sr.data.item_table import ItemTable, read_item_table
from recbole_hm4sr.data.npz import read_npz
from recbole_hm4sr.data.text_encoder import TextEncoder, WordWeights, encoder_path
from recbole_hm4sr.data.texts import read_item_texts
from recbole_hm4sr.data.times import read_times

logger = logging.getLogger(__name__)
_AVAILABLE = "available_from"


class ItemFiles:
    """Reads what a data set's files say of its items, when first asked for it.

    Args:
        folder: Folder of the data set.
        dataset: Name of the data set.
        item_field: Name of the column of item tokens.
        item_tokens: Raw item tokens by number; entry 0 is padding.
        settings: Modalities and categories.
        interacted: Which items have interactions: their categories are read. None for all. Shape
            ``[I]``, bool.
    """

    def __init__(
        self,
        folder: Path,
        dataset: str,
        *,
        item_field: str,
        item_tokens: Sequence[str] | Array,
        settings: DataSettings,
        interacted: Array | None = None,
    ) -> None:
        self._folder, self._dataset, self._item_field = folder, dataset, item_field
        self._item_tokens, self._settings = item_tokens, settings
        self._interacted = interacted
        self._aligned: dict[str, AlignedFeatures] = {}
        self._words: dict[str, WordWeights] = {}
        self._of_all: ItemFiles | None = None
        self._more: AddedItems | None = None

    def add(self, items: AddedItems) -> None:
        """Let items be known besides that the files do not describe, as a run has kept them.

        Args:
            items: What the files say of an item goes before what these do.
        """
        self._more = items

    def first(self, n_items: int) -> "ItemFiles":
        """The same files for the first items alone; a modality is still read once.

        Args:
            n_items: How many, padding included.
        """
        part = copy.copy(self)
        part._item_tokens, part._aligned, part._words = self._item_tokens[:n_items], {}, {}
        part._interacted = None if self._interacted is None else self._interacted[:n_items]
        part._of_all = self._of_all or self
        return part

    def modality(self, name: str) -> AlignedFeatures:
        """Features of one modality by item number, read and checked once.

        Raises:
            DataError: If the source breaks the contract or lacks items.
        """
        if name not in self._aligned and self._of_all is not None:
            whole = self._of_all.modality(name)
            rows = whole.rows[: len(self._item_tokens)]
            self._aligned[name] = dataclasses.replace(whole, rows=rows)
        if name not in self._aligned:
            self._aligned[name] = align_features(
                self.read_modality(name),
                self._item_tokens,
                modality=name,
                missing=self._settings.missing_features,
            )
        return self._aligned[name]

    def comparable_rows(self, name: str, fitted_on: Array | None = None) -> Any:
        """Rows of one modality whose cosines tell how alike two items are, by item number.

        The TF-IDF of the items' words where the source is ``tfidf-svd``: a cosine of its singular
        vectors is a poor one for items of few words. Else the values of the modality.

        Args:
            name: Of the modality.
            fitted_on: Items that the vocabulary comes from; None for all. Shape ``[I]``, bool.

        Returns:
            A matrix or a SciPy sparse matrix, ``[I, F]``; zeros for items without features.
        """
        if self._settings.modalities[name] != TFIDF_SVD:
            return self.modality(name).values
        self.modality(name)  # checked, and among the fingerprints of the run
        texts = self.texts_to_compare()
        known = texts if fitted_on is None else list(itertools.compress(texts, fitted_on))
        self._words[name] = WordWeights.fit(known)
        return self._words[name].apply(texts)

    def words(self, name: str) -> WordWeights | None:
        """The words by which :meth:`comparable_rows` compares; None where it needs none."""
        return self._words.get(name)

    def texts_to_compare(self) -> list[str]:
        """The words of each item in ``text_fields`` of the ``.item`` file, by item number.

        Raises:
            DataError: If the file breaks the contract or lacks a column.
        """
        return ["", *self._texts_of(self._item_tokens[1:])]

    def _texts_of(self, wanted: Sequence[str] | Array) -> list[str]:
        """Words of some items; empty for one without a line."""
        tokens, texts = read_item_texts(
            self._item_file, self._settings.text_fields, item_field=self._item_field
        )
        of_token = dict(zip(tokens.tolist(), texts, strict=True))
        if self._more is not None:
            of_token = {**self._more.texts(), **of_token}
        return [of_token.get(str(token), "") for token in wanted]

    def added(self, tokens: Array) -> AddedItems:
        """What the files say of items beyond the numbered ones.

        Args:
            tokens: Raw tokens, of :meth:`described`. Shape ``[A]``, unicode.

        Raises:
            DataError: If a source breaks the contract.
        """
        modalities = {}
        for name in self._settings.modalities:
            texts = self._texts_of(tokens) if name in self._words else []
            modalities[name] = ModalityRows.find(self.read_modality(name), tokens, texts)
        source = (hash_file(self._item_file),) if self._item_file.is_file() else ()
        return AddedItems(tokens, modalities, source)

    def encoder(self, name: str) -> TextEncoder | None:
        """The encoder that was fitted to make the features of a modality.

        None where nothing was fitted, or it was not kept: by an earlier release, or elsewhere.

        Raises:
            DataError: If it is there and damaged.
        """
        path = self._archive(name)
        if self._settings.modalities[name] == TFIDF_SVD:
            path = text_features_path(self._item_file, self._settings.text_fields)
        if not (path.is_file() and encoder_path(path).is_file()):
            return None
        made_by = read_npz(path, ("encoder", "revision"))
        kept = TextEncoder.load(encoder_path(path))
        is_of_them = (str(made_by["encoder"]), str(made_by["revision"])) == (
            TFIDF_SVD,
            kept.revision,
        )
        return kept if is_of_them else None

    def described(self) -> Array:
        """The items that can be scored by what the files say of them.

        With ``missing_features: error`` those that have a row of every modality, with ``zero``
        those that have one of any. In the order of the ``.item`` file, then of the features.

        Returns:
            Raw tokens, each once. Shape ``[N]``, object.

        Raises:
            DataError: If a source breaks the contract.
        """
        modalities = [self.read_modality(name).tokens for name in self._settings.modalities]
        described = [] if not self._item_file.is_file() else [self._item_lines()]
        tokens = pd.unique(np.concatenate([np.zeros(0, dtype=object), *described, *modalities]))
        has = [np.isin(tokens.astype(np.str_), own) for own in modalities]
        if not has:
            return tokens
        needs_all = self._settings.missing_features == "error"
        can = np.logical_and.reduce(has) if needs_all else np.logical_or.reduce(has)
        return np.asarray(tokens[can], dtype=object)

    def _item_lines(self) -> Array:
        return read_atomic(self._item_file, [self._item_field]).tokens(self._item_field)

    def available_from(self, unit: str) -> Array:
        """The column ``available_from`` of the ``.item`` file, by item number.

        Args:
            unit: ``s`` or ``ms``, of the times.

        Returns:
            Times; -1 where the file says nothing. Shape ``[I]``, int64.

        Raises:
            DataError: If a value is no time in that unit.
        """
        found = np.full(len(self._item_tokens), -1, dtype=np.int64)
        if not self._item_file.is_file() or _AVAILABLE not in dict(read_header(self._item_file)):
            return found
        table = read_atomic(self._item_file, [self._item_field, _AVAILABLE])
        table.require_kind(_AVAILABLE, "float")
        given = table.frame[_AVAILABLE].notna().to_numpy()
        said = table.where(given)
        times = read_times(said, _AVAILABLE, unit) if given.any() else np.zeros(0, np.int64)
        number = {str(token): row for row, token in enumerate(self._item_tokens)}
        rows = np.array([number.get(it, 0) for it in said.tokens(self._item_field)], dtype=int)
        found[rows] = times
        found[0] = -1
        return found

    def fingerprints(self) -> dict[str, str]:
        """Hashes of the modalities that have been read, by name."""
        return {name: features.fingerprint for name, features in self._aligned.items()}

    def read_modality(self, name: str) -> ItemFeatures:
        """Features of one modality as its source has them, in the source's order.

        Raises:
            DataError: If there is no source, or it breaks the contract.
        """
        found = self._read_source(name)
        return found if self._more is None else self._more.features_behind(found, name)

    def _read_source(self, name: str) -> ItemFeatures:
        source = self._settings.modalities[name]
        archive = self._archive(name)
        side_file = self._folder / f"{self._dataset}.{name}"
        if source == TFIDF_SVD:
            # prepare/encode/tfidf.py writes it before a run builds its data set.
            return load_features(text_features_path(self._item_file, self._settings.text_fields))
        if source == "auto":
            source = self._find_source(name, archive, side_file)
        if source == "npz":
            return load_features(archive)
        path = self._item_file if source == "item" else side_file
        return features_from_column(path, self._item_field, name)

    def _archive(self, name: str) -> Path:
        return self._folder / f"{self._dataset}.{name}.npz"

    @property
    def _item_file(self) -> Path:
        return self._folder / f"{self._dataset}.item"

    def _find_source(self, name: str, archive: Path, side_file: Path) -> str:
        if archive.is_file():
            return "npz"
        if self._item_file.is_file():
            kinds = dict(read_header(self._item_file))
            if kinds.get(name) == "float_seq":
                return "item"
        if side_file.is_file():
            return "side"
        raise DataError(
            f"modality {name!r} must have {archive}, a column {name}:float_seq in "
            f"{self._item_file}, or the atomic file {side_file}, but none exists"
        )

    def categories(self) -> tuple[Array, tuple[str, ...]]:
        """Item categories as 0/1 flags.

        Returns:
            Flags by item number, shape ``[I, C]``, uint8, row 0 zero; and the names of the C
            categories of items with interactions, sorted. C is 0 without a ``category_field``.

        Raises:
            DataError: If the ``.item`` file is missing or breaks the contract.
        """
        field = self._settings.category_field
        if field is None:
            return np.zeros((len(self._item_tokens), 0), dtype=np.uint8), ()
        flags, names = read_categories(self._item_file, self._item_field, field, self._item_tokens)
        if self._interacted is None:
            return flags, names
        is_known: Array = np.asarray(flags[self._interacted].any(axis=0))
        if not is_known.all():
            new = [name for name, known in zip(names, is_known, strict=True) if not known]
            logger.info(
                "%d categories are of items without interactions alone and left out, e.g. %r",
                len(new),
                new[0],
            )
        kept = tuple(name for name, known in zip(names, is_known, strict=True) if known)
        return np.ascontiguousarray(flags[:, is_known]), kept

    def attribute(self, column: str) -> ItemAttribute:
        """The values that a column of the ``.item`` file gives each item.

        Raises:
            DataError: If the file is missing, has no such column or breaks the contract.
        """
        return read_attribute(self._item_file, self._item_field, column, self._item_tokens)

    def table(self) -> ItemTable:
        """The columns that ``serve_columns`` names, of all lines of the ``.item`` file.

        Raises:
            DataError: If the file breaks the contract.
        """
        return read_item_table(
            self._item_file, item_field=self._item_field, settings=self._settings
        )
