"""A service under load: is a request lost, is an answer wrong, does memory grow, what does it cost?

``hm4sr serve --workers`` in processes of its own, at this machine's loopback. First 1, 8 and 64
clients ask in turn for recommendations and for nothing (``/health``, an empty handler of the same
processes): their latencies as ratios, since the machine may have other work. Then 64 clients ask
without a pause while the run is swapped and a worker is killed, both again and again. A client
whose connection is closed asks once more. Each answer is compared with what the state that it names
answers when it is asked alone.

The run is ``--run``, else one of Momento that is trained for an epoch on the sample. The second
state is the run after a refresh with generated interactions.
"""

import argparse
import asyncio
import contextlib
import csv
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import _common as common
import psutil
from _clients import NOTHING, Connection, Question, Tally, keep_asking, measure_latency

import recbole_hm4sr
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.serve.recommend import Recommender

MB = 2**20
N_BODIES = 64
WAIT_SECONDS = 600


# --- what is served, and what it should answer --------------------------------------------------


def make_states(folder: Path, run: Path | None) -> tuple[Path, Path]:
    """Two states of a run: as it was found, and after a refresh."""
    first, second = folder / "one", folder / "two"
    if run is None:
        settings = {"epochs": 1, "use_gpu": False}
        quick_start.run("Momento", "sports", overrides=settings, run_dir=first)
    else:
        shutil.copytree(run, first)
    shutil.copytree(first, second)
    recommender = Recommender.load(first)
    tokens, until = recommender.items.tokens[1:].tolist(), recommender.known_until()
    if until is None:
        raise SystemExit("the run must have a memory, so that it can be refreshed")
    chosen = random.Random(0)
    rows = [
        (f"new{user}", item, until + user)
        for user in range(2000)
        for item in chosen.sample(tokens, 3)
    ]
    path = folder / "new.csv"
    columns = recommender.columns
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([(columns.user, columns.item, columns.time), *rows])
    recbole_hm4sr.refresh(second, path)
    return first, second


def make_questions(states: Sequence[Path]) -> list[Question]:
    """Histories of drawn items, and what each state says of them when it is asked alone."""
    questions: list[Question] = []
    histories: list[tuple[list[str], list[int]]] = []
    moment = None
    for state in states:
        recommender = Recommender.load(state)
        if not histories:
            histories = _draw(recommender)
        if recommender.asks_when:
            moment = max(moment or 0, recommender.earliest_moment() or 0) + 86400 * 1000
    for items, times in histories:
        history = [{"item": it, "time": t} for it, t in zip(items, times, strict=True)]
        at = {} if moment is None else {"at": moment}
        questions.append(Question(_as_request({"histories": [history], "k": 10, **at})))
    for state in states:
        recommender = Recommender.load(state)
        version = recommender.run.serving[:12]
        for question, history in zip(questions, histories, strict=True):  # each alone
            found = recommender.recommend([history], 10, at=moment)
            question.lists[version] = found.items[0].tolist(), found.scores[0].tolist()
    return questions


def _draw(recommender: Recommender) -> list[tuple[list[str], list[int]]]:
    drawn, tokens = random.Random(1), recommender.items.tokens[1:].tolist()
    end = (recommender.known_until() or 1_500_000_000) - 1
    lengths = [drawn.choice((1, 3, 5, 10, 20)) for _ in range(N_BODIES)]
    return [
        (drawn.sample(tokens, n), [end - 3600 * (n - place) for place in range(n)]) for n in lengths
    ]


def _as_request(body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = (
        "POST /recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


# --- the service --------------------------------------------------------------------------------


class Command:
    """``hm4sr serve`` in processes of its own.

    Args:
        folder: Of the run, or a link to it.
        workers: Processes that answer.
        log: Where it writes.
    """

    def __init__(self, folder: Path, workers: int, log: Path) -> None:
        self._log, self._read = log, 0
        self._begun: list[int] = []
        words = ["serve", f"--run={folder}", "--port=0", f"--workers={workers}"]
        with log.open("w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "recbole_hm4sr", *words, "--reload_on_change"],
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self.family = psutil.Process(self.process.pid)

    @property
    def port(self) -> int:
        """Where it listens; 0 until it says so."""
        with self._log.open(encoding="utf-8") as file:
            found = re.search(r" at http://\S+:(\d+)", file.read(10_000))
        return int(found[1]) if found else 0

    def listening(self) -> list[int]:
        """The processes that listen."""
        with self._log.open("rb") as file:
            file.seek(self._read)
            lines = file.read().rpartition(b"\n")[0]
        self._read += len(lines)
        begun = re.findall(rb"Started server process \[(\d+)\]", lines)
        self._begun += [int(number) for number in begun]
        self._begun = [number for number in self._begun if psutil.pid_exists(number)]
        return self._begun

    def memory_mb(self) -> dict[str, float]:
        """What all its processes hold: shared pages counted once, and what each has alone."""
        held = {"pss_mb": 0.0, "uss_mb": 0.0, "processes": 0.0}
        for process in [self.family, *self.family.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                found = process.memory_full_info()
                held["pss_mb"] += found.pss / MB
                held["uss_mb"] += found.uss / MB
                held["processes"] += 1
        return held

    def end(self) -> dict[str, Any]:
        """Stop it; its exit code, the seconds that took, and what is left of it."""
        family = self.family.children(recursive=True)
        began = time.perf_counter()
        self.process.terminate()
        code = self.process.wait(WAIT_SECONDS)
        seconds = time.perf_counter() - began
        _, left = psutil.wait_procs(family, timeout=30)
        return {"exit_code": code, "seconds": seconds, "processes_left": len(left)}


# --- faults -------------------------------------------------------------------------------------


async def read_count(connection: Connection, name: str) -> float:
    """A series without labels, of all processes together; NaN where none answers."""
    with contextlib.suppress(ConnectionError):
        _, body = await connection.ask(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")
        found = re.search(rf"^{name} (\S+)$", body.decode(), re.MULTILINE)
        return float(found[1]) if found else float("nan")
    return float("nan")


async def kill_workers(command: Command, options: Any, until: float) -> list[dict[str, float]]:
    """SIGKILL for a worker, again and again; the seconds until as many listen as before."""
    drawn, kills = random.Random(2), []
    while time.monotonic() + options.kill_every < until:
        await asyncio.sleep(options.kill_every)
        before = set(command.listening())
        victim, began = drawn.choice(sorted(before)), time.perf_counter()
        os.kill(victim, signal.SIGKILL)
        while len(set(command.listening()) - {victim}) < options.workers:
            await asyncio.sleep(0.02)
        kills.append({"at": time.time(), "seconds": time.perf_counter() - began})
        print(f"  killed {victim}; {options.workers} listen after {kills[-1]['seconds']:.2f} s")
    kept = await read_count(Connection(command.port), "hm4sr_ended_workers_total")
    print(f"  {len(kills)} killed, {kept:.0f} counted as ended")
    return kills


async def swap_states(link: Path, states: Sequence[Path], every: float, until: float) -> int:
    """Set the link to the other state, again and again; how often."""
    number = 0
    while time.monotonic() + every < until:
        await asyncio.sleep(every)
        number += 1
        new = link.with_name("next")
        new.symlink_to(states[number % 2])
        new.replace(link)
    return number


async def watch_memory(command: Command, until: float, began: float) -> list[dict[str, float]]:
    """What all processes hold, every few seconds."""
    samples = []
    while time.monotonic() < until:
        samples.append({"seconds": time.monotonic() - began, **command.memory_mb()})
        await asyncio.sleep(10)
    return samples


async def soak(
    command: Command,
    questions: Sequence[Question],
    link: Path,
    states: Sequence[Path],
    options: Any,
) -> dict[str, Any]:
    """Load and faults together."""
    began = time.monotonic()
    until, tally = began + 60 * options.minutes, Tally()
    clients = [
        keep_asking(command.port, questions, until, tally, seed) for seed in range(options.clients)
    ]
    kills, swaps, memory, *_ = await asyncio.gather(
        kill_workers(command, options, until),
        swap_states(link, states, options.swap_every, until),
        watch_memory(command, until, began),
        *clients,
    )
    counts = {
        name: tally.counts[name] for name in ("asked", "right", "wrong", "asked again", "lost")
    }
    return {
        "minutes": (time.monotonic() - began) / 60,
        "counts": counts,
        "in_another_order": tally.counts["in another order"],
        "versions": dict(tally.versions),
        "statuses": dict(tally.statuses),
        "examples": tally.examples,
        "kills": kills,
        "swaps": swaps,
        "memory": memory,
    }


# --- all of it ----------------------------------------------------------------------------------


@contextlib.contextmanager
def served(link: Path, options: Any, log: Path) -> Iterator[Command]:
    """A service that is ready; nothing is left of it."""
    command = Command(link, options.workers, log)
    try:
        asyncio.run(_ready(command, options.workers))
        yield command
    finally:
        if command.process.poll() is None:
            for process in [*command.family.children(recursive=True), command.family]:
                with contextlib.suppress(psutil.Error):
                    process.kill()


async def _ready(command: Command, workers: int) -> None:
    """Until several connections in a row are answered by processes that have opened the run."""
    in_a_row, latest = 0, time.monotonic() + WAIT_SECONDS
    while in_a_row < 20 or len(command.listening()) < workers:
        if command.process.poll() is not None or time.monotonic() > latest:
            raise SystemExit("the service did not become ready; its log says why")
        await asyncio.sleep(0.1)
        if not command.port:
            continue
        connection, status = Connection(command.port), 0
        with contextlib.suppress(ConnectionError):
            status, _ = await connection.ask(NOTHING.replace(b"/health", b"/ready"))
        connection.close()
        in_a_row = in_a_row + 1 if status == 200 else 0


def report(results: dict[str, Any]) -> None:
    """Print what was found."""
    rows = [
        [f"{row['clients']} clients", row["recommend"]["requests"], row["recommend"]["median_ms"],
         row["nothing"]["median_ms"], *row["ratios"].values()]
        for row in results["latency"]
    ]  # fmt: skip
    titles = ["latency", "answers", "median ms", "of nothing", "ratio", "ratio p95", "ratio p99"]
    common.print_table(titles, rows)
    found, memory = results["load"], results["load"]["memory"]
    seconds = [kill["seconds"] for kill in found["kills"]]
    print()
    print(f"{found['minutes']:.1f} minutes, {found['swaps']} swaps, {len(seconds)} kills")
    print(found["counts"], found["versions"], found["statuses"], *found["examples"], sep="\n")
    if seconds:
        print(f"back after {statistics.median(seconds):.2f} s, at most {max(seconds):.2f}")
    for part in (memory[: len(memory) // 2], memory[len(memory) // 2 :]):
        held = [sample["pss_mb"] for sample in part]
        print(f"memory of all processes: median {statistics.median(held):.0f} MB")
    print(results["end"])


def main() -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, help="a run with a memory; copied, not changed")
    parser.add_argument("--minutes", type=float, default=10, help="of load")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--swap_every", type=float, default=75, help="seconds between two swaps")
    parser.add_argument("--kill_every", type=float, default=60, help="seconds between two kills")
    parser.add_argument("--latency_seconds", type=float, default=30, help="for 1, 8 and 64 clients")
    parser.add_argument("--out", type=Path, help="JSON file; default results/serving_load.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        states = make_states(folder, options.run)
        questions = make_questions(states)
        link = folder / "current"
        link.symlink_to(states[0])
        with served(link, options, folder / "serve.log") as command:
            results: dict[str, Any] = {"latency": []}
            for n_clients in (1, 8, 64):
                work = measure_latency(command.port, questions, n_clients, options.latency_seconds)
                results["latency"].append(asyncio.run(work))
            results["load"] = asyncio.run(soak(command, questions, link, states, options))
            results["end"] = command.end()
    report(results)
    common.write_results(options, results)


if __name__ == "__main__":
    main()
