"""Weights of a trained model carried over to one that knows more: row by row, by what a row is.

Numbers of users and items are append only, so the first rows of their tables are those of the known
ones. Other tables say what their rows stand for (``row_keys()``), and a model says which buffers
its training finds (``learned_buffers()``, :mod:`recbole_hm4sr.model.capabilities`). Rows of new
items may begin from those of known ones; what else has no partner stays as it was drawn.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.model.capabilities import assign_new, learned_buffers, row_keys

_log = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
# Tables may end with some rows more than there are items, as that of a masked one.
_MOST_MORE = 2


@dataclass(frozen=True)
class TableRows:
    """What the rows of a model's tables stand for.

    Attributes:
        n_users: U, padding included.
        n_items: I, padding included.
        keys: Of the other tables, by the weight's name; see :func:`row_keys`.
    """

    n_users: int
    n_items: int
    keys: Mapping[str, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module, dataset: Any) -> "TableRows":
        """Those of a model that was built on a data set."""
        return cls(dataset.user_num, dataset.item_num, row_keys(model))


@torch.no_grad()
def carry_over(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    before: TableRows,
    now: TableRows,
    *,
    begin: Callable[[Tensor], Tensor] | None = None,
) -> tuple[str, ...]:
    """Give a model the weights that it shares with an earlier one.

    Frozen features and what is made of the data are the model's own already.

    Args:
        model: Just built; its weights are replaced.
        weights: Of the earlier model, by name.
        before: Rows of the earlier model.
        now: Rows of this one.
        begin: From the rows of the known items, ``[I_before, ...]``, padding included, to those of
            the new ones; None leaves these as they were drawn.

    Returns:
        The names of those that stay as they were drawn, as a whole.

    Raises:
        ConfigError: If rows of the two differ in width.
    """
    fresh = []
    own: dict[str, Tensor] = dict(model.named_parameters())
    kept = {*now.keys, *learned_buffers(model)}
    own |= {name: tensor for name, tensor in model.named_buffers() if name in kept}
    for name, tensor in own.items():
        known = weights.get(name)
        if known is None or known.ndim != tensor.ndim:
            fresh.append(name)
            continue
        if known.shape[1:] != tensor.shape[1:]:
            raise ConfigError(
                f"a run must begin from one whose weights have the same width, but {name} has "
                f"{_shape(known)} there and {_shape(tensor)} here; set the sizes of the earlier run"
            )
        pairs = _matching_rows(name, len(known) if known.ndim else 0, tensor, before, now)
        if pairs is None:
            fresh.append(name)
        elif pairs is _ALL:
            tensor.copy_(known)
        else:
            here, there = (torch.from_numpy(rows).to(tensor.device) for rows in pairs)
            tensor.index_copy_(0, here, known.to(tensor)[there])
            if begin is not None and _is_of_new_items(name, tensor, known, before, now):
                tensor[before.n_items : now.n_items] = begin(tensor[: before.n_items])
    if now.n_items > before.n_items:
        assign_new(model, before.n_items)
    return tuple(fresh)


_ALL: Any = object()


def _is_of_new_items(
    name: str, tensor: Tensor, known: Tensor, before: TableRows, now: TableRows
) -> bool:
    """Whether a table has rows of items that the earlier one has not."""
    more = len(known) - before.n_items
    has_new = now.n_items > before.n_items and tensor.is_floating_point()
    is_of_items = name not in now.keys and 0 <= more <= _MOST_MORE
    return has_new and is_of_items and len(tensor) - now.n_items == more


def _matching_rows(
    name: str, n_known: int, tensor: Tensor, before: TableRows, now: TableRows
) -> Any:
    """Numbers of rows here and there that stand for the same; ``_ALL``, or None for no partner."""
    if name in now.keys:
        return _by_key(before.keys.get(name), now.keys[name], n_known)
    n_rows = len(tensor) if tensor.ndim else 0
    if n_known == n_rows:
        return _ALL
    for earlier, current in ((before.n_items, now.n_items), (before.n_users, now.n_users)):
        more = n_known - earlier
        if 0 <= more <= _MOST_MORE and n_rows - current == more:
            ends = np.arange(more)
            known = np.concatenate([np.arange(earlier), earlier + ends])
            return np.concatenate([np.arange(earlier), current + ends]), known
    return None


def _by_key(known: Array | None, keys: Array, n_known: int) -> Any:
    if known is None:  # a run of an older release did not say
        if keys.dtype.kind not in "iu":
            return _ALL if n_known == len(keys) else None
        known = keys[:n_known]
    if keys.dtype.kind in "iu":  # each begins in the last that begins no later
        there = np.searchsorted(known, keys, side="right") - 1
        return np.arange(len(keys)), np.maximum(there, 0)
    order = np.argsort(known, kind="stable")
    places = np.minimum(np.searchsorted(known[order], keys), len(known) - 1)
    found = known[order][places] == keys
    return (np.flatnonzero(found), order[places[found]]) if found.any() else None


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))


def log_carried(fresh: tuple[str, ...], model: nn.Module, source: Any) -> None:
    """Say what begins from an earlier run, and what does not.

    Args:
        fresh: Of :func:`carry_over`.
        model: The model.
        source: Folder of the earlier run.
    """
    n_weights = sum(1 for _ in model.parameters())
    _log.info(
        "begins from %s: %d of %d weights; the state of the optimizer starts fresh",
        source,
        n_weights - len([name for name in fresh if name in dict(model.named_parameters())]),
        n_weights,
    )
    for name in fresh:
        _log.warning("%s has no partner in %s and starts fresh", name, source)
