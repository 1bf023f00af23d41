"""The most similar item of each item by who bought both (ItemCF-IUF), and the evenness of users."""

from typing import Any

import numpy as np

from recbole_hm4sr.data.log import InteractionLog

Array = np.ndarray[Any, Any]
_ITEMS_AT_A_TIME = 1024


def most_similar_items(users: Array, items: Array, n_items: int) -> Array:
    r"""The most similar other item of each item.

    .. math:: s_{ij} = \frac1{\sqrt{N_i N_j}} \sum_{u:\, i, j \in u} \frac1{\ln(1 + m_u)}

    with :math:`m_u` the distinct items of a user and :math:`N_i` the users of an item.

    Args:
        users: User of each interaction. Shape ``[N]``, int64.
        items: Its item. Shape ``[N]``, int64.
        n_items: I, padding included.

    Returns:
        Of equal similarities the lower number; 0 where no user bought another item. Shape ``[I]``,
        int64.
    """
    from scipy import sparse

    pairs = np.unique(np.stack([users, items], axis=1), axis=0)
    users, items = pairs[:, 0], pairs[:, 1]
    per_user = np.bincount(users)
    weights = 1 / np.log1p(per_user[users])
    damping = 1 / np.sqrt(np.bincount(items, minlength=n_items).clip(min=1))
    shape = (len(per_user), n_items)
    damped = sparse.csr_matrix((damping[items], (users, items)), shape=shape)
    weighed = sparse.csr_matrix((weights * damping[items], (users, items)), shape=shape)
    near = np.zeros(n_items, dtype=np.int64)
    columns = weighed.T.tocsr()
    for begin in range(0, n_items, _ITEMS_AT_A_TIME):
        block = (columns[begin : begin + _ITEMS_AT_A_TIME] @ damped).tocoo()
        row, other, value = block.row, block.col, np.round(block.data, 12)
        kept = other != row + begin
        row, other, value = row[kept], other[kept], value[kept]
        order = np.lexsort((other, -value, row))
        first, where = np.unique(row[order], return_index=True)
        near[begin + first] = other[order][where]
    return near


def inputs_of(log: InteractionLog, shown: Array) -> Array:
    """Which interactions are inputs of the training: all that it shows but each user's last.

    Args:
        log: All interactions.
        shown: Those of the training part. Shape ``[N]``, bool.
    """
    is_followed = np.append(shown[1:] & (log.starts[1:] == log.starts[:-1]), False)
    return shown & is_followed


def most_even_users(log: InteractionLog, shown: Array, share: float) -> Array:
    """Whether an interaction's user is among those whose gaps have the smallest variances.

    Args:
        log: All interactions.
        shown: Those of the training part, between which the gaps are. Shape ``[N]``, bool.
        share: Of the users with an interaction, in [0, 1].

    Returns:
        Shape ``[N]``, bool.
    """
    inner = shown & (np.arange(len(log)) > log.starts)
    gaps = np.diff(log.times, prepend=log.times[:1])[inner].astype(np.float64)
    users, n_users = log.users[inner], len(log.offsets) - 1
    count = np.bincount(users, minlength=n_users)
    mean = np.bincount(users, gaps, minlength=n_users) / count.clip(min=1)
    variance = np.bincount(users, (gaps - mean[users]) ** 2, minlength=n_users) / count.clip(min=1)
    known = np.unique(log.users)
    chosen = known[np.argsort(variance[known], kind="stable")[: int(share * len(known))]]
    is_even = np.zeros(n_users, dtype=bool)
    is_even[chosen] = True
    return is_even[log.users]
