"""Two processes with a GPU each train as one process with one GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from recbole_hm4sr.testing.toydata import QUICK_HM4SR

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices"),
]

ROOT = Path(__file__).resolve().parents[2]


def train(toy_path, run_dir, n_processes):
    settings = {
        **QUICK_HM4SR,
        "data_path": str(toy_path),
        "hidden_dropout_prob": 0.0,
        "attn_dropout_prob": 0.0,
        "placeholder_weight": 0.0,
        # As in tests/distributed_worker.py: what does not blow last digits up.
        "learner": "sgd",
        "learning_rate": 0.1,
        "time_origin": "dataset",
        "time_scale": 86400,
    }
    flags = [
        f"--{name}={yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}"
        for name, value in settings.items()
    ]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n_processes}"]
    words = [str(ROOT / "run_hm4sr.py"), "--dataset=toy", f"--run_dir={run_dir}", *flags]
    subprocess.run(
        [sys.executable, *launcher, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=600,
    )
    lines = (run_dir / "history.jsonl").read_text().splitlines()
    return [json.loads(line)["losses"] for line in lines]


def test_two_gpus_train_as_one(toy_path, tmp_path):
    one, two = (train(toy_path, tmp_path / str(count), count) for count in (1, 2))
    for alone, together in zip(one, two, strict=True):
        assert together == pytest.approx(alone, rel=1e-4)  # float32, another order of sums
    metrics = json.loads((tmp_path / "2" / "metrics.json").read_text())
    assert metrics["device"] == "cuda:0"
    assert metrics["processes"] == 2
