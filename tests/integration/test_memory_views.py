"""A run with several values of ``memory_refresh`` is as several runs with one value each."""

import json
import shutil

import numpy as np
import pytest
from helpers import LATER_VISITS
from killing import contents

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.model.registry import find_model, view_labels
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import QUICK, write_toy_dataset
from recbole_hm4sr.train.checkpoint import read_checkpoint

pytestmark = pytest.mark.integration

REFRESHES = ["none", "week", "request"]
SETTINGS = {
    **QUICK,
    "epochs": 4,
    "MAX_ITEM_LIST_LENGTH": 11,
    "hidden_size": 16,
    "inner_size": 32,
    "n_interactive_experts": 2,
    "use_gpu": False,
    "eval_args": LATER_VISITS,
    "request_time": "target",
    "memory_refresh": REFRESHES,
    "list_metrics": True,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs with all values and with each alone, and the first one's folder after two epochs."""
    folder = tmp_path_factory.mktemp("views")
    write_toy_dataset(folder / "toy")
    settings = {**SETTINGS, "data_path": str(folder)}
    whole, after = folder / "all", folder / "after"

    def copy(record):
        if record.epoch == 2:
            shutil.copytree(whole, after)

    quick_start.run("Momento", "toy", overrides=settings, run_dir=whole, on_epoch=copy)
    for name in REFRESHES:
        alone = {**settings, "memory_refresh": name}
        quick_start.run("Momento", "toy", overrides=alone, run_dir=folder / name)
    return folder


def history(folder):
    lines = (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", REFRESHES)
def test_each_value_has_the_numbers_of_a_run_with_it_alone(name, runs):
    found, alone = metrics(runs / "all")["views"][name], metrics(runs / name)
    shared = ("best_epoch", "best_valid_score", "valid", "test", "test_include", "test_exclude")
    shared += ("lists",)
    assert {key: found[key] for key in shared} == {key: alone[key] for key in shared}
    assert found["lists"].keys() == {"include", "exclude"}
    epochs = history(runs / "all")
    for record, expected in zip(epochs, history(runs / name), strict=True):
        of_view = record if name == REFRESHES[0] else record["views"][name]
        for key in ("valid_score", "valid", "is_best"):
            assert of_view[key] == expected[key]
    with (
        np.load(runs / "all" / found["ranks"]) as ranks,
        np.load(runs / name / "test_ranks.npz") as expected,
    ):
        assert {key: ranks[key].tolist() for key in ranks} == {
            key: expected[key].tolist() for key in expected
        }


def test_the_values_tell_the_same_weights_apart(runs):
    """Or the test above would say nothing."""
    first = history(runs / "all")[0]
    scores = [first["valid"], *(view["valid"] for view in first["views"].values())]
    assert all(scores[a] != scores[b] for a, b in ((0, 1), (0, 2), (1, 2)))
    views = metrics(runs / "all")["views"]
    assert views["none"]["lists"] != views["request"]["lists"]


def test_a_run_resumed_in_the_middle_ends_as_the_whole(runs):
    quick_start.resume(runs / "after")
    assert contents(runs / "after") == contents(runs / "all")
    assert metrics(runs / "after")["views"] == metrics(runs / "all")["views"]
    for name in REFRESHES[1:]:
        left = [
            read_checkpoint(runs / run / "checkpoint" / f"best-{name}.pt")
            for run in ("after", "all")
        ]
        assert left[0]["epoch"] == left[1]["epoch"]
        for key, value in left[0]["state_dict"].items():
            assert value.tolist() == left[1]["state_dict"][key].tolist()


def test_an_evaluation_gives_every_value_again(runs):
    found = quick_start.evaluate(runs / "all").views
    expected = metrics(runs / "all")["views"]
    assert {name: vars(view) for name, view in found.items()} == expected
    assert list(found) == REFRESHES


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([], r"memory_refresh must hold at least one value and none twice, got \[\]"),
        (["week", "week"], r"at least one value and none twice, got \['week', 'week'\]"),
        (["day"], "memory_refresh must be one of none, week, request or a list"),
    ],
)
def test_other_values_are_refused(value, sentence):
    with pytest.raises(ConfigError, match=sentence):
        compose(find_model("Momento"), "sports", overrides={"memory_refresh": value})


def test_a_table_has_a_name_for_each_value_of_a_model_with_a_memory():
    labels = {
        "none": "memory frozen",
        "week": "memory to the week",
        "request": "memory to the request",
    }
    settings = {"memory": "events", "memory_refresh": REFRESHES}
    assert view_labels("Momento", settings) == labels
    assert view_labels("SASRecPlus", {**settings, "memory": "none"}) == {}
    assert view_labels("Momento", {**settings, "memory_refresh": "week"}) == {}
    assert view_labels("MMSR", settings) == {}
