"""The adapter to RecBole: its data set over interactions as a value.

RecBole's rules filter and renumber, its models and trainers read the result. What they read is cut
from flat arrays (``log.py``, ``histories.py``) instead of stored: the very batches that RecBole
would make. Files are read by ``frames.py``, parts are made by ``splits.py``, item features and
categories by ``item_files.py``.
"""

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_hm4sr.base import compat
from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.config.settings import DataSettings, read_settings
from recbole_hm4sr.data.added_items import AddedItems
from recbole_hm4sr.data.attributes import ItemAttribute
from recbole_hm4sr.data.features import AlignedFeatures
from recbole_hm4sr.data.filters import filter_by_counts
from recbole_hm4sr.data.frames import read_frame, remove_duplicates, renumber
from recbole_hm4sr.data.histories import HistorySamples, cut_windows, histories_of
from recbole_hm4sr.data.item_files import ItemFiles
from recbole_hm4sr.data.item_table import ItemTable
from recbole_hm4sr.data.later_rows import LaterRows, append_rows
from recbole_hm4sr.data.log import (
    InteractionLog,
    longest_gap,
    order_interactions,
    shown_interactions,
)
from recbole_hm4sr.data.same_targets import SameTargets, find_same_targets
from recbole_hm4sr.data.seen import FIRST_POSITION, READS_FIRST_POSITION, SeenItems, mark_seen
from recbole_hm4sr.data.splits import require_samples, split_log
from recbole_hm4sr.data.text_encoder import TextEncoder, WordWeights
from recbole_hm4sr.data.times import PER_SECOND, whole_seconds
from recbole_hm4sr.data.vocabulary import Vocabulary

_log = logging.getLogger(__name__)


class MultiModalSequentialDataset(SequentialDataset):  # type: ignore[misc, unused-ignore]
    """RecBole's sequential data set with int64 times, windows on demand and item features.

    Args:
        config: RecBole ``Config`` of a :class:`~recbole_hm4sr.run.plan.RunPlan`.
        vocabulary: Of an earlier run, to begin from: known tokens keep their numbers, new ones get
            the numbers after them.
        later: Interactions that came after those of the files; no filter is applied to them.
        more_items: Items that ``catalogue: all`` has besides those of the files. Raw tokens.

    Attributes:
        log: The interactions that pass the filters; there once the parts are built.
        item_files: What the files say of its items.
        later_rows: Number of each among those that came later; -1 for those of the files. Shape
            ``[N]``, int64.
        n_known_users, n_known_items: Numbers of the vocabulary it began from, padding included.
        kept_arrays: What models made of this part, so that it is made once; None to keep nothing.

    Raises:
        DataError: If a file breaks the data contract of ``docs/data/format.md``.
    """

    # The moment at which the training part of a split by one moment ends; in the data's unit.
    ends_before: int | None = None
    # Interactions of this part of such a split that are the first of their user, and no targets.
    n_without_history: int = 0
    inter_feat: Any  # read as a DataFrame, kept as HistorySamples
    log: InteractionLog
    item_files: ItemFiles
    later_rows: "np.ndarray[Any, Any]"
    kept_arrays: dict[str, Any] | None = None

    def __init__(
        self,
        config: Any,
        vocabulary: Vocabulary | None = None,
        later: LaterRows | None = None,
        more_items: tuple[str, ...] = (),
    ) -> None:
        self.settings = read_settings(config, DataSettings)
        self._earlier, self._later, self._more_items = vocabulary, later, more_items
        self._appended = np.empty(0, dtype=np.int64)
        self.n_known_users = 0 if vocabulary is None else len(vocabulary.users)
        self.n_known_items = 0 if vocabulary is None else len(vocabulary.items)
        inter_file = Path(config["data_path"]) / f"{config['dataset']}.inter"
        if not inter_file.is_file():
            raise DataError(f"the file {inter_file} does not exist; put the interactions there")
        compat.restore_numpy_aliases()
        super().__init__(config)
        interacted = None
        if self.settings.catalogue == "all":
            interacted = np.bincount(self.inter_feat[self.iid_field], minlength=self.item_num) > 0
        self.item_files = self._files_of(self.item_tokens, interacted)

    # --- what RecBole does with files, on our readers -------------------------------------------

    def _load_feat(self, filepath: str, source: Any) -> pd.DataFrame | None:
        """Read one atomic file, in place of RecBole's reader."""
        return read_frame(self, Path(filepath), source)

    def _data_processing(self) -> None:
        """RecBole's steps in their order, with ours where RecBole's break or loop over rows."""
        self.feat_name_list = self._build_feat_name_list()
        self._filter_nan_user_or_item()
        self.inter_feat = remove_duplicates(self.inter_feat, self)
        self._filter_by_field_value()
        self._filter_inter_by_user_or_item()
        filter_by_counts(self)
        if self.inter_feat.empty:
            raise DataError(
                f"{self.dataset_path}: at least one interaction must pass the filters "
                f"(user_inter_num_interval, item_inter_num_interval, val_interval), got none"
            )
        self._reset_index()
        self._n_of_files = len(self.inter_feat)
        if self._later is not None:
            names = (self.uid_field, self.iid_field, self.time_field)
            self.inter_feat, self._appended = append_rows(self.inter_feat, self._later, names)
        renumber(self, self._earlier, self._described_items())
        self._user_item_feat_preparation()
        for name in self.feat_name_list:
            frame = getattr(self, name)
            kinds = {column: self.field2type[column].value for column in frame}
            setattr(self, name, compat.fill_missing_values(frame, kinds))
        self._set_label_by_threshold()
        self._normalize()
        self._discretization()
        self._preload_weight_matrix()

    def _described_items(self) -> "np.ndarray[Any, Any]":
        """The items that ``catalogue: all`` adds to those of interactions: raw tokens, object."""
        if self.settings.catalogue == "interacted":
            return np.zeros(0, dtype=object)
        found = np.array([*self._files_of(()).described(), *self._more_items], dtype=object)
        known = np.asarray(self.inter_feat[self.iid_field].unique(), dtype=np.str_)
        new = pd.unique(found[~np.isin(found.astype(np.str_), known)])
        _log.info("catalogue: all: %d items with interactions, %d more", len(known), len(new))
        return new

    def _files_of(self, tokens: Any, interacted: "np.ndarray[Any, Any] | None" = None) -> ItemFiles:
        """What the files say of items; see :class:`ItemFiles`."""
        return ItemFiles(
            Path(self.dataset_path),
            self.dataset_name,
            item_field=self.iid_field,
            item_tokens=tokens,
            settings=self.settings,
            interacted=interacted,
        )

    # --- parts ----------------------------------------------------------------------------------

    def build(self) -> list[Any]:
        """The training, validation and test part.

        Raises:
            DataError: If the split rule asks for a part that gets no sample.
        """
        self.keep_as_log()
        arguments = self.config["eval_args"]
        gap = int(self.settings.same_visit_gap * PER_SECOND[self.timestamp_unit])
        split = split_log(self.log, arguments, same_visit_gap=gap)
        require_samples(split, arguments["split"], self.dataset_path)
        self.inter_feat = self.inter_feat.select(torch.from_numpy(split.samples))
        parts = [self.copy(self.inter_feat.select(torch.from_numpy(p))) for p in split.parts]
        if split.cuts is not None:
            parts[0].ends_before = split.cuts[0]
            for part, number in zip(parts, split.without_history, strict=True):
                part.n_without_history = number
            _log.info(
                "interactions of training, validation and test that are the first of their user "
                "and so no targets: %d, %d, %d",
                *split.without_history,
            )
        return parts

    def keep_as_log(self) -> None:
        """Turn the frames into tensors, the interactions into a log and its histories; once."""
        if not isinstance(self.inter_feat, pd.DataFrame):
            return
        for name in self.feat_name_list:
            if name != "inter_feat":
                setattr(self, name, self._as_tensors(getattr(self, name)))
        self._check_field("uid_field", "time_field")
        self._aug_presets()
        frame = self.inter_feat
        if frame[self.time_field].dtype != np.int64:
            raise DataError(
                f"{self.time_field} must stay whole numbers for the models, but normalize_all, "
                f"normalize_field, numerical_features or discretization changes it; leave it out "
                f"there"
            )
        shuffled = self.settings.tie_order == "shuffle"
        order = order_interactions(
            frame[self.uid_field].to_numpy(),
            frame[self.time_field].to_numpy(),
            shuffle_ties=self.config["seed"] if shuffled else None,
        )
        # Those of the files have the numbers below 0: the entry before the first is -1.
        of_frame = np.concatenate([self._appended, np.full(self._n_of_files, -1)])
        self.later_rows = of_frame[order - self._n_of_files]
        # Column by column, each leaving the frame, so that no second copy of all is alive.
        columns = {}
        for name in list(frame):
            if name == self.time_field:  # RecBole would make float32 of it
                columns[name] = torch.from_numpy(frame[name].to_numpy()[order])
            else:
                columns[name] = self._as_tensors(frame[[name]])[name][torch.from_numpy(order)]
            del frame[name]
        names = (self.uid_field, self.iid_field, self.time_field)
        users, items, times = (columns[name].numpy() for name in names)
        self.log = InteractionLog.of_ordered(users, items, times, n_users=self.user_num)
        self.inter_feat = HistorySamples(
            histories_of(self.log, columns),
            torch.from_numpy(self.log.targets()),
            length_field=self.item_list_length_field,
            max_length=self.max_item_list_len,
            list_suffix=self.config["LIST_SUFFIX"],
        )

    def _as_tensors(self, frame: pd.DataFrame) -> Interaction:
        return self._dataframe_to_interaction(compat.writable_columns(frame))

    def __getitem__(self, index: Any, join: bool = True) -> Interaction:
        """Samples with their windows: what RecBole's augmentation would have stored.

        Args:
            index: Sample numbers of this split.
            join: Whether to add the target item's and the user's attributes.
        """
        samples = self.inter_feat[np.atleast_1d(index) if np.isscalar(index) else index]
        histories = samples.histories
        names = {
            name: getattr(self, f"{name}_list_field")
            for name in histories.columns
            if name != self.uid_field
        }
        windows, lengths = cut_windows(
            histories, samples.targets, names, max_length=self.max_item_list_len
        )
        columns = {name: values[samples.targets] for name, values in histories.columns.items()}
        if self.config[READS_FIRST_POSITION]:
            columns[FIRST_POSITION] = samples.targets - lengths
        batch = Interaction({**columns, self.item_list_length_field: lengths, **windows})
        return self.join(batch) if join else batch

    # --- what a part tells ----------------------------------------------------------------------

    def shown_interactions(self) -> Tensor:
        """Which of all interactions this split's samples show, as history or as target.

        The training part of a split by one moment has all that came before it.

        Returns:
            Flags over the flat histories. Shape ``[N]``, bool.
        """
        targets = self.inter_feat.targets.numpy()
        return torch.from_numpy(shown_interactions(self.log, targets, self.ends_before))

    def trained_items(self) -> "np.ndarray[Any, Any]":
        """Which items a sample of this split shows, as history or as target. ``[I]``, bool."""
        shown = shown_interactions(self.log, self.inter_feat.targets.numpy(), None)
        return np.bincount(self.log.items[shown], minlength=self.item_num) > 0

    def target_counts(self) -> Tensor:
        """How often each item is a target of this split. Shape ``[I]``, int64."""
        targets = self.inter_feat[self.iid_field]
        return torch.bincount(targets, minlength=self.item_num)

    def interaction_counts(self) -> Tensor:
        """How often each item occurs in this split, as history or as target. ``[I]``, int64."""
        items = self.log.items[self.shown_interactions().numpy()]
        return torch.from_numpy(np.bincount(items, minlength=self.item_num))

    @property
    def timestamp_unit(self) -> str:
        """Unit of the times in histories and batches: ``s`` or ``ms`` since the epoch."""
        return self.settings.timestamp_unit

    def seen_items(self) -> SeenItems | None:
        """What users take and when for the first time, for losses that leave a history out."""
        return mark_seen(self.inter_feat.histories, self.iid_field)

    def same_targets(self) -> SameTargets:
        """The samples of this split with each target item, for losses that contrast them."""
        samples, names = self.inter_feat, (self.iid_field, self.time_field)
        return find_same_targets(samples.histories, samples.targets, *names, self.max_item_list_len)

    def longest_gap(self) -> int:
        """The longest time between consecutive interactions of a user in this split, in seconds.

        Between whole seconds, as the time encoding counts.

        Interactions after the split's last target of a user do not count, so the training split
        tells nothing of validation and test.
        """
        seconds = whole_seconds(self.log.times, self.timestamp_unit)
        return longest_gap(self.log, seconds, self.shown_interactions().numpy())

    def first_time(self) -> int:
        """The moment from which times are counted, in whole seconds since the epoch.

        The earliest time in this split, or that of the run whose vocabulary it began from.
        """
        if self._earlier is not None and self._earlier.origin is not None:
            return self._earlier.origin
        shown = self.log.times[self.shown_interactions().numpy()]
        return whole_seconds(int(shown.min()), self.timestamp_unit)

    def last_time(self) -> int:
        """The latest time in this split, in whole seconds since the epoch."""
        shown = self.log.times[self.shown_interactions().numpy()]
        return whole_seconds(int(shown.max()), self.timestamp_unit)

    def fingerprints(self) -> dict[str, str]:
        """Hashes of the interactions and of the modalities: what a checkpoint must meet again."""
        digest = hashlib.sha256("\n".join(self.item_tokens).encode())
        for values in (self.log.users, self.log.items, self.log.times):
            digest.update(values.data)
        of_items = self.item_files.fingerprints()
        features = {f"{name} features": fingerprint for name, fingerprint in of_items.items()}
        return {"interactions": digest.hexdigest(), **features}

    # --- items ----------------------------------------------------------------------------------

    def use_items(self, n_items: int) -> None:
        """Let a copy of a data set know its first items alone.

        Args:
            n_items: How many, padding included.
        """
        self.item_files = self.item_files.first(n_items)

    @property
    def vocabulary(self) -> Vocabulary:
        """The numbers of users and items."""
        return Vocabulary(self.field2id_token[self.uid_field], self.item_tokens)

    @property
    def item_tokens(self) -> "np.ndarray[Any, Any]":
        """Raw item tokens by internal id; entry 0 is padding."""
        return self.field2id_token[self.iid_field]

    @property
    def modality_names(self) -> tuple[str, ...]:
        """Names of the modalities, in the order of the settings."""
        return tuple(self.settings.modalities)

    def modality(self, name: str) -> AlignedFeatures:
        """Item features of one modality; see :meth:`ItemFiles.modality`."""
        return self.item_files.modality(name)

    def comparable_rows(self, name: str) -> Any:
        """Rows of one modality for cosines; see :meth:`ItemFiles.comparable_rows`.

        Where the parts are split by one moment, no word of a later item decides anything.
        """
        if self.ends_before is None:
            return self.item_files.comparable_rows(name)
        is_shown = np.zeros(self.item_num, dtype=bool)
        is_shown[self.log.items[self.shown_interactions().numpy()]] = True
        return self.item_files.comparable_rows(name, is_shown)

    def text_encoder(self, name: str) -> TextEncoder | None:
        """The encoder fitted for a modality; see :meth:`ItemFiles.encoder`."""
        return self.item_files.encoder(name)

    def words(self, name: str) -> WordWeights | None:
        """The words by which a modality is compared; see :meth:`ItemFiles.words`."""
        return self.item_files.words(name)

    def new_items(self) -> AddedItems:
        """The items that the files describe and that have no number: none has an interaction.

        Raises:
            DataError: If a file breaks the contract.
        """
        described = self.item_files.described().astype(np.str_)
        is_new = ~np.isin(described, np.asarray(self.item_tokens, dtype=np.str_))
        return self.item_files.added(described[is_new])

    def categories(self) -> tuple["np.ndarray[Any, Any]", tuple[str, ...]]:
        """Item categories as 0/1 flags; see :meth:`ItemFiles.categories`."""
        return self.item_files.categories()

    def attribute(self, column: str) -> ItemAttribute:
        """What a column of the ``.item`` file says of items; see :meth:`ItemFiles.attribute`."""
        return self.item_files.attribute(column)

    def item_table(self) -> ItemTable:
        """Columns of the ``.item`` file; see :meth:`ItemFiles.table`."""
        return self.item_files.table()
