"""What the multi-modal models share: prefixes and histories train alike, missing features, YAML."""

import numpy as np
import pytest
import torch
from helpers import ArrayDataset, model_config
from recbole.data.interaction import Interaction

from recbole_hm4sr.config.compose import properties_dir, read_yaml
from recbole_hm4sr.data.loaders import TARGET_LIST
from recbole_hm4sr.model.registry import find_model
from recbole_hm4sr.run.plan import compose

N_ITEMS, LENGTH = 12, 6
SMALL = {
    "MAX_ITEM_LIST_LENGTH": LENGTH,
    "hidden_size": 8,
    "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0,
}
# Causal, with positions from the oldest, and without random numbers.
CAUSAL = {
    "UniSRec": {"gate_noise": False, "adaptor_dropout_prob": 0.0},
    "PixelRec": {"position_from": "oldest", "content_dropout_prob": 0.0},
    "WhitenRec": {},
    "MoRec": {"position_from": "oldest", "n_projections": 1, "loss": "ce"},
    "TedRec": {"causal_filter": True, "gate_noise": False, "adaptor_dropout_prob": 0.0},
    "IISAN": {"position_from": "oldest", "loss": "ce", "adapter_size": 3, "learning_rate": 1e-3},
}
HISTORIES = [[3, 5, 3, 7], [1, 2], [9, 8, 7, 6, 5, 4, 3]]


class CountedDataset(ArrayDataset):
    def interaction_counts(self):
        return torch.ones(N_ITEMS)


def build(name, missing=(), seed=1, **overrides):
    torch.manual_seed(seed)
    random = np.random.default_rng(4)
    features = {"text": random.normal(size=(N_ITEMS, 5)), "image": random.normal(size=(N_ITEMS, 5))}
    for values in features.values():
        values[[0, *missing]] = 0
    config = model_config(name, **{**SMALL, "seed": 1, **overrides})
    model = find_model(name).model_class(config, CountedDataset(N_ITEMS, features)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


def interaction(rows, targets=None, lists=None):
    items = torch.zeros(len(rows), LENGTH, dtype=torch.int64)
    for number, row in enumerate(rows):
        items[number, : len(row)] = torch.tensor(row)
    columns = {
        "item_id_list": items,
        "item_length": torch.tensor([len(row) for row in rows]),
        "timestamp_list": torch.zeros_like(items),
    }
    if targets is not None:
        columns["item_id"] = torch.tensor(targets)
    if lists is not None:
        columns[TARGET_LIST] = lists
    return Interaction(columns)


@pytest.mark.parametrize("name", CAUSAL)
def test_whole_histories_train_as_their_prefixes(name):
    """In loss and in gradients: the mean is over the same targets."""
    prefixes = [(row[:n], row[n]) for row in HISTORIES for n in range(1, len(row))]
    lists = torch.zeros(len(HISTORIES), LENGTH, dtype=torch.int64)
    for number, row in enumerate(HISTORIES):
        lists[number, : len(row) - 1] = torch.tensor(row[1:])
    batches = {
        "prefix": interaction(*map(list, zip(*prefixes, strict=True))),
        "sequence": interaction([row[:-1] for row in HISTORIES], lists=lists),
    }
    found = {}
    for mode, batch in batches.items():
        model = build(name, train_mode=mode, **CAUSAL[name]).train()
        loss = model.calculate_loss(batch)
        loss.backward()
        found[mode] = loss.detach(), [parameter.grad for parameter in model.parameters()]
    torch.testing.assert_close(*(found[mode][0] for mode in batches), rtol=1e-10, atol=0)
    for one, other in zip(*(found[mode][1] for mode in batches), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)


WITHOUT_IDS = {
    "UniSRec": {"use_ids": False},
    "PixelRec": {"use_ids": False},
    "WhitenRec": {},
    "MoRec": {},
    "MISSRec": {"use_ids": False, "n_heads": 2},
    "IISAN": {"learning_rate": 1e-3},
}


@pytest.mark.parametrize("name", WITHOUT_IDS)
@torch.no_grad()
def test_items_without_features_and_ids_have_equal_scores(name):
    model = build(name, missing=(4, 9), **WITHOUT_IDS[name]).eval()
    scores = model.full_sort_predict(interaction([[4, 9, 2], [9], [1, 2, 3]]))
    assert torch.isfinite(scores).all()
    torch.testing.assert_close(scores[:, 4], scores[:, 9], rtol=0, atol=1e-12)
    assert not torch.allclose(scores[:, 3], scores[:, 4])


@pytest.mark.parametrize("name", [*CAUSAL, "MISSRec"])
@torch.no_grad()
def test_a_modality_may_be_missing_for_all_items(name):
    overrides = {**CAUSAL.get(name, {"n_heads": 2}), "item_rows": "text+id"}
    model = build(name, missing=range(N_ITEMS), **overrides)
    batch = interaction([[4, 9, 2], [1]], targets=[3, 5])
    batch[TARGET_LIST] = torch.tensor([[9, 2, 3, 0, 0, 0], [5, 0, 0, 0, 0, 0]])
    assert torch.isfinite(model.eval().full_sort_predict(batch)).all()
    assert torch.isfinite(model.train().calculate_loss(batch))


@pytest.mark.parametrize("name", [*CAUSAL, "MISSRec"])
def test_the_padding_is_no_candidate_of_the_loss(name):
    overrides = {**CAUSAL.get(name, {"n_heads": 2}), "train_mode": "prefix"}
    model = build(name, **overrides).train()
    losses = model.named_losses(interaction([[4, 9, 2], [1]], targets=[3, 5]))
    scores = model.full_sort_predict(interaction([[4, 9, 2], [1]]))[:, 1:]
    expected = torch.nn.functional.cross_entropy(scores, torch.tensor([2, 4]))
    torch.testing.assert_close(losses["cross_entropy"], expected, rtol=1e-10, atol=0)


PUBLISHED = sorted((properties_dir() / "model" / "published").glob("*.yaml"))
OWN = {*CAUSAL, "MISSRec"}


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_settings_are_valid(path):
    name = path.stem.partition("-")[0]
    if name not in OWN:
        pytest.skip("a model of another family")
    plan = compose(name, "sports", config_files=[path])
    known = set(find_model(name).settings_class.names())
    given = read_yaml(path)
    assert {key: plan.values[key] for key in given} == given
    assert known & set(given)


def test_some_settings_are_published():
    assert any(path.stem == "PixelRec-beauty" for path in PUBLISHED)
