"""Several runs on one page: side by side, with what differs and what forbids to compare."""

import re

import numpy as np
import pytest
from runfiles import write_ranks, write_run

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.report.comparison import comparison_warnings, run_names, write_comparison
from recbole_hm4sr.report.run_files import read_run


def two_runs(path, **changes):
    first = write_run(path / "a", settings="dataset: toy\nhidden_size: 64\nseed: 1\n")
    second = write_run(
        path / "b",
        settings="dataset: toy\nhidden_size: 32\nseed: 1\nextra: 5\nn_threads: 4\n",
        **{"model": "SASRec", "test_include": {"ndcg@10": 0.75}, **changes},
    )
    return first, second


def test_metrics_stand_side_by_side(tmp_path):
    page = write_comparison(two_runs(tmp_path), tmp_path / "c.html").read_text()
    assert "2 runs on toy" in page
    assert '<th scope="row">NDCG@10</th><td>0.2500</td><td class="best">0.7500</td>' in page
    assert '<th scope="row">MRR@10</th><td>0.2000</td><td>\u2013</td>' in page
    assert "Validation: NDCG@10" in page


def test_the_better_value_is_marked_and_said(tmp_path):
    first, second = two_runs(tmp_path, test_exclude={"ndcg@10": 0.36}, peak_memory_mb=50)
    page = " ".join(write_comparison([first, second], tmp_path / "c.html").read_text().split())
    # 0.35 and 0.36: 2.9 % apart, as two seeds are.
    assert '<th scope="row">NDCG@10</th><td>0.3500</td><td>0.3600</td>' in page
    verdict = re.search(r'<div class="box verdict">.*?</div>', page).group()
    assert re.findall("<li>(.*?)</li>", verdict) == [
        "NDCG@10 with seen items kept: SASRec is the best with 0.7500, 3.0 times HM4SR (0.2500).",
        "NDCG@10 with seen items removed: SASRec and HM4SR are not told apart (0.3500 to 0.3600).",
    ]
    costs = re.search(r'<section id="time">.*?</section>', page).group()
    assert '<td class="best">at least' not in costs  # both took 10 s
    assert "<td>100 MiB" in costs
    assert '<td class="best">50 MiB' in costs
    assert "Bold: the better value, where the next one is more than 4 % away." in page


def test_only_settings_that_differ_are_listed(tmp_path):
    page = write_comparison(two_runs(tmp_path), tmp_path / "c.html").read_text()
    assert '<th scope="row">hidden_size</th><td>64</td><td>32</td>' in page
    assert '<th scope="row">extra</th><td>\u2013</td><td>5</td>' in page
    assert '<th scope="row">seed</th>' not in page
    assert '<th scope="row">n_threads</th>' not in page


def test_the_difference_is_of_the_same_users(tmp_path):
    first, second = two_runs(tmp_path)
    write_ranks(second, rank_include=np.array([1, 1, 11, 1]))
    page = write_comparison([first, second], tmp_path / "c.html").read_text()
    # User 2 from rank 3 (0.5) to rank 1: half a point over four users; t(3) is 3.182.
    half = 3.182446 * 0.25 / 2
    interval = f"{0.125 - half:+.4f} to {0.125 + half:+.4f}"
    assert f'<th scope="row">SASRec less HM4SR</th><td>+0.1250</td><td>{interval}</td>' in page


def test_what_does_not_compare_is_said(tmp_path):
    first, second = two_runs(tmp_path, dataset="other", generated=True)
    texts = comparison_warnings([read_run(first), read_run(second)])
    assert texts[0] == (
        "The runs are on different data sets: their metrics do not compare. Run the models with "
        "the same --dataset."
    )
    assert texts[1].startswith("The data set is generated")
    assert "hm4sr prepare" in texts[1]
    page = write_comparison([first, second], tmp_path / "c.html").read_text()
    assert "less HM4SR" not in page
    assert "box verdict" not in page


def test_other_users_do_not_compare(tmp_path):
    first, second = two_runs(tmp_path)
    write_ranks(second, user=np.array(["u1", "u2", "u3", "x"]))
    texts = comparison_warnings([read_run(first), read_run(second)])
    assert texts == [
        "The runs have tested different users or items: their metrics do not compare. Run the "
        "models on the same files with the same filters, eval_args and tie_order."
    ]


def test_another_protocol_is_said(tmp_path):
    first, second = two_runs(tmp_path)
    (second / "config.yaml").write_text("rank_history: exclude\n")
    texts = comparison_warnings([read_run(first), read_run(second)])
    assert texts == [
        "The runs are evaluated differently: rank_history. Set the same value for all; hm4sr "
        "compare does."
    ]


def test_runs_are_named_by_what_tells_them_apart(tmp_path):
    first, second = (read_run(run) for run in two_runs(tmp_path))
    assert run_names([first, second]) == ["HM4SR", "SASRec"]
    assert run_names([first, first, second]) == [str(first.folder)] * 2 + [str(second.folder)]
    third = read_run(write_run(tmp_path / "d"))
    assert run_names([first, third]) == ["a", "d"]


def test_a_run_is_named_once(tmp_path):
    first, second = two_runs(tmp_path)
    with pytest.raises(ConfigError, match="must have two or more runs, got 1"):
        write_comparison([first], tmp_path / "c.html")
    with pytest.raises(ConfigError, match="must name each run once"):
        write_comparison([first, second, tmp_path / "b" / ".." / "a"], tmp_path / "c.html")
    (second / "metrics.json").unlink()
    with pytest.raises(DataError, match="must be the folder of a finished run"):
        write_comparison([first, second], tmp_path / "c.html")
    assert not (tmp_path / "c.html").exists()
