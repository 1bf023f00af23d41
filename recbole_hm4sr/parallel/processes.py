"""Several processes as one: who they are, where they meet, and what they agree on.

``torchrun`` starts the processes and tells each its rank by environment variables. Without it
there is one process, and everything here is the identity: a run's digits do not depend on this
module. RecBole's settings for this (``nproc``, ``world_size``, ``local_rank``) are not used: its
backend is always nccl, its sampler repeats users, and its metrics are means of rounded means.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from recbole_hm4sr.base.errors import ConfigError, TrainingError, UserError

# Starting Python on a cold disk may take one process minutes longer than another.
_START_TIMEOUT = timedelta(minutes=15)
_LONG = timedelta(days=7)


@dataclass
class _State:
    """What this process holds of the others, or nothing.

    Attributes:
        store: Keys and values that all processes read, from ``torchrun``.
        control: Group for small messages on the CPU.
        gathering: Group for what a loss gathers, apart from that of the gradients: the two meet in
            the backward pass, and their order need not be the same everywhere.
        n_runs: Folders that the processes have agreed on.
        n_groups: Times that the processes have met.
    """

    store: Any = None
    control: Any = None
    gathering: Any = None
    n_runs: int = 0
    n_groups: int = 0


_state = _State()


def _is_launched() -> bool:
    """Whether ``torchrun``, or something that sets the same variables, started this process."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ)


def started_processes() -> int:
    """How many processes were started together; 1 without ``torchrun``."""
    return int(os.environ["WORLD_SIZE"]) if _is_launched() else 1


def started_as_first() -> bool:
    """Whether this process is the one that writes; known before the processes have met."""
    return started_processes() == 1 or os.environ["RANK"] == "0"


def world_size() -> int:
    """Processes that train together; 1 outside of :func:`processes`."""
    return dist.get_world_size() if _state.control is not None else 1


def rank() -> int:
    """Number of this process among them, from 0."""
    return dist.get_rank() if _state.control is not None else 0


def is_first() -> bool:
    """Whether this process writes the files of a run."""
    return rank() == 0


def control_group() -> Any:
    """The group for small messages on the CPU; None outside of :func:`processes`."""
    return _state.control


def loss_group() -> Any:
    """The group for what the losses exchange; None outside of :func:`processes`."""
    return _state.gathering


def own_device(device: torch.device) -> torch.device:
    """The device of this process: on a machine with several GPUs, each process has its own.

    Args:
        device: The device of a run of one process.

    Raises:
        ConfigError: If there are more processes than GPUs.
    """
    if started_processes() == 1 or device.type != "cuda":
        return device
    number, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= count:
        raise ConfigError(
            f"--nproc_per_node must be at most the number of GPUs, {count}, got process "
            f"{number + 1}; start fewer, or train on CPUs with --use_gpu=false"
        )
    return torch.device("cuda", number)


def attempt() -> int:
    """How often ``torchrun`` has restarted the processes."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def job_name() -> str | None:
    """A name of the run at hand that is the same after a restart; None without ``torchrun``.

    ``torchrun`` itself, the parent of the processes, stays when they are restarted.
    """
    if not _is_launched():
        return None
    run_id = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return f"{run_id} {socket.gethostname()} {os.getppid()} {_state.n_runs}"


def agree_on_folder(choose: Callable[[], Path]) -> Path:
    """The folder of a run, the same in all processes.

    Args:
        choose: Chooses it; called in the first process alone.
    """
    if not _is_launched():
        return choose()
    _state.n_runs += 1
    store, key = _meet(), f"folder/{_state.n_runs}"
    if started_as_first():
        store.set(key, str(choose()))
    return Path(store.get(key).decode())


def _meet() -> Any:
    """What all processes of this attempt read and write; that of ``torchrun`` may be older."""
    if _state.store is None:
        store, _, _ = next(dist.rendezvous("env://", timeout=_START_TIMEOUT))
        _state.store = dist.PrefixStore(f"recbole_hm4sr/attempt/{attempt()}", store)
    return _state.store


@contextlib.contextmanager
def processes(device: torch.device, *, timeout_seconds: float) -> Iterator[None]:
    """Train and evaluate together with the other processes, if there are any.

    Args:
        device: Device of this process; chooses nccl for GPUs and gloo for CPUs.
        timeout_seconds: How long a process waits for the others before it ends with an error.
    """
    if started_processes() == 1:
        yield
        return
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    timeout = timedelta(seconds=timeout_seconds)
    # Of a name of its own: keys of an earlier group are still there.
    _state.n_groups += 1
    store = dist.PrefixStore(f"group/{_state.n_groups}", _meet())
    _arrive(store, "start", int(os.environ["RANK"]), started_processes())
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=store,
        rank=int(os.environ["RANK"]),
        world_size=started_processes(),
        timeout=timeout,
    )
    _state.control = dist.new_group(backend="gloo", timeout=timeout)
    _state.gathering = dist.new_group(timeout=timeout)
    try:
        yield
        barrier()
    finally:
        _state.control = _state.gathering = None
        dist.destroy_process_group()


def _arrive(store: Any, key: str, number: int, count: int) -> None:
    store.set(f"{key}/{number}", "here")
    store.wait([f"{key}/{other}" for other in range(count)], _LONG)


def barrier_without_timeout(name: str) -> None:
    """Return when every process has reached this call, however much longer one needs than another.

    For reading data. The wait has no limit of its own: when a process ends with an error,
    ``torchrun`` ends the others.

    Args:
        name: Of the barrier; used once in a run.
    """
    if world_size() > 1:
        _arrive(_meet(), f"group/{_state.n_groups}/{name}", rank(), world_size())


def barrier() -> None:
    """Return when every process has reached this call.

    Raises:
        RuntimeError: If one has not within the time limit; its number is named.
    """
    if world_size() > 1:
        dist.monitored_barrier(_state.control, wait_all_ranks=True)


@contextlib.contextmanager
def first_process_first(name: str) -> Iterator[None]:
    """Let the first process do a thing before the others do it, however long it takes.

    For files that are made once and then read. Waits as :func:`barrier_without_timeout` does.

    Args:
        name: Of the thing; used once in a run.
    """
    if world_size() == 1:
        yield
        return
    store, key = _meet(), f"group/{_state.n_groups}/{name}"
    if not is_first():
        store.wait([key], _LONG)
    yield
    if is_first():
        store.set(key, "done")


def broadcast_object(value: Any) -> Any:
    """The value that the first process has: numbers, texts, lists and dictionaries of them."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, group=_state.control)
    return box[0]


def broadcast_tensors(tensors: Iterable[Tensor]) -> None:
    """Set tensors to what the first process has, in place."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def require_same(value: str, what: str) -> None:
    """Refuse to continue where processes hold different things.

    Raises:
        ConfigError: In every process, if the values differ.
    """
    if world_size() == 1:
        return
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value, group=_state.control)
    others = [number for number, other in enumerate(values) if other != values[0]]
    if others:
        raise ConfigError(
            f"all processes must have the same {what}, but process {others[0]} differs from "
            f"process 0; give every machine the same files, flags and package"
        )


@contextlib.contextmanager
def failing_together(*, patient: bool = False) -> Iterator[None]:
    """End every process with a sentence where one of them has ended the body with an error.

    Else the others would wait for it, and say no more than that it has gone. Every process must
    reach this call.

    Args:
        patient: Whether to wait for the slowest without a limit, as
            :func:`barrier_without_timeout` does; used once in a run.

    Raises:
        UserError: The own error of a process that has one.
        TrainingError: In the others; names the process and repeats its words.
    """
    error: UserError | None = None
    try:
        yield
    except UserError as own:
        if world_size() == 1:
            raise
        error = own
    if world_size() == 1:
        return
    if patient:
        barrier_without_timeout("end")
    sentences: list[Any] = [None] * world_size()
    dist.all_gather_object(sentences, error and str(error), group=_state.control)
    if error is not None:
        raise error
    for number, sentence in enumerate(sentences):
        if sentence is not None:
            raise TrainingError(f"process {number} has ended the run: {sentence}")


def true_everywhere(flag: Tensor) -> Tensor:
    """Whether something is true in all processes, without waiting for the device.

    Args:
        flag: On the device of this process. Shape ``[]``, bool.
    """
    if world_size() == 1:
        return flag
    number = flag.int()
    dist.all_reduce(number, op=dist.ReduceOp.MIN, group=_state.gathering)
    return number > 0


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of each value over the processes, in all of them."""
    if world_size() == 1:
        return values
    total = values.cpu()
    dist.all_reduce(total, group=_state.control)
    return (total / world_size()).to(values.device)
