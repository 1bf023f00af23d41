"""Processes that share the items: ``python sharded_worker.py <task> <folder> <processes>...``.

The task is done by each number of processes; each process saves its results by torch.save. One
process alone is what the others' results must equal.
"""

import os
import socket
import sys
import traceback
from pathlib import Path

import pytest
import torch
from distributed_worker import NO_DROPOUT, settings
from helpers import LATER_VISITS, replace_at

from recbole_hm4sr.base import compat
from recbole_hm4sr.layers import ranking, softmax
from recbole_hm4sr.model.registry import find_model
from recbole_hm4sr.parallel import processes
from recbole_hm4sr.parallel.shards import sharded_parameters
from recbole_hm4sr.parallel.training import JoinedLosses, rows_of_step
from recbole_hm4sr.run import parts as stages
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.train.trainer import Trainer

SHARDED = {**NO_DROPOUT, "catalogue_rows": "sharded"}
# Everything a memory has, one moment for all users, and so few events that most runs are cut.
MEMORY = {
    "train_batch_size": 250,
    "MAX_ITEM_LIST_LENGTH": 11,
    "train_targets": "visit",
    "request_time": "target",
    "memory_events": 5,
    "eval_args": LATER_VISITS,
}
# All samples but one, then the last alone: unequal shares, and fewer samples than processes.
MODELS = {
    "HM4SR exclude": {
        "train_mode": "prefix",
        "train_batch_size": 351,
        "train_history": "exclude",
        "MAX_ITEM_LIST_LENGTH": 3,
    },
    "HM4SR sequence": {"train_mode": "sequence", "train_batch_size": 250},
    "Momento none": {"train_batch_size": 250, "memory": "none", "id_dropout": 0.0},
    "Momento": {
        **MEMORY,
        "id_dropout": 0.3,
        "memory_refresh": ["none", "week", "request"],
        "popularity": True,
    },
    "SASRecPlus": {"train_batch_size": 250, "block": "original"},
    "SASRecPlus memory": {**MEMORY, "memory": "events", "memory_weights": "learned"},
    "BSARec": {"train_batch_size": 351},
    "FMLPRec": {"train_batch_size": 351},
    "DuoRec": {"train_batch_size": 250, "contrast_views": "un", "mask_same_target": True},
}


def build_parts(folder, title):
    model = title.split()[0]
    overrides = settings(folder, model, **SHARDED, **MODELS[title])
    entry = find_model(model)
    if "attn_dropout_prob" not in entry.settings_class.names():
        del overrides["attn_dropout_prob"]
    plan = compose(entry, "toy", overrides=overrides)
    return stages.build_parts(plan, folder / f"session-{title}-{processes.started_processes()}")


def steps(folder):
    """Losses, gradients, initial weights, ranks, best items and scores, all in float64."""
    patch = pytest.MonkeyPatch()
    # Which positions are replaced is random: here every second one, on all processes.
    replace_at(patch, lambda packing: packing.position % 2 == 0)
    patch.setitem(softmax.SCORES_AT_A_TIME, "cpu", 400)  # several blocks of rows
    patch.setattr(ranking, "_MOST_SCORES", 16)  # and of items
    found = {}
    for title in MODELS:
        with processes.processes(torch.device("cpu"), timeout_seconds=60):
            session = build_parts(folder, title)
            model = session.model.double()
            held = sharded_parameters(model)
            batches = list(enumerate(session.train_data, start=1))
            found[title] = {
                "own": model.shards.own,
                "held": list(held),
                "bytes": _bytes(model),
                "start": {name: p.detach().clone() for name, p in model.named_parameters()},
                "steps": [_step(session, *step) for step in (batches[0], batches[-1])],
                "ranks": session.trainer.evaluator.rank(session.test_data),
                "views": _ranks_of_views(session),
                "events": _events(model),
                **_answers(session),
            }
    return found


def _bytes(model):
    """Bytes of what has a row an item, and of all parameters and buffers."""
    tables = [*model.item_embedding.parameters(), *getattr(model, "projections", {}).values()]
    rows = [getattr(getattr(part, "table", None), "values", part) for part in tables]
    every = [*model.parameters(), *model.buffers()]
    return tuple(sum(v.numel() * v.element_size() for v in part) for part in (rows, every))


def _ranks_of_views(session):
    """Ranks in each view, all of a batch with one encoding."""
    ways = [(view,) for view in session.trainer.views]
    return session.trainer.evaluator._rank_in(session.test_data, ways)


def _events(model):
    """How many events and neighbours it holds."""
    memory = getattr(model.scorer, "memory", None)
    if memory is None:
        return []
    return [len(memory.events.others), *(int((n.items > 0).sum()) for n in memory.neighbours)]


def _answers(session):
    """Of the first test users: the best items, the scores of all, of some, and their parts."""
    batch = next(iter(session.test_data))[0]
    model = session.model.eval()
    with torch.no_grad():
        items = torch.arange(1, 6).expand(len(batch), -1)
        return {
            "top": model.top_items(batch, 20),  # more than a process holds
            "scores": model.full_sort_predict(batch),
            "parts": model.score_parts(batch, items),
            "history": model.history_parts(batch, items),
        }


def _step(session, number, batch):
    model = session.model.train()
    model.zero_grad(set_to_none=True)
    torch.manual_seed(number)  # what a step draws is the same in all processes, and in one
    joined = JoinedLosses(model, session.trainer._named_losses)
    losses = joined(batch, rows_of_step(session.train_data, number))
    torch.stack(list(losses.values())).sum().backward()
    means = {name: processes.mean_over_processes(v.detach()) for name, v in losses.items()}
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {"losses": means, "gradients": gradients}


def run_settings(folder, **more):
    # Plain gradient descent: see distributed_worker.runs.
    exact = {
        **SHARDED,
        "learner": "sgd",
        "learning_rate": 0.1,
        "time_origin": "dataset",
        "time_scale": 86400,
        "placeholder_weight": 0.0,
        "train_batch_size": 65,
    }
    return settings(folder, "HM4SR", **{**exact, **more})


def runs(folder):
    """A whole run, and one with Adam that is stopped after two epochs, for others to resume."""
    here = folder / f"runs-{processes.started_processes()}"
    quick_start.run("HM4SR", "toy", overrides=run_settings(folder), run_dir=here / "exact")
    _stop_after(2)
    adam = run_settings(folder, learner="adam", learning_rate=1e-3, epochs=4)
    with pytest.raises(_StoppedError, match="after 2"):
        quick_start.run("HM4SR", "toy", overrides=adam, run_dir=here / "stopped")


class _StoppedError(Exception):
    pass


def _stop_after(n_epochs):
    train_epoch = Trainer.train_epoch

    def stopping(trainer, train_data, epoch):
        if epoch == n_epochs:
            raise _StoppedError(f"after {n_epochs}")
        return train_epoch(trainer, train_data, epoch)

    Trainer.train_epoch = stopping


def resumed(folder):
    """The run in ``resumed-<processes>``, to its end."""
    quick_start.resume(folder / f"resumed-{processes.started_processes()}")


TASKS = {"steps": steps, "runs": runs, "resumed": resumed}


def main(task, folder, *counts):
    """Do a task in one process, in two, ...: all are forks of this one, which has imported all."""
    for count in map(int, counts):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        children = [_fork(task, folder, number, count, port) for number in range(count)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        if any(codes):
            raise SystemExit(f"{task} of {count} processes ended with {codes}")


def _fork(task, folder, number, count, port):
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if count > 1:
            os.environ.update(
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=port,
                WORLD_SIZE=str(count),
                RANK=str(number),
                LOCAL_RANK=str(number),
            )
        torch.save(TASKS[task](Path(folder)), Path(folder) / f"{task}-{count}-{number}.pt")
        code = 0
    except BaseException:  # noqa: BLE001  # said here: a fork must not return
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    arguments, sys.argv = sys.argv[1:], sys.argv[:1]
    torch.set_num_threads(1)
    compat.import_recbole_models()
    for title in MODELS:  # which the forks then need not import
        assert find_model(title.split()[0]).model_class
    main(*arguments)
