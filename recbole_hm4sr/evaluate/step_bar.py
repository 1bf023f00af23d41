"""A bar over the steps of an epoch or of an evaluation, which vanishes at its end."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

from recbole_hm4sr.parallel import processes


def shows_bar(setting: bool | None) -> bool:  # noqa: FBT001
    """Whether this process shows a bar.

    Args:
        setting: ``show_progress``; None shows it in a terminal, and not where the output or the
            errors go to a file or another program. Of processes that train together, the first
            shows it.
    """
    if not processes.is_first():
        return False
    if setting is not None:
        return setting
    return all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))


class StepBar:
    """One bar at a time, on stderr.

    Args:
        shown: False for no bar.
    """

    def __init__(self, *, shown: bool = False) -> None:
        self._shown = shown
        self._bar: Any = None

    def over(self, batches: Iterable[Any], title: str) -> Iterable[Any]:
        """The batches, with a bar that counts them.

        Args:
            batches: A loader.
            title: What they are for.
        """
        if not self._shown:
            return batches
        self._bar = _Bar(
            batches, desc=title, unit="step", leave=False, dynamic_ncols=True, file=sys.stderr
        )
        return self._bar  # type: ignore[no-any-return, unused-ignore]

    def close(self) -> None:
        """Remove a bar whose loop has ended early: in an error, or by Ctrl-C."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Bar(tqdm):  # type: ignore[misc, type-arg, unused-ignore]
    monitor_interval = 0  # no thread that outlives the run
