"""Single test users: history, items that rank first, and the true next item."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_hm4sr.data.seen import SeenItems
from recbole_hm4sr.data.times import exact_seconds, whole_seconds
from recbole_hm4sr.evaluate.groups import Array
from recbole_hm4sr.model.explain import Reasons

N_TOP = 10
_N_HISTORY = 12  # most recent items that are shown


def without_history(scores: Tensor, seen: SeenItems, targets: Tensor) -> Tensor:
    """Scores with the items a user has seen at minus infinity, but for the target itself.

    Args:
        scores: Scores of all items. Shape ``[B, I]``.
        seen: Items of the histories, from :func:`recbole_hm4sr.data.seen.mark_seen`.
        targets: Positions of the targets in the flat histories. Shape ``[B]``, int64.

    Returns:
        A changed copy. Shape ``[B, I]``.
    """
    rows, items = seen.before(targets)
    scores = scores.clone()
    scores[rows.to(scores.device), items.to(scores.device)] = -torch.inf
    return scores


def top_items(scores: Tensor) -> Tensor:
    """The items that rank first: by score, equal scores by item id, as the ranks are counted.

    Args:
        scores: Scores of all items, padding at minus infinity. Shape ``[B, I]``.

    Returns:
        Items, shape ``[B, K]``, int64; K is 10, or the number of items if there are fewer.
    """
    number = min(N_TOP, scores.shape[1] - 1)
    # topk leaves open which of equal scores it takes, and their order.
    values, items = scores.topk(number, dim=1)
    items = items.sort(dim=1).values
    order = scores.gather(1, items).sort(dim=1, descending=True, stable=True).indices
    items = items.gather(1, order)
    tied = ((scores >= values[:, -1:]).sum(dim=1) > number).nonzero().squeeze(1)
    if len(tied):
        whole = scores[tied].sort(dim=1, descending=True, stable=True).indices
        items[tied] = whole[:, :number]
    return items


def rank_of(scores: Tensor, item: int) -> int:
    """Rank of an item from 1, equal scores in the order of item ids. Scores of shape ``[I]``."""
    better = int((scores > scores[item]).sum())
    return 1 + better + int((scores[:item] == scores[item]).sum())


def case_facts(
    dataset: Any,
    target: int,
    *,
    top: Array,
    top_parts: Array,
    own_parts: Array,
    ranks: tuple[int, int],
    reasons: Reasons,
) -> dict[str, Any]:
    """One user's history, first items and true item.

    Args:
        dataset: The split.
        target: Position of the target in the flat histories.
        top: Items that rank first. Shape ``[K]``.
        top_parts: Components of their scores. Shape ``[K, M]``.
        own_parts: Components of the target's score. Shape ``[M]``.
        ranks: The target's rank with seen items kept and removed.
        reasons: Why each item ranks first. Each of shape ``[K]``.
    """
    histories = dataset.inter_feat.histories
    items = histories.columns[dataset.iid_field].numpy()
    start, own = int(histories.starts[target]), int(items[target])
    seen = set(items[start:target].tolist())
    user = int(histories.columns[dataset.uid_field][target])
    shown = range(max(start, target - _N_HISTORY), target)
    ranked = zip(top.tolist(), top_parts, zip(*reasons, strict=True), strict=True)
    return {
        "user": str(dataset.id2token(dataset.uid_field, user)),
        "length": target - start,
        "history": [_event(dataset, position, start) for position in shown],
        "top": [
            {
                "item": str(dataset.item_tokens[item]),
                "parts": parts.tolist(),
                "taken": item in seen,
                "true": item == own,
                "reason": _reason(dataset, *reason),
            }
            for item, parts, reason in ranked
        ],
        "target": {
            **_event(dataset, target, start),
            "parts": own_parts.tolist(),
            "taken": own in seen,
            "rank_include": ranks[0],
            "rank_exclude": ranks[1],
        },
    }


def _reason(dataset: Any, kind: str, item: int, share: float) -> dict[str, Any] | None:
    """One reason as plain values; None where there is none."""
    if not kind:
        return None
    return {
        "kind": kind,
        "item": str(dataset.item_tokens[item]) if item else None,
        "share": None if np.isnan(share) else float(share),
    }


def _event(dataset: Any, position: int, start: int) -> dict[str, Any]:
    """Item and time at a position of the flat histories."""
    columns = dataset.inter_feat.histories.columns
    times, unit = columns[dataset.time_field], dataset.timestamp_unit
    return {
        "item": str(dataset.item_tokens[int(columns[dataset.iid_field][position])]),
        "time": whole_seconds(int(times[position]), unit),
        "gap": exact_seconds(int(times[position] - times[position - 1]), unit)
        if position > start
        else None,
    }


def case_tokens(cases: list[dict[str, Any]]) -> set[str]:
    """All items that the cases show."""
    return {
        entry["item"]
        for case in cases
        for shown in (*case["history"], *case["top"], case["target"])
        for entry in (shown, shown.get("reason"))
        if entry and entry["item"]
    }


def draw(n_samples: int, n_drawn: int, seed: int) -> list[int]:
    """Numbers of samples drawn without repeats by a seed, ascending."""
    generator = np.random.default_rng(seed)
    return sorted(generator.choice(n_samples, min(n_drawn, n_samples), replace=False).tolist())
