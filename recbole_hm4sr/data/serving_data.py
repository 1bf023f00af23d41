"""What a trained model must know of its data set to serve users it never saw.

A run keeps it in one file, so that it can be served where the interactions are not.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.config.settings import DataSettings, read_settings
from recbole_hm4sr.data.attributes import ItemAttribute
from recbole_hm4sr.data.features import AlignedFeatures
from recbole_hm4sr.data.interaction_columns import InteractionColumns, read_interaction_columns
from recbole_hm4sr.data.item_table import ItemTable
from recbole_hm4sr.data.memory_files import PREFIX, MemoryClock
from recbole_hm4sr.data.refresh_state import NewRows

if TYPE_CHECKING:  # torch takes seconds, and a refresh needs none
    import torch

logger = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
# Under this name a model keeps the items in the order in which equal scores rank.
ORDER = "order"
# And under this one the dense rows of the items.
ROWS = "catalogue"
# What a model keeps under these names has a row an item; of an item that comes later it is zeros
# until the model says what it has.
OF_ITEMS = (ROWS, "content", "has_features", "interests")


@dataclass(frozen=True)
class ServingData:
    """The part of a data set that a served model reads.

    Attributes:
        item_tokens: Raw token of each internal item id; entry 0 is padding. Items that were added
            or came with a refresh stand behind those of the training. Shape ``[I']``, unicode.
        counts: How often each item of the training occurs in its part. Shape ``[I]``, int64.
        n_users: Users of the training, padding included.
        first_time: Earliest time of the training part, in whole seconds since the epoch.
        longest_gap: Longest gap of the training part, in whole seconds.
        arrays: What the model itself keeps, by name.
        table: Columns of the items; None for a run that was trained before they were kept.
        source: How the tables were written that the data set was prepared from; None if that is
            not known.
    """

    item_tokens: Array
    counts: Array
    n_users: int
    first_time: int
    longest_gap: int
    arrays: Mapping[str, Array]
    table: ItemTable | None = None
    source: InteractionColumns | None = None

    @property
    def clock(self) -> MemoryClock | None:
        """The moments of the memory; None without one."""
        values = self.arrays.get(f"{PREFIX}clock")
        return None if values is None else MemoryClock.of_array(values)

    @property
    def popularity(self) -> Array:
        """How often each item occurs in what the memory knows, or else in the training part.

        Shape ``[I']``, int64.
        """
        starts = self.arrays.get(f"{PREFIX}starts")
        counts = self.counts if starts is None else np.diff(starts)
        return np.pad(counts, (0, len(self.item_tokens) - len(counts)))


def count_items(dataset: Any) -> Array:
    """How often each item occurs in a split. Shape ``[I]``, int64."""
    shown = dataset.log.items[dataset.shown_interactions().numpy()]
    return np.bincount(shown, minlength=dataset.item_num)


def by_popularity(counts: Array) -> Array:
    """The items in the order in which equal scores rank: frequent first, then by number.

    Args:
        counts: Interactions with each item. Shape ``[I]``, int64.

    Returns:
        Each item once, padding included. Shape ``[I]``, int64.
    """
    return np.argsort(-counts, kind="stable")


def remembered(dataset: Any) -> NewRows:
    """The interactions that a memory knows, by user and time.

    Under one moment for all users all of them, of which a row reads those that were known at its
    request; else those of the training part.

    Args:
        dataset: Training split of a ``MultiModalSequentialDataset``.
    """
    log = dataset.log
    rows = NewRows(log.users, log.items, log.times)
    return (
        rows
        if dataset.ends_before is not None
        else rows.where(dataset.shown_interactions().numpy())
    )


def describe_dataset(dataset: Any, arrays: Mapping[str, Array]) -> ServingData:
    """The part of a training split that a served model reads.

    Args:
        dataset: Training split of a ``MultiModalSequentialDataset``.
        arrays: What the model itself keeps.
    """
    return ServingData(
        item_tokens=np.asarray(dataset.item_tokens, dtype=np.str_),
        counts=count_items(dataset),
        n_users=dataset.user_num,
        first_time=dataset.first_time(),
        longest_gap=dataset.longest_gap(),
        arrays=dict(arrays),
        table=_read_table(dataset),
        source=read_interaction_columns(Path(dataset.dataset_path)),
    )


def _read_table(dataset: Any) -> ItemTable:
    """Its columns; none of a file that is broken, since a run may not need them."""
    try:
        table: ItemTable = dataset.item_table()
    except DataError as error:
        logger.warning("no columns of the items are kept for serving: %s", error)
        return ItemTable()
    return table


class NeedsDatasetError(AttributeError):
    """A model asks for a part of the data set that is not kept for serving."""


class ServingDataset:
    """Stands where a model's constructor reads its data set.

    Args:
        data: What was kept.
        config: The run's settings.

    Raises:
        NeedsDatasetError: On reading anything else.
    """

    def __init__(self, data: ServingData, config: Any) -> None:
        self.data = data
        settings = read_settings(config, DataSettings)
        self.modality_names = tuple(settings.modalities)
        self.settings = settings
        self.timestamp_unit: str = settings.timestamp_unit
        # The checkpoint has the rows of these.
        self.item_num = len(data.counts)
        self.item_tokens = data.item_tokens[: self.item_num]
        self.user_num = data.n_users
        item_field = config["ITEM_ID_FIELD"]
        self._counts = {item_field: self.item_num, config["USER_ID_FIELD"]: self.user_num}
        self.field2seqlen = {item_field + config["LIST_SUFFIX"]: config["MAX_ITEM_LIST_LENGTH"]}

    def __getattr__(self, name: str) -> Any:
        raise NeedsDatasetError(f"{name} of the data set is not kept for serving")

    def num(self, field: str) -> int:
        """How many values a column of ids has, padding included."""
        if field not in self._counts:
            raise NeedsDatasetError(f"the column {field} is not kept for serving")
        return self._counts[field]

    def seen_items(self) -> None:
        """Nothing: only training reads it."""

    def same_targets(self) -> None:
        """Nothing: only training reads it."""

    def longest_gap(self) -> int:
        """The longest gap of the training part, in seconds."""
        return self.data.longest_gap

    def first_time(self) -> int:
        """The earliest time of the training part, in seconds since the epoch."""
        return self.data.first_time

    def array(self, name: str) -> Array:
        """What the model has kept under a name."""
        if name not in self.data.arrays:
            raise NeedsDatasetError(f"the array {name} is not kept for serving")
        return self.data.arrays[name]

    def arrays_under(self, prefix: str) -> dict[str, Array]:
        """All that the model has kept under names that begin alike, without that beginning.

        Raises:
            NeedsDatasetError: If there is none.
        """
        names = [name for name in self.data.arrays if name.startswith(prefix)]
        if not names:
            raise NeedsDatasetError(f"no array {prefix}* is kept for serving")
        return {name.removeprefix(prefix): self.data.arrays[name] for name in names}

    def trained_items(self) -> Array:
        """Which items occur in the training part. Shape ``[I]``, bool."""
        return self.data.counts > 0

    def modality(self, name: str) -> AlignedFeatures:
        """No features, of the right width: what is made of them is kept instead."""
        n_layers = int(self.data.arrays.get(f"{name}.n_layers", 1))
        width = n_layers * int(self.array(f"{name}.width"))
        stored = np.zeros((1, width), dtype=np.float32)
        return AlignedFeatures(stored, np.full(self.item_num, -1), "", "", n_layers)

    def interaction_counts(self) -> "torch.Tensor":
        """How often each item occurs in the training part. Shape ``[I]``, int64."""
        return self.target_counts()

    def target_counts(self) -> "torch.Tensor":
        """How often each item occurs in the training part. Shape ``[I]``, int64."""
        import torch

        return torch.from_numpy(self.data.counts)

    def categories(self) -> tuple[Array, tuple[str, ...]]:
        """As many categories as the data set has, without names and flags."""
        import torch

        n_categories = int(self.array("n_categories"))
        # NumPy's own broadcasting gives what torch warns of: it cannot be written.
        flags = torch.zeros(1, dtype=torch.uint8).expand(self.item_num, n_categories)
        return flags.numpy(), tuple(map(str, range(n_categories)))

    def attribute(self, column: str) -> ItemAttribute:
        """As many values as the data set has; which item has which is kept in another form."""
        n_values = int(self.array(f"{column}.n_values"))
        nothing = np.zeros((self.item_num, 1), dtype=np.int64)
        return ItemAttribute(nothing, ("",) * (n_values - 1), is_single=True)
