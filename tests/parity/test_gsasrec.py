"""gSASRec against numbers recorded from the authors' PyTorch code (fixtures/zoo/gsasrec.npz)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ArrayDataset, assert_close, model_config
from recbole.data.interaction import Interaction

from recbole_hm4sr.data.loaders import TARGET_LIST
from recbole_hm4sr.model.ids.gsasrec import gSASRec

pytestmark = pytest.mark.parity
TOLERANCE = 1e-9
N_ITEMS = 29  # ids 1 to 28 and padding; the authors' tables have a row 29 for padding besides

NAMES = {  # ours: the authors'
    "item_embedding": "item_embedding",
    "scored_embedding": "output_embedding",
    "position_embedding": "position_embedding",
    "encoder.output_norm": "seq_norm",
    **{
        f"encoder.layers.{layer}.{ours}": f"transformer_blocks.{layer}.{theirs}"
        for layer in range(2)
        for ours, theirs in {
            "attention_norm": "first_norm",
            "norm": "second_norm",
            "attention.query": "multihead_attention.query_proj",
            "attention.key": "multihead_attention.key_proj",
            "attention.value": "multihead_attention.val_proj",
            "inner": "dense1",
            "outer": "dense2",
        }.items()
    },
}


@pytest.fixture(scope="module")
def numbers():
    path = Path(__file__).parent / "fixtures" / "zoo" / "gsasrec.npz"
    with np.load(path) as archive:
        return {key: torch.from_numpy(archive[key]) for key in archive.files}


def of_authors(numbers, kind, name):
    """Their parameter or gradient by our name; rows of items that there are."""
    module, _, leaf = name.rpartition(".")
    value = numbers[f"{kind}/{NAMES[module]}.{leaf}"]
    return value[:N_ITEMS] if module in ("item_embedding", "scored_embedding") else value


def right_padded(left_padded, lengths):
    rows = torch.zeros_like(left_padded)
    for row, n in enumerate(lengths.tolist()):
        rows[row, :n] = left_padded[row, -n:]
    return rows


def build(numbers, **overrides):
    config = model_config(
        "gSASRec",
        hidden_size=8,
        n_heads=int(numbers["in/heads"]),
        n_negatives=int(numbers["in/n_negatives"]),
        gbce_t=float(numbers["in/t"]),
        hidden_dropout_prob=0.0,
        attn_dropout_prob=0.0,
        **overrides,
    )
    model = gSASRec(config, ArrayDataset(N_ITEMS)).double()
    state = {name: of_authors(numbers, "param", name) for name in model.state_dict()}
    model.load_state_dict(state)
    return model


def interaction(numbers, order=slice(None), padding=0):
    lengths = numbers["in/item_len"]

    def rows(name):
        values = right_padded(numbers[name], lengths)[order]
        return torch.cat([values, values.new_zeros(len(values), padding)], dim=1)

    items = rows("in/seq_left_padded")
    return Interaction(
        {
            "item_id_list": items,
            "item_length": lengths[order],
            "timestamp_list": torch.zeros_like(items),
            "item_id": numbers["in/target"][order],
            TARGET_LIST: rows("in/labels"),
        }
    )


def negatives(numbers, order=slice(None)):
    """The recorded ones, a row a token, as the model draws them."""
    lengths = numbers["in/item_len"]
    rows = right_padded(numbers["in/negatives"], lengths)[order]
    steps = torch.arange(rows.shape[1])
    return rows[steps < lengths[order][:, None]]


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("order", [slice(None), torch.arange(11, -1, -1)], ids=["", "reversed"])
def test_scores_equal_the_authors(numbers, order, padding):
    model = build(numbers).eval()
    with torch.no_grad():
        scores = model.full_sort_predict(interaction(numbers, order, padding))
    assert_close(scores[:, 1:], numbers["out/scores"][order], TOLERANCE)


def test_the_exported_tower_equals_the_authors(numbers):
    tower = build(numbers).eval().user_tower()
    batch = interaction(numbers)
    users = tower(batch["item_id_list"], batch["item_length"], batch["timestamp_list"])
    assert_close(users, numbers["out/user"], TOLERANCE)


@pytest.mark.parametrize("order", [slice(None), torch.arange(11, -1, -1)], ids=["", "reversed"])
def test_loss_and_gradients_equal_the_authors(numbers, order, monkeypatch):
    model = build(numbers).train()
    monkeypatch.setattr(model, "draw_negatives", lambda *_: negatives(numbers, order))
    losses = model.named_losses(interaction(numbers, order))
    assert list(losses) == ["gbce"]
    assert_close(losses["gbce"], numbers["out/loss"], TOLERANCE)
    losses["gbce"].backward()
    for name, parameter in model.named_parameters():
        assert_close(parameter.grad, of_authors(numbers, "grad", name), TOLERANCE)


def test_thirty_adam_steps_equal_the_authors(numbers, monkeypatch):
    model = build(numbers).train()
    monkeypatch.setattr(model, "draw_negatives", lambda *_: negatives(numbers))
    optimizer, found = torch.optim.Adam(model.parameters(), lr=1e-3), []
    for _ in numbers["out/adam_trajectory"]:
        optimizer.zero_grad()
        loss = model.calculate_loss(interaction(numbers))
        found.append(loss.item())
        loss.backward()
        optimizer.step()
    assert_close(torch.tensor(found).double(), numbers["out/adam_trajectory"], 1e-6)
