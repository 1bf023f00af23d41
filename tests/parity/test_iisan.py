"""IISAN against numbers recorded from the authors' code (fixtures/zoo/iisan.npz)."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from helpers import ArrayDataset, assert_close, model_config
from parity.text_zoo import (
    NO_DROPOUT,
    TOLERANCE,
    check_adam,
    check_gradients,
    count_layers,
    lab_layers,
    load,
    scores_of,
    translated,
    windows,
)

from recbole_hm4sr.data.features import AlignedFeatures
from recbole_hm4sr.model.text.iisan import IISAN

pytestmark = pytest.mark.parity
MM = "mm_encoder"
TOWERS = {  # ours: theirs, of the adapters, the gates and the two maps
    "image": ("cv", "cv", "fc_cv", "cv_pre_fc"),
    "text": ("bert", "text", "fc_bert", "bert_pre_fc"),
    "inter-modal": ("mm", "mm", "fc_mm", "fc_mm_down"),
}


def ours(values):
    """Parameters or gradients by our names."""
    names = {**lab_layers(), "join": "com_dense"}
    found = {}
    for own, (adapters, gates, end, out) in TOWERS.items():
        names |= {f"towers.{own}.end": f"{MM}.{end}", f"towers.{own}.out": f"{MM}.{out}"}
        for k in range(4):
            theirs = f"{MM}.{adapters}_adapter_list.{k}"
            names[f"towers.{own}.down.{k}"] = f"{theirs}.fc_down"
            names[f"towers.{own}.up.{k}"] = f"{theirs}.fc_up"
        gates = [values[f"{MM}.side_gate_params_{gates}.{k}"] for k in range(4)]
        found[f"towers.{own}.gates"] = torch.cat(gates)
    return found | translated(values, names)


@dataclass
class LayeredDataset(ArrayDataset):
    """Arrays of layers, ``[I, H, F]``, and how often each item occurs."""

    counts: torch.Tensor | None = None

    def modality(self, name):
        values = np.asarray(self.features[name])
        flat = values.reshape(len(values), -1)
        rows = np.where(flat.any(axis=1), np.arange(len(flat)), -1)
        return AlignedFeatures(flat, rows, "", "test", values.shape[1])

    def interaction_counts(self):
        return self.counts


@pytest.fixture(scope="module")
def numbers():
    return load("iisan")


def build(numbers, **overrides):
    config = model_config(
        "IISAN",
        MAX_ITEM_LIST_LENGTH=8,
        hidden_size=8,
        n_layers=count_layers(numbers),
        n_heads=int(numbers["in/n_heads"]),
        side_layers=numbers["in/layers"].tolist(),
        adapter_size=4,
        learning_rate=1e-3,
        **NO_DROPOUT,
        **overrides,
    )
    features = {name: numbers[f"in/{name}_states"].numpy() for name in ("image", "text")}
    dataset = LayeredDataset(23, features, counts=torch.ones(23))
    model = IISAN(config, dataset).double()
    model.load_state_dict(ours(numbers.under("param/")))
    model.log_share = numbers["in/pop_prob"].log()
    return model


@pytest.mark.parametrize("is_reversed", [False, True])
def test_scores_equal_the_authors(numbers, is_reversed):
    model, order = build(numbers).eval(), torch.arange(7)
    order = order.flip(0) if is_reversed else order
    batch = windows(numbers["in/ids"], numbers["in/log_mask"], order, padding=3)
    scores = scores_of(model, batch)
    assert_close(scores, numbers["out/scores"][order], TOLERANCE)


def test_towers_items_and_users_equal_the_authors(numbers):
    model = build(numbers).train()
    for part, name in zip(model.parts(None, None), ("image", "text", "inter"), strict=True):
        assert_close(part, numbers[f"out/item_{name}"], TOLERANCE)
    assert_close(model.item_rows()[:, 0], numbers["out/item"], TOLERANCE)
    batch = model.read(windows(numbers["in/ids"], numbers["in/log_mask"]), train=True)
    users = model(batch, model.catalogue()).users.vectors[:, 0]
    assert_close(users, numbers["out/user"][numbers["in/log_mask"] > 0], TOLERANCE)


def test_the_exported_tower_equals_the_authors(numbers):
    model, batch = build(numbers).eval(), windows(numbers["in/ids"], numbers["in/log_mask"])
    tower = model.user_tower()
    users = tower(batch["item_id_list"], batch["item_length"], batch["timestamp_list"])
    assert_close(users @ model.item_vectors().T, numbers["out/scores"], TOLERANCE)


@pytest.mark.parametrize("is_reversed", [False, True])
def test_loss_and_gradients_equal_the_authors(numbers, is_reversed):
    model, order = build(numbers).train(), torch.arange(7)
    order = order.flip(0) if is_reversed else order
    losses = model.named_losses(windows(numbers["in/ids"], numbers["in/log_mask"], order))
    assert list(losses) == ["in_batch"]
    assert_close(losses["in_batch"], numbers["out/loss"], TOLERANCE)
    losses["in_batch"].backward()
    check_gradients(model, ours(numbers.under("grad/")))


def test_thirty_adam_steps_equal_the_authors(numbers):
    batch = windows(numbers["in/ids"], numbers["in/log_mask"])
    check_adam(build(numbers).train(), batch, numbers["out/adam_trajectory"])


def test_one_window_alone_has_nothing_to_be_told_from(numbers):
    batch = windows(numbers["in/ids"], numbers["in/log_mask"], torch.tensor([2]))
    model = build(numbers).train()
    loss = model.calculate_loss(batch)
    assert loss.item() == 0
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_first_layer_may_be_where_the_towers_begin(numbers):
    model = build(numbers).eval()
    short = IISAN(
        model_config(
            "IISAN",
            MAX_ITEM_LIST_LENGTH=8,
            hidden_size=8,
            side_layers=[0, 2, 4, 6],
            adapter_size=4,
            learning_rate=1e-3,
            remove_first=True,
        ),
        LayeredDataset(
            23,
            {name: numbers[f"in/{name}_states"].numpy() for name in ("image", "text")},
            counts=torch.ones(23),
        ),
    ).double()
    tower, whole = short.towers["image"], model.towers["image"]
    for k in range(3):
        for own in ("down", "up"):
            getattr(tower, own)[k].load_state_dict(getattr(whole, own)[k + 1].state_dict())
    with torch.no_grad():
        tower.gates.copy_(whole.gates[1:])
    tower.end.load_state_dict(whole.end.state_dict())
    tower.out.load_state_dict(whole.out.state_dict())
    layers = numbers["in/image_states"][:, [0, 2, 4, 6]]
    state = layers[:, 0]
    for k in range(1, 4):
        share = torch.sigmoid(whole.gates[k] / 0.1)
        state = whole._adapt(k, share * layers[:, k] + (1 - share) * state)
    assert_close(short.parts(None, None)[0], whole.out(whole.end(state)), TOLERANCE)
