"""The moment that a request is of, for models whose scores depend on it."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.memory_files import PREFIX, MemoryRules
from recbole_hm4sr.data.times import PER_SECOND, TIME_LIMITS, as_date
from recbole_hm4sr.run.plan import read_plan
from recbole_hm4sr.run.serving_file import read_serving_file

if TYPE_CHECKING:
    from recbole_hm4sr.serve.recommend import Recommender

logger = logging.getLogger(__name__)


class Clock(Protocol):
    """Moments of a memory, in the unit of the run's times."""

    @property
    def newest(self) -> int:
        """The newest time that is stored."""

    @property
    def end(self) -> int:
        """The first moment at which all that is stored is known."""

    @property
    def grain(self) -> int:
        """The smallest step of the times."""


@dataclass(frozen=True)
class RequestTimes:
    """What an opened run knows of moments.

    Attributes:
        model: Its name, for messages.
        unit: Of the run's times.
        clock: The moments of its memory; None without one.
        asks_when: Whether scores depend on when they are asked for.
        grain: The smallest step of the moments of a model that reads them without a memory; None
            for any other.
        first: The first time of the training part, in the run's unit.
    """

    model: str
    unit: str
    clock: Clock | None
    asks_when: bool
    grain: int | None = None
    first: int = 0

    def known_until(self, moment: int | None) -> int | None:
        """T': the moment up to which the memory knows, of a request or at all."""
        if self.clock is None:
            return None
        return self.clock.end if moment is None else min(moment, self.clock.end)

    def earliest(self) -> int | None:
        """The first moment that a request may be of; None where no moment is read."""
        if not self.asks_when:
            return None
        if self.clock is not None:
            return self.clock.newest
        return None if self.grain is None else self.first

    def moment(self, at: int | None) -> int | None:
        """T of a request, whole grains of the run's times; None where no model reads it.

        Args:
            at: What was asked for; None for now.

        Raises:
            ConfigError: If the model reads no moment, or it is before the newest that is known.
        """
        earliest = self.earliest()
        grain = self.grain if self.clock is None else self.clock.grain
        if earliest is None or grain is None:
            if at is not None:
                needed = "memory: events and " * (self.grain is None)
                raise ConfigError(
                    f"at must be left out: {self.model} reads the moment of a request only with "
                    f"{needed}request_time: target"
                )
            return None
        if at is not None and not 0 <= at < TIME_LIMITS[self.unit]:
            raise ConfigError(f"at must be from 0 to {TIME_LIMITS[self.unit] - 1}, got {at}")
        now = int(time.time() * PER_SECOND[self.unit]) if at is None else at
        moment = now - now % grain
        if moment < earliest:
            known = "the newest time that the memory knows"
            if self.clock is None:
                known = "the first time of the training part"
            raise ConfigError(
                f"a request must be of {as_date(earliest, self.unit)} ({earliest}) or later, "
                f"{known}, got {as_date(moment, self.unit)} ({moment}); hm4sr evaluate scores past "
                f"moments"
            )
        return moment


def warn_of_past_requests(recommender: "Recommender") -> None:
    """Say where a refresh of the run will not reach every user."""
    if recommender.run.data.clock is not None and not recommender.asks_when:
        logger.warning(
            "with request_time: last a request is of the user's newest interaction, so that a "
            "refresh does not reach a user who was away; train a run that is meant for a service "
            "with request_time: target"
        )


def notes_before_serving(run_dir: Path) -> tuple[str, ...]:
    """What a run that has ended is to be told of its memory before it is served; a sentence each.

    Args:
        run_dir: Folder of the run.

    Raises:
        DataError: If a file of it is missing or damaged.
    """
    content = read_serving_file(run_dir)
    if content is None or content.memory is None or content.data.clock is None:
        return ()
    found = []
    if content.memory.held_out:
        unit = read_plan(run_dir, needs_data=False).data.timestamp_unit
        day = as_date(content.data.clock.newest, unit).partition("T")[0]
        found.append(
            f"the memory ends {day}; {content.memory.held_out:,} held-out interactions are not in "
            f"it. Before serving: hm4sr refresh --run={run_dir} --held_out"
        )
    if MemoryRules(*content.data.arrays[f"{PREFIX}rules"].tolist()).reads_past:
        found.append(
            "request_time is last: scores do not see when a request is made; a service should be "
            "trained with --request_time=target"
        )
    return tuple(found)
