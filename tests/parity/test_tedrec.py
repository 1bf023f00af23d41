"""TedRec against numbers recorded from the authors' code (fixtures/zoo/tedrec*.npz)."""

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

from recbole_hm4sr.layers.convolution import as_windows
from recbole_hm4sr.model.text.tedrec import TedRec

pytestmark = pytest.mark.parity
NAMES = {
    "item_embedding": "item_embedding",
    "position_embedding": "position_embedding",
    "input_norm": "LayerNorm",
    "item_gate": "item_gating",
    "fusion_gate": "fusion_gating",
    **recbole_layers(),
}
ORDERS = pytest.mark.parametrize("order", [slice(None), torch.arange(11, -1, -1)], ids=["", "back"])


def ours(values):
    """Parameters or gradients by our names."""
    found, moe = translated(values, NAMES), "moe_adaptor"
    experts = [f"{moe}.experts.{k}" for k in range(3)]
    found["adaptors.text.projection"] = torch.stack([values[f"{k}.lin.weight"] for k in experts])
    shifts = [values[f"{k}.bias"][0] for k in experts]  # [L, F] each
    found["adaptors.text.shift"] = torch.stack(shifts, dim=1)
    found["adaptors.text.gate"] = values[f"{moe}.w_gate"]
    if f"{moe}.w_noise" in values:
        found["adaptors.text.noise"] = values[f"{moe}.w_noise"]
    found["filter_real"], found["filter_imaginary"] = values["complex_weight"][0].unbind(dim=-1)
    return found


def build(numbers, *, noise=False):
    config = model_config(
        "TedRec",
        hidden_size=8,
        inner_size=16,
        n_heads=int(numbers["in/n_heads"]),
        temperature=float(numbers["in/temperature"]),
        n_experts=3,
        adaptor_dropout_prob=0.0,
        gate_noise=noise,
        **NO_DROPOUT,
    )
    model = TedRec(config, ArrayDataset(29, {"text": numbers["in/feat"].numpy()})).double()
    state, known = ours(numbers.under("param/")), model.state_dict()
    model.load_state_dict({name: value for name, value in state.items() if name in known})
    return model


@pytest.fixture(scope="module")
def numbers():
    return load("tedrec")


@ORDERS
def test_scores_equal_the_authors(numbers, order):
    model, batch = build(numbers).eval(), interaction(numbers, order)
    scores = scores_of(model, batch)
    assert_close(scores * 0.07, numbers["out/scores"][order], TOLERANCE)


def test_a_narrower_batch_has_the_same_scores(numbers):
    model, short = build(numbers).eval(), numbers["in/item_len"] <= 6
    batch = interaction(numbers, short)
    expected = model.full_sort_predict(batch)
    for name in ("item_id_list", "timestamp_list"):
        batch[name] = batch[name][:, :6]
    assert 0 < short.sum() < 12
    assert_close(model.full_sort_predict(batch), expected, TOLERANCE)


def test_text_and_fused_tokens_equal_the_authors(numbers):
    model = build(numbers).eval()
    batch = model.read(interaction(numbers), train=False)
    text = as_windows(model.text_tokens(batch), batch.packing, 10)
    assert_close(text, numbers["out/text"], TOLERANCE)
    ids = as_windows(model.item_embedding(batch.items), batch.packing, 10)
    assert_close(model.mix(ids, text), numbers["out/fused"], TOLERANCE)


def test_the_exported_tower_equals_the_authors(numbers):
    model, batch = build(numbers).eval(), interaction(numbers)
    tower = model.user_tower()
    users = tower(batch["item_id_list"], batch["item_length"], batch["timestamp_list"])
    assert_close(users @ model.item_vectors().T * 0.07, numbers["out/scores"], TOLERANCE)


@ORDERS
def test_loss_and_gradients_are_those_without_padding_as_a_candidate(numbers, order):
    model = build(numbers).train()
    losses = model.named_losses(interaction(numbers, order))
    assert list(losses) == ["cross_entropy"]
    assert_close(losses["cross_entropy"], numbers["no0/loss"], TOLERANCE)
    losses["cross_entropy"].backward()
    check_gradients(model, ours(numbers.under("no0/grad/")))
    assert not model.item_embedding.weight.grad[0].any()


def test_with_padding_as_a_candidate_it_is_the_authors_loss(numbers):
    model = as_the_authors_rank(build(numbers).train())
    loss = model.calculate_loss(interaction(numbers))
    assert_close(loss, numbers["out/loss"], TOLERANCE)
    loss.backward()
    check_gradients(model, ours(numbers.under("grad/")))


def test_with_their_padding_in_the_transforms_it_is_the_authors_own(numbers):
    """There padding is the vector of item 0, and the experts' shifts of an empty text."""
    model = as_the_authors_rank(build(numbers).eval())
    adaptor, ids = model.adaptors["text"], model.item_embedding.weight
    positions = torch.arange(10).repeat(12)
    gates = adaptor.gates(torch.zeros(120, 7).double())
    shifts = adaptor.mix(torch.zeros(120, 7).double(), gates) - adaptor.shifts(gates, positions)
    own, lengths = model.mix, numbers["in/item_len"]
    is_padding = (torch.arange(10) >= lengths[:, None])[..., None]

    def mix(windows, text):
        theirs = torch.where(is_padding, ids[0], windows)
        return own(theirs, torch.where(is_padding, shifts.view(12, 10, 8), text))

    model.mix = mix
    scores = model.full_sort_predict(interaction(numbers))
    assert_close(scores * 0.07, numbers["out/scores_pads_official"], TOLERANCE)
    loss = model.calculate_loss(interaction(numbers))
    assert_close(loss, numbers["out/loss_pads_official"], TOLERANCE)


def test_thirty_adam_steps_equal_the_authors(numbers):
    model = as_the_authors_rank(build(numbers).train())
    check_adam(model, interaction(numbers), numbers["out/adam_trajectory"])


def test_noisy_gates_equal_the_authors(monkeypatch):
    """There the noise is drawn for every token; here for an item, unless its tokens stand alone."""
    numbers = load("tedrec-noise")
    model = as_the_authors_rank(build(numbers, noise=True).train())
    read, adaptor = model.arrange, model.adaptors["text"]
    model.arrange = lambda *args, **named: read(*args, **named).replace(distinct=None)
    batch = interaction(numbers)
    drawn = model.read(batch, train=True).packing.pack(numbers["in/noise_seq"])
    monkeypatch.setattr(adaptor, "draw_noise", lambda _: drawn)
    loss = model.calculate_loss(batch)
    assert_close(loss, numbers["out/loss"], TOLERANCE)
    loss.backward()
    check_gradients(model, ours(numbers.under("grad/")))
