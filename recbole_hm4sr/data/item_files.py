"""The files that describe items: features of each modality, and categories, by item number."""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.config.settings import DataSettings
from recbole_hm4sr.data.atomic import read_header
from recbole_hm4sr.data.attributes import ItemAttribute, read_attribute
from recbole_hm4sr.data.categories import read_categories
from recbole_hm4sr.data.columns import Array
from recbole_hm4sr.data.features import (
    AlignedFeatures,
    ItemFeatures,
    align_features,
    features_from_column,
    load_features,
    text_features_path,
)
from recbole_hm4sr.data.item_table import ItemTable, read_item_table
from recbole_hm4sr.data.texts import read_item_texts, tfidf


class ItemFiles:
    """Reads what a data set's files say of its items, when first asked for it.

    Args:
        folder: Folder of the data set.
        dataset: Name of the data set.
        item_field: Name of the column of item tokens.
        item_tokens: Raw item tokens by number; entry 0 is padding.
        settings: Modalities and categories.
    """

    def __init__(
        self,
        folder: Path,
        dataset: str,
        *,
        item_field: str,
        item_tokens: Sequence[str] | Array,
        settings: DataSettings,
    ) -> None:
        self._folder, self._dataset, self._item_field = folder, dataset, item_field
        self._item_tokens, self._settings = item_tokens, settings
        self._aligned: dict[str, AlignedFeatures] = {}
        self._of_all: ItemFiles | None = None

    def first(self, n_items: int) -> "ItemFiles":
        """The same files for the first items alone; a modality is still read once.

        Args:
            n_items: How many, padding included.
        """
        part = copy.copy(self)
        part._item_tokens, part._aligned = self._item_tokens[:n_items], {}
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
        if self._settings.modalities[name] != "tfidf-svd":
            return self.modality(name).values
        self.modality(name)  # checked, and among the fingerprints of the run
        tokens, texts = read_item_texts(
            self._item_file, self._settings.text_fields, item_field=self._item_field
        )
        number = {str(token): row for row, token in enumerate(tokens)}
        rows = [number.get(str(token), -1) for token in self._item_tokens[1:]]
        of_items = ["", *(texts[row] if row >= 0 else "" for row in rows)]
        return tfidf(of_items, fitted_on=fitted_on)

    def fingerprints(self) -> dict[str, str]:
        """Hashes of the modalities that have been read, by name."""
        return {name: features.fingerprint for name, features in self._aligned.items()}

    def read_modality(self, name: str) -> ItemFeatures:
        """Features of one modality as its source has them, in the source's order.

        Raises:
            DataError: If there is no source, or it breaks the contract.
        """
        source = self._settings.modalities[name]
        archive = self._folder / f"{self._dataset}.{name}.npz"
        side_file = self._folder / f"{self._dataset}.{name}"
        if source == "tfidf-svd":
            # prepare/encode/tfidf.py writes it before a run builds its data set.
            return load_features(text_features_path(self._item_file, self._settings.text_fields))
        if source == "auto":
            source = self._find_source(name, archive, side_file)
        if source == "npz":
            return load_features(archive)
        path = self._item_file if source == "item" else side_file
        return features_from_column(path, self._item_field, name)

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
            categories, sorted. C is 0 without a ``category_field``.

        Raises:
            DataError: If the ``.item`` file is missing or breaks the contract.
        """
        field = self._settings.category_field
        if field is None:
            return np.zeros((len(self._item_tokens), 0), dtype=np.uint8), ()
        return read_categories(self._item_file, self._item_field, field, self._item_tokens)

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
