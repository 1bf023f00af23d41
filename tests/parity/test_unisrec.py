"""UniSRec against numbers recorded from the authors' code (fixtures/zoo/unisrec*.npz)."""

import pytest
import torch
from helpers import ArrayDataset, assert_close, model_config
from parity.text_zoo import (
    NO_DROPOUT,
    TOLERANCE,
    as_the_authors_rank,
    check_adam,
    check_gradients,
    interaction,
    load,
    recbole_layers,
    scores_of,
    translated,
)

from recbole_hm4sr.model.text.unisrec import UniSRec

pytestmark = pytest.mark.parity
NAMES = {
    "item_embedding": "item_embedding",
    "position_embedding": "position_embedding",
    "input_norm": "LayerNorm",
    **recbole_layers(),
}
ORDERS = pytest.mark.parametrize("order", [slice(None), torch.arange(11, -1, -1)], ids=["", "back"])


def ours(values):
    """Parameters or gradients by our names."""
    found = translated(values, NAMES)
    gate = "moe_adaptor"
    found["adaptors.text.gate"] = values[f"{gate}.w_gate"]
    if f"{gate}.w_noise" in values:
        found["adaptors.text.noise"] = values[f"{gate}.w_noise"]
    for ours, theirs in {"projection": "lin.weight", "shift": "bias"}.items():
        experts = [values[f"{gate}.experts.{k}.{theirs}"] for k in range(3)]
        found[f"adaptors.text.{ours}"] = torch.stack(experts)
    return found


def build(numbers, section="", *, noise=False):
    config = model_config(
        "UniSRec",
        hidden_size=8,
        inner_size=16,
        n_heads=int(numbers["in/n_heads"]),
        temperature=float(numbers["in/temperature"]),
        n_experts=3,
        adaptor_dropout_prob=0.0,
        gate_noise=noise,
        use_ids=not section,
        train_mode="prefix",
        **NO_DROPOUT,
    )
    model = UniSRec(config, ArrayDataset(29, {"text": numbers["in/feat"].numpy()})).double()
    state = ours(numbers.under(f"{section}param/"))
    known = model.state_dict()
    model.load_state_dict({name: value for name, value in state.items() if name in known})
    return model


@pytest.fixture(scope="module")
def numbers():
    return load("unisrec")


@ORDERS
@pytest.mark.parametrize("padding", [0, 4])
def test_scores_equal_the_authors(numbers, order, padding):
    model = build(numbers).eval()
    batch = interaction(numbers, order, padding)
    scores = scores_of(model, batch)
    assert_close(scores * 0.07, numbers["out/scores"][order], TOLERANCE)
    assert_close(model.catalogue().rows[:, 0], numbers["out/table"], TOLERANCE)


def test_the_exported_tower_equals_the_authors(numbers):
    model, batch = build(numbers).eval(), interaction(numbers)
    tower = model.user_tower()
    users = tower(batch["item_id_list"], batch["item_length"], batch["timestamp_list"])
    assert_close(users @ model.item_vectors().T * 0.07, numbers["out/scores"], TOLERANCE)


@ORDERS
def test_loss_and_gradients_are_those_without_padding_as_a_candidate(numbers, order):
    model = build(numbers).train()
    losses = model.named_losses(interaction(numbers, order, 4))
    assert list(losses) == ["cross_entropy"]
    assert_close(losses["cross_entropy"], numbers["no0/loss"], TOLERANCE)
    losses["cross_entropy"].backward()
    check_gradients(model, ours(numbers.under("no0/grad/")))
    assert not model.item_embedding.weight.grad[0].any()


@pytest.mark.parametrize("section", ["", "inductive/"])
def test_with_padding_as_a_candidate_it_is_the_authors_loss(numbers, section):
    model = as_the_authors_rank(build(numbers, section).train())
    loss = model.calculate_loss(interaction(numbers))
    assert_close(loss, numbers[f"{section or 'out/'}loss"], TOLERANCE)
    loss.backward()
    check_gradients(model, ours(numbers.under(f"{section}grad/")))


def test_scores_without_ids_equal_the_authors(numbers):
    with torch.no_grad():
        scores = build(numbers, "inductive/").eval().full_sort_predict(interaction(numbers))
    assert_close(scores * 0.07, numbers["inductive/scores"], TOLERANCE)


def test_thirty_adam_steps_equal_the_authors(numbers):
    model = as_the_authors_rank(build(numbers).train())
    check_adam(model, interaction(numbers), numbers["out/adam_trajectory"])


def test_noisy_gates_equal_the_authors(monkeypatch):
    """There an item's noise as an input is not that as a candidate."""
    numbers = load("unisrec-noise")
    model = as_the_authors_rank(build(numbers, noise=True).train())
    adaptor, features = model.adaptors["text"], numbers["in/feat"]
    monkeypatch.setattr(adaptor, "draw_noise", lambda _: numbers["in/noise_table"])

    def tokens(batch, _):
        adapted = adaptor(features[batch.items], batch.packing.pack(numbers["in/noise_seq"]))
        return adapted + model.item_embedding(batch.items)

    monkeypatch.setattr(model, "tokens", tokens)
    loss = model.calculate_loss(interaction(numbers))
    assert_close(loss, numbers["out/loss"], TOLERANCE)
    loss.backward()
    check_gradients(model, ours(numbers.under("grad/")))
