"""From when on items can be chosen: what ``candidate_items: alive`` ranks a target among."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def alive_since(dataset: Any) -> Array:
    """After which time each item can be chosen.

    One tick before ``available_from`` of the ``.item`` file, else the item's first interaction, of
    anybody and in any part; below all times where there is neither.

    Args:
        dataset: Any split of a ``MultiModalSequentialDataset``.

    Returns:
        In the data's unit. Shape ``[I]``, int64.

    Raises:
        DataError: If the file breaks the contract.
    """
    limits, log = np.iinfo(np.int64), dataset.log
    first = np.full(dataset.item_num, limits.max)
    np.minimum.at(first, log.items, log.times)
    since = np.where(first == limits.max, limits.min, first)
    available = dataset.item_files.available_from(dataset.timestamp_unit)
    return np.where(available >= 0, available - 1, since)
