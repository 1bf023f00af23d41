"""What the lists that a model shows are like beyond accuracy.

| metric | of the first k items of all lists |
|---|---|
| coverage | share of the items that are in a list (RecBole's ``ItemCoverage``) |
| gini | how unequally items are shown, 0 for alike (RecBole's ``GiniIndex``) |
| novelty | mean of -log2 of an item's share of the training interactions, with one more of each |
| diversity | mean of 1 - cosine of the features of two items of a list, modalities weighed alike |

Of n items the padding is none, unlike in RecBole's own count.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from recbole.evaluator.metrics import GiniIndex, ItemCoverage
from torch import Tensor

from recbole_hm4sr.data.packed import send_batch
from recbole_hm4sr.data.seen import mark_seen
from recbole_hm4sr.layers.seen import pairs_of_rows
from recbole_hm4sr.layers.transfer import send

Array = np.ndarray[Any, Any]
NAMES = ("coverage", "gini", "novelty", "diversity")


@torch.no_grad()
def top_lists(model: Any, config: Any, loader: Any, k: int, *, removes_seen: bool) -> Array:
    """The best items for each sample of a split.

    Args:
        model: Whose batches are arranged for the loader.
        config: RecBole ``Config``.
        loader: Full-sort loader of the split.
        k: Length of a list.
        removes_seen: Whether what a user has taken before is in no list.

    Returns:
        Best first; 0 where there is no item left. Shape ``[S, k]``, int64.
    """
    model.eval()
    split, device, done, lists = loader._dataset, config["device"], 0, []
    k = min(k, split.item_num - 1)
    samples = split.inter_feat
    seen = mark_seen(samples.histories, split.iid_field) if removes_seen else None
    for batch in loader:
        n_rows = len(batch[0])
        pairs = torch.zeros(0, 2, dtype=torch.int64)
        if seen is not None:
            pairs = torch.stack(seen.before(samples.targets[done : done + n_rows]), dim=1)
        done += n_rows
        lists.append(_best(model, send_batch(batch[0], device), pairs, n_rows, k, device))
    found: Array = torch.cat(lists).cpu().numpy()
    return found


def _best(model: Any, asked: Any, pairs: Tensor, n_rows: int, k: int, device: Any) -> Tensor:
    if hasattr(model, "top_items"):
        scores, items = model.top_items(asked, k, send(pairs_of_rows(pairs, n_rows), device))
    else:
        every = model.full_sort_predict(asked).view(n_rows, -1).clone()
        every[:, 0] = -torch.inf
        every[pairs[:, 0], pairs[:, 1]] = -torch.inf
        scores, items = every.topk(k)
    none: Tensor = items.masked_fill(scores == -torch.inf, 0)
    return none


def list_metrics(
    lists: Array, cuts: Sequence[int], *, counts: Array, directions: Array | None, config: Any
) -> dict[str, float]:
    """Metrics of lists by name, as ``coverage@10``; without features no diversity.

    Args:
        lists: Of :func:`top_lists`.
        cuts: How many of their first items count.
        counts: Training interactions of each item, padding first. Shape ``[I]``.
        directions: Of :func:`feature_directions`.
        config: RecBole ``Config``.
    """
    found: dict[str, float] = {}
    n_items = len(counts) - 1
    surprise = np.log2((counts.sum() + n_items) / (counts + 1.0))
    for k in cuts:
        shown = lists[:, :k]
        listed = shown[shown > 0]
        values = [
            ItemCoverage(config).get_coverage(listed[None], n_items),
            GiniIndex(config).get_gini(listed[None], n_items),
            surprise[listed].mean(),
        ]
        if directions is not None:
            values.append(_diversity(shown, directions))
        found |= {f"{name}@{k}": float(it) for name, it in zip(NAMES, values, strict=False)}
    return found


def measure_lists(
    model: Any, config: Any, train: Any, loader: Any, cuts: Sequence[int], *, removes_seen: bool
) -> dict[str, float]:
    """Metrics of the lists that a model shows for a split.

    Args:
        model: Whose batches are arranged for the loader.
        config: RecBole ``Config``.
        train: Training split, whose interactions say what is popular.
        loader: Full-sort loader of the split.
        cuts: Lengths of lists.
        removes_seen: Whether what a user has taken before is in no list.
    """
    lists = top_lists(model, config, loader, max(cuts), removes_seen=removes_seen)
    return list_metrics(
        lists,
        cuts,
        counts=train.interaction_counts().numpy(),
        directions=feature_directions(train),
        config=config,
    )


def feature_directions(dataset: Any) -> Array | None:
    """Features of all items, such that inner products are means of cosines over the modalities.

    A modality that an item lacks counts as unlike all others.

    Args:
        dataset: Any split of a ``MultiModalSequentialDataset``.

    Returns:
        Shape ``[I, F]``, float32; None without a modality.
    """
    names = dataset.modality_names
    if not names:
        return None
    parts = []
    for name in names:
        values = dataset.modality(name).values
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        parts.append(values / np.where(lengths > 0, lengths, 1) / np.sqrt(len(names)))
    return np.concatenate(parts, axis=1)


def _diversity(shown: Array, directions: Array) -> float:
    """The mean over all pairs of all lists; 1 for lists of one item."""
    total, n_pairs = 0.0, 0
    for a, b in itertools.combinations(range(shown.shape[1]), 2):
        both = (shown[:, a] > 0) & (shown[:, b] > 0)
        first, second = directions[shown[both, a]], directions[shown[both, b]]
        total += float((1 - np.einsum("nf,nf->n", first, second)).sum(dtype=np.float64))
        n_pairs += int(both.sum())
    return total / n_pairs if n_pairs else 1.0
