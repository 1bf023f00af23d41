"""The report page: from the run's files alone, escaped, complete."""

import dataclasses
import json

import pytest

from recbole_hm4sr.errors import DataError
from recbole_hm4sr.report.page import build_chart, write_report
from recbole_hm4sr.trainer import EpochRecord


def write_run(folder, **changes):
    metrics = {
        "model": "HM4SR",
        "dataset": "toy",
        "generated": False,
        "best_epoch": 2,
        "epochs": 2,
        "seed": 1,
        "n_parameters": 1234,
        "seconds": 3.0,
        "train_seconds_per_epoch": 1.0,
        "peak_memory_mb": 100,
        "device": "cpu",
        "machine": "x",
        "git_revision": None,
        "versions": {"torch": "2"},
        "command": "python run_hm4sr.py",
        "test_include": {"ndcg@10": 0.25, "mrr@10": 0.2},
        "test_exclude": {"ndcg@10": 0.35},
        "rank_history": "include",
        "valid": {"ndcg@10": 0.5, "mrr@10": 0.3},
        **changes,
    }
    records = [
        EpochRecord(
            n,
            3.0 - n,
            {"cross_entropy": 2.0 - n, "other": 1.0},
            0.1 * n,
            {"ndcg@10": 0.1 * n, "mrr@10": 0.1},
            True,
            1.0,
            0.5,
        )
        for n in (1, 2)
    ]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    lines = [json.dumps(dataclasses.asdict(record)) + "\n" for record in records]
    (folder / "history.jsonl").write_text("".join(lines))
    (folder / "config.yaml").write_text("dataset: toy\n")


def test_the_page_shows_metrics_and_each_named_loss(tmp_path):
    write_run(tmp_path)
    page = write_report(tmp_path).read_text()
    assert "<td>0.2500</td>" in page
    assert "<td>0.3500</td>" in page
    assert "<td>\u2013</td>" in page
    assert "cross_entropy" in page
    assert "1,234 parameters" in page
    assert "generated" not in page


def test_generated_data_is_flagged(tmp_path):
    write_run(tmp_path, generated=True)
    assert "The data set is generated." in write_report(tmp_path).read_text()


def test_text_is_escaped_and_nothing_is_fetched(tmp_path):
    write_run(tmp_path, dataset="<script>alert(1)</script>")
    page = write_report(tmp_path).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in page
    assert "http://" not in page
    assert "https://" not in page


def test_an_unfinished_run_has_no_report(tmp_path):
    with pytest.raises(DataError, match="must be the folder of a finished run"):
        write_report(tmp_path)


def test_charts_start_at_zero_and_end_at_a_round_value():
    chart = build_chart("x", [1, 2, 3], {"a": [0.0, 0.4, 0.75]}, best_epoch=3)
    assert [label for _, label in chart.y_ticks] == ["0", "0.2", "0.4", "0.6", "0.8"]
    first, _, last = chart.lines[0].points.split()
    assert first == f"{float(chart.left)},{float(chart.bottom)}"
    # 0.75 of 0.8: 15/16 of the way from bottom to top.
    assert float(last.split(",")[1]) == round(
        chart.bottom - (chart.bottom - chart.top) * 15 / 16, 1
    )
    assert chart.marker == chart.right
