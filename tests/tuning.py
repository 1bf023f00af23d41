"""Searches on the toy data, and one in a process that ends itself in the middle of a trial."""

import json
import os
import signal
import subprocess
import sys

from recbole_hm4sr.testing.toydata import QUICK
from recbole_hm4sr.tune.command import Plan, tune_model

SETTINGS = {**QUICK, "hidden_size": 16, "inner_size": 32, "n_layers": 1}
SPACE = "learning_rate loguniform -7,-3\nhidden_dropout_prob quniform 0,0.4,0.1\n"
# Kills its process, as the kernel does, when so many epochs have been trained.
KILLED = """
import os, signal, sys
from recbole_hm4sr import cli
from recbole_hm4sr.train.trainer import Trainer
left = int(sys.argv.pop(1))
original = Trainer._end_epoch
def end_epoch(self, *arguments):
    global left
    original(self, *arguments)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
Trainer._end_epoch = end_epoch
cli.main(sys.argv[1:])
"""


def write_space(folder, text=SPACE):
    path = folder / "space.hyper"
    path.write_text(text, encoding="utf-8")
    return path


def tune(toy_path, folder, *, space=SPACE, said=None, settings=(), **plan):
    """Search on the toy data in this process; ``plan`` are the fields of ``Plan``."""
    return tune_model(
        "SASRec",
        "toy",
        params=write_space(folder, space),
        overrides={**SETTINGS, "data_path": str(toy_path), **dict(settings)},
        plan=Plan(**plan),
        out=folder / "out",
        say=(said if said is not None else []).append,
    )


def words(settings):
    return [f"--{name}={json.dumps(value)}" for name, value in settings.items()]


def tune_in_process(arguments, *, kill_after=0):
    """Search by the command in a process of its own; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(kill_after), "tune", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (-signal.SIGKILL if kill_after else 0), done.stderr
    return done.stdout


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
