"""The moment of a request, for models that read it."""

import time
from typing import Any

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.times import PER_SECOND, TIME_LIMITS, as_date
from recbole_hm4sr.model.capabilities import what_it_reads
from recbole_hm4sr.serve.opening import OpenRun


class RequestMoments:
    """Tells the moments that requests to a run may have.

    Args:
        run: To serve.
        model: Of the run.
        unit: Of the run's times: ``s`` or ``ms``.

    Attributes:
        asks_when: Whether scores depend on when they are asked for.
    """

    def __init__(self, run: OpenRun, model: Any, unit: str) -> None:
        self._run, self._model, self._unit = run, model, unit
        self.asks_when: bool = getattr(model, "reads_request_time", False)
        # The smallest step of moments; None where no moment is read.
        clock, own = run.data.clock, getattr(model, "moment_grain", None)
        self._grain: int | None = own if clock is None else clock.grain

    def earliest(self) -> int | None:
        """The first moment that a request may be of; None where no moment is read.

        It is the newest that a memory knows, without one the first of the training part.
        """
        if self._grain is None or not self.asks_when:
            return None
        clock = self._run.data.clock
        if clock is not None:
            return clock.newest
        return self._run.data.first_time * PER_SECOND[self._unit]

    def moment(self, at: int | None) -> int | None:
        """T of the requests, whole grains of the run's times; None where no model reads it.

        Args:
            at: In the unit of the run's times; None for now.

        Raises:
            ConfigError: If the model reads no moment, or it is too early or no date.
        """
        earliest, unit = self.earliest(), self._unit
        if earliest is None or self._grain is None:
            if at is not None:
                needed = "memory: events and request_time: target"
                if "target_time" in what_it_reads(self._model):
                    needed = "request_time: target"
                raise ConfigError(
                    f"at must be left out: {self._run.config['model']} reads the moment of a "
                    f"request only with {needed}"
                )
            return None
        if at is not None and not 0 <= at < TIME_LIMITS[unit]:
            raise ConfigError(f"at must be from 0 to {TIME_LIMITS[unit] - 1}, got {at}")
        now = int(time.time() * PER_SECOND[unit]) if at is None else at
        moment = now - now % self._grain
        if moment < earliest:
            known = "the first time of the training part"
            if self._run.data.clock is not None:
                known = "the newest time that the memory knows"
            raise ConfigError(
                f"a request must be of {as_date(earliest, unit)} ({earliest}) or later, {known}, "
                f"got {as_date(moment, unit)} ({moment}); hm4sr evaluate scores past moments"
            )
        return moment
