"""A split at one moment for all users, through training, testing and the groups of a table."""

import json

import numpy as np
import pytest

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.evaluate.rank_file import read_ranks
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.testing.toydata import QUICK_HM4SR

EVAL_ARGS = {"order": "TO", "mode": "full", "split": {"GT": [0.6, 0.2, 0.2]}}


def rows_of(path):
    lines = (path / "toy" / "toy.inter").read_text(encoding="utf-8").splitlines()[1:]
    return [(user, item, int(time)) for user, item, time in (line.split("\t") for line in lines)]


@pytest.mark.parametrize("targets", ["first", "visits"])
def test_targets_and_groups_are_those_of_the_file(targets, toy_path, tmp_path):
    result = quick_start.run(
        "HM4SR",
        "toy",
        overrides={
            **QUICK_HM4SR,
            "epochs": 1,
            "data_path": str(toy_path),
            "eval_args": {**EVAL_ARGS, "targets": targets},
        },
        run_dir=tmp_path / "run",
    )
    rows = rows_of(toy_path)
    times = sorted(time for _, _, time in rows)
    valid_from, test_from = times[int(len(times) * 0.6)], times[int(len(times) * 0.8)]
    expected = []
    for user in dict.fromkeys(user for user, _, _ in rows):
        mine = sorted((row for row in rows if row[0] == user), key=lambda row: row[2])
        inside = [
            place
            for place in range(1, len(mine))
            if mine[place][2] >= test_from
            and (targets == "first" or mine[place][2] > mine[place - 1][2])
        ]
        n_training = sum(time < valid_from for _, _, time in mine)
        for place in inside[: 1 if targets == "first" else None]:
            expected.append((user, mine[place][1], place, n_training))
    metrics = json.loads((result.run_dir / "metrics.json").read_text(encoding="utf-8"))
    firsts = {user: min(time for u, _, time in rows if u == user) for user, _, _ in rows}
    moment = {
        "training_ends": valid_from,
        "test_without_history": sum(time >= test_from for time in firsts.values()),
    }
    assert metrics["one_moment"] == moment
    ranks = read_ranks(result.run_dir)
    names = ("user", "target", "history_length", "training_length")
    found = list(zip(*(ranks[name].tolist() for name in names), strict=True))
    assert sorted(found) == sorted(expected)
    trained = np.array([item for _, item, time in rows if time < valid_from])
    counts = [(trained == item).sum() for item in ranks["target"]]
    assert ranks["target_count"].tolist() == counts


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"targets": "next"}, "eval_args.targets must be one of first, last, all, visits with GT"),
        ({}, "eval_args.targets must be one of first, last, all, visits with GT, .* got None"),
        (
            {"split": {"TS": [0.8, 0.1, 0.1]}, "group_by": "none"},
            "group_by must be user with TS; one moment for all users is GT, got 'none'",
        ),
        ({"split": {"LS": "valid_and_test"}, "targets": "all"}, "left out without, got 'all'"),
    ],
)
def test_other_words_are_refused(arguments, sentence, toy_path, tmp_path):
    overrides = {"data_path": str(toy_path), "eval_args": {**EVAL_ARGS, **arguments}}
    with pytest.raises(ConfigError, match=sentence):
        quick_start.run("HM4SR", "toy", overrides=overrides, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
