"""A model of another package, named by an entry point: it runs in every command like RecBole's."""

import json
import os
import re
import subprocess
import sys

import pytest

from recbole_hm4sr import cli
from recbole_hm4sr.base import plugins
from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.compare.command import compare_grid
from recbole_hm4sr.config.compose import recbole_defaults
from recbole_hm4sr.model.registry import find_model, model_names
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.testing.toydata import QUICK

pytestmark = pytest.mark.integration

MODULE = """\
import torch
from recbole.model.abstract_recommender import SequentialRecommender
from torch import nn
from torch.nn import functional as F


class MeanRec(SequentialRecommender):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.scale = config["mean_scale"]
        self.items = nn.Embedding(self.n_items, config["mean_size"], padding_idx=0)

    def forward(self, item_seq, item_seq_len):
        return self.scale * self.items(item_seq).sum(dim=1) / item_seq_len[:, None]

    def calculate_loss(self, interaction):
        users = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return F.cross_entropy(users @ self.items.weight.T, interaction[self.POS_ITEM_ID])

    def full_sort_predict(self, interaction):
        users = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return users @ self.items.weight.T


class NoModel:
    pass
"""
SETTINGS = "mean_size: 16\nmean_scale: 0.5\nloss_type: CE\nlearning_rate: 0.01\n"


def install(folder, name="mean_models", points="MeanRec = mean_models:MeanRec"):
    """What pip leaves of a package, in a folder."""
    info = folder / f"{name}-1.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(f"[recbole_hm4sr.models]\n{points}\n")
    (folder / f"{name}.py").write_text(MODULE)
    (folder / "MeanRec.yaml").write_text(SETTINGS)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield tmp_path / "site"
    sys.modules.pop("mean_models", None)


def test_it_trains_with_its_settings_and_is_tested_again(installed, toy_path, tmp_path):
    assert model_names()[-1] == "MeanRec"
    overrides = {**QUICK, "data_path": str(toy_path), "mean_size": 8}
    run = quick_start.run("MeanRec", "toy", overrides=overrides, run_dir=tmp_path / "run")
    again = quick_start.evaluate(tmp_path / "run")
    assert again.test == run.test
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["versions"]["mean_models"] == "1.5"
    assert metrics["n_parameters"] == (24 + 1) * 8
    # Its YAML wins over properties/overall.yaml, flags win over it.
    config = (tmp_path / "run" / "config.yaml").read_text()
    assert "learning_rate: 0.01\n" in config
    assert "mean_size: 8\n" in config


def test_it_stands_in_a_comparison(installed, toy_path, tmp_path):
    flags = {
        "datasets": ["toy"],
        "models": ["SASRec", "MeanRec"],
        "baselines": [],
        "settings": {**QUICK, "data_path": str(toy_path)},
    }
    (summary, _) = compare_grid(None, flags, out=tmp_path / "out")
    assert [(row.label, row.seeds, row.reason) for row in summary.rows] == [
        ("SASRec", (2020,), ""),
        ("MeanRec", (2020,), ""),
    ]


def test_the_command_takes_it_by_its_name(installed, toy_path, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "recbole_hm4sr", "train", "--model=MeanRec", "--dataset=toy",
         f"--data_path={toy_path}", "--epochs=1", "--run_dir=run"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "report" in done.stdout


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--mean_sizes=3", "the setting 'mean_sizes' .* did you mean 'mean_size'"),
        ("--mean_scale=wide", "mean_scale must be a number, got 'wide'"),
    ],
)
def test_its_settings_are_checked_by_its_yaml(installed, toy_path, capsys, flag, message):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["train", "--model=MeanRec", "--dataset=toy", f"--data_path={toy_path}", flag])
    assert re.search(message, capsys.readouterr().err)


CHECKED = """\
from recbole_hm4sr.config.fields import Count, Positive, setting
from recbole_hm4sr.config.settings import Settings


class MeanRecSettings(Settings):
    mean_size: Count = setting(16, "Width of the vectors.")
    mean_scale: Positive = setting(0.5, "Scale of the mean.")
    mean_offset: float = setting(0, "Added to the mean.")


MeanRec.settings_class = MeanRecSettings
"""


def test_its_settings_are_checked_by_its_class(installed, toy_path, capsys):
    (installed / "mean_models.py").write_text(MODULE + CHECKED)
    with pytest.raises(SystemExit, match="2"):
        cli.main(
            ["train", "--model=MeanRec", "--dataset=toy", f"--data_path={toy_path}",
             "--mean_size=0", "--mean_scale=-1", "--mean_offset=x"]
        )  # fmt: skip
    found = " ".join(capsys.readouterr().err.split())
    assert "mean_size must be 1 or more, got 0; mean_scale must be above 0, got -1" in found
    assert "mean_offset must be a number, got 'x'" in found
    with pytest.raises(SystemExit, match="0"):
        cli.main(["settings", "MeanRec"])
    assert "mean_size: 16  (a whole number, 1 or more)\n      Width of" in capsys.readouterr().out


def test_its_class_of_settings_has_the_base_of_all(installed):
    text = (
        "import dataclasses\nMeanRec.settings_class = dataclasses.make_dataclass('Part', ['x'])\n"
    )
    (installed / "mean_models.py").write_text(MODULE + text)
    with pytest.raises(
        ConfigError, match=r"settings_class of the model MeanRec must be a subclass"
    ):
        find_model("MeanRec")


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ("Gone = mean_models:Gone", "Gone of mean_models must be importable as mean_models:Gone"),
        ("MeanRec = mean_modules:MeanRec", "must be importable as mean_modules:MeanRec, but: Mod"),
        ("Other = mean_models:MeanRec", "must have the name of its class, got Other for"),
        ("NoModel = mean_models:NoModel", "must be a subclass of RecBole's SequentialRecommender"),
        ("SASRec = mean_models:MeanRec", "the model SASRec of an installed package must have a"),
    ],
)
def test_what_is_wrong_with_an_entry_point_is_named(tmp_path, monkeypatch, points, message):
    install(tmp_path / "site", points=points)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(ConfigError, match=message):
        find_model(points.split(" ")[0])
    sys.modules.pop("mean_models", None)


def test_two_packages_may_not_bring_the_same_model(installed, tmp_path, monkeypatch):
    install(tmp_path / "other", "more_models", "MeanRec = more_models:MeanRec")
    monkeypatch.syspath_prepend(str(tmp_path / "other"))
    with pytest.raises(ConfigError, match="one package must bring the model MeanRec, but these"):
        find_model("MeanRec")


def test_without_plugins_nothing_changes():
    assert plugins.plugin_settings("SASRec") is None
    assert plugins.plugin_version("SASRec") == {}
    assert "mean_size" not in recbole_defaults("SASRec")


def test_a_class_in_place_of_a_name_is_answered():
    with pytest.raises(ConfigError, match=r"must be given by its name, got .*docs/models\.md"):
        find_model(object)
