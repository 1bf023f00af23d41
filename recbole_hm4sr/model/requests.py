"""What a batch knows of its requests: the last items of each row, their times, and the moment."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from recbole_hm4sr.data.visits import visit_targets
from recbole_hm4sr.layers.batch import Requests
from recbole_hm4sr.layers.item_counts import Clock
from recbole_hm4sr.layers.softmax import TargetShares
from recbole_hm4sr.model.capabilities import View
from recbole_hm4sr.model.refresh import MemoryRefresh

Array = np.ndarray[Any, Any]
RequestTime = Literal["last", "target"]


@dataclass
class RequestReader:
    """Reads requests, from whole histories or from the windows of a batch.

    Attributes:
        clock: Of the memory: it knows the snapshots.
        reach: How many of the last items are read.
        max_length: L: n is at most that.
        request_time: Whether T is the time of the newest interaction or of the one to be predicted.
        refresh: Up to when an evaluation may look; training looks up to T. See :meth:`refreshed`.
        frozen_at: Nothing from this moment on is read with ``none``; None for no such moment.
        grain: The smallest step of the data's times: a request is rounded down to it, or what the
            same day brings would be known where a file has whole days.
        log: Items, times and where each history begins, of all interactions, each of shape ``[N]``,
            int64; None where they are not kept.
    """

    clock: Clock
    reach: int
    max_length: int
    request_time: RequestTime
    refresh: MemoryRefresh
    frozen_at: int | None
    grain: int
    log: tuple[Tensor, Tensor, Tensor] | None

    @contextlib.contextmanager
    def refreshed(self, refresh: MemoryRefresh) -> Iterator[None]:
        """A context in which an evaluation may look up to another moment."""
        before, self.refresh = self.refresh, refresh
        try:
            yield
        finally:
            self.refresh = before

    def views(self, refreshes: Sequence[MemoryRefresh]) -> tuple[View, ...]:
        """A view of a model's evaluation for each moment up to which it may look."""
        return tuple(View(name, partial(self.refreshed, name)) for name in refreshes)

    def at(self, positions: Tensor) -> Requests:
        """The requests of training rows, whose targets stand at positions of the log. ``[B]``."""
        assert self.log is not None
        items, times, starts = self.log
        starts = starts[positions]
        places = positions[:, None] - 1 - torch.arange(self.reach)
        outside = places < starts[:, None]
        places = places.clamp(min=0)
        moments = times[positions if self.request_time == "target" else positions - 1]
        return Requests(
            last_items=items[places].masked_fill(outside, 0),
            last_times=times[places].masked_fill(outside, 0),
            lengths=(positions - starts).clamp(max=self.max_length),
            moments=moments,
        )

    def of_windows(
        self, items: Tensor, times: Tensor, lengths: Tensor, own: Tensor | None
    ) -> Requests:
        """The requests of windows, a row each.

        Args:
            items: Oldest first. Shape ``[B, L]``, int64.
            times: Shape ``[B, L]``, int64.
            lengths: At least 1. Shape ``[B]``, int64.
            own: Time of each row's target or request; None where it is not known: then T is the
                time of the newest interaction. Shape ``[B]``, int64.
        """
        places = lengths[:, None] - 1 - torch.arange(self.reach)
        outside = places < 0
        places = places.clamp(min=0)
        last_times = times.gather(1, places)
        moments = last_times[:, 0]
        if self.request_time == "target" and own is not None:
            moments = own - own % self.grain
        return Requests(
            last_items=items.gather(1, places).masked_fill(outside, 0),
            last_times=last_times.masked_fill(outside, 0),
            lengths=lengths,
            moments=moments,
        )

    def known_until(self, moments: Tensor) -> Tensor:
        """T', the moment in whose place an evaluation reads the memory, for each moment T.

        Args:
            moments: Shape ``[B]``, int64.
        """
        if self.refresh == "week":
            return torch.minimum(self.clock.snapshots(moments), moments)
        if self.refresh == "none" and self.frozen_at is not None:
            return moments.clamp(max=self.frozen_at)
        return moments


@dataclass(frozen=True)
class VisitReader:
    """Reads what is left of the visit of a target.

    Attributes:
        items: Of all interactions. Shape ``[N]``, int64.
        visits: Number of the visit of each; -1 outside the training part. Shape ``[N]``, int64.
        n_items: I, padding included.
    """

    items: Array
    visits: Array
    n_items: int

    def at(self, positions: Tensor) -> TargetShares:
        """The targets of rows, whose next items stand at positions of the log. ``[B]``, int64."""
        found = visit_targets(self.items, self.visits, positions.numpy(), n_items=self.n_items)
        return TargetShares(
            torch.from_numpy(np.stack([found.rows, found.items], axis=1)),
            torch.from_numpy(found.weights),
            np.searchsorted(found.rows, np.arange(len(positions) + 1)),
        )
