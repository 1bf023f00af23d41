"""How long a comparison still takes, from the runs that have finished."""

import time
from collections.abc import Callable, Sequence
from statistics import fmean

from recbole_hm4sr.compare.results import Outcome
from recbole_hm4sr.page.format import duration


class TimeLeft:
    """Follows the cells of a comparison.

    A run is expected to take as long as those of its row on its data set, else as the trained runs
    on its data set.

    Args:
        outcomes: What is known of all cells before any runs.
        jobs: Runs at once.
        retry: Whether failed cells are tried again.
        clock: Seconds from some moment on.
    """

    def __init__(
        self,
        outcomes: Sequence[Outcome],
        jobs: int,
        *,
        retry: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.jobs = jobs
        self.clock = clock
        self.cells = list(outcomes)
        self.waiting = {
            number
            for number, outcome in enumerate(outcomes)
            if outcome.record is None or (retry and not outcome.done)
        }
        self.started: dict[int, float] = {}

    def follow(self, event: str, outcome: Outcome, number: int) -> None:
        """Take note of what has happened to a cell.

        Args:
            event: ``started``, ``done``, ``failed`` or ``skipped``.
            outcome: What is known of it now.
            number: Its position, from 0.
        """
        self.cells[number] = outcome
        if event == "started":
            self.started[number] = self.clock()
        else:
            self.waiting.discard(number)

    def seconds(self) -> float | None:
        """What is expected; None where no finished run says it, or nothing is left to run."""
        left = []
        for number in sorted(self.waiting):
            whole = self._expected(self.cells[number])
            if whole is None:
                return None
            began = self.started.get(number)
            left.append(whole if began is None else max(0.0, whole - (self.clock() - began)))
        return max(max(left), sum(left) / self.jobs) if left else None

    def words(self) -> str:
        """The same for the end of a line; empty where there is nothing to say."""
        seconds = self.seconds()
        return "" if seconds is None else f"; about {duration(seconds)} left"

    def _expected(self, outcome: Outcome) -> float | None:
        """Seconds of a run of this row, or of a trained run; None if none has finished."""
        timed = [
            (one.cell.label, one.record or {})
            for one in self.cells
            if one.cell.dataset == outcome.cell.dataset and _is_timed(one)
        ]
        own = [record["seconds"] for label, record in timed if label == outcome.cell.label]
        trained = [record["seconds"] for _, record in timed if record["n_parameters"]]
        return fmean(own or trained) if own or trained else None


def _is_timed(outcome: Outcome) -> bool:
    """Whether a result says how long the run took.

    Those of older releases do not, and what a search has trained was only tested here.
    """
    record = outcome.record or {}
    return outcome.done and "seconds" in record and "trained_by" not in record
