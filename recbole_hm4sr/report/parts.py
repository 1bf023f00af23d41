"""Components of the scores that win, one per modality; the item ids count as one.

Softmax and ranks do not change if a user's scores all rise by the same amount, and one modality may
add much to all items alike. So a component of a score is counted from that modality's mean over the
catalogue: the components of an item add up to how far its score is above the mean score.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_hm4sr.evaluate.groups import HISTORY, Array, Buckets
from recbole_hm4sr.report.buckets import COUNTS

_VALUES_AT_A_TIME = 2**24


def stream_names(model: Any) -> tuple[str, ...]:
    """Names of the modalities whose components a model can tell, else one for the whole score."""
    return tuple(model.part_names) if hasattr(model, "score_parts") else ("score",)


def score_parts(model: Any, interaction: Any, items: Tensor, scores: Tensor) -> Array:
    """The component of each modality in some items' scores, above its mean over the catalogue.

    Args:
        model: Any model; with a method ``score_parts`` if it can tell components.
        interaction: A batch on the model's device.
        items: Items of each sequence. Shape ``[B, K]``, int64.
        scores: Scores of all items, padding (item 0) at any value. Shape ``[B, I]``.

    Returns:
        Shape ``[B, K, M]``, float64; M is 1 for a model that tells no components.
    """
    if not hasattr(model, "score_parts"):
        own = scores.gather(1, items) - scores[:, 1:].mean(dim=1, keepdim=True)
        return _array(own[:, :, None])
    parts = model.score_parts(interaction, items)  # [B, K, M]
    n_sequences, n_items, n_streams = len(items), scores.shape[1], parts.shape[2]
    chunk = max(1, _VALUES_AT_A_TIME // (n_sequences * n_streams))
    everything = torch.arange(1, n_items, device=items.device)
    total = sum(
        model.score_parts(interaction, some).double().sum(dim=1) for some in everything.split(chunk)
    )
    return _array(parts - (total / (n_items - 1))[:, None])


def _array(values: Tensor) -> Array:
    return np.asarray(values.detach().cpu().numpy(), dtype=np.float64)


@dataclass(frozen=True)
class WinningParts:
    """Components of the scores of the first items of sampled users.

    Attributes:
        top: Of the items that rank first, in their order. Shape ``[U, K, M]``.
        target: Of the true items. Shape ``[U, M]``.
        history_length: Items before the target. Shape ``[U]``.
        winner_count: Interactions of the first item in training. Shape ``[U]``.
    """

    top: Array
    target: Array
    history_length: Array
    winner_count: Array

    def facts(self, streams: tuple[str, ...]) -> dict[str, Any]:
        """Means over the users, in the order of the modalities."""
        first = self.top[:, 0]  # [U, M]
        decides = np.bincount(first.argmax(axis=1), minlength=first.shape[1]) / len(first)
        return {
            "streams": list(streams),
            "users": len(first),
            "ranks": self.top.mean(axis=0).tolist(),
            "target": self.target.mean(axis=0).tolist(),
            "share": _shares(first),
            "decides": decides.tolist(),
            "groups": {
                "history": _by_group(first, self.history_length, HISTORY),
                "popularity": _by_group(first, self.winner_count, COUNTS),
            },
        }


def _shares(parts: Array) -> list[float] | None:
    """Each modality's share of the mean score above the catalogue; None if that is not above 0."""
    mean = parts.mean(axis=0)
    return (mean / mean.sum()).tolist() if mean.sum() > 0 else None


def _by_group(parts: Array, values: Array, buckets: Buckets) -> list[dict[str, Any]]:
    numbers = buckets.number(values)
    rows = []
    for number, label in enumerate(buckets.labels):
        inside = parts[numbers == number]
        if len(inside):
            rows.append({"label": label, "n": len(inside), "mean": inside.mean(axis=0).tolist()})
    return rows
