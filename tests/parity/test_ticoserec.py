"""TiCoSeRec against numbers recorded from the authors' modules (fixtures/zoo/ticoserec.npz)."""

import numpy as np
import pytest
import torch
from helpers import ArrayDataset, assert_close, model_config
from zoo import ORDERS, TOLERANCE, batch_of, in_tokens, load, right_padded, steps_of

from recbole_hm4sr.data import views
from recbole_hm4sr.data.log import InteractionLog
from recbole_hm4sr.data.seen import FIRST_POSITION
from recbole_hm4sr.data.views import ViewRules
from recbole_hm4sr.model.timed.ticoserec import TiCoSeRec

pytestmark = pytest.mark.parity
N_ITEMS, LENGTH = 29, 10  # the authors' table has one row more, which is not used
MODULES = {
    "item_embedding": "item_embedding",
    "position_embedding": "position_embedding",
    "input_norm": "LayerNorm",
    **{
        f"encoder.layers.{layer}.{ours}": f"trm_encoder.layer.{layer}.{theirs}"
        for layer in range(2)
        for ours, theirs in {
            "attention.query": "multi_head_attention.query",
            "attention.key": "multi_head_attention.key",
            "attention.value": "multi_head_attention.value",
            "attention.output": "multi_head_attention.dense",
            "attention_norm": "multi_head_attention.LayerNorm",
            "feed_forward.inner": "feed_forward.dense_1",
            "feed_forward.output": "feed_forward.dense_2",
            "feed_forward.norm": "feed_forward.LayerNorm",
        }.items()
    },
}


@pytest.fixture(scope="module")
def numbers():
    found = load("ticoserec")
    found["lengths"] = (found["in/seq"] > 0).sum(dim=1)
    return found


def of_authors(numbers, kind, name):
    module, _, leaf = name.rpartition(".")
    value = numbers[f"{kind}/{MODULES[module]}.{leaf}"]
    return value[:N_ITEMS] if module == "item_embedding" else value


class Dataset(ArrayDataset):
    """One interaction more than the history of each row."""

    def shown_interactions(self):
        return torch.ones(len(self.log), dtype=torch.bool)


def build(numbers):
    config = model_config(
        "TiCoSeRec",
        hidden_size=8,
        inner_size=16,
        n_heads=2,
        cl_start_epoch=1,
        hidden_dropout_prob=0.0,
        attn_dropout_prob=0.0,
    )
    dataset = Dataset(N_ITEMS)
    users = torch.arange(12).repeat_interleave(numbers["lengths"] + 1).numpy()
    steps = np.arange(len(users))
    dataset.log = InteractionLog.of_ordered(users, 1 + steps % 28, 1000 * steps)
    model = TiCoSeRec(config, dataset).double()
    model.load_state_dict({n: of_authors(numbers, "param", n) for n in model.state_dict()})
    return model


def interaction(numbers, order=slice(None), padding=0):
    lengths = numbers["lengths"]
    rows = {name: right_padded(numbers[f"in/{name}"], lengths) for name in ("seq", "pos")}
    first = (lengths + 1).cumsum(0) - lengths - 1
    return batch_of(
        rows["seq"],
        lengths,
        labels=rows["pos"],
        order=order,
        padding=padding,
        **{FIRST_POSITION: first},
    )


def as_recorded(model, numbers, monkeypatch, order=slice(None)):
    lengths = numbers["lengths"]
    drawn = in_tokens(right_padded(numbers["in/neg"], lengths), lengths, order)
    monkeypatch.setattr(model, "draw_other_items", lambda _: drawn[:, None])
    both = [numbers[f"in/view{number}"][order] for number in (1, 2)]
    of_views = [(view > 0).sum(dim=1) for view in both]
    rows = [right_padded(view, n) for view, n in zip(both, of_views, strict=True)]
    made = torch.cat(rows).numpy(), torch.cat(of_views).numpy()
    monkeypatch.setattr(model, "make_views", lambda *_: made)
    return model


@pytest.mark.parametrize("padding", [0, 3])
@ORDERS
def test_scores_equal_the_authors(numbers, order, padding):
    model = build(numbers).eval()
    with torch.no_grad():
        scores = model.full_sort_predict(interaction(numbers, order, padding))
    expected = numbers["out/user"] @ of_authors(numbers, "param", "item_embedding.weight").T
    assert_close(scores, expected[order], TOLERANCE)


@ORDERS
def test_losses_and_gradients_equal_the_authors(numbers, order, monkeypatch):
    model = as_recorded(build(numbers).train(), numbers, monkeypatch, order)
    losses = model.named_losses(interaction(numbers, order))
    assert list(losses) == ["bce", "contrastive"]
    assert_close(losses["bce"], numbers["out/bce"], TOLERANCE)
    assert_close(losses["contrastive"] / 0.1, numbers["out/nce_last"], TOLERANCE)
    total = sum(losses.values())
    assert_close(total, numbers["out/loss"], TOLERANCE)
    total.backward()
    for name, parameter in model.named_parameters():
        assert_close(parameter.grad, of_authors(numbers, "grad", name), TOLERANCE)


def test_thirty_adam_steps_equal_the_authors(numbers, monkeypatch):
    model = as_recorded(build(numbers).train(), numbers, monkeypatch)
    steps_of(model, interaction(numbers), numbers["out/adam_trajectory"])


RULES = {
    "insert_rate": 0.5,
    "substitute_rate": 0.1,
    "mask_rate": 0.5,
    "crop_rate": 0.7,
    "reorder_rate": 0.2,
    "short_threshold": 12,
    "window_gaps": "official",
}
OPERATORS = {
    "insert": (views._insert, "random"),
    "substitute": (views._substitute, "random"),
    "mask_max": (views._mask, "maximum"),
    "mask_min": (views._mask, "minimum"),
    "crop": (views._crop, "random"),
    "reorder": (views._reorder, "random"),
}


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize("number", range(9))
def test_operators_equal_the_authors(numbers, number, kind):
    if f"aug/{number}/{kind}" not in numbers:
        return  # a history too short for it
    items = numbers[f"aug/{number}/items"].numpy()
    gaps = np.abs(np.diff(numbers[f"aug/{number}/times"].numpy()))
    near = np.arange(100) % 28 + 1  # as recorded
    operator, mask_mode = OPERATORS[kind]
    keys = np.linspace(0.1, 0.9, len(items))
    found = operator(items, gaps, near, ViewRules(**RULES, mask_mode=mask_mode), keys)
    expected = numbers[f"aug/{number}/{kind}"].numpy()
    if kind == "reorder":  # there the window is shuffled at random
        width = int(0.2 * len(items))
        start = views.most_even_window(gaps, width, "official")
        window = slice(start, start + width)
        assert np.delete(found, window).tolist() == np.delete(expected, window).tolist()
        found, expected = np.sort(found[window]), np.sort(expected[window])
    assert found.tolist() == expected.tolist()
