"""Models without training stand first in every table, unless the grid says otherwise."""

import dataclasses

import numpy as np
import pytest

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.compare.cells import Cell
from recbole_hm4sr.compare.grid import read_grid
from recbole_hm4sr.compare.protocol import check_grid
from recbole_hm4sr.compare.render import as_text
from recbole_hm4sr.compare.results import Outcome
from recbole_hm4sr.compare.summary import summarize
from recbole_hm4sr.compare.table import build_tables
from recbole_hm4sr.model.baselines import DEFAULT_BASELINES
from recbole_hm4sr.testing.toydata import write_toy_dataset

FLAGS = {"datasets": ["toy"], "models": ["SASRec"], "seeds": [1]}


def labels(grid):
    return [spec.label for spec in grid.models]


def grid_of(**more):
    return read_grid(flags={**FLAGS, **more}, default_baselines=DEFAULT_BASELINES)


@pytest.mark.parametrize(
    ("more", "label", "baseline"),
    [
        ({}, "SASRec+", "SASRec"),  # as the page of the model calls it
        ({"baseline": "SASRecPlus"}, "SASRec+", "SASRec+"),
        ({"baseline": "SASRec+"}, "SASRec+", "SASRec+"),
        (
            {
                "models": ["SASRec", {"model": "SASRecPlus", "label": "SASRecPlus"}],
                "baseline": "SASRecPlus",
            },
            "SASRecPlus",  # a label of one's own stays
            "SASRecPlus",
        ),
    ],
)
def test_a_model_is_a_row_by_the_name_that_tables_use(more, label, baseline):
    grid = grid_of(**{"models": ["SASRec", "SASRecPlus"], "baselines": [], **more})
    assert labels(grid) == ["SASRec", label]
    assert grid.baseline == baseline
    assert [cell.model for cell in grid.cells()] == ["SASRec", "SASRecPlus"]


def test_they_stand_first_and_are_not_what_the_others_are_compared_with():
    grid = grid_of()
    assert labels(grid) == [
        "Popular", "RecentPopular", "RepeatLast", "ItemKNN", "ItemKNN as of the request", "SASRec",
    ]  # fmt: skip
    assert grid.baseline == "SASRec"
    assert [(cell.label, cell.model) for cell in grid.cells()][-2:] == [
        ("ItemKNN as of the request", "ItemKNN"), ("SASRec", "SASRec"),
    ]  # fmt: skip
    assert grid.cells()[-2].settings == {"counts": "as_of"}


def test_a_grid_names_others_or_none():
    assert labels(grid_of(baselines=[])) == ["SASRec"]
    named = ["EASE", {"label": "wide", "model": "ItemKNN", "settings": {"memory_reach": 20}}]
    grid = grid_of(baselines=named)
    assert labels(grid) == ["EASE", "wide", "SASRec"]
    assert grid.cells()[1].settings == {"memory_reach": 20}
    assert labels(read_grid(flags=FLAGS)) == ["SASRec"]  # where nothing names any


def test_a_model_of_the_grid_is_not_added_again():
    grid = grid_of(models=["SASRec", {"label": "ItemKNN", "model": "ItemKNN"}])
    assert labels(grid)[-2:] == ["SASRec", "ItemKNN"]
    assert labels(grid).count("ItemKNN") == 1


@pytest.mark.parametrize(
    ("baselines", "says"),
    [(["SASRec"], "baselines must be models that are fitted once .*'SASRec'"),
     (["ItemKNM"], "fitted once .*'ItemKNM'"),
     ("Popular", "baselines must be a list of models without training, got 'Popular'"),
     ([3], "fitted once .*'3'"),
     ([{"label": "x"}], "fitted once .*'None'")],
)  # fmt: skip
def test_what_is_no_model_without_training_is_refused(baselines, says):
    with pytest.raises(ConfigError, match=says):
        grid_of(baselines=baselines)


def test_only_settings_that_they_have_reach_them(tmp_path):
    write_toy_dataset(tmp_path / "toy")
    settings = {
        "data_path": str(tmp_path), "hidden_size": 16, "rank_history": "exclude", "topk": [20],
        "memory_decay": 0.5, "loss_type": "BPR",
        "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
    }  # fmt: skip
    grid = grid_of(models=["GRU4Rec"], settings={k: settings[k] for k in settings if k[0] != "m"})
    check_grid(grid)
    own = {"data_path": str(tmp_path), "rank_history": "exclude", "topk": [20]}
    assert {cell.label: cell.settings for cell in grid.cells()} == {
        **dict.fromkeys(DEFAULT_BASELINES[:4], own),
        DEFAULT_BASELINES[4]: {**own, "counts": "as_of"},
        "GRU4Rec": {k: settings[k] for k in settings if k[0] != "m"},
    }
    (of_knn,) = (c for c in grid_of(settings=settings).cells() if c.label == "ItemKNN")
    assert of_knn.settings == {**own, "memory_decay": 0.5}


# --- tables ------------------------------------------------------------------------------------


def outcomes(grid, tmp_path, shares):
    for cell in grid.cells():
        folder = tmp_path / cell.label
        folder.mkdir()
        columns = {
            "user": np.array(["a", "b"]), "target": np.array(["i", "j"]),
            "rank_include": np.array([1, 3]), "rank_exclude": np.array([1, 2]),
            "history_length": np.array([5, 6]), "gap_seconds": np.array([0, 60]),
            "target_count": np.array([9, 2]), "popularity": np.array(["head", "tail"]),
        }  # fmt: skip
        np.savez(folder / "test_ranks.npz", **columns)
        record = {
            "status": "done", "train_seconds_per_epoch": 1.0, "n_parameters": 0,
            "peak_memory_mb": 1, "n_items": 9,
        }  # fmt: skip
        if cell.label in shares:
            record["zero_score_share"] = shares[cell.label]
        yield Outcome(cell, "f", folder, record)


def table_of(tmp_path, grid, shares):
    summary = summarize(grid, list(outcomes(grid, tmp_path, shares)))[0]
    return build_tables(summary)[0]


def test_the_share_of_unknown_targets_is_a_column(tmp_path):
    grid = grid_of(baselines=["Popular", "RepeatLast", "ItemKNN"])
    table = table_of(tmp_path, grid, {"Popular": 0.0, "RepeatLast": 0.75, "ItemKNN": 0.459})
    place = table.columns.index("unknown")
    assert [(row[0].text, row[place].text) for row in table.rows] == [
        ("Popular", "0.0 %"), ("RepeatLast", "75.0 %"), ("ItemKNN", "45.9 %"), ("SASRec", "-"),
    ]  # fmt: skip
    assert "Unknown: test targets of which a model that is fitted once knows nothing" in as_text(
        table, bold=False
    ).replace("\n", " ")


def test_without_models_that_are_fitted_once_there_is_no_such_column(tmp_path):
    assert "unknown" not in table_of(tmp_path, grid_of(baselines=[]), {}).columns


def test_repeat_last_is_left_out_where_nobody_repeats(tmp_path):
    shares = {"Popular": 0.0, "RepeatLast": 1.0}
    grid = grid_of(baselines=["Popular", "RepeatLast"])
    (tmp_path / "1").mkdir()
    table = table_of(tmp_path / "1", grid, shares)
    assert [row[0].text for row in table.rows] == ["Popular", "SASRec"]
    assert "RepeatLast is left out: no test target is an item of its user's history." in table.notes
    (tmp_path / "2").mkdir()
    named = grid_of(baselines=["Popular"], models=["RepeatLast"])
    named = dataclasses.replace(named, baseline="RepeatLast")
    table = table_of(tmp_path / "2", named, shares)
    assert [row[0].text for row in table.rows] == ["Popular", "RepeatLast"]  # it was asked for


def test_a_cell_is_resumed_as_others_are(tmp_path):
    write_toy_dataset(tmp_path / "toy")
    grid = grid_of(settings={"data_path": str(tmp_path)})
    prints = {cell.label: cell.fingerprint("data") for cell in grid.cells()}
    assert len(set(prints.values())) == len(prints)
    again = Cell("toy", "ItemKNN", "ItemKNN", {"data_path": str(tmp_path)}, 1)
    assert prints["ItemKNN"] == again.fingerprint("data")
