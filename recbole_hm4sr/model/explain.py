"""Why an item is recommended: one rule for recommendations, the service and the report.

An item's lift is how far its score is above that of the median item of the catalogue. Of the items
of the history the reason is the one with the larger of

- what it adds to the score by itself: through the memory, or in a closed form (``memory``);
- what the dense score loses when it is left out of the history (``history``).

Where neither is above a tenth of the lift, the reason is the modality that lifts the item most, or
recent popularity, if one of them does; else the history as a whole. An item that is not above the
median has no reason. A share is the reason's part of the lift. It may be above 1, since other parts
may lower the score.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_hm4sr.model.capabilities import history_parts
from recbole_hm4sr.model.left_out import history_items, losses_without
from recbole_hm4sr.model.reason_words import HISTORY, MEMORY, NONE, POPULARITY, WHOLE_HISTORY

Array = np.ndarray[Any, Any]

LEAST_SHARE = 0.1
_ROWS_AT_A_TIME = 128


class MedianItems(NamedTuple):
    """The item in the middle of the catalogue by score, for each row.

    Attributes:
        items: Shape ``[B]``, int64.
        scores: Shape ``[B]``.
    """

    items: Tensor
    scores: Tensor


class Reasons(NamedTuple):
    """Why items are recommended.

    Attributes:
        kinds: :data:`MEMORY`, :data:`HISTORY`, :data:`WHOLE_HISTORY`, :data:`POPULARITY`, the name
            of a modality, or :data:`NONE`. Shape ``[B, C]``, object.
        items: The item of the history; 0 where the reason is none. Shape ``[B, C]``, int64.
        shares: The reason's part of the lift; NaN for none and for the whole history. Shape
            ``[B, C]``, float32.
    """

    kinds: Array
    items: Array
    shares: Array


def median_items(scores: Tensor) -> MedianItems:
    """The median item of each row; of an even number the lower one.

    Args:
        scores: Of all items, padding at any value. Shape ``[B, I]``.
    """
    values, columns = scores[:, 1:].median(dim=1)
    return MedianItems(columns + 1, values)


@torch.no_grad()
def find_reasons(
    model: Any,
    interaction: Interaction,
    items: Tensor,
    scores: Tensor,
    median: MedianItems,
    *,
    n_rows: int = _ROWS_AT_A_TIME,
) -> Reasons:
    """Name the reason for each of some items.

    Args:
        model: Any model that recommends, in evaluation mode.
        interaction: A batch on the model's device.
        items: Shape ``[B, C]``, int64.
        scores: Of these items; one that is infinite has no reason. Shape ``[B, C]``.
        median: Of the same rows.
        n_rows: Histories that are scored at once; each is scored again without each of its items.
    """
    lifts = scores - median.scores[:, None]
    compared = torch.cat([items, median.items[:, None]], dim=1)
    lengths = interaction[model.ITEM_SEQ_LEN]
    of_history = history_items(interaction[model.ITEM_SEQ], lengths)
    found = _Found(items, lifts)
    added = history_parts(model, interaction, items)
    if added is not None:
        found.offer(MEMORY, *of_history.best(of_history.sum_steps(added, lengths)))
    lost = losses_without(model, interaction, compared, of_history, n_rows=n_rows)
    if lost is not None:
        found.offer(HISTORY, *of_history.best(lost[:, :-1]))
    found.require(LEAST_SHARE)
    _offer_parts(found, model, interaction, compared)
    depends = lost is not None or (added is not None and added.shape[2] > 0)
    return found.reasons(otherwise=WHOLE_HISTORY if depends else POPULARITY)


def _offer_parts(found: "_Found", model: Any, interaction: Interaction, compared: Tensor) -> None:
    """The parts of the score that are no item of the history, where no item is the reason."""
    if not hasattr(model, "score_parts"):
        return
    names = [*getattr(model, "modalities", ()), POPULARITY]
    numbers = {name: number for number, name in enumerate(model.part_names) if name in names}
    parts = model.score_parts(interaction, compared)
    lifts = parts[:, :-1] - parts[:, -1:]
    open_yet = ~found.is_settled
    for name, number in numbers.items():
        found.offer(name, lifts[..., number].masked_fill(~open_yet, -torch.inf), None)


class _Found:
    """The best reason so far of each item.

    Args:
        items: Shape ``[B, C]``, int64.
        lifts: Shape ``[B, C]``.
    """

    def __init__(self, items: Tensor, lifts: Tensor) -> None:
        self._lifts = lifts
        self._best = torch.zeros_like(lifts)  # what does not lift is no reason
        self._items = torch.zeros_like(items)
        self._kinds = torch.zeros_like(items)
        self._names = [NONE]

    @property
    def is_settled(self) -> Tensor:
        """Which items have a reason. Shape ``[B, C]``, bool."""
        return self._kinds > 0

    def offer(self, kind: str, values: Tensor, items: Tensor | None) -> None:
        """Take reasons that are better than those before.

        Args:
            kind: Of the reasons.
            values: What they add to the scores. Shape ``[B, C]``.
            items: Of the histories; None for a reason that is none. Shape ``[B, C]``, int64.
        """
        better = values > self._best
        self._best = torch.where(better, values, self._best)
        self._items = torch.where(better, 0 if items is None else items, self._items)
        self._kinds = torch.where(better, len(self._names), self._kinds)
        self._names.append(kind)

    def require(self, least: float) -> None:
        """Forget the reasons whose share is not above ``least``."""
        weak = self._best <= least * self._lifts
        for values in (self._best, self._items, self._kinds):
            values[weak] = 0

    def reasons(self, *, otherwise: str) -> Reasons:
        """The reasons; those of lifted items without one are of the kind ``otherwise``."""
        lifted = (self._lifts > 0) & self._lifts.isfinite()
        kinds = np.array([*self._names, otherwise], dtype=object)
        numbers = torch.where(self.is_settled, self._kinds, len(self._names))
        numbers = torch.where(lifted, numbers, 0)
        shares = (self._best / self._lifts).masked_fill(~lifted | ~self.is_settled, torch.nan)
        return Reasons(
            kinds=kinds[numbers.cpu().numpy()],
            items=self._items.masked_fill(~lifted, 0).cpu().numpy(),
            shares=shares.float().cpu().numpy(),
        )
