"""A comparison from Python takes rows and settings by name, and returns the numbers of its CSV."""

import math
from pathlib import Path

import recbole_hm4sr
from recbole_hm4sr.compare import frame
from recbole_hm4sr.compare.render import as_csv
from recbole_hm4sr.tune.command import Tuned
from recbole_hm4sr.tune.trials import Trial


def test_arguments_are_the_keys_of_a_grid_file(monkeypatch):
    asked = {}

    def compare_grid(name, flags, **options):
        asked.update(name=name, flags=flags, **options)
        return []

    monkeypatch.setattr(frame, "compare_grid", compare_grid)
    rows = ["SASRec", {"model": "HM4SR", "label": "small", "settings": {"hidden_size": 32}}]
    found = recbole_hm4sr.compare(models=rows, datasets=("toy",), seeds=range(2), out="x", jobs=2)
    assert found.empty
    assert asked["flags"] == {"models": rows, "datasets": ["toy"], "seeds": [0, 1]}
    assert (asked["name"], asked["out"], asked["jobs"]) == (None, Path("x"), 2)


def test_the_frame_is_the_csv(monkeypatch):
    record = {"model": "A", "metric": "NDCG@10", "group": "all", "mean": 0.25}
    monkeypatch.setattr(frame, "compare_grid", lambda *_, **__: ["summary"])
    monkeypatch.setattr(frame, "csv_records", lambda summaries: [record] * len(summaries))
    assert recbole_hm4sr.compare("beauty").to_dict("records") == [record]


def test_a_search_is_a_frame_of_its_trials():
    trials = (
        Trial(number=2, settings={"x": 1}, status="done", score=0.5, best_epoch=3, epochs=4),
        Trial(number=1, settings={"x": 2}, status="failed", reason="why"),
    )
    table = Tuned(None, Path(), trials, trials[0], Path("best.yaml")).frame()
    assert table.index.tolist() == [2, 1]
    assert table["x"].tolist() == [1, 2]
    assert table.loc[2, "score"] == 0.5
    assert table.loc[1, "reason"] == "why"
    assert Tuned(None, Path(), (), None, Path()).frame().empty


def test_a_number_that_there_is_not_is_nan_in_the_frame_and_empty_in_the_csv(monkeypatch):
    records = [{"model": "A", "mean": 0.25}, {"model": "B", "mean": math.nan}]
    monkeypatch.setattr(frame, "compare_grid", lambda *_, **__: [])
    monkeypatch.setattr(frame, "csv_records", lambda _: records)
    assert recbole_hm4sr.compare("beauty")["mean"].dtype == float
    assert as_csv(records) == "model,mean\nA,0.25\nB,\n"
