"""What POSIX and Windows do each in their own way: locks on files, and a process's peak memory."""

import sys
import time
from typing import IO, Any

_RETRY_SECONDS = 0.05


def lock_file(file: IO[Any], *, wait: bool) -> None:
    """Lock an open file for this process; the lock goes with the file or the process.

    Args:
        file: Open for writing.
        wait: Whether to wait until the lock is free.

    Raises:
        BlockingIOError: If another process holds it, without ``wait``.
        OSError: If the file system cannot lock.
    """
    try:
        import fcntl
    except ImportError:
        _lock_by_msvcrt(file, wait=wait)
        return
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _lock_by_msvcrt(file: IO[Any], *, wait: bool) -> None:
    """Windows locks bytes: here the first, which need not exist."""
    import msvcrt

    windows: Any = msvcrt  # its functions are unknown to type checkers elsewhere
    while True:
        file.seek(0)
        try:
            windows.locking(file.fileno(), windows.LK_NBLCK, 1)
        except PermissionError as error:  # another process holds it
            if not wait:
                raise BlockingIOError(*error.args) from error
            time.sleep(_RETRY_SECONDS)
        else:
            return


def peak_process_memory() -> int:
    """The largest resident memory of this process since it began, in bytes."""
    try:
        import resource
    except ImportError:
        import psutil

        memory = psutil.Process().memory_info()
        return int(getattr(memory, "peak_wset", memory.rss))
    # In KiB, on macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def total_memory() -> int:
    """The memory of this machine, in bytes."""
    import psutil

    return int(psutil.virtual_memory().total)


def is_alive(process: int) -> bool:
    """Whether a process of this number runs, anybody's."""
    import psutil

    return bool(psutil.pid_exists(process))
