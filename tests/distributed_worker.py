"""One process of several: ``python distributed_worker.py <task> <folder>``, results by torch.save.

Started by ``tests/integration/test_torchrun.py`` with the variables that ``torchrun`` sets; with
none it is one process alone, whose results the others' must equal.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from helpers import replace_at

from recbole_hm4sr.base import compat
from recbole_hm4sr.base.errors import TrainingError
from recbole_hm4sr.model.registry import find_model
from recbole_hm4sr.parallel import processes
from recbole_hm4sr.parallel.training import JoinedLosses, rows_of_step, seed_epoch
from recbole_hm4sr.run import parts as sessions
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import QUICK, QUICK_HM4SR
from recbole_hm4sr.train.trainer import Trainer

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
# All samples but one, then the last alone: unequal shares, and fewer samples than processes.
MODELS = {
    "HM4SR prefix": {"train_mode": "prefix", "train_batch_size": 351},
    "HM4SR sequence": {"train_mode": "sequence", "train_batch_size": 250},
    # Windows far shorter than the histories that the losses leave out.
    "HM4SR exclude": {
        "train_mode": "prefix",
        "train_batch_size": 351,
        "train_history": "exclude",
        "MAX_ITEM_LIST_LENGTH": 3,
    },
    "HM4SR sequence, exclude": {
        "train_mode": "sequence",
        "train_batch_size": 250,
        "train_history": "exclude",
        "MAX_ITEM_LIST_LENGTH": 3,
    },
    # The draw of dropped ids depends on the processes' seeds.
    "Momento": {"train_batch_size": 250, "MAX_ITEM_LIST_LENGTH": 11, "id_dropout": 0.0},
    "MoRec": {
        "train_batch_size": 250,
        "hidden_size": 16,
        "n_projections": 1,
        "loss": "in_batch",  # the items of all processes
    },
    # Samples of the same target are drawn.
    "DuoRec": {"train_batch_size": 250, "contrast_views": "un", "mask_same_target": True},
    "MMSR": {"train_batch_size": 351},
    "SASRec": {"train_batch_size": 351},
}


def main(task, folder):
    folder = Path(folder)
    number = int(os.environ.get("RANK", "0"))
    results = TASKS[task](folder)
    torch.save(results, folder / f"{task}-{processes.started_processes()}-{number}.pt")


def settings(folder, model, **overrides):
    quick = QUICK_HM4SR if model == "HM4SR" else QUICK
    return {**quick, "use_gpu": False, "data_path": str(folder / "atomic"), **overrides}


def build_parts(folder, title):
    model = title.split()[0]
    run_dir = folder / f"session-{title}-{processes.started_processes()}"
    entry = find_model(model)
    plan = compose(
        entry,
        "toy",
        overrides=settings(folder, model, **NO_DROPOUT, **MODELS[title]),
    )
    return sessions.build_parts(plan, run_dir)


def gradients(folder):
    """Losses and gradients of two batches, and the ranks of all test users."""
    # Which positions are replaced is random: here every second one, on all processes.
    replace_at(pytest.MonkeyPatch(), lambda packing: packing.position % 2 == 0)
    found = {}
    for title in MODELS:
        with processes.processes(torch.device("cpu"), timeout_seconds=60):
            session = build_parts(folder, title)
            found[title] = {
                "ranks": session.trainer.evaluator.rank(session.test_data),
                "steps": [_step(session, *step) for step in _steps(session)],
            }
    return found


def _steps(session):
    steps = list(enumerate(session.train_data, start=1))
    return [steps[0], steps[-1]]


def _step(session, number, batch):
    model = session.model.double().train()
    model.zero_grad(set_to_none=True)
    joined = JoinedLosses(model, session.trainer._named_losses)
    n_rows = rows_of_step(session.train_data, number)
    losses = joined(batch, n_rows)
    torch.stack(list(losses.values())).sum().backward()
    return {
        "n_rows": n_rows,
        "own_rows": len(batch),
        "losses": {
            name: processes.mean_over_processes(value.detach()) for name, value in losses.items()
        },
        "gradients": {
            name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()
        },
    }


def runs(folder):
    """Whole runs: without random numbers, with dropout, and with dropout from the middle on."""
    here = folder / f"runs-{processes.started_processes()}"
    # Plain gradient descent: Adam's first steps blow the last digits of small gradients up. Times
    # in days from the first, for the same reason.
    descent = {
        "learner": "sgd",
        "learning_rate": 0.1,
        "time_origin": "dataset",
        "time_scale": 86400,
    }
    # 352 samples: six batches, the last smaller.
    exact = {**NO_DROPOUT, **descent, "placeholder_weight": 0.0, "train_batch_size": 65}
    quick_start.run(
        "HM4SR", "toy", overrides=settings(folder, "HM4SR", **exact), run_dir=here / "exact"
    )

    def keep_first_epoch(record):
        if record.epoch == 1:
            shutil.copytree(here / "random", here / "resumed")

    quick_start.run(
        "HM4SR",
        "toy",
        overrides=settings(folder, "HM4SR"),
        run_dir=here / "random",
        on_epoch=keep_first_epoch,
    )
    quick_start.resume(here / "resumed")
    with processes.processes(torch.device("cpu"), timeout_seconds=60):
        seed_epoch(2020, 0)
        return {"random": torch.rand(3)}


def killed(folder):
    """A run whose second process gets ``HM4SR_SIGNAL`` in epoch 3 of the first attempt."""
    train_epoch = Trainer.train_epoch

    def die(trainer, train_data, epoch):
        first_attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        name = os.environ.get("HM4SR_SIGNAL")
        if name and epoch == 2 and first_attempt and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.Signals[name])
        return train_epoch(trainer, train_data, epoch)

    Trainer.train_epoch = die
    os.chdir(folder)
    timeout = float(os.environ.get("HM4SR_TIMEOUT", "60"))
    overrides = settings(folder, "HM4SR", epochs=4, process_timeout=timeout)

    def say(session):
        if session.trainer.start_epoch:
            done = session.trainer.start_epoch
            sys.stdout.write(f"attempt {processes.attempt()} goes on after epoch {done}\n")

    return str(quick_start.run("HM4SR", "toy", overrides=overrides, on_start=say).run_dir)


def _spoil_a_loss(model):
    original = model.named_losses

    def spoiled(batch):
        losses = original(batch)
        return {**losses, "cross_entropy": losses["cross_entropy"] * torch.nan}

    model.named_losses = spoiled


def _spoil_a_layer(model):
    layer = model.encoders["text"]
    layer.register_forward_pre_hook(lambda module, args: (args[0] * torch.nan, *args[1:]))


def _spoil_the_scores(model):
    original = model.encode

    def spoiled(batch, catalogue):
        encoded = original(batch, catalogue)
        if model.training:
            return encoded
        return encoded._replace(users=encoded.users.map(lambda values: values * torch.nan))

    model.encode = spoiled


SPOILS = {"loss": _spoil_a_loss, "layer": _spoil_a_layer, "scores": _spoil_the_scores}


def not_finite(folder):
    """What each process says of a NaN that is in the second process alone, by where it is."""
    # Longer than the test waits: nobody may wait until the time is over.
    overrides = settings(folder, "HM4SR", process_timeout=3600, train_mode="prefix")
    fit, found = Trainer.fit, {}
    for name, spoil in SPOILS.items():

        def spoiled_fit(trainer, *arguments, spoil=spoil, **named):
            if processes.rank() == 1:
                spoil(trainer.model)
            return fit(trainer, *arguments, **named)

        Trainer.fit = spoiled_fit
        try:
            quick_start.run("HM4SR", "toy", overrides=overrides, run_dir=folder / f"spoiled-{name}")
        except TrainingError as error:
            found[name] = str(error)
    return found


TASKS = {"gradients": gradients, "runs": runs, "killed": killed, "not_finite": not_finite}

if __name__ == "__main__":
    arguments, sys.argv = sys.argv[1:], sys.argv[:1]
    torch.set_num_threads(1)
    compat.import_recbole_models()
    main(*arguments)
