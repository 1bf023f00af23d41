"""What a notebook gets of a run: a frame, a table and a figure, of its very numbers."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from runfiles import write_ranks

from recbole_hm4sr.run.results import RunResult
from recbole_hm4sr.train.epochs import EpochRecord, Validation


@pytest.fixture
def result():
    epochs = tuple(
        EpochRecord(
            epoch=number,
            loss=4.0 - number,
            losses={"cross_entropy": 3.0 - number, "contrast": 1.0},
            valid_score=number / 10,
            valid={"ndcg@10": number / 10, "ndcg@20": number / 5},
            is_best=number == 2,
            train_seconds=2.0,
            valid_seconds=0.5,
            views={"week": Validation(0.3, {"ndcg@10": 0.3 * number}, is_best=True)},
        )
        for number in (1, 2)
    )
    return RunResult(
        rank_history="include",
        valid={"ndcg@10": 0.2},
        test={"ndcg@10": 0.125},
        test_include={"ndcg@10": 0.125},
        test_exclude={},
        run_dir=Path("runs/<a>"),
        model="SASRec",
        dataset="toy",
        generated=True,
        best_epoch=2,
        best_valid_score=0.2,
        epochs=epochs,
        ended_by="budget",
    )


def test_the_frame_has_a_row_an_epoch(result):
    frame = result.frame()
    assert frame.index.name == "epoch"
    assert frame.index.tolist() == [1, 2]
    assert frame["loss.cross_entropy"].tolist() == [2.0, 1.0]
    assert frame["valid.ndcg@20"].tolist() == [0.2, 0.4]
    assert frame["valid.week.ndcg@10"].tolist() == [0.3, 0.6]
    assert frame["is_best"].tolist() == [False, True]


def test_the_table_says_what_was_run_and_that_data_are_generated(result):
    html = result._repr_html_()
    assert "<b>SASRec</b> on toy, GENERATED data: best epoch 2 of 2" in html
    assert "ended by max_cpu_minutes" in html
    assert "runs/&lt;a&gt;" in html
    assert "<tr><th>ndcg@10</th><td>0.2000</td><td>0.1250</td></tr>" in html


def test_the_figure_draws_each_loss_and_the_validation(result):
    figure = result.plot()
    drawn = {trace.name: list(trace.y) for trace in figure.data}
    assert drawn == {
        "cross_entropy": [2.0, 1.0],
        "contrast": [1.0, 1.0],
        "ndcg@10": [0.1, 0.2],
        "week.ndcg@10": [0.3, 0.6],
    }
    assert "GENERATED" in figure.layout.title.text


def test_the_figure_has_groups_of_enough_users_below(result, tmp_path):
    length = np.repeat([4, 8, 60], [20, 20, 3])
    rank = np.repeat([1, 3, 1], [20, 20, 3])
    users = np.arange(len(length)).astype(str)
    same = np.zeros(len(length), dtype=int)
    write_ranks(
        tmp_path, user=users, target=users, history_length=length, gap_seconds=same,
        target_count=same, popularity=np.repeat("tail", len(length)), rank_include=rank,
        rank_exclude=rank,
    )  # fmt: skip
    figure = dataclasses.replace(result, run_dir=tmp_path).plot()
    (bars,) = [trace for trace in figure.data if trace.type == "bar"]
    means = dict(zip(bars.y, bars.x, strict=True))
    # The target's rank is 1, or 3; three users of long histories say too little.
    assert means == pytest.approx({
        "history 3 to 5": 1.0,
        "history 6 to 10": 1 / np.log2(4),
    })  # fmt: skip
    assert figure.layout.annotations[2].text == "test NDCG@10, seen items kept"
