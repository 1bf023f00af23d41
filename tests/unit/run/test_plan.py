"""A run's settings: composed once, changed by nobody, kept as they can be read again."""

import copy
import dataclasses
import subprocess
import sys

import pytest
import torch

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.model.hm4sr.settings import HM4SRSettings
from recbole_hm4sr.run.folder import RunFolder
from recbole_hm4sr.run.plan import compose, read_plan
from recbole_hm4sr.testing.toydata import QUICK, QUICK_HM4SR


@pytest.fixture
def plan(toy_path):
    overrides = {**QUICK_HM4SR, "data_path": str(toy_path), "rank_history": "exclude", "seed": 7}
    return compose("HM4SR", "toy", overrides=overrides)


def test_a_plan_holds_every_setting_as_its_own_kind(plan):
    assert plan.run.rank_history == "exclude"
    assert plan.data.generated is True  # of toy.yaml
    assert isinstance(plan.model, HM4SRSettings)
    assert plan.model.n_temporal_experts == QUICK_HM4SR["n_temporal_experts"]
    assert plan.protocol["valid_metric"] == "NDCG@10"
    assert "seed" not in plan.protocol
    assert plan.values["seed"] == 7
    assert plan.device() == torch.device("cpu")


def test_nothing_changes_a_plan(plan):
    before = copy.deepcopy(dict(plan.values))
    with pytest.raises(dataclasses.FrozenInstanceError, match="dataset"):
        plan.dataset = "other"
    config = plan.to_recbole()
    config["eval_args"]["split"] = {"RS": [8, 1, 1]}
    config["topk"].append(99)
    assert plan.values == before
    again = plan.to_recbole()
    assert again["topk"] == [5, 10]
    assert again["eval_args"]["split"] == before["eval_args"]["split"]
    assert (again["seed"], again["device"]) == (7, torch.device("cpu"))


def test_a_model_of_recbole_has_no_settings_class(toy_path):
    plan = compose("SASRec", "toy", overrides={**QUICK, "data_path": str(toy_path)})
    assert plan.model is None
    assert plan.values["hidden_size"] == 64


def test_wrong_settings_are_all_said_at_once(toy_path):
    wrong = {"data_path": str(toy_path), "epochs": 0, "rank_history": "some", "hiden_size": 8}
    with pytest.raises(ConfigError, match=r"'hiden_size'.*epochs must be 1.*rank_history must be"):
        compose("SASRec", "toy", overrides=wrong)


def test_the_settings_of_a_folder_are_those_it_began_with(plan, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    folder.begin(plan)
    assert sorted(path.name for path in folder.path.iterdir()) == ["checkpoint", "config.yaml"]
    monkeypatch.chdir(tmp_path)
    again = read_plan(folder.path)
    assert (again.data, again.run, again.model) == (plan.data, plan.run, plan.model)
    assert again.protocol == plan.protocol
    assert read_plan(folder.path, machine={"n_threads": 3}).run.n_threads == 3
    # What is there already is never written again: a run resumes with what it began with.
    folder.begin(compose("SASRec", "toy", overrides={"data_path": plan.to_plain()["data_path"]}))
    assert read_plan(folder.path).entry.name == "HM4SR"


def test_composing_imports_no_torch(toy_path):
    code = (
        "import sys; from recbole_hm4sr.run.plan import compose; "
        f"compose('HM4SR', 'toy', overrides={{'data_path': {str(toy_path)!r}}}); "
        "print({'torch', 'recbole'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=toy_path
    )
    assert done.stdout.strip() == "set()"
