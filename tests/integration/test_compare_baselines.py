"""Models without training are fitted by a comparison itself, once."""

import json

import pytest

from recbole_hm4sr.compare.command import compare_grid
from recbole_hm4sr.testing.toydata import QUICK

pytestmark = pytest.mark.integration


def test_they_are_fitted_once_and_stand_first(toy_path, tmp_path):
    flags = {
        "datasets": ["toy"],
        "models": ["Popular"],
        "baselines": ["RepeatLast", "ItemKNN as of the request"],
        "seeds": [1],
        "settings": {**QUICK, "data_path": str(toy_path)},
    }
    summary, _ = compare_grid(None, flags, out=tmp_path / "out")
    assert summary.complete
    labels = ["RepeatLast", "ItemKNN as of the request", "Popular"]
    records = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").open()]
    assert [record["label"] for record in records] == labels
    shares = {record["label"]: record["zero_score_share"] for record in records}
    shown = labels if shares["RepeatLast"] < 1 else labels[1:]
    assert [row.label for row in summary.rows] == shown
    assert {row.label: row.zero_score_share for row in summary.rows}.items() <= shares.items()
    assert all(0 <= share <= 1 for share in shares.values())

    said = []
    compare_grid(None, flags, out=tmp_path / "out", say=said.append)
    assert sum("finished before" in line for line in said) == 3
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == 3
