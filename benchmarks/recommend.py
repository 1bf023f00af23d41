"""Recommendations for users the model never saw: users a second, from a CSV file of histories.

A run with untrained weights is written and loaded again from its folder; then the file is read and
ten items are recommended to every user, without those of the history. Stages are timed as they
follow each other; the throughput counts all of them, loading apart, which happens once.

Then each rule on items and lists by itself: users a second without reading the file, beside none.
"""

import argparse
import functools
import tempfile
import time
from pathlib import Path
from typing import Any

import _common as common
import pandas as pd

from recbole_hm4sr.run.folder import RunFolder
from recbole_hm4sr.run.serving_file import write_serving_file
from recbole_hm4sr.serve.recommend import Recommender


def write_run(folder: Path, data_path: Path, model: str) -> Path:
    """The folder of a run that was never trained."""
    session = common.make_session(model, data_path, folder)
    RunFolder(folder).write_settings(session.plan)
    trainer = session.trainer
    trainer.files.checkpoints.write_best(trainer.scoring_state(0))
    write_serving_file(
        folder,
        session.model.eval(),
        session.train_data._dataset,
        fingerprints=session.fingerprints,
    )
    return folder


def write_histories(path: Path, shape: common.Shape, seed: int) -> Path:
    """The interactions of the data set in another order, as CSV."""
    users, items, times = common.draw_interactions(shape, seed)
    columns = {
        "user_id": "u" + pd.Series(users).astype(str),
        "item_id": "i" + pd.Series(items).astype(str),
        "timestamp": times,
    }
    pd.DataFrame(columns).sample(frac=1, random_state=seed).to_csv(path, index=False)
    return path


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
    """Seconds of each stage, round after round."""
    shape = common.shape_of(options)
    data_path = folder / "data"
    if not data_path.exists():
        common.write_dataset(data_path, shape, options.seed)
    run_dir = write_run(folder / model, data_path, model)
    began = time.perf_counter()
    recommender = Recommender.load(run_dir)
    load_seconds = time.perf_counter() - began
    path = write_histories(folder / "histories.csv", shape, options.seed)
    raw = recommender.read_histories(path)
    stages = {
        "read": lambda: recommender.read_histories(path),
        "recommend": lambda: recommender.recommend(raw, options.k),
        "all": lambda: recommender.recommend(recommender.read_histories(path), options.k),
    }
    timings = common.time_alternately(stages, repeats=options.repeats, warmup=1)
    ruled = {
        name: functools.partial(recommender.recommend, raw, options.k, **rules)
        for name, rules in rules_of(shape).items()
    }
    of_rules = common.time_alternately(ruled, repeats=options.repeats, warmup=1)
    total = timings["all"].seconds["wall_median"]
    return {
        "load_seconds": load_seconds,
        "stages": {name: timing.seconds for name, timing in timings.items()},
        "rules": {name: timing.seconds for name, timing in of_rules.items()},
        "users": len(raw.users),
        "users_per_second": len(raw.users) / total,
        "users_per_cpu_second": len(raw.users) / timings["all"].seconds["cpu_median"],
        "peak_memory_mb": common.peak_memory_mb(),
    }


def main() -> None:
    """Parse the options and run."""
    parser = common.option_parser(__doc__, repeats=5, threads=2)
    parser.add_argument("--models", default="HM4SR,SASRec", help="separated by commas")
    parser.add_argument("-k", type=int, default=10, help="items a user")
    options = parser.parse_args()
    common.start(options)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models.split(","):
            results[model] = measure(options, model, Path(folder))
    rows = []
    for model, row in results.items():
        read, recommend, total = (row["stages"][name] for name in ("read", "recommend", "all"))
        rows.append(
            [
                model,
                row["load_seconds"],
                read["wall_median"],
                recommend["wall_median"],
                total["wall_median"],
                total["cpu_median"],
                row["users_per_second"],
            ]
        )
    headers = ["", "load s", "read s", "recommend s", "all s", "all CPU s", "users/s"]
    common.print_table(headers, rows)
    rows = []
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
