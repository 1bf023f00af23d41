"""Recommendations for users the model never saw: users a second, from a CSV file of histories.

A run with untrained weights is written and loaded again from its folder; then the file is read and
ten items are recommended to every user, without those of the history. Stages are timed as they
follow each other; the throughput counts all of them, loading apart, which happens once. What a
service does is timed apart: one user a request. A model with a memory is set against the same model
without one, all in turn.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import _common as common
import pandas as pd

from recbole_hm4sr.run.folder import RunFolder
from recbole_hm4sr.run.serving_file import write_serving_file
from recbole_hm4sr.serve.recommend import Recommender

STAGES = ("read", "recommend", "all", "requests")
N_REQUESTS = 50


class Variant(NamedTuple):
    """What is timed.

    Attributes:
        name: In the table.
        model: Its model.
        settings: That are not the model's own.
        against: Name of the variant whose time it is set against; itself where there is no other.
    """

    name: str
    model: str
    settings: dict[str, Any]
    against: str


def variants_of(options: argparse.Namespace) -> list[Variant]:
    """The models, those with a memory also without one."""
    found = [Variant(it, it, {}, it) for it in _names(options.models)]
    for model in _names(options.with_memory):
        without = f"{model}, memory: none"
        found.append(Variant(without, model, {"memory": "none"}, without))
        found.append(
            Variant(f"{model}, memory: events", model, {"memory": "events"}, without),
        )
    return found


def _names(words: str) -> list[str]:
    return [name for name in words.split(",") if name]


def write_run(folder: Path, data: "Data", variant: Variant) -> Path:
    """The folder of a run that was never trained."""
    session = common.make_session(
        variant.model, data.path, folder, dataset=data.name, **variant.settings, **data.settings
    )
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


class Data(NamedTuple):
    """What models are built from, and whose users get items.

    Attributes:
        path: Folder above that of the data set.
        name: Of the data set.
        settings: Of the runs.
        interactions: With columns as those of the data set, one a row.
    """

    path: Path
    name: str
    settings: dict[str, Any]
    interactions: pd.DataFrame


def data_of(options: argparse.Namespace, folder: Path) -> Data:
    """Real data in atomic files, or generated ones."""
    settings = {} if options.settings is None else {"config_files": [options.settings]}
    columns = ["user_id", "item_id", "timestamp"]
    if options.data_path is not None:
        file = options.data_path / options.dataset / f"{options.dataset}.inter"
        frame = pd.read_csv(file, sep="\t", dtype=str)
        frame.columns = frame.columns.str.partition(":").get_level_values(0)
        return Data(options.data_path, options.dataset, settings, frame[columns])
    shape = common.shape_of(options)
    path = common.write_dataset(folder / "data", shape, options.seed)
    users, items, times = common.draw_interactions(shape, options.seed)
    texts = "u" + pd.Series(users).astype(str), "i" + pd.Series(items).astype(str), times
    return Data(
        path, common.DATASET, settings, pd.DataFrame(dict(zip(columns, texts, strict=True)))
    )


def write_histories(path: Path, data: Data, seed: int, n_users: int | None) -> Path:
    """The interactions of the data set, or of its first users, in another order, as CSV."""
    frame = data.interactions
    if n_users is not None:
        frame = frame[pd.factorize(frame["user_id"])[0] < n_users]
    frame.sample(frac=1, random_state=seed).to_csv(path, index=False)
    return path


def measure(
    options: argparse.Namespace, variants: Sequence[Variant], folder: Path
) -> dict[str, dict[str, Any]]:
    """Seconds of each stage of all variants, round after round."""
    data = data_of(options, folder)
    path = write_histories(folder / "histories.csv", data, options.seed, options.served)
    found: dict[str, dict[str, Any]] = {}
    stages: dict[str, dict[str, Callable[[], Any]]] = {it: {} for it in STAGES}
    for number, variant in enumerate(variants):
        run_dir = write_run(folder / str(number), data, variant)
        began = time.perf_counter()
        recommender = Recommender.load(run_dir)
        found[variant.name] = {"load_seconds": time.perf_counter() - began}
        for stage, call in stages_of(recommender, path, options.k).items():
            stages[stage][variant.name] = call
    n_users = len(recommender.read_histories(path).users)
    for stage, calls in stages.items():
        timings = common.time_alternately(calls, repeats=options.repeats, warmup=1)
        for variant in variants:
            found[variant.name][stage] = timings[variant.name].seconds | {
                f"{clock}_ratio": common.time_by_rounds(
                    timings, variant.name, variant.against, clock
                )
                for clock in ("wall", "cpu")
            }
    for row in found.values():
        row["users"] = n_users
        row["users_per_second"] = n_users / row["all"]["wall_median"]
        row["users_per_cpu_second"] = n_users / row["all"]["cpu_median"]
    return found


def stages_of(recommender: Recommender, path: Path, k: int) -> dict[str, Callable[[], Any]]:
    """What is timed of one variant: all users at once, and some of them one by one."""
    raw = recommender.read_histories(path)
    frame = pd.DataFrame({"user": raw.user, "item": raw.items, "time": raw.times})
    single = [
        [(rows["item"].tolist(), rows["time"].tolist())]
        for _, rows in frame[frame["user"] < N_REQUESTS].groupby("user")
    ]

    def one_by_one() -> None:
        for histories in single:
            recommender.recommend(histories, k)

    return {
        "read": lambda: recommender.read_histories(path),
        "recommend": lambda: recommender.recommend(raw, k),
        "all": lambda: recommender.recommend(recommender.read_histories(path), k),
        "requests": one_by_one,
    }


def main() -> None:
    """Parse the options and run."""
    parser = common.option_parser(__doc__, repeats=5, threads=2)
    parser.add_argument("--data_path", type=Path, help="folder above the data set's folder")
    parser.add_argument("--dataset", help="name of the data set in it")
    parser.add_argument("--settings", type=Path, help="YAML file of settings for the runs")
    parser.add_argument("--models", default="HM4SR,SASRec", help="separated by commas")
    parser.add_argument(
        "--with_memory", default="Momento", help="models timed with a memory and without one"
    )
    parser.add_argument("--served", type=int, help="users that get items; all unless given")
    parser.add_argument("-k", type=int, default=10, help="items a user")
    options = parser.parse_args()
    if (options.data_path is None) != (options.dataset is None):
        parser.error("--data_path and --dataset go together")
    common.start(options)
    with tempfile.TemporaryDirectory() as folder:
        results = measure(options, variants_of(options), Path(folder))
    rows = []
    for name, row in results.items():
        total, requests = row["all"], row["requests"]
        rows.append(
            [
                name,
                row["load_seconds"],
                row["read"]["wall_median"],
                row["recommend"]["wall_median"],
                total["wall_median"],
                total["cpu_median"],
                row["users_per_second"],
                total["cpu_ratio"],
                1e3 * requests["cpu_median"] / N_REQUESTS,
                requests["cpu_ratio"],
            ]
        )
    headers = ["", "load s", "read s", "recommend s", "all s", "all CPU s", "users/s", "ratio"]
    common.print_table([*headers, "request CPU ms", "ratio"], rows)
    common.write_results(options, {"variants": results})


if __name__ == "__main__":
    main()
