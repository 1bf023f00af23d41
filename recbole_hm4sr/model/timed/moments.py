"""Models whose scores depend on the moment of a request: with or without a memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.serving_data import ServingDataset
from recbole_hm4sr.data.times import grain_of, whole_seconds
from recbole_hm4sr.model.packed import PackedRecommender
from recbole_hm4sr.model.requests import RequestTime

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Moments:
    """Tells the moment of each request.

    Attributes:
        request_time: Whether it is the time of the newest interaction or of the one to be
            predicted.
        grain: The smallest step of the data's times, in their unit: a request is rounded down to
            it.
        unit: Of the data's times: ``s`` or ``ms``.
        time: Name of the column of each row's own time.
        log_times: Times of all interactions, in that unit; None where they are not kept. Shape
            ``[N]``, int64.
    """

    request_time: RequestTime
    grain: int
    unit: str
    time: str
    log_times: Tensor | None

    def of_rows(self, newest: Tensor, interaction: Interaction) -> Tensor:
        """The moments of rows that are scored, or trained one target each, in seconds.

        Args:
            newest: Time of the newest interaction of each, in seconds. Shape ``[B]``, int64.
            interaction: The batch, with each row's own time where it is known.
        """
        if self.request_time == "last" or self.time not in interaction:
            return newest
        own = interaction[self.time].cpu()
        return whole_seconds(own - own % self.grain, self.unit)

    def at(self, positions: Tensor) -> Tensor:
        """Times of interactions of the log, in seconds. Shape ``[N]``, int64."""
        assert self.log_times is not None
        return whole_seconds(self.log_times[positions], self.unit)


class ReadsMoment(PackedRecommender):
    """RecBole recommender that reads the moment of a request, ``request_time: last | target``."""

    def make_moments(self, config: Any, dataset: Any) -> Moments:
        """What tells the moment of each request; it keeps the grain of the data's times."""
        is_kept = isinstance(dataset, ServingDataset)
        times = None if is_kept else torch.from_numpy(dataset.log.times)
        self.moment_grain = (
            int(dataset.array("grain"))
            if is_kept
            else grain_of(dataset.log.times, self.timestamp_unit)
        )
        return Moments(
            request_time=self.settings.request_time,
            grain=self.moment_grain,
            unit=self.timestamp_unit,
            time=config["TIME_FIELD"],
            log_times=times,
        )

    @property
    def reads_request_time(self) -> bool:
        """Whether a score depends on when it is asked for."""
        return bool(self.settings.request_time == "target")

    def serving_arrays(self) -> dict[str, Array]:
        """What its base keeps, and the grain of the data's times."""
        return {"grain": np.array(self.moment_grain), **super().serving_arrays()}

    def user_tower(self) -> nn.Module | None:  # type: ignore[override]
        """Users' vectors from padded rows.

        Raises:
            ConfigError: With ``request_time: target``.
        """
        if self.reads_request_time:
            raise ConfigError(
                f"request_time must be last for hm4sr export of {type(self).__name__}, got target: "
                f"its user vector depends on the moment of each request, which an index does not "
                f"know; use hm4sr recommend or hm4sr serve"
            )
        return self.tower_at_last()

    def tower_at_last(self) -> nn.Module | None:
        """The tower where the moment is that of the newest interaction."""
        return super().user_tower()
