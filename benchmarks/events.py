"""Events of 20 million generated interactions: bytes each, seconds and peak memory to build them.

They are built in pieces straight into files and mapped, as training does. Then the interactions of
the last days are merged into the events of those before, as ``hm4sr refresh`` does, and what a
service reads is cut. Each step is a process of its own, since peak memory never falls; what
``import torch`` takes is part of it.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import _common as common
import numpy as np

from recbole_hm4sr.data.array_files import open_array
from recbole_hm4sr.data.event_files import (
    cut_pieces,
    latest_runs,
    map_events,
    merge_events,
    write_pieces,
)
from recbole_hm4sr.data.events import EventRuns, Interactions, sort_events
from recbole_hm4sr.data.visits import number_visits

USERS, ITEMS, INTERACTIONS = 2_000_000, 500_000, 20_000_000
REACH, LIMIT = 10, 400
STEPS = ("build", "merge", "cut")
COLUMNS = ("users", "items", "times")


def log_of(users: np.ndarray, items: np.ndarray, times: np.ndarray) -> Interactions:
    """Interactions by user and time, as the memory of a model reads them."""
    starts = np.searchsorted(users, users)
    return Interactions(items, times, starts, number_visits(times, starts, gap=1800))


def runs_of(folder: Path, names: dict[str, str]) -> EventRuns:
    """Mapped events."""
    return EventRuns(**{name: open_array(folder, value) for name, value in names.items()})


def step(name: str, folder: Path, n_items: int) -> dict[str, Any]:
    """One step in this process: seconds, peak memory, and what it made."""
    columns = [np.load(folder / f"{it}.npy") for it in COLUMNS]
    start = time.perf_counter()
    if name == "build":
        runs = map_events(folder, log_of(*columns), n_items=n_items, reach=REACH)
    else:
        (names,) = folder.glob("*.json")
        runs = runs_of(folder, json.loads(names.read_text(encoding="utf-8")))
    facts: dict[str, Any] = {"events": len(runs.others)}
    if name == "build":
        columns_of_events = (runs.others, runs.distances, runs.times)
        facts["bytes_each"] = sum(it.itemsize for it in columns_of_events)
        facts["bytes_with_index"] = (
            sum(it.nbytes for it in (*columns_of_events, runs.starts)) / facts["events"]
        )
    start = start if name == "build" else time.perf_counter()
    if name == "merge":  # a hundredth of the interactions, of users of their own
        users, items, times = (column[-len(columns[0]) // 100 :] for column in columns)
        more = sort_events(log_of(users, items, times), n_items=n_items, reach=REACH)
        write_pieces(folder, merge_events(runs, more), facts["events"] + len(more.others))
        facts["events"] += len(more.others)
    if name == "cut":
        firsts, counts = latest_runs(runs, limit=LIMIT, before=int(columns[2].max()))
        facts["events"] = int(counts.sum())
        write_pieces(folder, cut_pieces(runs, firsts, counts), facts["events"])
    return {"seconds": time.perf_counter() - start, "peak_mb": common.peak_memory_mb(), **facts}


def main() -> None:
    """Parse the options and run."""
    parser = common.option_parser(__doc__)
    parser.add_argument("--folder", type=Path, help="where the files go; a temporary one")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    shape = dataclasses.replace(
        common.shape_of(options),
        users=options.users or USERS,
        items=options.items or ITEMS,
        interactions=options.interactions or INTERACTIONS,
    )
    if options.step:
        print(json.dumps(step(options.step, options.folder, shape.items + 1)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        users, items, times = common.draw_interactions(shape, options.seed)
        for column, values in zip(COLUMNS, (users, items + 1, times), strict=True):
            np.save(folder / f"{column}.npy", values)
        del users, items, times
        words = ["--folder", str(folder), "--items", str(shape.items)]
        steps = {it: common.run_alone("events.py", "--step", it, *words) for it in STEPS}
    sizes = ", ".join(f"{getattr(shape, it):,} {it}" for it in ("interactions", "users", "items"))
    print(f"GENERATED interactions: {sizes}")
    rows = [
        [it, found["events"], found["seconds"], found["peak_mb"]] for it, found in steps.items()
    ]
    common.print_table(["step", "events", "seconds", "peak MB"], rows)
    built = steps["build"]
    print(f"{built['bytes_each']} bytes an event, {built['bytes_with_index']:.2f} with the index")
    common.write_results(options, {"shape": dataclasses.asdict(shape), "steps": steps})


if __name__ == "__main__":
    main()
