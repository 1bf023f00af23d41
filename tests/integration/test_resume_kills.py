"""Runs killed by SIGKILL at random times and while a checkpoint is written, and gone on with.

Every run is the command itself, ``hm4sr train``, in a process of its own; it must end with the same
history, best epoch, metrics, ranks, weights, optimiser and random states as one never killed.
Where each kill fell: ``pytest -m slow --log-cli-level=INFO`` on this file.
"""

import logging
import os
import random
import shutil
import signal

import pytest
from killing import contents, fork_command, history_of, kill_when, wait_for_end, words_of

_log = logging.getLogger(__name__)
pytestmark = pytest.mark.integration

N_EPOCHS = 8
CASES = {
    "HM4SR sequence": ("HM4SR", {"train_mode": "sequence"}),
    "HM4SR prefix": ("HM4SR", {"train_mode": "prefix", "learning_rate": 0.02}),
    "SASRec": ("SASRec", {"learning_rate": 0.02}),
    "BERT4Rec": ("BERT4Rec", {"learning_rate": 0.02}),
}


def command(case, toy_path, run_dir):
    model, overrides = CASES[case]
    overrides = {"epochs": N_EPOCHS, "stopping_step": N_EPOCHS, **overrides}
    return words_of(model, toy_path, run_dir, **overrides)


def whole_run(case, toy_path, folder):
    """What a run that is never killed leaves."""
    words = command(case, toy_path, folder / "whole")
    assert wait_for_end(fork_command(words, folder / "whole.log")) == 0
    return contents(folder / "whole")


def start_or_go_on(case, toy_path, run_dir, log):
    if (run_dir / "config.yaml").is_file():
        return fork_command(["train", f"--resume={run_dir}"], log)
    return fork_command(command(case, toy_path, run_dir), log)


def end(case, toy_path, run_dir, log):
    process = start_or_go_on(case, toy_path, run_dir, log)
    assert wait_for_end(process) == 0, log.read_text()
    return contents(run_dir)


def leftovers(run_dir):
    return sorted(path.name for path in run_dir.rglob(".*.new"))


def say(what, code, run_dir):
    left = ", ".join(leftovers(run_dir)) or "nothing"
    _log.info("%s: exit code %d, epochs %d, left %s", what, code, len(history_of(run_dir)), left)


def kill_at_random(case, toy_path, folder, n_kills, seed):
    """Kill one run again and again, a random number of epochs and a random time on."""
    expected = whole_run(case, toy_path, folder)
    run_dir, log, chance = folder / "killed", folder / "killed.log", random.Random(seed)
    kills = 0
    while kills < n_kills:
        done = len(history_of(run_dir))
        more = chance.choice([0, 0, 1, 2])
        # The machine's pace of the moment: a machine under load must not outrun the kills.
        last = (history_of(run_dir) or history_of(folder / "whole"))[-1]
        pace = last["train_seconds"] + last["valid_seconds"]
        target = min(done + more, N_EPOCHS)
        process = start_or_go_on(case, toy_path, run_dir, log)
        code = kill_when(
            process,
            lambda target=target: len(history_of(run_dir)) >= target,
            delay=chance.uniform(0, pace * (2 if more else 5)),  # reading the data takes longer
        )
        kills += code == -signal.SIGKILL
        say(f"{case}, kill {kills}", code, run_dir)
        if code != -signal.SIGKILL:  # it came to its end before: once more from the beginning
            assert code == 0, log.read_text()
            assert contents(run_dir) == expected
            shutil.rmtree(run_dir)
    assert end(case, toy_path, run_dir, log) == expected
    assert leftovers(run_dir) == []


def test_a_run_killed_at_random_times_ends_as_one_never_killed(toy_path, tmp_path):
    kill_at_random("HM4SR sequence", toy_path, tmp_path, n_kills=3, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_twenty_kills_at_random_times(toy_path, tmp_path, case):
    kill_at_random(case, toy_path, tmp_path, n_kills=5, seed=CASES[case][0] + case)


def kill_while_writing(case, toy_path, folder, wanted, n_hits):
    """Kill a run while the temporary file of a checkpoint is there; what is left proves it was."""
    expected = whole_run(case, toy_path, folder)
    run_dir, log = folder / "killed", folder / "killed.log"
    (run_dir / "checkpoint").mkdir(parents=True)
    hits = 0
    while hits < n_hits and len(history_of(run_dir)) < N_EPOCHS:
        target = min(len(history_of(run_dir)) + 1, N_EPOCHS - 1)
        process = start_or_go_on(case, toy_path, run_dir, log)
        start = f".{wanted}.{process}."

        def is_being_written(target=target, start=start):
            names = os.listdir(run_dir / "checkpoint")  # noqa: PTH208  # must be quick
            return any(name.startswith(start) for name in names) and (
                len(history_of(run_dir)) >= target
            )

        code = kill_when(process, is_being_written, pause=0)
        hits += any(name.startswith(f".{wanted}") for name in leftovers(run_dir))
        say(f"{case}, writing {wanted}", code, run_dir)
    assert hits > 0
    assert end(case, toy_path, run_dir, log) == expected
    assert leftovers(run_dir) == []


@pytest.mark.slow
@pytest.mark.parametrize("wanted", ["last.pt", "best.pt"])
@pytest.mark.parametrize("case", ["HM4SR sequence", "SASRec"])
def test_a_run_killed_while_it_writes_a_checkpoint(toy_path, tmp_path, case, wanted):
    kill_while_writing(case, toy_path, tmp_path, wanted, n_hits=3)


def test_a_run_killed_while_it_writes_last_pt_ends_as_one_never_killed(toy_path, tmp_path):
    kill_while_writing("SASRec", toy_path, tmp_path, "last.pt", n_hits=1)
