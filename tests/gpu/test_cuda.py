"""The same model on a GPU: scores, losses and training. Skipped without a device."""

import pytest
import torch
from toydata import QUICK

from recbole_hm4sr.config import build_config
from recbole_hm4sr.quick_start import run
from recbole_hm4sr.registry import MODELS
from recbole_hm4sr.session import open_session

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
WITHOUT_CHANCE = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "placeholder_weight": 0}


def open_on(device, model, toy_path, folder, **overrides):
    entry = MODELS[model]
    config = build_config(
        entry.model_class,
        "toy",
        settings_class=entry.settings_class,
        overrides={
            **QUICK,
            "data_path": str(toy_path),
            "use_gpu": device == "cuda",
            "reproducibility": True,
            **overrides,
        },
        checkpoint_dir=folder / device / "checkpoint",
    )
    return open_session(config, folder / device, entry.model_class)


@pytest.mark.parametrize("train_mode", ["prefix", "sequence"])
def test_losses_and_gradients_equal_those_of_the_cpu(toy_path, tmp_path, train_mode):
    results = []
    for device in ("cpu", "cuda"):
        session = open_on(
            device, "HM4SR", toy_path, tmp_path, train_mode=train_mode, **WITHOUT_CHANCE
        )
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


@pytest.mark.parametrize("amp", [False, True])
def test_a_run_ends_on_the_gpu_with_finite_losses(toy_path, tmp_path, amp):
    overrides = {**QUICK, "data_path": str(toy_path), "use_gpu": True, "enable_amp": amp}
    result = run("HM4SR", "toy", overrides=overrides, run_dir=tmp_path / "run")
    assert all(torch.isfinite(torch.tensor(record.loss)) for record in result.history)
    assert set(result.test) == set(result.valid)
