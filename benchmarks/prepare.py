"""``hm4sr prepare amazon``: review lines a second and a core from gzip, and memory by file size.

Review files of the three releases are generated, 700 to 800 bytes a line as in the real ones, and
prepared whole: parse, number, repeats, 5-core, write. Each preparation has its own process with one
thread, so that its peak memory is its own. Lines a second are of CPU time, which is what a core
does; the clock's stand beside it. The large files have the lines of the small one of 2018 several
times, each time under new names of users and items, so that nothing but the size differs. A line
through their seconds says what a hundred million would take.
"""

import argparse
import gzip
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _common as common
import numpy as np

RELEASES = (2014, 2018, 2023)
LARGE = 2018
N_WORDS = 85
FAR = 100_000_000  # lines that the fitted line is read at


def draw_lines(release: int, n_lines: int, seed: int) -> Iterator[str]:
    """Review lines of one release."""
    random = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrst"))
    words = ["".join(random.choice(letters, size)) for size in random.integers(2, 10, 3000)]
    for _ in range(n_lines):
        user = f"A{random.integers(n_lines // 8 + 1):013d}"
        item = f"B{int(random.integers(n_lines // 12 + 1) ** 2 / (n_lines / 12 + 1)):09d}"
        text = " ".join(words[place] for place in random.integers(3000, size=N_WORDS))
        seconds = 1_400_000_000 + int(random.integers(3000)) * 86_400
        yield json.dumps(_record(release, user, item, text, seconds))


def _record(release: int, user: str, item: str, text: str, seconds: int) -> dict[str, Any]:
    if release == 2023:
        record = {"rating": 5.0, "title": "good", "text": text, "images": [], "asin": item}
        record |= {"parent_asin": item, "user_id": user, "timestamp": seconds * 1000 + 7}
        return record | {"helpful_vote": 0, "verified_purchase": True}
    record = {"reviewerID": user, "asin": item, "reviewerName": "J. D.", "reviewText": text}
    record |= {"overall": 5.0, "summary": "good", "unixReviewTime": seconds}
    return record | ({"helpful": [0, 0]} if release == 2014 else {"verified": True, "vote": "2"})


def write_reviews(path: Path, release: int, options: argparse.Namespace, copies: int) -> None:
    """Write a gzip file of ``copies`` times the lines, each time under new names."""
    text = "\n".join(draw_lines(release, options.lines, options.seed)) + "\n"
    with gzip.open(path, "wt", compresslevel=1, encoding="utf-8") as file:
        for copy in range(copies):
            file.write(text.replace('"A0', f'"A{copy}x').replace('"B0', f'"B{copy}x'))


def peak_memory_mb() -> float:
    """Peak memory of this process alone: what getrusage says begins with its parent's."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return common.peak_memory_mb()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10


def measure_one(path: Path, out: Path, memory: str) -> None:
    """Prepare one file, and print time and peak memory as JSON."""
    from recbole_hm4sr.prepare.raw.amazon import prepare_amazon
    from recbole_hm4sr.prepare.tables.job import Preparation
    from recbole_hm4sr.prepare.tables.tables import require_engine

    require_engine()
    before = peak_memory_mb()
    wall, cpu = time.perf_counter(), time.process_time()
    provenance = prepare_amazon([path], [], Preparation(out, threads=1, memory=memory))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    facts = provenance["inputs"][0]
    record = {"wall": wall, "cpu": cpu, "lines": facts["n_lines"], "bytes": facts["n_bytes"]}
    record |= {"peak_mb": peak_memory_mb(), "before_mb": before}
    print(json.dumps({**record, "left": provenance["steps"][-1]["interactions"]}))


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Each release in its small size, and the release of 2018 in the large ones too."""
    cases = [(release, 1) for release in options.releases]
    cases += [(LARGE, copies) for copies in options.copies]
    results: dict[str, Any] = {}
    for release, copies in cases:
        path = folder / f"{release}-{copies}.json.gz"
        write_reviews(path, release, options, copies)
        runs = []
        for number in range(options.repeats):
            out = folder / f"out-{release}-{copies}-{number}"
            words = ("--prepare", str(path), "--into", str(out), "--memory", options.memory)
            runs.append(common.run_alone("prepare.py", *words))
        path.unlink()
        results[f"{release}, {runs[0]['lines']:,} lines"] = {
            **{key: runs[0][key] for key in ("lines", "bytes", "left", "before_mb")},
            "cpu_seconds": statistics.median(run["cpu"] for run in runs),
            "lines_per_cpu_second": statistics.median(run["lines"] / run["cpu"] for run in runs),
            "lines_per_second": statistics.median(run["lines"] / run["wall"] for run in runs),
            "peak_mb": max(run["peak_mb"] for run in runs),
        }
    return results


def print_results(results: dict[str, Any]) -> None:
    """One row a file."""
    headers = ["", "gzip MB", "lines/CPU s", "lines/s", "peak MB", "before MB", "5-core rows"]
    rows = [
        [
            name,
            row["bytes"] / 2**20,
            row["lines_per_cpu_second"],
            row["lines_per_second"],
            row["peak_mb"],
            row["before_mb"],
            row["left"],
        ]
        for name, row in results.items()
    ]
    common.print_table(headers, rows)


def print_far(results: dict[str, Any]) -> None:
    """The line through the seconds of the files, by their lines, and where it is far out."""
    rows = [row for name, row in results.items() if name.startswith(str(LARGE))]
    if len({row["lines"] for row in rows}) < 2:
        return
    slope, start = np.polyfit(
        [row["lines"] for row in rows], [row["cpu_seconds"] for row in rows], 1
    )
    print(f"fitted: {start:.1f} s + {1e6 * slope:.2f} s a million lines; ", end="")
    print(f"{FAR:,} lines: {(start + slope * FAR) / 60:.0f} minutes of CPU time, computed")


def main() -> None:
    """Parse the options and run."""
    parser = common.option_parser(__doc__, repeats=3)
    parser.add_argument("--lines", type=int, default=200_000, help="of the small files")
    parser.add_argument(
        "--copies", type=int, nargs="*", default=[8], help="the large files are so much larger"
    )
    parser.add_argument("--releases", type=int, nargs="*", default=RELEASES, choices=RELEASES)
    parser.add_argument("--memory", default="128MB", help="limit of the tables")
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepare:
        measure_one(options.prepare, options.into, options.memory)
        return
    with tempfile.TemporaryDirectory() as folder:
        results = measure(options, Path(folder))
    print_results(results)
    print_far(results)
    common.write_results(options, {"files": results})


if __name__ == "__main__":
    main()
