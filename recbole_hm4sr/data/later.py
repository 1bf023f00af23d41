"""A data set as it was known at any moment: what came later is cut off.

New users and items have numbers in the order in which they come, so that what was known at a moment
is a beginning of every table.
"""

import copy
from typing import Any

import numpy as np
import torch

from recbole_hm4sr.data.columns import TokenNumbers
from recbole_hm4sr.data.histories import HistorySamples, histories_of
from recbole_hm4sr.data.log import InteractionLog

Array = np.ndarray[Any, Any]


def known_before(dataset: Any, moment: int | None, *, ends_before: int) -> Any:
    """A data set as it was before a moment: its interactions, users and items.

    Args:
        dataset: With all interactions, built.
        moment: What came then or later is not there; None for all there is.
        ends_before: The moment before which a model may learn from its interactions.

    Returns:
        A training split of the targets before ``ends_before``, which shares what need not be
        copied.
    """
    part, log = copy.copy(dataset), dataset.log
    inside = np.ones(len(log), dtype=bool) if moment is None else log.times < moment
    columns = dataset.inter_feat.histories.columns
    n_users, n_items = _cut_tokens(part, dataset, inside)
    part.log = InteractionLog.of_ordered(
        log.users[inside], log.items[inside], log.times[inside], n_users=n_users
    )
    flags, targets = torch.from_numpy(inside), part.log.targets()
    part.inter_feat = HistorySamples(
        histories_of(part.log, {name: values[flags] for name, values in columns.items()}),
        torch.from_numpy(targets[part.log.times[targets] < ends_before]),
        length_field=dataset.item_list_length_field,
        max_length=dataset.max_item_list_len,
        list_suffix=dataset.config["LIST_SUFFIX"],
    )
    part.later_rows = dataset.later_rows[inside]
    part.ends_before = ends_before
    part.kept_arrays = {}
    part.use_items(n_items)
    return part


def _cut_tokens(part: Any, dataset: Any, inside: Array) -> tuple[int, int]:
    """Leave users and items out that are in none of some interactions; returns how many are left.

    Those that a run has begun with stay.
    """
    log, left = dataset.log, []
    part.field2id_token = dict(dataset.field2id_token)
    part.field2token_id = dict(dataset.field2token_id)
    for field, values, n_known, attributes in (
        (dataset.uid_field, log.users, dataset.n_known_users, "user_feat"),
        (dataset.iid_field, log.items, dataset.n_known_items, "item_feat"),
    ):
        number = max(n_known, int(values[inside].max(initial=0)) + 1)
        if inside.all():
            number = len(dataset.field2id_token[field])
        part.field2id_token[field] = dataset.field2id_token[field][:number]
        part.field2token_id[field] = TokenNumbers(part.field2id_token[field])
        if getattr(dataset, attributes) is not None:
            setattr(part, attributes, getattr(dataset, attributes)[torch.arange(number)])
        left.append(number)
    n_users, n_items = left
    return n_users, n_items


def with_targets(dataset: Any, targets: Array) -> Any:
    """The same split with other targets.

    Args:
        dataset: Of :func:`known_before`.
        targets: Positions in its log. Shape ``[S]``, int64.
    """
    return dataset.copy(dataset.inter_feat.select(torch.from_numpy(targets)))
