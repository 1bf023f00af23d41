"""MOJITO against numbers recorded one row at a time (fixtures/zoo/mojito.npz)."""

import numpy as np
import pytest
import torch
from helpers import ArrayDataset, assert_close, model_config
from zoo import ORDERS, TOLERANCE, batch_of, in_tokens, load, right_padded

from recbole_hm4sr.data.calendars import calendar_fields
from recbole_hm4sr.data.log import InteractionLog
from recbole_hm4sr.data.seen import FIRST_POSITION
from recbole_hm4sr.model.timed.mojito import MOJITO

pytestmark = pytest.mark.parity
N_ITEMS, LENGTH = 29, 10
FIELDS = ("year", "month", "day", "dayofweek", "dayofyear", "week", "hour")
TABLES = {
    "item_embedding.weight": "item",
    "user_embedding.weight": "user",
    "position_embedding.weight": "position",
}
MODULES = {"context.output": "dense", "output_norm": "final"}
for layer in range(2):
    MODULES |= {
        f"encoder.layers.{layer}.{ours}": f"block.{layer}.{theirs}"
        for ours, theirs in {
            "item_norm": "ln_item",
            "context_norm": "ln_ctx",
            "norm": "ln_f",
            "item_query": "q_item",
            "item_key": "k_item",
            "context_query": "q_ctx",
            "context_key": "k_ctx",
            "mix_inner": "mix1",
            "mix_outer": "mix2",
            "value": "v",
            "inner": "ff1",
            "outer": "ff2",
        }.items()
    }
NAMES = TABLES | {
    f"{ours}.{leaf}": f"{theirs}.{leaf}"
    for ours, theirs in MODULES.items()
    for leaf in ("weight", "bias")
}


@pytest.fixture(scope="module")
def numbers():
    return load("mojito")


def of_authors(numbers, kind, name):
    if name.startswith("context.") and "output" not in name:
        leaf = name.partition(".")[2]
        return torch.stack([numbers[f"{kind}/ctx.{field}.{leaf}"] for field in FIELDS])
    return numbers[f"{kind}/{NAMES[name]}"]


class Dataset(ArrayDataset):
    """The interactions of the fixture, and its users."""

    def num(self, name):
        return 8 if name == "user_id" else self.n_items


def first_year(numbers):
    years = numbers["in/timestamps"].numpy().astype("datetime64[s]").astype("datetime64[Y]")
    inside = numbers["in/calendar"][..., 0] > 0
    found = years.astype(int) + 1971 - numbers["in/calendar"][..., 0].numpy()
    return int(np.unique(found[inside.numpy()])[0])


def build(numbers, **overrides):
    config = model_config(
        "MOJITO",
        hidden_size=8,
        time_channels=4,
        n_long_items=4,
        hidden_dropout_prob=0.0,
        attn_dropout_prob=0.0,
        lambda_global=float(numbers["in/lambda_glob"]),
        lambda_trans=float(numbers["in/lambda_trans"]),
        **{"request_time": "target", **overrides},
    )
    dataset, lengths = Dataset(N_ITEMS), numbers["in/item_len"]
    times = right_padded(numbers["in/timestamps"], lengths)
    nexts = right_padded(numbers["in/next_timestamps"], lengths)
    rows = [
        torch.cat([row[:n], later[n - 1 : n]])
        for row, later, n in zip(times, nexts, lengths.tolist(), strict=True)
    ]
    users = torch.arange(12).repeat_interleave(lengths + 1).numpy()
    dataset.log = InteractionLog.of_ordered(users, np.ones_like(users), torch.cat(rows).numpy())
    year = np.datetime64(f"{first_year(numbers)}-06-01", "s").astype(int)
    dataset.origin = int(year)
    model = MOJITO(config, dataset).double()
    model.load_state_dict({n: of_authors(numbers, "param", n) for n in model.state_dict()})
    return model


def interaction(numbers, order=slice(None), padding=0):
    lengths = numbers["in/item_len"]
    rows = {
        name: right_padded(numbers[f"in/{name}"], lengths)
        for name in ("seq_left_padded", "timestamps", "next_timestamps", "labels")
    }
    return batch_of(
        rows["seq_left_padded"],
        lengths,
        times=rows["timestamps"],
        labels=rows["labels"],
        order=order,
        padding=padding,
        user_id=numbers["in/user"],
        timestamp=numbers["in/next_timestamps"][:, -1],
        **{FIRST_POSITION: (lengths + 1).cumsum(0) - lengths - 1},
    )


def as_recorded(model, numbers, monkeypatch, order=slice(None)):
    """The recorded sample and negatives; empty places of the sample count, as there."""
    monkeypatch.setattr(model, "long_items", lambda _: numbers["in/fism"][order])
    monkeypatch.setattr(
        model, "is_hidden", lambda sample, _: torch.zeros_like(sample, dtype=torch.bool)
    )
    lengths = numbers["in/item_len"]
    drawn = in_tokens(right_padded(numbers["in/negatives"], lengths), lengths, order)
    monkeypatch.setattr(model, "draw_other_items", lambda _: drawn[:, None])
    return model


def test_calendars_equal_the_recorded_ones(numbers):
    for name, times in (("calendar", "timestamps"), ("next_calendar", "next_timestamps")):
        recorded = numbers[f"in/{name}"]
        inside = recorded[..., 0] > 0
        seconds = numbers[f"in/{times}"][inside].numpy()
        fields = calendar_fields(seconds, first_year(numbers))
        assert fields.tolist() == recorded[inside].tolist()


@pytest.mark.parametrize("padding", [0, 3])
@ORDERS
def test_scores_equal_the_recorded_ones(numbers, order, padding, monkeypatch):
    model = build(numbers, history_term=True).eval()
    model = as_recorded(model, numbers, monkeypatch, order)
    batch = interaction(numbers, order, padding)
    with torch.no_grad():
        scores = model.full_sort_predict(batch)
        assert_close(scores, numbers["out/scores"][order], TOLERANCE)
        own = scores.gather(1, batch["item_id"][:, None])[:, 0]
        assert_close(model.predict(batch), own, TOLERANCE)


@ORDERS
def test_loss_and_gradients_equal_the_recorded_ones(numbers, order, monkeypatch):
    model = as_recorded(build(numbers).train(), numbers, monkeypatch, order)
    loss = model.calculate_loss(interaction(numbers, order))
    assert_close(loss, numbers["out/loss"], TOLERANCE)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert_close(parameter.grad, of_authors(numbers, "grad", name), TOLERANCE)


def test_the_loss_without_the_long_term_part_is_the_local_one(numbers, monkeypatch):
    model = as_recorded(build(numbers).train(), numbers, monkeypatch)
    model.settings = model.settings.changed(lambda_global=0.0)
    assert_close(model.calculate_loss(interaction(numbers)), numbers["out/local"], TOLERANCE)
