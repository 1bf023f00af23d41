"""Processes that share the items train, rank and write as one process that holds them all."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sharded_worker import MODELS

from recbole_hm4sr.testing.toydata import write_toy_dataset
from recbole_hm4sr.train.checkpoint import read_checkpoint
from recbole_hm4sr.train.checkpoint_file import read_file

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TESTS = Path(__file__).resolve().parents[1]


def results(task, folder, *counts):
    """What each process found of a task done by several numbers of processes."""
    paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(TESTS / "sharded_worker.py"), task, folder, *map(str, counts)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {
        count: [
            torch.load(folder / f"{task}-{count}-{number}.pt", weights_only=False)
            for number in range(count)
        ]
        for count in counts
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    (folder / "atomic").mkdir()
    write_toy_dataset(folder / "atomic" / "toy")
    return folder


@pytest.fixture(scope="module")
def found(folder):
    """Task ``steps`` of one, two and four processes."""
    return results("steps", folder, 1, 2, 4)


def whole(processes, title, pick):
    """Tensors of all processes: rows of items side by side, all others equal."""
    held, joined = processes[0][title]["held"], {}
    for name, tensor in pick(processes[0][title]).items():
        parts = [pick(process[title])[name] for process in processes]
        if name in held:
            joined[name] = torch.cat(parts)
        else:
            for part in parts:
                assert torch.equal(part, tensor), name
            joined[name] = tensor
    return joined


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("title", MODELS)
def test_processes_begin_with_the_weights_of_one(found, title, count):
    expected = found[1][0][title]["start"]
    actual = whole(found[count], title, lambda process: process["start"])
    assert actual.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(actual[name], weight), name


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("title", MODELS)
def test_losses_and_gradients_are_those_of_one_process(found, title, count):
    for step, expected in enumerate(found[1][0][title]["steps"]):
        for process in found[count]:
            actual = process[title]["steps"][step]["losses"]
            torch.testing.assert_close(actual, expected["losses"], rtol=1e-12, atol=1e-13)
        gradients = whole(found[count], title, lambda it, step=step: it["steps"][step]["gradients"])
        assert gradients.keys() == expected["gradients"].keys()
        for name, gradient in expected["gradients"].items():
            # Sums in another order: digits beside the largest entry.
            difference = (gradients[name] - gradient).abs().max()
            assert difference <= 1e-12 * max(gradient.abs().max(), 1e-3), name


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("title", MODELS)
def test_ranks_scores_and_best_items_are_those_of_one_process(found, title, count):
    expected = found[1][0][title]
    for process in found[count]:
        actual = process[title]
        assert torch.equal(actual["ranks"].include, expected["ranks"].include)
        assert torch.equal(actual["ranks"].exclude, expected["ranks"].exclude)
        for ranks, of_one in zip(actual["views"], expected["views"], strict=True):
            assert torch.equal(ranks.exclude, of_one.exclude)
        for name in ("scores", "parts", "history"):
            torch.testing.assert_close(actual[name], expected[name], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(actual["top"][0], expected["top"][0], rtol=1e-12, atol=1e-12)
        is_item = expected["top"][0] > -torch.inf
        assert torch.equal(actual["top"][1][is_item], expected["top"][1][is_item])


@pytest.mark.parametrize("title", ["HM4SR sequence", "SASRecPlus"])
def test_a_process_holds_its_part_of_the_rows(found, title):
    rows, everything = found[1][0][title]["bytes"]
    n_items = found[1][0][title]["own"].stop
    for count in (2, 4):
        for process in found[count]:
            own, held = process[title]["own"], process[title]["bytes"]
            assert held[0] * n_items == rows * (own.stop - own.start)
            assert everything - held[1] >= rows - held[0]


@pytest.mark.parametrize(("title", "n_lists"), [("Momento", 2), ("SASRecPlus memory", 0)])
def test_an_event_is_held_with_the_item_it_leads_to(found, title, n_lists):
    whole = found[1][0][title]["events"]
    assert len(whole) == 1 + n_lists
    assert min(whole) > 0
    for count in (2, 4):
        parts = [process[title]["events"] for process in found[count]]
        assert [sum(column) for column in zip(*parts, strict=True)] == whole
        assert max(max(part) for part in parts) < max(whole)


@pytest.fixture(scope="module")
def run_folders(folder):
    """Task ``runs`` of one process and of two."""
    results("runs", folder, 1, 2)
    return folder / "runs-1", folder / "runs-2"


def history(run_dir):
    return [json.loads(line) for line in (run_dir / "history.jsonl").read_text().splitlines()]


def test_a_run_leaves_what_one_process_leaves(run_folders):
    alone, together = (run_dir / "exact" for run_dir in run_folders)
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (alone, together)]
    assert [run["processes"] for run in metrics] == [1, 2]
    assert metrics[1]["n_parameters"] == metrics[0]["n_parameters"]
    assert metrics[1]["test"] == metrics[0]["test"]
    assert metrics[1]["valid"] == metrics[0]["valid"]
    for one, two in zip(history(alone), history(together), strict=True):
        assert two["losses"] == pytest.approx(one["losses"], rel=1e-6)  # float32: 2^-23 is 1.2e-7
    names = {path.name for path in (alone / "checkpoint").iterdir()}
    assert {path.name for path in (together / "checkpoint").iterdir()} == names
    for name in names:
        states = [read_file(run / "checkpoint" / name) for run in (alone, together)]
        assert states[1].keys() == states[0].keys()
        for weight, value in states[0]["state_dict"].items():
            torch.testing.assert_close(states[1]["state_dict"][weight], value, rtol=1e-5, atol=1e-6)
    with np.load(alone / "serving.npz") as one, np.load(together / "serving.npz") as two:
        assert set(two) == set(one)
        for name in set(one) - {"checkpoint"}:
            if one[name].dtype.kind == "f":
                np.testing.assert_allclose(two[name], one[name], rtol=1e-5, atol=1e-6)
            else:
                np.testing.assert_array_equal(two[name], one[name])


def test_files_of_rows_hold_what_one_process_writes(run_folders):
    alone, together = (run_dir / "stopped" / "checkpoint" for run_dir in run_folders)
    n_files = len(list(together.glob("rows-*.pt")))
    assert n_files in (4, 6)  # of the last two epochs and, if it is another, the best
    for name in ("last.pt", "best.pt"):
        whole, joined = (read_checkpoint(run / name) for run in (alone, together))
        torch.testing.assert_close(joined["state_dict"], whole["state_dict"], rtol=1e-4, atol=1e-5)
    moments = (read_checkpoint(run / "last.pt")["optimizer"] for run in (alone, together))
    whole, joined = (state["state"] for state in moments)
    shapes = [{k: v["exp_avg"].shape for k, v in state.items()} for state in (whole, joined)]
    assert shapes[1] == shapes[0]


@pytest.fixture(scope="module")
def resumed(run_folders, folder):
    """The run that two processes have begun, ended by one, two and four."""
    for count in (1, 2, 4):
        shutil.copytree(run_folders[1] / "stopped", folder / f"resumed-{count}")
    results("resumed", folder, 1, 2, 4)
    return {count: folder / f"resumed-{count}" for count in (1, 2, 4)}


@pytest.mark.parametrize("count", [1, 4])
def test_a_stopped_run_is_resumed_by_another_number_of_processes(resumed, count):
    records, expected = history(resumed[count]), history(resumed[2])
    assert len(records) == len(expected) == 4
    for one, other in zip(records, expected, strict=True):
        assert one["losses"] == pytest.approx(other["losses"], rel=1e-4)
    assert not list((resumed[count] / "checkpoint").glob("rows-*.pt"))
