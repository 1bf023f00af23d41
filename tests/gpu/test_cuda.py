"""The same model on a GPU: scores, losses and training. Skipped without a device."""

import math

import pytest
import torch

from recbole_hm4sr.data.packed import send_batch
from recbole_hm4sr.layers.softmax import linear_cross_entropy
from recbole_hm4sr.model.registry import MODELS
from recbole_hm4sr.parallel.training import rows_of_step
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.run.quick_start import run
from recbole_hm4sr.testing.toydata import QUICK

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
WITHOUT_CHANCE = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "placeholder_weight": 0}


def open_on(device, model, toy_path, folder, **overrides):
    entry = MODELS[model]
    plan = compose(
        entry,
        "toy",
        overrides={
            **QUICK,
            "data_path": str(toy_path),
            "use_gpu": device == "cuda",
            "reproducibility": True,
            **overrides,
        },
    )
    return build_parts(plan, folder / device)


@pytest.mark.parametrize("round_tokens", [0, 128])
@pytest.mark.parametrize("train_mode", ["prefix", "sequence"])
def test_losses_and_gradients_equal_those_of_the_cpu(toy_path, tmp_path, train_mode, round_tokens):
    results = []
    for device in ("cpu", "cuda"):
        # On the CPU in the plain shapes.
        shapes = {"train_mode": train_mode, "round_tokens": round_tokens * (device == "cuda")}
        session = open_on(device, "HM4SR", toy_path, tmp_path, **shapes, **WITHOUT_CHANCE)
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in session.model.parameters():
                parameter.copy_(0.1 * torch.randn(parameter.shape))
        model = session.model.train()
        batch = next(iter(session.train_data)).to(session.trainer.device)
        loss = model.calculate_loss(batch)
        loss.backward()
        results.append((loss.cpu(), {n: p.grad.cpu() for n, p in model.named_parameters()}))
    # float32; a GPU sums in another order, and TensorFloat-32 is off by default.
    (loss, gradients), (other, others) = results
    torch.testing.assert_close(other, loss, rtol=1e-4, atol=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("model", ["HM4SR", "MMSR"])
def test_scores_equal_those_of_the_cpu(toy_path, tmp_path, model):
    scores, weights = [], None
    for device in ("cpu", "cuda"):
        session = open_on(device, model, toy_path, tmp_path)
        weights = weights or session.model.state_dict()
        session.model.load_state_dict(weights)
        batch = next(iter(session.valid_data))[0].to(session.trainer.device)
        with torch.no_grad():
            scores.append(session.model.eval().full_sort_predict(batch).cpu())
    torch.testing.assert_close(*scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "precision",
    [
        {},
        {"enable_amp": True},
        {"enable_amp": True, "amp_dtype": "float16"},
        {"enable_amp": True, "amp_dtype": "float16", "clip_grad_norm": {"max_norm": 1}},
        {"learner": "muon", "ema_decay": 0.9, "lr_schedule": "one_cycle", "lr_epochs": 2},
        {"learner": "muon", "enable_amp": True, "amp_dtype": "float16", "round_tokens": 128},
    ],
)
@pytest.mark.parametrize("mode", ["prefix", "sequence"])
def test_a_run_ends_on_the_gpu_with_finite_losses(toy_path, tmp_path, mode, precision):
    overrides = {**QUICK, "data_path": str(toy_path), "use_gpu": True, "train_mode": mode}
    overrides |= precision
    result = run("HM4SR", "toy", overrides=overrides, run_dir=tmp_path / "run")
    assert all(torch.isfinite(torch.tensor(record.loss)) for record in result.epochs)
    assert set(result.test) == set(result.valid)


VARIANTS = {
    "prefix": {"train_mode": "prefix"},
    "sequence": {"train_mode": "sequence"},
    "history excluded": {"train_mode": "sequence", "train_history": "exclude"},
    "sampled": {"train_mode": "prefix", "n_negatives": 30, "train_history": "exclude"},
    "bfloat16": {"train_mode": "sequence", "enable_amp": True},
    "float16": {"train_mode": "sequence", "enable_amp": True, "amp_dtype": "float16"},
    "rounded": {"train_mode": "sequence", "round_tokens": 128},
}


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_a_step_waits_for_the_device_once(toy_path, tmp_path, settings):
    session = open_on("cuda", "HM4SR", toy_path, tmp_path, **settings)
    trainer, batches = session.trainer, iter(session.train_data)
    session.model.train()
    n_rows = rows_of_step(session.train_data, 1)
    for is_counted in (False, True):  # the first makes the optimizer's state
        interaction = next(batches)
        torch.cuda.synchronize()
        # torch's own mode: whatever would wait for the device is an error.
        torch.cuda.set_sync_debug_mode("error" if is_counted else "default")
        try:
            batch = send_batch(interaction, trainer.device)
            _, finite = trainer.step.find_gradients(batch, n_rows)
            is_finite = bool(finite)  # by an event, which the mode does not count
            trainer.step.move_weights()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert is_finite


def test_a_batch_is_the_same_on_the_device(toy_path, tmp_path):
    session = open_on("cuda", "HM4SR", toy_path, tmp_path, train_history="exclude")
    batch = next(iter(session.train_data))
    sent = send_batch(batch, session.trainer.device)
    torch.cuda.synchronize()
    for name in batch.columns:
        assert torch.equal(sent[name].cpu(), batch[name])
    ours, theirs = batch.arranged, sent.arranged
    for name in ("items", "times", "targets"):
        assert torch.equal(getattr(theirs, name).cpu(), getattr(ours, name))
    for name in ("from_buckets", "to_buckets", "padding_bias", "causal_bias", "last"):
        assert torch.equal(getattr(theirs.packing, name).cpu(), getattr(ours.packing, name))


def test_the_gpu_is_the_one_of_gpu_id(toy_path, tmp_path):
    number = torch.cuda.device_count() - 1
    session = open_on("cuda", "HM4SR", toy_path, tmp_path, gpu_id=str(number))
    assert session.trainer.device == torch.device("cuda", number)
    assert next(session.model.parameters()).device == session.trainer.device


def test_errors_below_the_smallest_number_of_float16_keep_their_gradients():
    users = torch.tensor([[4.0]], device="cuda")
    items = torch.tensor([[0.0], [5.0]], device="cuda", requires_grad=True)
    with torch.autocast("cuda", dtype=torch.float16):
        loss = linear_cross_entropy(users, items, torch.tensor([1], device="cuda"))
    (gradient,) = torch.autograd.grad(2.0**16 * loss, items)
    expected = 4 * 2**16 * math.exp(-20) / (1 + math.exp(-20))
    assert gradient[0].item() == pytest.approx(expected, rel=1e-5)
