"""Baselines are measured beside a run, and it is told whether it beats them."""

import json

import pytest

from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.report.baselines import baseline_sentences, standing
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import QUICK, write_toy_dataset

SMALL = {**QUICK, "hidden_size": 16, "inner_size": 32, "epochs": 1, "rank_history": "exclude"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("atomic")
    write_toy_dataset(path / "toy")
    return path


def trained(folder, run_dir, **more):
    flags = {**SMALL, "data_path": folder, "run_dir": run_dir, **more}
    words = [f"--{name}={json.dumps(v) if isinstance(v, list) else v}" for name, v in flags.items()]
    with pytest.raises(SystemExit, match="0"):
        cli.main(["train", "--model=SASRecPlus", "--dataset=toy", *words])
    return json.loads((run_dir / "metrics.json").read_text())


def test_they_are_those_of_runs_of_their_own(folder, tmp_path, capsys):
    metrics = trained(folder, tmp_path / "run")
    said = " ".join(capsys.readouterr().out.split())
    assert list(metrics["baselines"]) == ["Popular", "ItemKNN"]
    for name, found in metrics["baselines"].items():
        overrides = {**QUICK, "rank_history": "exclude", "data_path": str(folder)}
        own = quick_start.run(name, "toy", overrides=overrides, run_dir=tmp_path / name)
        assert found == {"include": own.test_include, "exclude": own.test_exclude}
    page = " ".join((tmp_path / "run" / "report.html").read_text().split())
    for sentence in baseline_sentences(metrics, "ndcg@10"):
        assert sentence in said
        assert sentence in page
    assert "SASRec+ does not beat" in said  # one epoch of a model this small


def test_an_empty_list_measures_none(folder, tmp_path, capsys):
    metrics = trained(folder, tmp_path / "run", baselines=[])
    assert "baselines" not in metrics
    assert "Baselines on the same data" not in capsys.readouterr().out


def test_a_model_that_is_ahead_is_not_reproached():
    baselines = {
        "A": {"include": {"ndcg@10": 0.1}},
        "B": {"include": {"ndcg@10": 0.3}, "exclude": {"ndcg@10": 0.2}},
    }
    metrics = {
        "rank_history": "include", "model": "M", "baselines": baselines,
        "test_include": {"ndcg@10": 0.33}, "test_exclude": {"ndcg@10": 0.7},
    }  # fmt: skip
    assert baseline_sentences(metrics, "ndcg@10") == (
        "Baselines on the same data, test NDCG@10, seen items kept: A 0.1000, B 0.3000; M 0.3300.",
        "With seen items kept, M is 10 % above B, the best of them.",
        "With seen items removed, M is 3.5 times B.",
    )
    baselines["B"]["exclude"]["ndcg@10"] = 0.7 / 1.1
    baselines["A"]["exclude"] = {"ndcg@10": 0.1}
    assert baseline_sentences(metrics, "ndcg@10")[1:] == (
        "In both protocols M is 10 % above B, the best of them.",
    )


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (0.313, "M is 4.3 % above B, the best of them."),
        (0.312, "M is level with B: two seeds of one model differ by 2 to 4 % in NDCG@10, and"),
        (0.289, "M is level with B"),
        (0.288, "M does not beat B, fitted without training."),
        (0.05, "M does not beat A and B, fitted without training."),
    ],
)
def test_a_model_is_better_by_more_than_two_seeds_differ(own, words):
    assert standing("M", own, {"A": 0.1, "B": 0.3}).startswith(words)
    assert standing("M", own, {}) == standing("M", None, {"A": 0.1}) == ""


def test_a_model_that_is_trained_is_no_baseline(folder):
    rule = "baselines must be models that are fitted once .*, got 'SASRec'"
    with pytest.raises(ConfigError, match=rule):
        compose("HM4SR", "toy", overrides={"data_path": str(folder), "baselines": ["SASRec"]})
