"""MoRec against numbers recorded from the authors' code (fixtures/zoo/morec*.npz)."""

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

from recbole_hm4sr.model.text.morec import MoRec
from recbole_hm4sr.model.text.morec_batch import MoRecBatch

pytestmark = pytest.mark.parity
MAPS = {  # ours: theirs, by what joins ids and features
    "none": {
        "text_maps.maps.0": "fc.fc",
        "text_maps.maps.1": "fc.mlp_layers.1",
        "text_maps.maps.2": "fc.mlp_layers.4",
    },
    "add": {
        "text_maps.maps.0": "turn_dim.fc",
        "text_maps.maps.1": "turn_dim.mlp_layers.mlp_layers.1",
        "fusion_maps.maps.0": "mlp_layers.mlp_layers.1",
    },
    "cat": {
        "text_maps.maps.0": "turn_dim.fc",
        "fusion_maps.maps.0": "fc.mlp_layers.1",
        "fusion_maps.maps.1": "mlp_layers.mlp_layers.1",
    },
}
CASES = {"morec": ("none", 2, 0), "morec-add": ("add", 1, 1), "morec-cat": ("cat", 0, 1)}
ORDERS = pytest.mark.parametrize("is_reversed", [False, True])


def ours(values, fusion):
    names = {**lab_layers(), **MAPS[fusion], "item_embedding": "id_embedding"}
    return translated(values, names)


def build(case, numbers, **overrides):
    fusion, n_projections, n_fusion_maps = CASES[case]
    n_items, _ = numbers["in/feat"].shape
    config = model_config(
        "MoRec",
        MAX_ITEM_LIST_LENGTH=numbers["in/log_mask"].shape[1],
        hidden_size=8,
        n_layers=count_layers(numbers),
        n_heads=int(numbers["in/n_heads"]),
        n_projections=n_projections,
        id_fusion=fusion,
        n_fusion_maps=n_fusion_maps,
        **NO_DROPOUT,
        **overrides,
    )
    model = MoRec(config, ArrayDataset(n_items, {"text": numbers["in/feat"].numpy()})).double()
    model.load_state_dict(ours(numbers.under("param/"), fusion))
    return model


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return request.param, load(request.param)


def ordered(numbers, is_reversed):
    order = torch.arange(len(numbers["in/log_mask"]))
    return order.flip(0) if is_reversed else order


def with_negatives(model, numbers, order):
    """Let the reader give the recorded negatives, a row a target."""
    read = model.arrange
    mask = numbers["in/log_mask"][order]
    negatives = numbers["in/negatives"][order][:, :-1][mask > 0]

    def arrange(interaction, *, train):
        batch = read(interaction, train=train)
        wanted = np.union1d(batch.wanted, negatives.numpy())
        return MoRecBatch(**{**vars(batch), "wanted": wanted, "negatives": negatives})

    model.arrange = arrange
    return model


@ORDERS
def test_scores_and_items_equal_the_authors(case, is_reversed):
    name, numbers = case
    model, order = build(name, numbers).eval(), ordered(numbers, is_reversed)
    batch = windows(numbers["in/positives"], numbers["in/log_mask"], order, padding=3)
    scores = scores_of(model, batch)
    assert_close(scores, numbers["out/scores"][order], TOLERANCE)
    expected = numbers["out/item"]
    assert_close(model.catalogue().rows[:, 0], expected, TOLERANCE)


def test_users_at_every_place_equal_the_authors(case):
    name, numbers = case
    model, mask = build(name, numbers).train(), numbers["in/log_mask"]
    batch = model.read(windows(numbers["in/positives"], mask), train=True)
    found = model(batch, model.catalogue()).users.vectors[:, 0]
    assert_close(found, numbers["out/user"][mask > 0], TOLERANCE)


def test_the_exported_tower_equals_the_authors(case):
    name, numbers = case
    model, batch = (
        build(name, numbers).eval(),
        windows(numbers["in/positives"], numbers["in/log_mask"]),
    )
    tower = model.user_tower()
    users = tower(batch["item_id_list"], batch["item_length"], batch["timestamp_list"])
    assert_close(users @ model.item_vectors().T, numbers["out/scores"], TOLERANCE)


@ORDERS
def test_loss_and_gradients_equal_the_authors(case, is_reversed):
    name, numbers = case
    order = ordered(numbers, is_reversed)
    model = with_negatives(build(name, numbers).train(), numbers, order)
    losses = model.named_losses(windows(numbers["in/positives"], numbers["in/log_mask"], order))
    assert list(losses) == ["bce"]
    assert_close(losses["bce"], numbers["out/loss"], TOLERANCE)
    losses["bce"].backward()
    check_gradients(model, ours(numbers.under("grad/"), CASES[name][0]))


def test_thirty_adam_steps_equal_the_authors(case):
    name, numbers = case
    order = ordered(numbers, is_reversed=False)
    model = with_negatives(build(name, numbers).train(), numbers, order)
    batch = windows(numbers["in/positives"], numbers["in/log_mask"])
    check_adam(model, batch, numbers["out/adam_trajectory"])
