"""The packed HM4SR against the authors' recorded numbers and against the plain oracle."""

from functools import partial

import numpy as np
import pytest
import torch
from helpers import ArrayDataset, assert_close, fill_parameters, model_config, replace_at
from parity.oracle import PlainBatch, PlainOptions, plain_forward, plain_losses, plain_total
from parity.test_oracle import LOSSES, STREAMS, fixture, section, translate
from recbole.data.interaction import Interaction

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.layers import losses as loss_functions
from recbole_hm4sr.model.hm4sr import model as hm4sr_module
from recbole_hm4sr.model.hm4sr.authors_checkpoint import convert_authors_state
from recbole_hm4sr.model.hm4sr.model import HM4SR

pytestmark = pytest.mark.parity
TOLERANCE = 1e-9
NO_DROPOUT = {"train_mode": "prefix", "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}


def interaction_of(item_seq, lengths, timestamps, targets):
    return Interaction(
        {
            "item_id_list": item_seq,
            "item_length": lengths,
            "timestamp_list": timestamps,
            "item_id": targets,
        }
    )


def recorded(name):
    return torch.from_numpy(fixture()[name])


def recorded_model():
    features = {"text": fixture()["in/txt_feat"], "image": fixture()["in/img_feat"]}
    gap = int(2 ** float(fixture()["in/max_log2_interval"])) - 1
    dataset = ArrayDataset(29, features, fixture()["in/category"].astype(np.uint8), gap)
    config = model_config(
        hidden_size=8,
        inner_size=16,
        n_interactive_experts=3,
        buckets_per_doubling=10,
        **NO_DROPOUT,
    )
    model = HM4SR(config, dataset).double()
    weights = {name: torch.from_numpy(value) for name, value in section("param/").items()}
    model.load_state_dict(convert_authors_state(weights))
    return model


def recorded_interaction():
    return interaction_of(
        recorded("in/item_seq"),
        recorded("in/item_len"),
        recorded("in/timestamps"),
        recorded("in/target"),
    )


@pytest.fixture
def recorded_mask(monkeypatch):
    """Placeholders where the recorded run had them."""
    mask = recorded("out/mask")
    replace_at(monkeypatch, lambda packing: packing.pack(mask))


def test_scores_and_user_vectors_equal_the_authors():
    model, interaction = recorded_model().eval(), recorded_interaction()
    with torch.no_grad():
        encoded = model._encoded(interaction)
        scores = model.full_sort_predict(interaction)
    assert_close(scores, recorded("out/scores"), TOLERANCE)
    for stream, name in enumerate(STREAMS.values()):
        assert_close(encoded.users.vectors[:, stream], recorded(f"out/seq_{name}"), TOLERANCE)
        padded = recorded(f"out/emb_{name}")
        assert_close(encoded.tokens[:, stream], encoded.batch.packing.pack(padded), TOLERANCE)


def zero_logit_info_nce(anchors, candidates, rows, *, temperature):
    """The authors' variant: a negative with the same target has logit 0."""
    normalize = torch.nn.functional.normalize
    logits = normalize(anchors, dim=-1) @ normalize(candidates, dim=-1).T / temperature
    logits = logits.masked_fill(rows.excluded, 0)
    return torch.nn.functional.cross_entropy(logits, torch.arange(len(anchors)))


@pytest.mark.parametrize("negatives", ["excluded", "zero_logit"])
def test_losses_and_gradients_equal_the_authors(negatives, recorded_mask, monkeypatch):
    if negatives == "zero_logit":
        monkeypatch.setattr(hm4sr_module, "info_nce", zero_logit_info_nce)
    model = recorded_model().train()
    losses = model.named_losses(recorded_interaction())
    for name, place in LOSSES.items():
        assert_close(losses[name], recorded(place.format(negatives=negatives)), TOLERANCE)
    total = torch.stack(list(losses.values())).sum()
    assert_close(total, recorded(f"{negatives}/loss_total"), TOLERANCE)
    total.backward()
    expected = translate(section(f"{negatives}/grad/"))
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name], rtol=1e-9, atol=1e-13, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_the_first_adam_steps_equal_the_authors(recorded_mask):
    # With raw epoch seconds one step moves the cosine's argument by up to 1.4e6 rad, so a
    # difference of rounding grows about 1e4-fold a step: only the first steps can be compared
    # (the oracle, started 1e-14 away from itself, is 4e-2 away after four). What 30 steps can show
    # is shown below in days.
    model = recorded_model().train()
    model.temporal_moe.experts.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    tolerances = [1e-9, 1e-9, 1e-6]
    for step, tolerance in enumerate(tolerances):
        optimizer.zero_grad()
        losses = model.named_losses(recorded_interaction())
        total = torch.stack(list(losses.values())).sum()
        parts = torch.stack([total, *losses.values()])
        assert_close(parts, recorded("excluded/adam_trajectory")[step], tolerance)
        total.backward()
        optimizer.step()


# --- against the oracle, over shapes the fixture does not have --------------------------------


def random_case(*, modalities, lengths, seed=0, n_items=17, max_length=10, n_categories=5):
    """Features, flags and a batch with repeated items, ties and gaps beyond the table."""
    random = np.random.default_rng(seed)
    features = {
        name: random.normal(size=(n_items, width)).astype(np.float32)
        for name, width in zip(modalities, (6, 9, 4), strict=False)
    }
    for values in features.values():
        values[0] = 0
    flags = (random.random((n_items, n_categories)) < 0.4).astype(np.uint8)
    flags[0] = 0
    batch = len(lengths)
    item_seq = random.integers(1, n_items, size=(batch, max_length))
    gaps = random.choice([0, 0, 1, 3600, 86400 * 40, 10**9], size=(batch, max_length))
    timestamps = 1_300_000_000 + gaps.cumsum(axis=1)
    padding = np.arange(max_length) >= np.array(lengths)[:, None]
    item_seq[padding] = 0
    timestamps[padding] = 0
    targets = random.integers(1, n_items, size=batch)
    tensors = [torch.from_numpy(x) for x in (item_seq, np.array(lengths), timestamps, targets)]
    return features, flags, PlainBatch(*tensors)


CASES = {
    "two modalities": {"modalities": ("text", "image"), "lengths": [1, 10, 4, 7, 2, 10]},
    "no modality": {"modalities": (), "lengths": [3, 1, 10]},
    "text only": {"modalities": ("text",), "lengths": [5, 9, 1, 1]},
    "three modalities": {"modalities": ("text", "image", "audio"), "lengths": [6, 2]},
    "one sequence": {"modalities": ("text", "image"), "lengths": [8]},
    "one item each": {"modalities": ("image",), "lengths": [1, 1, 1]},
}
SWITCHES = {
    "all parts": {},
    "no interactive MoE": {"use_interactive_moe": False},
    "no temporal MoE": {"use_temporal_moe": False},
    "no id contrastive": {"id_contrastive_weight": 0.0},
    "no category prediction": {"category_prediction_weight": 0.0},
    "no placeholders": {"placeholder_weight": 0.0},
    "other weights": {"id_contrastive_weight": 0.3, "placeholder_weight": 2.0},
    "days from the first": {"time_origin": "dataset", "time_scale": 86400.0},
    "one layer": {"n_layers": 1},
    "three layers": {"n_layers": 3},
}


def build(case, switches):
    features, flags, batch = random_case(**case)
    config = model_config(
        hidden_size=8, inner_size=12, buckets_per_doubling=7.0, **NO_DROPOUT, **switches
    )
    dataset = ArrayDataset(17, features, flags, gap=86400 * 365, origin=1_300_000_000)
    model = HM4SR(config, dataset).double()
    fill_parameters(model)
    in_days = config["time_origin"] == "dataset"
    options = PlainOptions(
        n_heads=config["n_heads"],
        use_interactive_moe=config["use_interactive_moe"],
        use_temporal_moe=config["use_temporal_moe"],
        id_contrastive_weight=config["id_contrastive_weight"],
        category_prediction_weight=config["category_prediction_weight"],
        placeholder_weight=config["placeholder_weight"],
        buckets_per_doubling=7,
        time_origin_seconds=1_300_000_000 if in_days else 0,
        time_scale=86400.0 if in_days else 1.0,
        negatives="excluded",
    )
    tensors = {name: torch.from_numpy(values).double() for name, values in features.items()}
    return model, tensors, torch.from_numpy(flags), batch, options


def assert_equals_the_oracle(case, switches, monkeypatch):
    model, features, flags, batch, options = build(case, switches)
    mask = torch.rand(batch.item_seq.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    mask &= batch.item_seq > 0
    replace_at(monkeypatch, lambda packing: packing.pack(mask))
    interaction = interaction_of(batch.item_seq, batch.item_seq_len, batch.timestamps, batch.target)
    losses = model.named_losses(interaction)
    torch.stack(list(losses.values())).sum().backward()
    params = {
        name: parameter.detach().clone().requires_grad_()
        for name, parameter in model.named_parameters()
    }
    scores = plain_forward(params, features, batch, options).scores
    expected = plain_losses(params, features, flags, batch, mask, options)
    plain_total(expected, options).backward()
    assert losses.keys() == expected.keys()
    weights = {
        "id_contrastive": options.id_contrastive_weight,
        "placeholder_contrastive": options.placeholder_weight,
    }
    for name, value in expected.items():
        assert_close(losses[name], weights.get(name, 1.0) * value, TOLERANCE)
    assert_close(model.eval().full_sort_predict(interaction), scores, TOLERANCE)
    for name, parameter in model.named_parameters():
        grad = params[name].grad
        expected_grad = torch.zeros_like(parameter) if grad is None else grad
        assert_close(parameter.grad, expected_grad, TOLERANCE)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_equals_the_oracle_for_every_shape(case, monkeypatch):
    assert_equals_the_oracle(case, {}, monkeypatch)


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
def test_equals_the_oracle_for_every_switch(switches, monkeypatch):
    assert_equals_the_oracle(CASES["two modalities"], switches, monkeypatch)


def test_thirty_adam_steps_in_days_equal_the_oracle(monkeypatch):
    switches = {"time_origin": "dataset", "time_scale": 86400.0}
    model, features, flags, batch, options = build(CASES["two modalities"], switches)
    mask = (torch.arange(10) % 3 == 1) & (batch.item_seq > 0)
    replace_at(monkeypatch, lambda packing: packing.pack(mask))
    params = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
    interaction = interaction_of(batch.item_seq, batch.item_seq_len, batch.timestamps, batch.target)
    sides = (
        (model.parameters(), partial(model.calculate_loss, interaction)),
        (
            params.values(),
            lambda: plain_total(
                plain_losses(params, features, flags, batch, mask, options), options
            ),
        ),
    )
    optimizers = [torch.optim.Adam(list(parameters), lr=1e-3) for parameters, _ in sides]
    for _ in range(30):
        values = []
        for optimizer, (_, loss) in zip(optimizers, sides, strict=True):
            optimizer.zero_grad()
            value = loss()
            value.backward()
            optimizer.step()
            values.append(value)
        assert_close(values[0], values[1], 1e-7)


# --- the authors' checkpoint --------------------------------------------------------------------


def test_a_checkpoint_of_the_authors_without_temporal_experts_is_converted():
    weights = {name: torch.from_numpy(value) for name, value in section("param/").items()}
    weights = {n: v for n, v in weights.items() if not n.startswith("time_moe.expert")}
    assert "temporal_moe.experts" not in convert_authors_state(weights)


def test_a_foreign_checkpoint_is_refused():
    weights = {name: torch.from_numpy(value) for name, value in section("param/").items()}
    with pytest.raises(DataError, match=r"1 others, e\.g\. extra"):
        convert_authors_state({**weights, "extra": torch.zeros(1)})
    del weights["item_ln.weight"]
    with pytest.raises(DataError, match=r"1 are missing, e\.g\. item_ln\.weight"):
        convert_authors_state(weights)


def test_excluded_negatives_add_nothing_and_zero_logits_add_one_each():
    # Two rows share a target; unit vectors along two axes, temperature 1. Row 0 sees its own
    # candidate (logit 1) and row 2's (logit 0): log(e + 1) - 1. With the authors' zero logit for
    # row 1: log(e + 2) - 1.
    axes = torch.eye(2, dtype=torch.float64)
    anchors = torch.stack([axes[0], axes[0], axes[1]])
    targets = torch.tensor([5, 5, 6])
    rows = loss_functions.loss_rows(targets)
    ours = loss_functions.info_nce(anchors, anchors, rows, temperature=1.0)
    theirs = zero_logit_info_nce(anchors, anchors, rows, temperature=1.0)
    e = torch.e
    row_2 = np.log(e + 2) - 1
    assert ours.item() == pytest.approx((2 * (np.log(e + 1) - 1) + row_2) / 3)
    assert theirs.item() == pytest.approx((2 * (np.log(e + 2) - 1) + row_2) / 3)
