"""Logs and flat histories of a few interactions."""

import numpy as np
import torch

from recbole_hm4sr.data.histories import HistorySamples, histories_of
from recbole_hm4sr.data.log import InteractionLog, order_interactions


def log_of(users, times, items=None):
    """The log of interactions given in any order; items are 0 if they do not matter."""
    users, times = (np.asarray(values, dtype=np.int64) for values in (users, times))
    items = np.zeros_like(users) if items is None else np.asarray(items, dtype=np.int64)
    return put_in_order(users, items, times)


def put_in_order(users, items, times, *, n_users=None, **how):
    """The log of three arrays in any order."""
    order = order_interactions(users, times, **how)
    arrays = (values[order] for values in (users, items, times))
    return InteractionLog.of_ordered(*arrays, n_users=n_users)


def histories_in_order(**columns):
    """Flat histories of columns in any order, among them ``user`` and ``time``."""
    columns = {name: torch.as_tensor(values) for name, values in columns.items()}
    users, times = (columns[name].numpy() for name in ("user", "time"))
    order = order_interactions(users, times)
    log = put_in_order(users, np.zeros_like(users), times)
    return histories_of(log, {name: values[order] for name, values in columns.items()})


def samples_of(histories, max_length=50, length_field="n"):
    """All samples of flat histories: every interaction that has a predecessor."""
    targets = torch.nonzero(torch.arange(len(histories)) > histories.starts).squeeze(1)
    return HistorySamples(histories, targets, length_field=length_field, max_length=max_length)
