"""What the runner writes down, and which failures it goes on after."""

import json
import shlex

import pytest
import torch

from recbole_hm4sr.base.errors import ConfigError, TrainingError, WriteError
from recbole_hm4sr.cli.options import parse_overrides
from recbole_hm4sr.compare import worker
from recbole_hm4sr.compare.cells import Cell
from recbole_hm4sr.compare.runner import train_command

SETTINGS = {
    "user_inter_num_interval": "[5,inf)",
    "learning_rate": 1e-05,
    "text_fields": ["title", "it's"],
    "modalities": {"text": "tfidf-svd"},
    "hidden_act": "gelu",
    "pre_model_path": "",
    "a_text_of_a_number": "1",
    "off": False,
    "nothing": None,
}


def test_the_command_of_a_cell_sets_what_the_cell_does():
    words = shlex.split(train_command(Cell("toy", "a row", "SASRec", SETTINGS, 3)))
    assert words[:2] == ["hm4sr", "train"]
    assert parse_overrides(words[2:]) == {
        "model": "SASRec", "dataset": "toy", **SETTINGS, "seed": 3
    }  # fmt: skip


def test_both_stages_of_s3rec_are_one_command_of_compare():
    command = train_command(Cell("toy", "S3Rec", "S3Rec", {"epochs": 2}, 3))
    assert command == "hm4sr compare --models=S3Rec --dataset=toy --seeds=3 --epochs=2"


@pytest.mark.parametrize(
    ("error", "goes_on"),
    [
        (WriteError("no room"), True),
        (MemoryError(), True),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (TrainingError("a loss is NaN"), False),
        (ConfigError("wrong"), False),
    ],
)
def test_only_a_run_that_the_machine_has_stopped_goes_on(tmp_path, monkeypatch, error, goes_on):
    def fail(folder):
        raise error

    monkeypatch.setattr(worker, "run_cell", fail)
    assert worker.main(tmp_path) == worker.FAILED
    assert json.loads((tmp_path / "failure.json").read_text())["goes_on"] is goes_on
