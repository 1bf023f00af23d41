"""``enable_amp``: what is computed in which precision, and the scale that float16 needs."""

import shutil
from functools import partial

import pytest
import torch
from torch.overrides import TorchFunctionMode

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.packed import send_batch
from recbole_hm4sr.model.registry import find_model
from recbole_hm4sr.parallel.training import rows_of_step
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import QUICK, QUICK_HM4SR
from recbole_hm4sr.train.checkpoint import read_checkpoint

pytestmark = pytest.mark.integration

# Operators that take tensors of one dtype only on CUDA, where autocast leaves them as they are;
# on CPUs it converts some of them. Of each, the numbers of the arguments that must agree.
ONE_DTYPE = {
    "index_copy": (0, 3),
    "index_copy_": (0, 3),
    "index_add": (0, 3),
    "index_add_": (0, 3),
    "scatter": (0, 3),
    "scatter_": (0, 3),
    "scatter_add": (0, 3),
    "scatter_add_": (0, 3),
    "searchsorted": (0, 1),
}


class OneDtype(TorchFunctionMode):
    """Collects operators of :data:`ONE_DTYPE` whose tensors differ, before autocast sees them."""

    def __init__(self):
        super().__init__()
        self.seen, self.mixed = set(), set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in ONE_DTYPE:
            dtypes = {
                args[place].dtype
                for place in ONE_DTYPE[name]
                if place < len(args) and isinstance(args[place], torch.Tensor)
            }
            self.seen.add(name)
            if len(dtypes) > 1:
                self.mixed.add(name)
        return func(*args, **(kwargs or {}))


def settings(model, toy_path, **overrides):
    quick = QUICK_HM4SR if model == "HM4SR" else QUICK
    return {**quick, "data_path": str(toy_path), "use_gpu": False, "enable_amp": True, **overrides}


@pytest.mark.parametrize(
    ("model", "overrides"),
    [
        ("HM4SR", {"train_mode": "prefix"}),
        ("HM4SR", {"train_mode": "sequence", "train_history": "exclude", "n_negatives": 30}),
        ("MMSR", {}),
    ],
)
def test_no_operator_mixes_what_cuda_does_not(model, overrides, toy_path, tmp_path):
    entry = find_model(model)
    plan = compose(
        entry,
        "toy",
        overrides=settings(model, toy_path, **overrides),
    )
    session = build_parts(plan, tmp_path)
    batch = send_batch(next(iter(session.train_data)), session.trainer.device)
    session.model.train()
    with OneDtype() as found:
        session.trainer.step.find_gradients(batch, rows_of_step(session.train_data, 1))
    assert found.mixed == set()
    if model == "HM4SR":
        assert "index_copy" in found.seen


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_low_precision_is_the_one_that_was_asked_for(dtype, toy_path, tmp_path):
    overrides = settings("HM4SR", toy_path, amp_dtype=dtype)
    seen = set()

    def watch(session):
        layer = session.model.projections["text"]
        layer.register_forward_hook(
            lambda module, args, output: seen.add(output.dtype) if module.training else None
        )

    quick_start.run("HM4SR", "toy", overrides=overrides, run_dir=tmp_path / "run", on_start=watch)
    assert seen == {getattr(torch, dtype)}


def test_the_scale_of_float16_goes_on_over_epochs_and_after_a_resume(
    toy_path, tmp_path, monkeypatch
):
    # Small, so that nothing overflows, and doubled every five steps.
    quick_scaler = partial(torch.amp.GradScaler, init_scale=4.0, growth_interval=5)
    monkeypatch.setattr(torch.amp, "GradScaler", quick_scaler)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"

    def keep(record):
        if record.epoch == 1:
            shutil.copytree(whole, stopped)

    overrides = settings("HM4SR", toy_path, amp_dtype="float16", epochs=3)
    steps = []

    def count(session):
        steps.append(len(session.train_data))

    one = quick_start.run(
        "HM4SR", "toy", overrides=overrides, run_dir=whole, on_start=count, on_epoch=keep
    )
    after = [read_checkpoint(run / "checkpoint" / "last.pt") for run in (stopped, whole)]
    for state, n_steps in zip(after, (steps[0], 3 * steps[0]), strict=True):
        assert state["precision"]["scale"] == 4.0 * 2 ** (n_steps // 5)
        assert state["precision"]["_growth_tracker"] == n_steps % 5
    other = quick_start.resume(stopped)
    assert [r.losses for r in other.epochs] == [r.losses for r in one.epochs]
    last = read_checkpoint(stopped / "checkpoint" / "last.pt")
    assert last["precision"] == after[1]["precision"]


def test_without_float16_nothing_is_scaled(toy_path, tmp_path):
    overrides = settings("HM4SR", toy_path, epochs=1)
    quick_start.run("HM4SR", "toy", overrides=overrides, run_dir=tmp_path / "run")
    assert read_checkpoint(tmp_path / "run" / "checkpoint" / "last.pt")["precision"] == {}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"amp_dtype": "half"}, "amp_dtype must be one of bfloat16, float16, got 'half'"),
        ({"enable_scaler": True}, "enable_scaler .* amp_dtype: float16 scales the loss by itself"),
    ],
)
def test_a_precision_that_is_none_is_refused(overrides, message, toy_path):
    with pytest.raises(ConfigError, match=message):
        compose("HM4SR", "toy", overrides=settings("HM4SR", toy_path, **overrides))
