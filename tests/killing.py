"""Runs in processes of their own that are killed, and what a run has left, to compare by bits."""

import hashlib
import json
import os
import signal
import sys
import time
import traceback

import numpy as np
import torch
import yaml

from recbole_hm4sr import cli
from recbole_hm4sr.testing.toydata import QUICK, QUICK_HM4SR
from recbole_hm4sr.train.checkpoint import read_checkpoint

WAIT_SECONDS = 600
# What a run says of the machine and not of the model.
METRICS = ("valid", "test", "test_include", "test_exclude", "best_epoch", "best_valid_score",
           "epochs", "n_parameters", "seed")  # fmt: skip


def words_of(model, toy_path, run_dir, **overrides):
    """The command line of a quick run on the toy data."""
    settings = {**(QUICK_HM4SR if model == "HM4SR" else QUICK), **overrides}
    settings |= {"data_path": str(toy_path), "use_gpu": False}
    flags = [
        f"--{name}={yaml.safe_dump(v, default_flow_style=True).split(chr(10))[0]}"
        for name, v in settings.items()
    ]
    return ["train", f"--model={model}", "--dataset=toy", f"--run_dir={run_dir}", *flags]


def fork_command(words, log):
    """Run a command in a process of its own, which need not import torch again. Returns its id."""
    if torch.cuda.is_available():  # autograd's threads for the GPU survive no fork
        code = "import sys; from recbole_hm4sr import cli; cli.main(sys.argv[1:])"
        opened = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [(os.POSIX_SPAWN_OPEN, 1, log, opened, 0o644), (os.POSIX_SPAWN_DUP2, 1, 2)]
        arguments = [sys.executable, "-c", code, *words]
        return os.posix_spawn(sys.executable, arguments, os.environ, file_actions=actions)
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        sys.stdout = sys.stderr = log.open("a", encoding="utf-8", buffering=1)
        cli.main(words)
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:  # noqa: BLE001  # a forked process must never return into pytest
        traceback.print_exc()
    os._exit(code)


def wait_for_end(process):
    """The exit code of a process; minus the signal's number if one ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def has_ended(process):
    """Whether a process has ended, leaving it to ``wait_for_end``."""
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process, flags) is not None


def kill_when(process, condition, delay=0.0, pause=0.002):
    """SIGKILL as soon as the condition holds and a delay has passed. Returns the exit code."""
    until = time.monotonic() + WAIT_SECONDS
    while not has_ended(process) and not condition():
        assert time.monotonic() < until, f"waited for {WAIT_SECONDS} seconds"
        time.sleep(pause)
    time.sleep(delay)
    os.kill(process, signal.SIGKILL)  # one that has ended is there until it is waited for
    return wait_for_end(process)


def history_of(run_dir):
    """The lines of ``history.jsonl``; none before there is one."""
    path = run_dir / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def contents(run_dir):
    """All that a run has found, tensors as hashes, without seconds."""
    checkpoints = {
        name: _plain(read_checkpoint(run_dir / "checkpoint" / f"{name}.pt"))
        for name in ("best", "last", "previous")
    }
    metrics = json.loads((run_dir / "metrics.json").read_text())
    with np.load(run_dir / "test_ranks.npz") as file:
        ranks = {name: _hash(file[name]) for name in file.files}
    return {
        "history": _plain(history_of(run_dir)),
        "metrics": {name: metrics[name] for name in METRICS},
        "ranks": ranks,
        **checkpoints,
    }


def weights(run_dir):
    """The weights of the best epoch, by name, as hashes."""
    return _plain(read_checkpoint(run_dir / "checkpoint" / "best.pt")["state_dict"])


def _plain(value):
    if isinstance(value, torch.Tensor):
        return _hash(value.numpy())
    if isinstance(value, dict):
        named = {str(k): v for k, v in value.items() if str(k) != "costs"}
        return {k: _plain(v) for k, v in named.items() if not k.endswith("_seconds")}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value)
    return value


def _hash(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
