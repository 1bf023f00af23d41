"""What a run costs: seconds and peak memory, of all the processes that have trained it."""

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from recbole_hm4sr.base.system import peak_process_memory
from recbole_hm4sr.train.epochs import EpochRecord

_RESET_PEAK = "5"  # proc(5): the peak of the resident memory is reset
_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclasses.dataclass(frozen=True)
class Costs:
    """The costs of a run so far.

    Each process counts up to its last finished epoch, the last one up to now: what an interruption
    has undone is not known, and is done again.

    Attributes:
        seconds: Wall time, summed over the processes that resumed the run one after another.
        cpu_seconds: Processor time, of all threads; of processes that train together, the first
            one's.
        opening_seconds: The wall time that reading the data and building the model took.
        peak_memory_bytes: The largest of these processes: of the GPU's allocator, or on the CPU the
            resident memory. Of processes that train together, the first one's.
        peak_is_own: Whether that is of this run alone. On the CPU the peak of a process can be
            reset on Linux only; elsewhere earlier runs of the process are in it.
        complete: Whether all processes were measured. If not (a checkpoint of an earlier release),
            the seconds are at least those of its epochs.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    opening_seconds: float = 0.0
    peak_memory_bytes: int = 0
    peak_is_own: bool = True
    complete: bool = True


class CostMeter:
    """Measures a run in this process, from now on; the peak of its memory is reset.

    Args:
        device: Where the run trains.
        max_cpu_minutes: Its budget; 0 for no limit.
    """

    def __init__(self, device: torch.device, *, max_cpu_minutes: float = 0) -> None:
        self._max_cpu_seconds = 60 * max_cpu_minutes
        self._began, self._cpu_began = time.perf_counter(), time.process_time()
        self._opening_seconds = 0.0
        self._device = device
        self._before = Costs()
        self._peak_is_own = _reset_peak(device)

    def opened(self) -> None:
        """Say that the data are read and the model is built."""
        self._opening_seconds = time.perf_counter() - self._began

    def resume_from(self, kept: Mapping[str, Any] | None, epochs: Sequence[EpochRecord]) -> None:
        """Add the processes before.

        Args:
            kept: The fields of :class:`Costs` at the end of their last epoch; None if they were
                not kept.
            epochs: Theirs.
        """
        if kept is not None:
            self._before = Costs(**kept)
            return
        seconds = sum(record.train_seconds + record.valid_seconds for record in epochs)
        self._before = Costs(seconds=seconds, complete=False)

    @property
    def is_spent(self) -> bool:
        """Whether the run has had all the processor time that it may have."""
        return 0 < self._max_cpu_seconds <= self.costs().cpu_seconds

    def costs(self) -> Costs:
        """The costs of the run up to now."""
        before = self._before
        return Costs(
            seconds=before.seconds + time.perf_counter() - self._began,
            cpu_seconds=before.cpu_seconds + time.process_time() - self._cpu_began,
            opening_seconds=before.opening_seconds + self._opening_seconds,
            peak_memory_bytes=max(before.peak_memory_bytes, _peak_bytes(self._device)),
            peak_is_own=before.peak_is_own and self._peak_is_own,
            complete=before.complete,
        )


def _reset_peak(device: torch.device) -> bool:
    """Reset the peak; returns whether that is possible."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return False
    return _resident_peak() is not None


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = _resident_peak()
    return peak_process_memory() if peak is None else peak


def _resident_peak() -> int | None:
    """Peak resident memory of this process, in bytes; None where the system does not tell.

    :func:`peak_process_memory` would begin with the peak of the process that started this one.
    """
    with contextlib.suppress(OSError, ValueError):
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None
