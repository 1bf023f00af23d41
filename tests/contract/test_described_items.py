"""Content models score an item that nobody has interacted with by its features alone."""

import numpy as np
import pytest
import torch
from coldfiles import COLD, TWIN, write_cold

from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import QUICK

SMALL = {"hidden_size": 8, "catalogue": "all"}
MODELS = {
    "UniSRec": {"inner_size": 8, "n_experts": 2},
    "PixelRec": {"inner_size": 8},
    "WhitenRec": {"inner_size": 8, "item_rows": "text+id"},
    "MoRec": {"n_projections": 1, "id_fusion": "cat", "n_fusion_maps": 1},
    "IISAN": {},
    "MISSRec": {"inner_size": 8, "item_fusion": "per_item"},
}


@pytest.fixture(scope="module")
def cold_path(tmp_path_factory):
    return write_cold(tmp_path_factory.mktemp("cold"))


@pytest.fixture(scope="module", params=list(MODELS))
def parts(request, cold_path, tmp_path_factory):
    overrides = {
        **QUICK, **SMALL, **MODELS[request.param], "data_path": str(cold_path),
        "modalities": {"text": "npz", "image": "npz"},
    }  # fmt: skip
    plan = compose(request.param, "toy", overrides=overrides)
    return build_parts(plan, tmp_path_factory.mktemp("run"))


def numbers(parts):
    tokens = parts.train_data._dataset.item_tokens.tolist()
    return torch.tensor([tokens.index(TWIN), tokens.index(COLD)])


@torch.no_grad()
def test_a_new_item_has_the_row_of_its_features_as_one_that_comes_later(parts):
    model, dataset = parts.model.eval(), parts.train_data._dataset
    twin, cold = numbers(parts)
    rows = model.item_rows(torch.stack([twin, cold]))
    one = {name: dataset.modality(name) for name in dataset.modality_names}
    later = {
        name: type(it)(it.stored[it.rows[[int(cold)]]], np.array([0]), "", "", it.n_layers)
        for name, it in one.items()
    }
    torch.testing.assert_close(model.rows_of_new(later)[0], rows[1])
    torch.testing.assert_close(model.item_rows(torch.stack([twin, cold])), rows)
    if not hasattr(model, "item_embedding"):  # no ids: the twins are the same
        torch.testing.assert_close(rows[0], rows[1])
        return
    # What its own id is changes nothing; that of a known item does.
    before = model.item_embedding.weight.clone()
    model.item_embedding.weight += 1
    moved = model.item_rows(torch.stack([twin, cold]))
    model.item_embedding.weight.copy_(before)
    torch.testing.assert_close(moved[1], rows[1])
    assert not torch.allclose(moved[0], rows[0])


def test_it_is_ranked_and_is_no_negative(parts):
    model, (_, cold) = parts.model, numbers(parts)
    assert model.left_out.tolist() == [int(cold)]
    model.eval()
    batch = next(iter(parts.test_data))[0]
    with torch.no_grad():
        scores = model.full_sort_predict(batch)
    assert torch.isfinite(scores[:, cold]).all()
    catalogue = model.catalogue()
    assert catalogue.left_out.tolist() == [int(cold)]
    assert catalogue.n_padding == 1
