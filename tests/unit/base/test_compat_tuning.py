"""Workarounds for RecBole's ``HyperTuning``; as in test_compat.py, remove both when not needed."""

import sys

import pytest

from recbole_hm4sr.base import compat
from recbole_hm4sr.tune.hyper_tuning import make_hyper_tuning, run_hyper_tuning


def tuned_result(_params, _files=None):
    return {
        "model": "Tiny",
        "best_valid_score": 0.5,
        "valid_score_bigger": True,
        "best_valid_result": {},
        "test_result": {"ndcg@10": 0.25},
    }


@pytest.fixture
def hyper_tuning():
    pytest.importorskip("hyperopt", reason="needs the extra tune")
    compat.restore_numpy_aliases()
    from recbole.trainer.hyper_tuning import HyperTuning

    return HyperTuning


def test_recbole_s_hyper_tuning_runs_the_file_of_the_space_as_code(hyper_tuning, tmp_path):
    file = tmp_path / "space.hyper"
    file.write_text(f"a choice [open('{tmp_path}/here','w').close()]\nb choice\n", encoding="utf-8")
    assert set(hyper_tuning(tuned_result, params_file=str(file)).space) == {"a"}  # b is left out
    assert (tmp_path / "here").exists()


def test_recbole_s_exhaustive_search_does_not_run_on_todays_hyperopt(hyper_tuning):
    tuning = hyper_tuning(tuned_result, params_dict={"choice": {"a": [1, 2]}})
    with pytest.raises(AttributeError, match="RandomState' object has no attribute 'integers'"):
        tuning.run()


def test_recbole_s_hyper_tuning_prints_the_test_part(hyper_tuning, capsys):
    hyper_tuning(tuned_result, params_dict={"choice": {"a": [1]}}, algo="random", max_evals=1).run()
    assert "{'ndcg@10': 0.25}" in capsys.readouterr().out


def test_our_hyper_tuning_prints_nothing_and_takes_any_proposals(hyper_tuning, capfd):
    from hyperopt import hp, progress, rand

    callback, seen = progress.default_callback, []

    def evaluate(params):
        sys.stdout.write("ours\n")
        seen.append(params["a"])
        return tuned_result(params)

    tuning = make_hyper_tuning(
        evaluate,
        space={"a": hp.uniform("a", 0, 1)},
        algo=rand.suggest,
        max_evals=2,
        early_stop=3,
    )
    run_hyper_tuning(tuning)
    assert isinstance(tuning, hyper_tuning)
    assert (len(seen), tuning.best_score, tuning.best_params) == (2, 0.5, {"a": seen[0]})
    assert capfd.readouterr() == ("ours\nours\n", "")
    assert progress.default_callback is callback
