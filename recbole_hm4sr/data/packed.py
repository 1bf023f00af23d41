"""Batches that a loader arranges for a model, while they are on the CPU."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from recbole.data.interaction import Interaction

from recbole_hm4sr.layers.transfer import send


class PackedInteraction(Interaction):  # type: ignore[misc, unused-ignore]
    """A batch of RecBole with a model's arrangement of it; both go to a device in one transfer.

    Changing a column by name, or the order of the rows, drops the arrangement. Rows and copies are
    plain batches.

    Args:
        columns: Tensors by name.
        arranged: What :func:`~recbole_hm4sr.layers.transfer.send` can copy.
    """

    arranged: Any

    def __init__(self, columns: dict[str, torch.Tensor], arranged: Any) -> None:
        super().__init__(columns)
        self.arranged = arranged

    def to(self, device: Any, selected_field: str | Iterable[str] | None = None) -> Interaction:
        """The batch on a device; a plain one if only some columns are to go there."""
        if selected_field is not None:
            return super().to(device, selected_field)
        return PackedInteraction(*send((self.interaction, self.arranged), device))

    def __setitem__(self, key: str, value: torch.Tensor) -> None:
        self.arranged = None
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self.arranged = None
        super().__delitem__(key)

    def update(self, new_inter: Interaction) -> None:
        """Take over the columns of another batch."""
        self.arranged = None
        super().update(new_inter)

    def _reindex(self, index: Any) -> None:
        self.arranged = None
        super()._reindex(index)


class ArrangingCollate:
    """Makes a batch from the numbers of its samples, and arranges it.

    Args:
        collate: Of a loader of RecBole: returns a batch, or a tuple that begins with one.
        arrange: Makes a model's arrangement of a batch.
    """

    def __init__(
        self, collate: Callable[[Any], Any], arrange: Callable[[Interaction], Any]
    ) -> None:
        self._collate = collate
        self._arrange = arrange

    def __call__(self, index: Any) -> Any:
        """The batch, or the tuple that begins with it."""
        made = self._collate(index)
        if isinstance(made, tuple):
            return (self._packed(made[0]), *made[1:])
        return self._packed(made)

    def _packed(self, batch: Interaction) -> PackedInteraction:
        return PackedInteraction(batch.interaction, self._arrange(batch))


def send_batch(batch: Interaction, device: torch.device) -> Interaction:
    """A batch on a device, its columns in one transfer for each dtype."""
    if isinstance(batch, PackedInteraction):
        return batch.to(device)
    return Interaction(send(batch.interaction, device))
