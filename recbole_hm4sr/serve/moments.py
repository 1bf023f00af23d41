"""The moment that a request is of, for models whose scores depend on it."""

import time
from dataclasses import dataclass

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.memory_files import MemoryClock
from recbole_hm4sr.data.times import PER_SECOND, TIME_LIMITS, as_date


@dataclass(frozen=True)
class RequestTimes:
    """What an opened run knows of moments.

    Attributes:
        model: Its name, for messages.
        unit: Of the run's times.
        clock: The moments of its memory; None without one.
        asks_when: Whether scores depend on when they are asked for.
    """

    model: str
    unit: str
    clock: MemoryClock | None
    asks_when: bool

    def known_until(self, moment: int | None) -> int | None:
        """T': the moment up to which the memory knows, of a request or at all."""
        if self.clock is None:
            return None
        return self.clock.end if moment is None else min(moment, self.clock.end)

    def earliest(self) -> int | None:
        """The first moment that a request may be of; None where no moment is read."""
        return self.clock.newest if self.clock is not None and self.asks_when else None

    def moment(self, at: int | None) -> int | None:
        """T of a request, whole grains of the run's times; None where no model reads it.

        Args:
            at: What was asked for; None for now.

        Raises:
            ConfigError: If the model reads no moment, or it is before the newest that is known.
        """
        if self.clock is None or not self.asks_when:
            if at is not None:
                raise ConfigError(
                    f"at must be left out: {self.model} reads the moment of a request only with "
                    f"memory: events and request_time: target"
                )
            return None
        if at is not None and not 0 <= at < TIME_LIMITS[self.unit]:
            raise ConfigError(f"at must be from 0 to {TIME_LIMITS[self.unit] - 1}, got {at}")
        now = int(time.time() * PER_SECOND[self.unit]) if at is None else at
        moment, newest = now - now % self.clock.grain, self.clock.newest
        if moment < newest:
            raise ConfigError(
                f"a request must be of {as_date(newest, self.unit)} ({newest}) or later, the "
                f"newest time that the memory knows, got {as_date(moment, self.unit)} ({moment}); "
                f"hm4sr evaluate scores past moments"
            )
        return moment
