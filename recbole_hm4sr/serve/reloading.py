"""A service that follows the folder of its run: what is written there is served, if it can be.

One file of the folder is replaced in one step by a refresh, an update, or a link that is set to
another run. It is looked at every few seconds, by its time, and by its hash where the time is
another one.
"""

import gc
import logging
import threading
from typing import TYPE_CHECKING

from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.serve.metrics import FAILED_SWAPS, SWAPS
from recbole_hm4sr.serve.served import Served, Source

if TYPE_CHECKING:
    from recbole_hm4sr.serve.service import Service

logger = logging.getLogger(__name__)
POLL_SECONDS = 2.0
# A state that could not be opened is tried again after so many looks: a disk may have been away.
RETRY_LOOKS = 30
_Mark = tuple[int, int, int]


class RunWatch:
    """Opens what a folder has, and again when the file that says what that is is another one.

    It is used by one thread; requests are answered by others in the meantime.

    Args:
        source: The folder.
        service: What serves it.
        threads: How many may compute; None for as many as the libraries like.
    """

    def __init__(self, source: Source, service: "Service", threads: int | None = None) -> None:
        self._source, self._service, self._threads = source, service, threads
        # Of the file that was looked at last, whether or not it could be opened.
        self._mark: _Mark | None = None
        self._retry_in = 0
        self._said = ""
        self._has_swapped = False

    def open(self) -> Served:
        """Open the folder and serve what it has.

        Raises:
            ConfigError: If it cannot be served.
            DataError: If its files are missing, or do not belong together.
        """
        mark = self._look_at_file()
        served, app = self._source.open(self._service.metrics, self._threads)
        self._service.put(served, app)
        self._mark = mark
        return served

    def look(self) -> bool:
        """Serve what the folder says now, if it is another state; whether it was and could be.

        What cannot be opened is said in the log and counted, and the old state goes on.
        """
        if self._has_swapped:
            # An application is full of cycles: without this the state before would stay for hours.
            gc.collect()
            self._has_swapped = False
        mark = self._look_at_file()
        if mark is None:
            return False
        if mark != self._mark:
            self._mark, self._retry_in = mark, 0
            return not self._is_served() and self._swap()
        if not self._retry_in:
            return False
        self._retry_in -= 1
        return not self._retry_in and self._swap()

    def follow(self, stop: threading.Event, seconds: float) -> None:
        """Look until told to stop.

        Args:
            stop: Set to stop.
            seconds: Between two looks.
        """
        while not stop.wait(seconds):
            self.look()

    def _is_served(self) -> bool:
        """Whether the file is that of what is served, such as one that was copied anew."""
        served = self._service.served
        try:
            return served is not None and served.content == hash_file(self._source.file)
        except OSError:
            return False  # opening it says why

    def _swap(self) -> bool:
        metrics, before = self._service.metrics, self._service.served
        try:
            served = self.open()
        except Exception as error:  # noqa: BLE001  # whatever it is, the old state goes on
            metrics.add(FAILED_SWAPS)
            self._retry_in = RETRY_LOOKS
            said = f"{type(error).__name__}: {error}"
            if said != self._said:
                logger.warning(
                    "%s has another %s, which cannot be served; the state before goes on: %s",
                    self._source.folder,
                    self._source.file_name,
                    said,
                )
            self._said = said
            return False
        metrics.add(SWAPS)
        self._has_swapped = True
        self._retry_in, self._said = 0, ""
        logger.info(
            "%s is served as version %s, no longer as %s",
            self._source.folder,
            served.version,
            before and before.version,
        )
        return True

    def _look_at_file(self) -> _Mark | None:
        """What changes with every new file; None where there is none."""
        try:
            found = self._source.file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size
