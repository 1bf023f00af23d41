"""Ranks of the targets, with and without the user's own history among the candidates.

RecBole scores the whole catalogue, writes a matrix of zeros as large, and sorts out the best 50.
With one target a user its rank says the same: it is the number of better items plus one, one
comparison over the scores. Metrics are still computed by RecBole's evaluator, from the ranks.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_hm4sr.data.histories import HistorySamples
from recbole_hm4sr.data.seen import mark_seen
from recbole_hm4sr.data.times import exact_seconds, whole_seconds
from recbole_hm4sr.layers.ranking import Alive, count_better, is_better, require_numbers
from recbole_hm4sr.layers.seen import pairs_of_rows
from recbole_hm4sr.layers.softmax import HiddenPairs
from recbole_hm4sr.layers.transfer import send


@dataclass(frozen=True)
class Ranks:
    """The rank of each sample's target, from 1, in the order of the samples.

    Attributes:
        include: Among all items, as RecBole and the paper rank. Shape ``[S]``, int64.
        exclude: Among the items that the user has not seen, and the target. Shape ``[S]``, int64.
    """

    include: Tensor
    exclude: Tensor

    def under(self, rank_history: str) -> Tensor:
        """The ranks of one protocol: ``include`` or ``exclude``."""
        return {"include": self.include, "exclude": self.exclude}[rank_history]


def rank_samples(
    score: Callable[[Any], tuple[Any, Tensor, Tensor, Tensor]],
    batches: Iterable[Any],
    samples: HistorySamples,
    *,
    item_field: str,
    time_field: str = "",
    since: Tensor | None = None,
    rank: Callable[[Any, HiddenPairs, Alive | None], tuple[Tensor, Tensor]] | None = None,
) -> Ranks:
    """Rank the target of every sample of a split.

    Args:
        score: Takes a batch of RecBole's full-sort loader; returns the interaction, scores
            ``[B, I]`` with the padding item at minus infinity, and rows and items of the targets.
        batches: The loader, in the order of the samples.
        samples: The split.
        item_field: Name of the item column.
        time_field: Name of the time column; read with ``since`` alone.
        since: Items are candidates of the samples whose target came later than this, in the unit of
            the times; None where all always are. Shape ``[I]``, int64.
        rank: How a model ranks by itself, without all scores at once: takes a batch, the pairs of a
            row and an item seen before, and which items are candidates; returns ranks among these
            and among those but the seen, ``[B]``, or ``[W, B]`` of several ways to rank. None to
            rank by ``score``.

    Returns:
        Ranks on the CPU.

    Raises:
        TrainingError: If a score is NaN or a target's score is infinite.
    """
    seen = mark_seen(samples.histories, item_field)
    include: list[Tensor] = []
    exclude: list[Tensor] = []
    done = 0
    for batch in batches:
        if rank is None:
            _, scores, _, targets = score(batch)
            n_rows = len(scores)
        else:
            n_rows = len(batch[0])
        asked = samples.targets[done : done + n_rows]
        pairs = torch.stack(seen.before(asked), dim=1)
        alive = None
        if since is not None:
            alive = Alive(since, samples.histories.columns[time_field][asked])
        done += n_rows
        if rank is None:
            ranks = _rank_scores(scores, targets, pairs, alive)
        else:
            ranks = rank(batch, pairs_of_rows(pairs, n_rows), alive)
        include.append(ranks[0].cpu())
        exclude.append(ranks[1].cpu())
    return Ranks(torch.cat(include, dim=-1), torch.cat(exclude, dim=-1))


def _rank_scores(
    scores: Tensor, targets: Tensor, seen: Tensor, alive: Alive | None
) -> tuple[Tensor, Tensor]:
    """Ranks among the candidates and among those but the seen, of pairs of a row and an item."""
    targets, seen, alive = send((targets, seen, alive), scores.device)
    own = scores.gather(1, targets[:, None])  # [B, 1]
    require_numbers(scores, own)
    if alive is not None:
        alive.hide_others(scores, torch.arange(scores.shape[1], device=scores.device))
    ranks = 1 + count_better(scores, own, targets)
    rows, items = seen.unbind(dim=1)
    better = is_better(scores[rows, items], own[rows, 0], items, targets[rows])
    return ranks, ranks - torch.bincount(rows[better], minlength=len(ranks))


def top_hits(ranks: Tensor, cut: int) -> Tensor:
    """The matrix RecBole's metrics read: a 1 where the target ranks among the first ``cut``.

    Returns:
        Hits in the first ``cut`` columns, the number of targets (1) in the last. Shape
        ``[S, cut + 1]``, int32.
    """
    hits = ranks[:, None] == torch.arange(1, cut + 1)
    return torch.cat([hits, torch.ones(len(ranks), 1, dtype=torch.bool)], dim=1).int()


def describe_samples(dataset: Any, train: Any) -> dict[str, "np.ndarray[Any, Any]"]:
    """What tables group test users by.

    Args:
        dataset: Split that was ranked.
        train: Training split.

    Returns:
        By sample: ``user`` and ``target`` (raw tokens), ``history_length``, ``gap_seconds`` (from
        the last history item to the target; float64 where times are milliseconds),
        ``target_count`` (times the target occurs in the training part) and ``popularity``: ``head``
        for the 20 % of the items most frequent there, ``tail`` for the least frequent half, else
        ``middle``; ``training_length``: interactions of the user in the training part;
        ``target_time``: in whole seconds since the epoch; and with ``catalogue: all``
        ``interactions_before``: those with the target before its own time.
    """
    samples = dataset.inter_feat
    histories, targets = samples.histories, samples.targets
    items = histories.columns[dataset.iid_field]
    times = histories.columns[dataset.time_field]
    gaps = times[targets] - times[targets - 1]
    seen = train.shown_interactions()
    counts = torch.bincount(items[seen], minlength=dataset.item_num)
    # Frequent first; equal counts in the order of item ids.
    position = torch.empty(dataset.item_num - 1, dtype=torch.int64)
    position[torch.argsort(-counts[1:], stable=True)] = torch.arange(dataset.item_num - 1)
    share = (position[items[targets] - 1].double() + 0.5) / (dataset.item_num - 1)
    groups = np.where(share < 0.2, "head", np.where(share < 0.5, "middle", "tail"))
    users = histories.columns[dataset.uid_field][targets].numpy()
    in_training = torch.bincount(histories.starts[seen], minlength=len(histories))
    facts = {
        "user": np.asarray(dataset.id2token(dataset.uid_field, users), dtype=np.str_),
        "target": np.asarray(dataset.item_tokens[items[targets].numpy()], dtype=np.str_),
        "history_length": (targets - histories.starts[targets]).numpy(),
        "gap_seconds": exact_seconds(gaps.numpy(), dataset.timestamp_unit),
        "target_count": counts[items[targets]].numpy(),
        "popularity": groups,
        "training_length": in_training[histories.starts[targets]].numpy(),
        "target_time": whole_seconds(times[targets].numpy(), dataset.timestamp_unit),
    }
    if dataset.settings.catalogue == "all":
        facts["interactions_before"] = _interactions_before(dataset.log, targets.numpy())
    return facts


def _interactions_before(log: Any, targets: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Interactions of anybody with the items of some interactions, before the time of each."""
    _, moment = np.unique(log.times, return_inverse=True)
    keys = log.items * len(log) + moment  # sorts as (item, time)
    ordered, first = np.sort(keys), log.items[targets] * len(log)
    return np.searchsorted(ordered, keys[targets]) - np.searchsorted(ordered, first)
