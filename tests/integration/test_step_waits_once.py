"""A training step asks the device one thing: whether its losses are finite.

What a GPU must be waited for, counted on the CPU by the operators' names, and run on ``meta``,
where nothing has a value and every question of one is an error.
"""

import pytest
import torch
from helpers import count_operators

from recbole_hm4sr.data.packed import PackedInteraction, send_batch
from recbole_hm4sr.model.registry import find_model
from recbole_hm4sr.parallel.training import rows_of_step
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import QUICK, QUICK_HM4SR

pytestmark = pytest.mark.integration

# Of operators whose result has a shape that depends on values, and of reading a value.
WAITS = (
    "_local_scalar_dense",
    "nonzero",
    "unique",
    "_unique",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "masked_select",
    "index by flags",
    "repeat_interleave",
    "bincount",
)
VARIANTS = {
    "prefix": {"train_mode": "prefix"},
    "sequence": {"train_mode": "sequence"},
    "history excluded": {"train_mode": "sequence", "train_history": "exclude"},
    "prefix, history excluded": {"train_mode": "prefix", "train_history": "exclude"},
    "sampled": {"train_mode": "sequence", "n_negatives": 30},
    "sampled, history excluded": {
        "train_mode": "prefix",
        "n_negatives": 30,
        "train_history": "exclude",
    },
    "negatives of each target": {"model": "gSASRec", "n_negatives": 7, "train_history": "exclude"},
    "an own filter": {"model": "BSARec"},
    "noise": {"model": "KERec"},
    "views of a batch": {"model": "DuoRec", "mask_same_target": True},
    "clipped": {"train_mode": "sequence", "clip_grad_norm": {"max_norm": 1}},
    "bfloat16": {"train_mode": "sequence", "enable_amp": True},
    "float16": {"train_mode": "sequence", "enable_amp": True, "amp_dtype": "float16"},
}


def open_on_cpu(toy_path, folder, model="HM4SR", **overrides):
    entry = find_model(model)
    quick = QUICK_HM4SR if model == "HM4SR" else QUICK
    plan = compose(
        entry,
        "toy",
        overrides={**quick, "data_path": str(toy_path), "use_gpu": False, **overrides},
    )
    return build_parts(plan, folder)


def count_a_step(session):
    """Operators of one step, from a batch of the loader on."""
    trainer = session.trainer
    interaction = next(iter(session.train_data))
    session.model.train()
    with count_operators() as counts:
        batch = send_batch(interaction, trainer.device)
        losses, finite = trainer.step.find_gradients(batch, rows_of_step(session.train_data, 1))
        before = sum(counts[name] for name in WAITS)
        assert finite
        trainer.step.move_weights()
    assert all(torch.isfinite(value) for value in losses.values())
    return before, {name: counts[name] for name in WAITS if counts[name]}


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_a_step_asks_the_device_once(settings, toy_path, tmp_path):
    session = open_on_cpu(toy_path, tmp_path, **settings)
    count_a_step(session)  # the optimizer makes its state in the first
    before, counts = count_a_step(session)
    assert before == 0
    assert counts == {"_local_scalar_dense": 1}


@pytest.mark.parametrize(
    "name",
    ["prefix", "history excluded", "sampled, history excluded", "negatives of each target"],
)
def test_losses_and_gradients_ask_nothing_of_a_device_without_values(name, toy_path, tmp_path):
    session = open_on_cpu(toy_path, tmp_path, **VARIANTS[name])
    batch = next(iter(session.train_data))
    model = session.model.train().to("meta")
    losses = model.named_losses(send_batch(batch, torch.device("meta")))
    torch.stack(list(losses.values())).sum().backward()
    assert {value.device.type for value in losses.values()} == {"meta"}
    assert all(weight.grad is not None for weight in model.parameters())


def test_a_batch_that_the_loader_has_not_arranged_gives_the_same_losses(toy_path, tmp_path):
    session = open_on_cpu(toy_path, tmp_path, train_history="exclude")
    batch = next(iter(session.train_data))
    assert isinstance(batch, PackedInteraction)
    plain = batch[torch.arange(len(batch))]
    assert not isinstance(plain, PackedInteraction)
    found = []
    for one in (batch, plain):
        torch.manual_seed(1)
        found.append(session.model.train().named_losses(one))
    assert found[0] == found[1]


def test_a_batch_that_was_changed_is_arranged_anew(toy_path, tmp_path):
    session = open_on_cpu(toy_path, tmp_path, train_mode="prefix")
    model, batch = session.model.eval(), next(iter(session.train_data))
    packed = model.read(batch, train=True)
    assert torch.equal(packed.targets, batch["item_id"])
    batch["item_id"] = batch["item_id"].flip(0)
    assert torch.equal(model.read(batch, train=True).targets, batch["item_id"])


@pytest.mark.parametrize("part", ["valid_data", "test_data"])
def test_batches_of_an_evaluation_are_arranged_too(part, toy_path, tmp_path):
    session = open_on_cpu(toy_path, tmp_path)
    batch = next(iter(getattr(session, part)))[0]
    model = session.model.eval()
    with torch.no_grad():
        model.catalogue()
        with count_operators() as counts:
            scores = model.full_sort_predict(batch.to("cpu"))
        plain = batch[torch.arange(len(batch))]
        assert torch.equal(scores, model.full_sort_predict(plain))
    assert not any(counts[name] for name in WAITS)
