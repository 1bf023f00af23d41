"""Take new items into a finished run, in seconds and without training.

    recbole_hm4sr.add_items("runs/shop-Momento-20261123-120000", "new.item")

They are scored by their features from then on, and are neighbours of other items where the run has
a memory. The new files lie beside the old ones until ``serving.npz`` names them, so that a call
that is stopped leaves the run as it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.files import locked
from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.data.added_items import AddedItems, ModalityRows, remove_others
from recbole_hm4sr.data.atomic import AtomicTable, count_of, read_atomic, read_header
from recbole_hm4sr.data.categories import refuse_duplicates
from recbole_hm4sr.data.feature_rows import remove_feature_rows
from recbole_hm4sr.data.features import ItemFeatures, features_from_column, load_features
from recbole_hm4sr.data.interaction_columns import read_item_flags
from recbole_hm4sr.data.item_files import ItemFiles
from recbole_hm4sr.data.item_table import read_item_table
from recbole_hm4sr.data.memory_files import PREFIX, sweep
from recbole_hm4sr.data.texts import read_item_texts
from recbole_hm4sr.run.hub_folder import refuse_hub_folder
from recbole_hm4sr.run.kept_encoders import load_encoder, load_words
from recbole_hm4sr.run.plan import RunPlan, read_plan
from recbole_hm4sr.run.serving_file import (
    BEST,
    ServingFile,
    read_serving_file,
    save_serving_file,
)
from recbole_hm4sr.serve.exported import indexes_of, require_export

Array = np.ndarray[Any, Any]
_NAMED = 3
# What a feature file says of a column of an atomic file, which may come from any encoder.
_OF_COLUMN = "column "


class ItemsAdded(NamedTuple):
    """What became of new items.

    Attributes:
        n_added: Items that are scored by their features now, and were not.
        n_known: Items whose features the run had; they stay as they are.
        new_categories: Names of categories that no item of the training has, sorted.
        indexes: Exported indexes in the run's folder that were written anew.
    """

    n_added: int
    n_known: int
    new_categories: tuple[str, ...]
    indexes: tuple[Path, ...] = ()


def add_items(
    run_dir: str | Path,
    items: str | Path,
    features: Mapping[str, str | Path] | None = None,
) -> ItemsAdded:
    """Take new items into a run: they are recommended, and known in histories, from then on.

    An item that a refresh has brought is scored by its features too from then on. Items whose
    features the run has are left alone, so that the same call may be made again.

    Args:
        run_dir: Folder of a finished run whose model scores by features.
        items: ``.item`` file with a line for each new item, columns named as the data set's.
        features: Feature file (``.npz``) of a modality, by its name, from the encoder of the first
            items. Without one the item file has a ``float_seq`` column of that name, or the words
            of the items are encoded by the encoder that the run has kept.

    Raises:
        ConfigError: If the model scores by ids alone, a name is no modality of the run, or the run
            is being changed by another process.
        DataError: If a file cannot be read or written, an item lacks features, or these come from
            another encoder.
    """
    folder, path = Path(run_dir), Path(items)
    refuse_hub_folder(folder, "adding items")
    plan = read_plan(folder, needs_data=False)
    given = {name: Path(it) for name, it in (features or {}).items()}
    require_features(plan, folder, given)
    busy = f"{folder} must be changed by one process at a time; another one is at it"
    with locked(folder / "refresh.lock", refusal=busy):
        content = read_serving_file(folder)
        if content is None:
            raise DataError(f"{folder} must have a serving.npz, as every run that ended has")
        indexes = indexes_of(folder)
        if indexes:
            require_export(next(iter(indexes)), "adding items")
        done, n_items = _Run(folder, plan, content).take(path, given)
        return done._replace(indexes=_renewed(folder, indexes, n_items))


def _renewed(
    folder: Path, indexes: Mapping[Path, Mapping[str, Any]], n_items: int
) -> tuple[Path, ...]:
    """Write those indexes anew that are of other items, as of a call that was killed."""
    stale = [index for index, facts in indexes.items() if facts["n_items"] != n_items]
    for index in stale:
        from recbole_hm4sr.serve.export import renew_index  # it imports torch

        renew_index(folder, index, indexes[index])
    return tuple(stale)


def require_features(plan: RunPlan, folder: Path, features: Mapping[str, Path]) -> None:
    """Refuse a run that cannot score new items, and names that are none of its modalities.

    Args:
        plan: Settings of the run.
        folder: Of the run.
        features: Feature files by modality.

    Raises:
        ConfigError: If so.
    """
    names = tuple(plan.data.modalities)
    of_model = plan.entry.settings_class
    way = "nothing" if of_model is None else of_model.new_items_with(plan.values)
    if way != "features" or not names:
        why = "" if of_model is None else of_model.why_no_new_items
        raise ConfigError(
            f"items are added to a run whose model scores them by their features; "
            f"{plan.entry.name} in {folder} does not{f' ({why})' if why else ''}"
        )
    unknown = sorted(set(features) - set(names))
    if unknown:
        raise ConfigError(
            f"features must be of the run's modalities {', '.join(names)}, got {', '.join(unknown)}"
        )


@dataclass(frozen=True)
class _Run:
    """A run that takes items in."""

    folder: Path
    plan: RunPlan
    content: ServingFile

    @property
    def n_trained(self) -> int:
        """Items of the training, padding included."""
        return len(self.content.data.counts)

    def take(self, path: Path, given: Mapping[str, Path]) -> tuple[ItemsAdded, int]:
        """Take in what is new of an item file; and how many items there are then."""
        table = self._read(path)
        tokens = table.tokens(self.item_field).astype(np.str_)
        before = None
        if self.content.added:
            before = AddedItems.load(self.folder, self.content.added)
        known = [self.content.data.item_tokens[: self.n_trained]]
        known += [] if before is None else [before.tokens]
        is_new = ~np.isin(tokens, np.concatenate(known))
        n_added, n_items = int(is_new.sum()), len(self.content.data.item_tokens)
        if n_added:
            features = self._features_of(path, tokens[is_new], given)
            n_items = self._write(path, features.behind(before))
        names = self._new_categories(table, is_new)
        return ItemsAdded(n_added, len(tokens) - n_added, names), n_items - 1

    @property
    def item_field(self) -> str:
        """Column of item tokens."""
        return str(self.plan.protocol["ITEM_ID_FIELD"])

    def _read(self, path: Path) -> AtomicTable:
        if path.suffix != ".item":
            raise DataError(self._how_to_make_items(path))
        kinds, field = dict(read_header(path)), self.plan.data.category_field
        table = read_atomic(path, [self.item_field, *([field] if field in kinds else [])])
        refuse_duplicates(table, self.item_field)
        return table

    def _how_to_make_items(self, path: Path) -> str:
        """What is said of a table as a shop writes it."""
        flags = read_item_flags(Path(self.plan.values["data_path"]))
        words = f"--items={path} {flags}".rstrip()
        return (
            f"{path} must be an .item file, which hm4sr prepare csv makes of a shop's table: run "
            f"it as for the data set with {words} and another --out, and give the .item file there"
        )

    def _new_categories(self, table: AtomicTable, is_new: Array) -> tuple[str, ...]:
        field = self.plan.data.category_field
        if field not in table.kinds:
            return ()
        names = {name for row in table.where(is_new).sequences(field) for name in row}
        return tuple(sorted(names - set(self.content.category_names)))

    # --- features ------------------------------------------------------------------------------

    def _features_of(self, path: Path, tokens: Array, given: Mapping[str, Path]) -> AddedItems:
        """What the files say of new items.

        Raises:
            DataError: If an item lacks features that it must have.
        """
        modalities = {}
        for name in self.plan.data.modalities:
            features = self._source(path, name, given)
            texts = self._texts_to_compare(path, name, tokens)
            if features is None:
                width = int(self.content.data.arrays[f"{name}.width"])
                nothing, none = np.zeros((len(tokens), width), np.float32), np.zeros(len(tokens))
                modalities[name] = ModalityRows(nothing, none > 0, texts)
                continue
            self._require_encoder(name, features)
            modalities[name] = ModalityRows.find(features, tokens, texts)
        self._require_present(tokens, modalities)
        return AddedItems(tokens, modalities, (hash_file(path),))

    def _source(self, path: Path, name: str, given: Mapping[str, Path]) -> ItemFeatures | None:
        """Features of one modality; None where nothing says them."""
        if name in given:
            return load_features(given[name])
        if dict(read_header(path)).get(name) == "float_seq":
            return features_from_column(path, self.item_field, name)
        kept = self.content.encoders.get(name)
        if kept is None or not kept.encoder:
            return None
        encoder = load_encoder(self.folder, self.plan.dataset, name, kept)
        tokens, texts = read_item_texts(path, encoder.fields, item_field=self.item_field)
        filled = np.array([bool(text.strip()) for text in texts])
        if not filled.any():
            return None
        values = encoder.encode(texts)[filled]
        return ItemFeatures(tokens[filled], values, kept.label, encoder.revision, str(path))

    def _texts_to_compare(self, path: Path, name: str, tokens: Array) -> tuple[str, ...]:
        """Their words, where items are compared by words. Length A or 0."""
        kept = self.content.encoders.get(name)
        if kept is None or not kept.words:
            return ()
        fields = self.plan.data.text_fields
        there, texts = read_item_texts(path, fields, item_field=self.item_field)
        of = dict(zip(there.tolist(), texts, strict=True))
        return tuple(of[token] for token in tokens.tolist())

    def _require_encoder(self, name: str, features: ItemFeatures) -> None:
        width = int(self.content.data.arrays[f"{name}.width"])
        if features.values.shape[1] != width:
            raise DataError(
                f"{features.source}: {name} features must be {width} wide as those of the first "
                f"items, got {features.values.shape[1]}; encode them by the same encoder"
            )
        kept = self.content.encoders.get(name)
        labels = [features.encoder, features.encoder if kept is None else kept.label]
        if any(label.startswith(_OF_COLUMN) for label in labels):
            return
        if labels[0] != labels[1]:
            raise DataError(
                f"{features.source}: {name} features must come from the encoder of the first "
                f"items, {labels[1]}, got {labels[0]}"
            )

    def _require_present(self, tokens: Array, modalities: Mapping[str, ModalityRows]) -> None:
        """Refuse items without features, by the setting ``missing_features``."""
        present = {name: rows.present for name, rows in modalities.items()}
        if self.plan.data.missing_features == "zero":
            present = {"any": np.logical_or.reduce(list(present.values()))}
        for name, has in present.items():
            if not has.all():
                without = tokens[~has]
                named = ", ".join(repr(str(token)) for token in without[:_NAMED])
                what = "no features" if name == "any" else f"no {name} features"
                raise DataError(
                    f"{count_of(len(without), 'new item')} of {len(tokens)} must have features, "
                    f"but {what} are there, e.g. for {named}; give --features "
                    f"{'text' if name == 'any' else name}=FILE, or leave these items out"
                )

    # --- writing -------------------------------------------------------------------------------

    def _write(self, path: Path, added: AddedItems) -> int:
        """Serve items, with the columns that their file has; how many there are then."""
        from recbole_hm4sr.run.added_items import with_added  # these import torch
        from recbole_hm4sr.serve.opening import open_for_serving

        first, words = None, {}
        if any(name.startswith(f"{PREFIX}near.") for name in self.content.data.arrays):
            words = {
                name: load_words(self.folder, self.plan.dataset, name, kept)
                for name, kept in self.content.encoders.items()
                if kept.words
            }
            first = self._first_items([it for it in self.plan.data.modalities if it not in words])
        model = open_for_serving(self.folder).model
        before = self._with_columns(path)
        written = with_added(self.folder, before, model, added, first=first, words=words)
        save_serving_file(self.folder, written)
        if before.checkpoint_file == BEST:  # else an update may be taken back to files of before
            sweep(self.folder, written.memory, before.memory)
            remove_others(self.folder, written.added, before.added)
            remove_feature_rows(self.folder, written.features, before.features)
        return len(written.data.item_tokens)

    def _with_columns(self, path: Path) -> ServingFile:
        """What is served, with the columns of new items."""
        known = self.content.data.table
        if known is None:  # of an earlier release: read from the data set's files
            return self.content
        more = read_item_table(path, item_field=self.item_field, settings=self.plan.data)
        return replace(self.content, data=replace(self.content.data, table=known.joined(more)))

    def _first_items(self, modalities: Sequence[str]) -> ItemFiles:
        """What the data set's files say of the items of the training.

        Args:
            modalities: Whose features are compared.

        Raises:
            DataError: If they are not there, or have changed.
        """
        folder = Path(self.plan.values["data_path"])
        first = ItemFiles(
            folder,
            self.plan.dataset,
            item_field=self.item_field,
            item_tokens=self.content.data.item_tokens[: self.n_trained],
            settings=self.plan.data,
        )
        for name in modalities:
            try:
                found = first.modality(name).fingerprint
            except DataError as error:
                raise DataError(
                    f"the nearest items of new ones are found by the features of the first, which "
                    f"cannot be read: {error}"
                ) from error
            is_of_training = self.content.checkpoint_file == BEST  # else there are more items now
            if is_of_training and self.content.fingerprints.get(f"{name} features") != found:
                raise DataError(
                    f"the {name} features in {folder} must be those that {self.folder} was "
                    f"trained on, but have changed; put them back, or train anew on them"
                )
        return first
