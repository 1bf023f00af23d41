"""Recommendations under each rule on items and lists, against the same without a rule.

A run with untrained weights is written and loaded again from its folder. The histories are read
once; the rules are timed in turn, each for all users.
"""

import argparse
import functools
import tempfile
from pathlib import Path
from typing import Any

import _common as common
from recommend import Variant, write_histories, write_run

from recbole_hm4sr.serve.recommend import Recommender


def rules_of(shape: common.Shape) -> dict[str, dict[str, Any]]:
    """A request's rules, by the name of their row."""
    sold_out = [f"i{item}" for item in range(0, shape.items, 20)]
    return {
        "none": {},
        "exclude_items (5 %)": {"exclude_items": sold_out},
        "where (a half, by price)": {"where": "price <= 50"},
        "where (one category of three)": {"where": "categories in ('c0', 'c1', 'c2')"},
        "max_per categories=3": {"max_per": {"categories": 3}},
        "diversity 0.3": {"diversity": 0.3},
        "all of them": {
            "exclude_items": sold_out,
            "where": "price <= 50",
            "max_per": {"categories": 3},
            "diversity": 0.3,
        },
    }


def measure(options: argparse.Namespace, model: str, folder: Path) -> dict[str, Any]:
    """Seconds under each rule, round after round."""
    shape = common.shape_of(options)
    data_path = common.write_dataset(folder / "data", shape, options.seed)
    path = write_histories(folder / "histories.csv", shape, options.seed, options.served)
    run_dir = write_run(folder / "run", data_path, Variant(model, model, {}, model))
    recommender = Recommender.load(run_dir)
    raw = recommender.read_histories(path)
    ruled = {
        name: functools.partial(recommender.recommend, raw, options.k, **rules)
        for name, rules in rules_of(shape).items()
    }
    timings = common.time_alternately(ruled, repeats=options.repeats, warmup=1)
    rules = {name: timing.seconds for name, timing in timings.items()}
    return {"rules": rules, "users": len(raw.users), "peak_memory_mb": common.peak_memory_mb()}


def main() -> None:
    """Parse the options and run."""
    parser = common.option_parser(__doc__, repeats=5, threads=2)
    parser.add_argument("--models", default="HM4SR", help="separated by commas")
    parser.add_argument(
        "--served", type=int, help="users whose histories are served; all by default"
    )
    parser.add_argument("-k", type=int, default=10, help="items a user")
    options = parser.parse_args()
    common.start(options)
    results, rows = {}, []
    for model in options.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            results[model] = measure(options, model, Path(folder))
    for model, row in results.items():
        plain = row["rules"]["none"]["cpu_median"]
        for name, seconds in row["rules"].items():
            wall, cpu = seconds["wall_median"], seconds["cpu_median"]
            rows.append([model, name, wall, cpu, row["users"] / wall, cpu / plain])
    headers = ["", "rule", "recommend s", "CPU s", "users/s", "x none (CPU)"]
    common.print_table(headers, rows)
    common.write_results(options, {"variants": results})


if __name__ == "__main__":
    main()
