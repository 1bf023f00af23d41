"""Several processes train and evaluate as one would: what each claim of the README rests on."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from distributed_worker import MODELS

from recbole_hm4sr.evaluate.ranks import Ranks
from recbole_hm4sr.testing.toydata import write_toy_dataset

pytestmark = pytest.mark.integration

TESTS = Path(__file__).resolve().parents[1]
WORKER = TESTS / "distributed_worker.py"


def environment(**others):
    paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **others}


def start(task, folder, n_processes, **others):
    """Start the processes as ``torchrun`` does, without its agent."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(n_processes)}
    return [
        subprocess.Popen(
            [sys.executable, str(WORKER), task, str(folder)],
            env=environment(RANK=str(number), LOCAL_RANK=str(number), **places, **others),
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(n_processes)
    ]


def results(task, folder, n_processes):
    """What each process found."""
    running = start(task, folder, n_processes)
    errors = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0] * n_processes, errors
    return [
        torch.load(folder / f"{task}-{n_processes}-{number}.pt", weights_only=False)
        for number in range(n_processes)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "atomic").mkdir()
    write_toy_dataset(folder / "atomic" / "toy")
    return folder


@pytest.fixture(scope="module")
def found(folder):
    """Task ``gradients`` of one process, and of two."""
    return results("gradients", folder, 1)[0], results("gradients", folder, 2)


@pytest.mark.parametrize("title", MODELS)
def test_losses_and_gradients_are_those_of_one_process_with_the_joined_batch(found, title):
    alone, together = found
    for step, expected in enumerate(alone[title]["steps"]):
        for process in together:
            actual = process[title]["steps"][step]
            assert actual["n_rows"] == expected["n_rows"]
            torch.testing.assert_close(actual["losses"], expected["losses"], rtol=1e-12, atol=1e-13)
            for name, gradient in expected["gradients"].items():
                if gradient is None:
                    assert actual["gradients"][name] is None, name
                else:
                    # Sums in another order: digits beside the largest entry.
                    difference = (actual["gradients"][name] - gradient).abs().max()
                    assert difference <= 1e-10 * gradient.abs().max() + 1e-15, name


def test_each_process_takes_its_share_of_a_batch(found):
    alone, together = found
    steps = [
        [process["HM4SR prefix"]["steps"][step]["own_rows"] for process in (alone, *together)]
        for step in (0, 1)
    ]
    # 352 samples: 351 in two shares, and one alone that both processes train.
    assert steps == [[351, 175, 176], [1, 1, 1]]


@pytest.mark.parametrize("title", MODELS)
def test_every_user_is_ranked_once_with_the_digits_of_one_process(found, title):
    alone, together = found
    expected = alone[title]["ranks"]
    assert len(expected.include) == 80
    for process in together:
        ranks = process[title]["ranks"]
        assert isinstance(ranks, Ranks)
        assert torch.equal(ranks.include, expected.include)
        assert torch.equal(ranks.exclude, expected.exclude)


@pytest.fixture(scope="module")
def run_folders(folder):
    """Task ``runs`` of one process, and of two."""
    alone = results("runs", folder, 1)
    return folder / "runs-1", folder / "runs-2", alone, results("runs", folder, 2)


def history(run_dir):
    return [json.loads(line) for line in (run_dir / "history.jsonl").read_text().splitlines()]


def test_a_run_without_random_numbers_ends_as_in_one_process(run_folders):
    alone, together = (history(run_dir / "exact") for run_dir in run_folders[:2])
    assert len(alone) == len(together) == 2
    for one, two in zip(alone, together, strict=True):
        assert two["losses"] == pytest.approx(one["losses"], rel=1e-6)  # float32: 2^-23 is 1.2e-7
    metrics = [json.loads((d / "exact" / "metrics.json").read_text()) for d in run_folders[:2]]
    assert [run["processes"] for run in metrics] == [1, 2]
    assert metrics[1]["test"] == metrics[0]["test"]
    assert metrics[1]["valid"] == metrics[0]["valid"]


def test_only_the_first_process_writes(run_folders):
    alone, together = (run_dir / "exact" for run_dir in run_folders[:2])
    left = {path.name for path in together.iterdir()}
    assert left == {path.name for path in alone.iterdir()}
    assert left >= {"checkpoint", "config.yaml", "history.jsonl", "metrics.json", "torchrun.txt"}
    assert len(list((together / "tensorboard").glob("events*"))) == 1


def test_a_resumed_run_draws_what_the_whole_run_drew(run_folders):
    whole, resumed = (history(run_folders[1] / name) for name in ("random", "resumed"))
    assert [record["losses"] for record in resumed] == [record["losses"] for record in whole]


def test_processes_draw_random_numbers_of_their_own(run_folders):
    first, second = (process["random"] for process in run_folders[3])
    assert not torch.equal(first, second)


def test_a_killed_process_ends_the_others_with_an_error(folder):
    running = start("killed", folder, 2, HM4SR_SIGNAL="SIGKILL")
    running[1].wait(timeout=300)
    errors = running[0].communicate(timeout=60)[1]
    assert [process.returncode for process in running] == [1, -9]
    assert "Error" in errors


@pytest.fixture(scope="module")
def sentences(folder):
    """What each of two processes says of a NaN in the second, by where it is."""
    return results("not_finite", folder, 2)


def test_a_loss_that_is_not_finite_in_one_process_ends_all_with_its_words(sentences):
    first, second = (found["loss"] for found in sentences)
    assert second.startswith(
        "every loss must be finite, but cross_entropy is nan in epoch 1, step 1: every layer's "
        "output is finite; it arises in cross_entropy itself; row 1 of 32 gives it by itself"
    )
    assert first == f"process 1 has ended the run: {second}"


def test_a_layer_that_is_not_finite_in_one_process_is_found_there(sentences):
    first, second = (found["layer"] for found in sentences)
    assert re.search(r"is in (what goes into|the output of) encoders\.text", second)
    assert "row 1 of 32 gives it by itself: user " in second
    # The first contrasts its rows with those of the second.
    assert (
        "placeholder_contrastive is nan in epoch 1, step 1: computed again with other dropout and "
        "without the rows of other processes, the batch is finite" in first
    )


def test_scores_that_are_not_finite_in_one_process_end_all(sentences):
    first, second = (found["scores"] for found in sentences)
    assert second.startswith("every score must be a number, but the model gave NaN")
    assert first == f"process 1 has ended the run: {second}"


def torchrun(folder, *words, **others):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", *words]
    return subprocess.run(
        [*command, str(WORKER), "killed", str(folder)],
        env=environment(**others),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP"])
def test_torchrun_ends_with_an_error_where_a_process_dies_or_hangs(folder, name):
    done = torchrun(folder, "--standalone", HM4SR_SIGNAL=name, HM4SR_TIMEOUT="30")
    assert done.returncode == 1
    assert "ChildFailedError" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("rendezvous", [["--standalone"], []], ids=["standalone", "static"])
def test_torchrun_goes_on_after_a_restart_from_the_last_checkpoint(folder, tmp_path, rendezvous):
    histories = []
    for name, words in (("SIGKILL", ["--max-restarts=1"]), ("", [])):
        place = tmp_path / (name or "whole")
        place.mkdir()
        (place / "atomic").symlink_to(folder / "atomic")
        done = torchrun(place, *rendezvous, *words, HM4SR_SIGNAL=name)
        assert done.returncode == 0, done.stderr
        assert ("attempt 1 goes on after epoch" in done.stdout) == bool(name)
        (run_dir,) = (place / "runs").iterdir()
        histories.append([(it["epoch"], it["losses"]) for it in history(run_dir)])
    restarted, whole = histories
    assert [epoch for epoch, _ in restarted] == [1, 2, 3, 4]
    assert restarted == whole
