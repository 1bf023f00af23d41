"""The data set every model of a run shares: RecBole's, with exact times, features and no copies.

:class:`MultiModalSequentialDataset` keeps RecBole's filtering, renumbering and splits, so any
RecBole sequential model can train on it and gets the very batches RecBole would make. It differs
in how files are read (``atomic.py``), in that times stay int64 in the file's unit, in that windows
are cut on demand (``histories.py``), and in that it knows item features and categories
(``features.py``).
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
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor

from recbole_hm4sr.base import compat
from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.config.settings import DataSettings, read_settings
from recbole_hm4sr.data.atomic import AtomicTable, read_atomic, read_header
from recbole_hm4sr.data.categories import read_categories, refuse_duplicates
from recbole_hm4sr.data.columns import TokenNumbers, number_tokens
from recbole_hm4sr.data.features import (
    AlignedFeatures,
    ItemFeatures,
    align_features,
    features_from_column,
    load_features,
    text_features_path,
)
from recbole_hm4sr.data.filters import filter_by_counts
from recbole_hm4sr.data.histories import (
    HistorySamples,
    cut_windows,
    group_histories,
    leave_one_out,
    order_interactions,
    sample_targets,
)
from recbole_hm4sr.data.seen import FIRST_POSITION, SeenItems, mark_seen
from recbole_hm4sr.data.splits import split_by_moment
from recbole_hm4sr.data.times import PER_SECOND, read_times, whole_seconds

_log = logging.getLogger(__name__)


class MultiModalSequentialDataset(SequentialDataset):  # type: ignore[misc, unused-ignore]
    """RecBole's sequential data set with int64 times, windows on demand and item features.

    Args:
        config: RecBole ``Config`` of :func:`recbole_hm4sr.config.compose.build_config`.

    Raises:
        DataError: If a file breaks the data contract of ``dataset_atomic/README.md``.
    """

    # The moment at which the training part of a split by one moment ends; in the data's unit.
    ends_before: int | None = None
    inter_feat: Any  # read as a DataFrame, kept as HistorySamples

    def __init__(self, config: Any) -> None:
        self.settings = read_settings(config, DataSettings)
        self._aligned: dict[str, AlignedFeatures] = {}
        compat.restore_numpy_aliases()
        super().__init__(config)

    # --- reading files -------------------------------------------------------------------------

    def _load_data(self, token: str, dataset_path: str) -> None:
        inter_file = Path(dataset_path) / f"{token}.inter"
        if not inter_file.is_file():
            raise DataError(f"the file {inter_file} does not exist; put the interactions there")
        super()._load_data(token, dataset_path)

    def _load_feat(self, filepath: str, source: Any) -> pd.DataFrame | None:
        """Read one atomic file, in place of RecBole's reader."""
        load, _ = self._get_load_and_unload_col(source)
        if load == set():
            return None
        table = read_atomic(Path(filepath), None if load is None else list(load))
        frame = table.frame
        columns: dict[str, Any] = {}
        for name in frame:
            kind = FeatureType(table.kinds[name])
            self.field2source[name] = source
            self.field2type[name] = kind
            self.field2seqlen[name] = 1
            columns[name] = frame[name]
            if kind in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ):
                self.field2bucketnum[name] = 2
                if name != self.time_field:
                    table.require_finite(name)
            if kind is FeatureType.TOKEN and source is not FeatureSource.INTERACTION:
                columns[name] = frame[name].astype(object)
            if kind in (FeatureType.TOKEN_SEQ, FeatureType.FLOAT_SEQ):
                columns[name] = self._sequence_column(table, name)
                self.field2seqlen[name] = max(map(len, columns[name]))
        if source is FeatureSource.INTERACTION:
            for name in (self.uid_field, self.iid_field):
                columns[name] = pd.Series(table.token_column(name))
            columns[self.time_field] = read_times(
                table, self.time_field, self.settings.timestamp_unit
            )
        elif source in (FeatureSource.ITEM, FeatureSource.USER):
            name = self.iid_field if source is FeatureSource.ITEM else self.uid_field
            refuse_duplicates(table, name)
        return pd.DataFrame(columns, copy=False)

    def _sequence_column(self, table: AtomicTable, name: str) -> "pd.Series[Any]":
        limit = (self.config["seq_len"] or {}).get(name)
        if table.kinds[name] == FeatureType.FLOAT_SEQ.value:
            rows = list(table.float_sequences(name))
        else:
            rows = [np.array(parts, dtype=str) for parts in table.sequences(name)]
        return pd.Series([row[:limit] for row in rows], dtype=object)

    def _remove_duplication(self) -> None:
        """Keep one interaction of each user and item, as ``rm_dup_inter`` says.

        RecBole's sort by time is not stable; here equal times keep the file's order.
        """
        keep = self.config["rm_dup_inter"]
        if keep is not None:
            frame = self.inter_feat.sort_values(self.time_field, kind="stable")
            self.inter_feat = frame.drop_duplicates([self.uid_field, self.iid_field], keep=keep)

    def _remap(self, remap_list: list[tuple[pd.DataFrame, str, Any]]) -> None:
        """Renumber tokens, as RecBole does."""
        if not remap_list:
            return
        columns = [
            feat[field].array if kind is FeatureType.TOKEN else np.concatenate(list(feat[field]))
            for feat, field, kind in remap_list
        ]
        numbers, id_token = number_tokens(columns)
        token_id = TokenNumbers(id_token)
        for (feat, field, kind), ids in zip(remap_list, numbers, strict=True):
            self.field2id_token.setdefault(field, id_token)
            self.field2token_id.setdefault(field, token_id)
            if kind is FeatureType.TOKEN:
                feat[field] = ids
            else:
                rows = compat.split_like(feat[field], ids)
                feat[field] = pd.Series(rows, index=feat.index, dtype=object)

    def _filter_by_inter_num(self) -> None:
        """Drop users and items whose number of interactions is not allowed, as RecBole does."""
        filter_by_counts(self)

    def _fill_nan(self) -> None:
        for feat_name in self.feat_name_list:
            feat = getattr(self, feat_name)
            kinds = {name: self.field2type[name].value for name in feat}
            setattr(self, feat_name, compat.fill_missing_values(feat, kinds))

    def _reset_index(self) -> None:
        if self.inter_feat.empty:
            raise DataError(
                f"{self.dataset_path}: at least one interaction must pass the filters "
                f"(user_inter_num_interval, item_inter_num_interval, val_interval), got none"
            )
        super()._reset_index()

    # --- histories and splits ------------------------------------------------------------------

    def _change_feat_format(self) -> None:
        for feat_name in self.feat_name_list:
            feat = getattr(self, feat_name)
            if feat_name != "inter_feat" and isinstance(feat, pd.DataFrame):
                setattr(self, feat_name, self._dataframe_to_interaction(feat))
        if not isinstance(self.inter_feat, pd.DataFrame):
            return
        self._check_field("uid_field", "time_field")
        self._aug_presets()
        frame = self.inter_feat
        times = frame[self.time_field].to_numpy()
        if times.dtype != np.int64:
            raise DataError(
                f"{self.time_field} must stay whole numbers for the models, but normalize_all, "
                f"normalize_field, numerical_features or discretization changes it; leave it out "
                f"there"
            )
        seed = self.config["seed"] if self.settings.tie_order == "shuffle" else None
        order = order_interactions(frame[self.uid_field].to_numpy(), times, shuffle_ties=seed)
        # Column by column, each leaving the frame, so that no second copy of all is alive.
        columns = {}
        for name in list(frame):
            if name == self.time_field:
                columns[name] = torch.from_numpy(times[order])
            else:
                column = self._dataframe_to_interaction(frame[[name]])[name]
                columns[name] = column[torch.from_numpy(order)]
            del frame[name]
        del times, order
        histories = group_histories(columns, user_field=self.uid_field)
        self.inter_feat = HistorySamples(
            histories,
            sample_targets(histories),
            length_field=self.item_list_length_field,
            max_length=self.max_item_list_len,
            list_suffix=self.config["LIST_SUFFIX"],
        )

    def _dataframe_to_interaction(self, data: pd.DataFrame) -> Interaction:
        return super()._dataframe_to_interaction(compat.writable_columns(data))

    def build(self) -> list[Any]:
        """The training, validation and test part.

        Raises:
            DataError: If one of them has no sample.
        """
        split = self.config["eval_args"]["split"]
        if "GT" not in split:
            parts: list[Any] = super().build()
            return parts
        self._change_feat_format()
        samples = self.inter_feat
        moments = split_by_moment(
            samples.histories,
            samples.histories.columns[self.time_field],
            shares=tuple(split["GT"]),
            targets=self.config["eval_args"]["targets"],
            same_visit_gap=int(self.settings.same_visit_gap * PER_SECOND[self.timestamp_unit]),
        )
        if any(len(targets) == 0 for targets in moments.parts):
            sizes = " / ".join(str(len(targets)) for targets in moments.parts)
            raise DataError(
                f"{self.dataset_path}: the split GT must leave targets with a history in every "
                f"part, got {sizes}; give the empty part a larger share"
            )
        _log.info(
            "interactions of training, validation and test that are the first of their user and "
            "so no targets: %d, %d, %d",
            *moments.without_history,
        )
        self._drop_unused_col()
        train, valid, test = (self.copy(samples.select(targets)) for targets in moments.parts)
        train.ends_before = moments.cuts[0]
        return [train, valid, test]

    def leave_one_out(self, group_by: str, leave_one_mode: str) -> list[Any]:
        """Split by RecBole's rule, without its loops over rows.

        Args:
            group_by: Name of the user column.
            leave_one_mode: ``valid_and_test``, ``valid_only`` or ``test_only``.

        Returns:
            Training, validation and test data sets.

        Raises:
            DataError: If a part that the mode asks for gets no sample.
        """
        held_out = {"valid_and_test": 2, "valid_only": 1, "test_only": 1}
        if leave_one_mode not in held_out:
            raise DataError(
                f"eval_args.split.LS must be one of {', '.join(held_out)}, got {leave_one_mode!r}"
            )
        users = self.inter_feat[group_by]
        parts = list(leave_one_out(users, n_held_out=held_out[leave_one_mode]))
        if any(len(part) == 0 for part in parts):
            raise DataError(
                f"{self.dataset_path}: the split {leave_one_mode} must leave samples in every "
                f"part, got {' / '.join(str(len(part)) for part in parts)}; at least one user "
                f"needs {held_out[leave_one_mode] + 2} interactions"
            )
        nothing = torch.empty(0, dtype=torch.int64)
        if leave_one_mode == "valid_only":
            parts.append(nothing)
        elif leave_one_mode == "test_only":
            parts.insert(1, nothing)
        self._drop_unused_col()
        return [self.copy(self.inter_feat[part]) for part in parts]

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
        if self.config["train_history"] == "exclude":
            columns[FIRST_POSITION] = samples.targets - lengths
        batch = Interaction({**columns, self.item_list_length_field: lengths, **windows})
        return self.join(batch) if join else batch

    def shown_interactions(self) -> Tensor:
        """Which of all interactions this split's samples show, as history or as target.

        The training part of a split by one moment has all that came before it.

        Returns:
            Flags over the flat histories. Shape ``[N]``, bool.
        """
        samples = self.inter_feat
        histories, targets = samples.histories, samples.targets
        if self.ends_before is not None:
            return histories.columns[self.time_field] < self.ends_before
        last = torch.full((len(histories),), -1)
        last.scatter_reduce_(0, histories.starts[targets], targets, reduce="amax")
        return torch.arange(len(histories)) <= last[histories.starts]

    def target_counts(self) -> Tensor:
        """How often each item is a target of this split. Shape ``[I]``, int64."""
        targets = self.inter_feat[self.iid_field]
        return torch.bincount(targets, minlength=self.item_num)

    @property
    def timestamp_unit(self) -> str:
        """Unit of the times in histories and batches: ``s`` or ``ms`` since the epoch."""
        return self.settings.timestamp_unit

    def seen_items(self) -> SeenItems | None:
        """What users take and when for the first time, for losses that leave a history out."""
        return mark_seen(self.inter_feat.histories, self.iid_field)

    def longest_gap(self) -> int:
        """The longest time between consecutive interactions of a user in this split, in seconds.

        Between whole seconds, as the time encoding counts.

        Interactions after the split's last target of a user do not count, so the training split
        tells nothing of validation and test.
        """
        histories = self.inter_feat.histories
        times = whole_seconds(histories.columns[self.time_field], self.timestamp_unit)
        inner = self.shown_interactions() & (torch.arange(len(histories)) > histories.starts)
        gaps = torch.diff(times, prepend=times[:1])
        return int(gaps[inner].max()) if inner.any() else 0

    def first_time(self) -> int:
        """The earliest time in this split, in whole seconds since the epoch."""
        times = self.inter_feat.histories.columns[self.time_field]
        return whole_seconds(int(times[self.shown_interactions()].min()), self.timestamp_unit)

    # --- item features -------------------------------------------------------------------------

    @property
    def modality_names(self) -> tuple[str, ...]:
        """Names of the modalities, in the order of the settings."""
        return tuple(self.settings.modalities)

    @property
    def item_tokens(self) -> "np.ndarray[Any, Any]":
        """Raw item tokens by internal id; entry 0 is padding."""
        return self.field2id_token[self.iid_field]

    def fingerprints(self) -> dict[str, str]:
        """Hashes of the interactions and of the modalities: what a checkpoint must meet again."""
        digest = hashlib.sha256("\n".join(self.item_tokens).encode())
        histories = self.inter_feat.histories
        for name in (self.uid_field, self.iid_field, self.time_field):
            digest.update(histories.columns[name].numpy().data)
        features = {f"{name} features": self._aligned[name].fingerprint for name in self._aligned}
        return {"interactions": digest.hexdigest(), **features}

    def modality(self, name: str) -> AlignedFeatures:
        """Item features of one modality, read and checked when first asked for.

        Raises:
            DataError: If the source breaks the contract or lacks items.
        """
        if name not in self._aligned:
            self._aligned[name] = align_features(
                self._read_modality(name, self.settings.modalities[name]),
                self.item_tokens,
                modality=name,
                missing=self.settings.missing_features,
            )
        return self._aligned[name]

    def _read_modality(self, name: str, source: str) -> ItemFeatures:
        folder = Path(self.dataset_path)
        archive = folder / f"{self.dataset_name}.{name}.npz"
        item_file = folder / f"{self.dataset_name}.item"
        side_file = folder / f"{self.dataset_name}.{name}"
        if source == "tfidf-svd":
            # prepare/text.py writes it before a run builds its data set.
            return load_features(text_features_path(item_file, self.settings.text_fields))
        if source == "auto":
            source = self._find_source(name, archive, item_file, side_file)
        if source == "npz":
            return load_features(archive)
        path = item_file if source == "item" else side_file
        return features_from_column(path, self.iid_field, name)

    def _find_source(self, name: str, archive: Path, item_file: Path, side_file: Path) -> str:
        if archive.is_file():
            return "npz"
        if item_file.is_file():
            kinds = dict(read_header(item_file))
            if kinds.get(name) == "float_seq":
                return "item"
        if side_file.is_file():
            return "side"
        raise DataError(
            f"modality {name!r} must have {archive}, a column {name}:float_seq in {item_file}, or "
            f"the atomic file {side_file}, but none exists"
        )

    def categories(self) -> tuple["np.ndarray[Any, Any]", tuple[str, ...]]:
        """Item categories as 0/1 flags.

        Returns:
            Flags by internal item id, shape ``[I, C]``, uint8, row 0 zero; and the names of the C
            categories, sorted. C is 0 without a ``category_field``.

        Raises:
            DataError: If the ``.item`` file is missing or breaks the contract.
        """
        field = self.settings.category_field
        if field is None:
            return np.zeros((self.item_num, 0), dtype=np.uint8), ()
        path = Path(self.dataset_path) / f"{self.dataset_name}.item"
        return read_categories(path, self.iid_field, field, self.item_tokens)
