"""Runs every cell of a grid in a process of its own, once, however often it is started.

The folder of a comparison holds ``results.jsonl`` and one folder a run. A cell is finished when
its line is there with the fingerprint of its settings. A cell that a crash has cut goes on from
its checkpoint, and one that is the best trial of a search from the trial's, which is trained
already; one that failed is a line with the reason and is left alone unless asked for.
"""

import contextlib
import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.base.files import append_line, locked, write_text
from recbole_hm4sr.compare.cells import Cell
from recbole_hm4sr.compare.claims import DEAD_AFTER, Claim, Claims
from recbole_hm4sr.compare.grid import Grid
from recbole_hm4sr.compare.results import (
    FACTS,
    Outcome,
    has_result,
    latest_results,
    read_outcomes,
)
from recbole_hm4sr.config.compose import parse_value
from recbole_hm4sr.model.registry import find_model
from recbole_hm4sr.run.place import TRAINED_BY

_POLL_SECONDS = 0.1
_IDLE_SECONDS = 1.0
# Modules come from where those of this process came from: with -m a folder named recbole in the
# working directory would be the worker's RecBole.
_WORKER = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from recbole_hm4sr.compare.worker import run; run()"
)
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def run_grid(
    grid: Grid,
    out: Path,
    *,
    jobs: int = 1,
    retry: bool = False,
    shared: bool = False,
    dead_after: float = DEAD_AFTER,
    on_start: Callable[[list[Outcome]], None] = lambda _: None,
    on_cell: Callable[[str, Outcome, int, int], None] | None = None,
) -> list[Outcome]:
    """Run the cells that have no result yet.

    Args:
        grid: What to compare; :func:`~recbole_hm4sr.compare.protocol.check_grid` has passed it.
        out: Folder of the comparison.
        jobs: Runs at once; they share the CPU's threads.
        retry: Whether to try failed cells again.
        shared: Whether other processes may run cells of the same folder; each cell is run by one of
            them, and all wait until every cell has a result.
        dead_after: Seconds without a sign of life after which another one's cell is taken over.
        on_start: Called with what is known of the cells before any runs.
        on_cell: Called with ``skipped``, ``started``, ``done`` or ``failed``, what is known of
            the cell, its number and the number of cells; of a cell that another process has run,
            with ``skipped``.

    Returns:
        All cells of the grid, in its order.

    Raises:
        ConfigError: If another comparison runs in the folder.
        KeyboardInterrupt: On Ctrl-C, after the running cells have ended; they can go on.
    """
    if jobs < 1:
        raise ConfigError(f"--jobs must be 1 or more, got {jobs}")
    say = on_cell or (lambda *_: None)
    refusal = (
        f"{out} must be used by one comparison at a time, but another is running there; several "
        f"share the runs with --worker"
    )
    alone = contextlib.nullcontext() if shared else locked(out / ".lock", refusal=refusal)
    with alone, Claims(out / ".claims", dead_after) as claims:
        known = latest_results(out / "results.jsonl")  # first: what comes later is of others
        outcomes = read_outcomes(grid, out)
        on_start(outcomes)
        pending: deque[int] = deque()
        for number, outcome in enumerate(outcomes):
            if outcome.record is None or (retry and not outcome.done):
                pending.append(number)
            else:
                say("skipped", outcome, number + 1, len(outcomes))
        for number, event, outcome in _Cells(outcomes, known, claims, out).run(pending, jobs):
            outcomes[number] = outcome
            say(event, outcome, number + 1, len(outcomes))
    return outcomes


class _Running(NamedTuple):
    process: "subprocess.Popen[bytes]"
    claim: Claim


class _Cells:
    """The cells of a comparison of which this process runs those that nobody else does."""

    def __init__(
        self, outcomes: list[Outcome], known: Mapping[Any, Any], claims: Claims, out: Path
    ) -> None:
        self._outcomes, self._before, self._claims, self._out = outcomes, known, claims, out
        self._running: dict[int, _Running] = {}

    def run(self, pending: deque[int], jobs: int) -> Iterator[tuple[int, str, Outcome]]:
        """Run cells until each has a result, whoever has run it."""
        next_try = 0.0
        try:
            while pending or self._running:
                if len(self._running) < jobs and time.monotonic() >= next_try:
                    yield from self._start_some(pending, jobs)
                    next_try = time.monotonic() + _IDLE_SECONDS * (len(self._running) < jobs)
                for number in self._lost():
                    pending.append(number)
                for number, record in self._ended(jobs):
                    yield number, record["status"], self._with_record(number, record)
                    next_try = 0.0
                time.sleep(_POLL_SECONDS * bool(pending or self._running))
        finally:
            _end([it.process for it in self._running.values()])

    def _start_some(self, pending: deque[int], jobs: int) -> Iterator[tuple[int, str, Outcome]]:
        known = self._known()
        for _ in range(len(pending)):
            if len(self._running) == jobs:
                return
            number = pending.popleft()
            outcome = self._outcomes[number]
            claim = self._claims.take(str(outcome.folder.relative_to(self._out)))
            if claim is not None:  # whoever had it before has written the result by now
                known = self._known()
            if known.get(outcome.key) != self._before.get(outcome.key):
                if claim is not None:
                    self._claims.release(claim)
                yield number, "skipped", self._with_record(number, known[outcome.key])
            elif claim is None:
                pending.append(number)
            else:
                yield number, "started", outcome
                self._running[number] = _Running(_start(outcome, jobs), claim)

    def _lost(self) -> list[int]:
        """The cells that another process has taken over, which are left to it."""
        lost = [number for number, it in self._running.items() if it.claim.is_lost]
        _end([self._running[number].process for number in lost])
        for number in lost:
            self._claims.release(self._running.pop(number).claim)
        return lost

    def _ended(self, jobs: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """The cells that have ended, each with its line, which is written first."""
        for number in [n for n, it in self._running.items() if it.process.poll() is not None]:
            process, claim = self._running.pop(number)
            record = _record(self._outcomes[number], process.returncode, self._out, jobs)
            with locked(self._out / ".results.lock"):
                append_line(self._out / "results.jsonl", record)
            self._claims.release(claim)
            yield number, record

    def _with_record(self, number: int, record: dict[str, Any]) -> Outcome:
        return dataclasses.replace(self._outcomes[number], record=record)

    def _known(self) -> Mapping[Any, Any]:
        return latest_results(self._out / "results.jsonl")


def _end(processes: list["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        if process.stdin is not None:
            process.stdin.close()  # the worker ends with its standard input
    for process in processes:
        process.wait()


def _start(outcome: Outcome, jobs: int) -> "subprocess.Popen[bytes]":
    cell, folder = outcome.cell, outcome.folder
    _forget_failure(folder)
    values = {**dataclasses.asdict(cell), "overrides": cell.overrides}
    values["fingerprint"] = outcome.fingerprint
    values["trial"] = None if outcome.trial is None else str(outcome.trial)
    write_text(folder / "cell.json", json.dumps(values, indent=2) + "\n")
    environment = dict(os.environ)
    if jobs > 1:
        given = environment.get(_THREADS[0], "")
        budget = int(given) if given.isdigit() else _n_processors()
        environment.update(dict.fromkeys(_THREADS, str(max(1, budget // jobs))))
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", _WORKER, json.dumps(sys.path), str(folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            # Ctrl-C is for the comparison, which then ends its workers itself.
            start_new_session=True,
        )


def _n_processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _forget_failure(folder: Path) -> None:
    """Forget a failed attempt; one that the machine is to blame for goes on from its checkpoint."""
    failure = folder / "failure.json"
    if not failure.is_file():
        return
    try:
        goes_on = json.loads(failure.read_text(encoding="utf-8")).get("goes_on", False)
    except (ValueError, AttributeError):
        goes_on = False
    if goes_on:
        failure.unlink()
    else:
        _clear(folder)


def _clear(folder: Path) -> None:
    """Remove all but what names the cell and what it said."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in ("cell.json", "log.txt"):
            path.unlink()


def _record(outcome: Outcome, returncode: int, out: Path, jobs: int) -> dict[str, Any]:
    cell, folder = outcome.cell, outcome.folder
    record = {
        "dataset": cell.dataset,
        "label": cell.label,
        "model": cell.model,
        "seed": cell.seed,
        "settings": dict(cell.settings),
        "fingerprint": outcome.fingerprint,
        "run_dir": str(folder.relative_to(out)),
        "jobs": jobs,
    }
    if returncode == 0 and has_result(folder):
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        facts = {name: metrics[name] for name in FACTS if name in metrics}
        facts |= _of_the_training(folder, metrics)
        return {**record, "status": "done", **facts, "command": train_command(cell)}
    return {**record, "status": "failed", "reason": _reason(folder, returncode)}


def _of_the_training(folder: Path, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What a line takes from the run that has trained the model, where that was another one."""
    path = folder / TRAINED_BY
    if not path.is_file():
        return {}
    facts = dict(json.loads(path.read_text(encoding="utf-8")))
    facts["trained_by"] = facts.pop("run_dir")
    # Where the system cannot tell one trial's memory from that of the others, it is not known.
    if metrics["peak_memory_of"] != "run" or not metrics["measured_whole_run"]:
        facts["peak_memory_mb"] = None
    return facts


def _reason(folder: Path, returncode: int) -> str:
    try:
        return str(json.loads((folder / "failure.json").read_text(encoding="utf-8"))["reason"])
    except (OSError, ValueError, KeyError):
        pass
    if returncode < 0:
        hint = ", perhaps for want of memory" if returncode == -9 else ""
        return f"its process was ended by signal {-returncode}{hint}"
    return f"its process ended with code {returncode}; see log.txt in its folder"


def train_command(cell: Cell) -> str:
    """The command that repeats a cell."""
    overrides = dict(cell.overrides)
    if find_model(cell.model).has_pretraining and not overrides.get("pre_model_path"):
        # Its two stages are one run for compare alone.
        names = {"models": cell.model, "dataset": cell.dataset, "seeds": overrides.pop("seed")}
        return shlex.join(["hm4sr", "compare", *_flags({**names, **overrides})])
    names = {"model": cell.model, "dataset": cell.dataset}
    return shlex.join(["hm4sr", "train", *_flags({**names, **overrides})])


def _flags(settings: Mapping[str, Any]) -> list[str]:
    return [_flag(name, value) for name, value in settings.items()]


def _flag(name: str, value: Any) -> str:
    """A setting as ``parse_value`` reads it back; a text such as ``[5,inf)`` needs its quotes."""
    return f"--{name}={value if _is_plain(value) else json.dumps(value)}"


def _is_plain(value: Any) -> bool:
    try:
        return isinstance(value, str) and parse_value(value) == value
    except ConfigError:
        return False
