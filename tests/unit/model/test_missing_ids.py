"""What an item has in place of an id that no training row shows, or that it lost in a step."""

import numpy as np
import pytest
import torch
from helpers import ArrayDataset, fill_parameters, model_config

from recbole_hm4sr.data.features import AlignedFeatures
from recbole_hm4sr.model.hm4sr.model import HM4SR

N_ITEMS, NEW = 9, [4, 8]
TEXT = np.linspace(-1, 1, N_ITEMS * 3).reshape(N_ITEMS, 3).astype(np.float32)


class Dataset(ArrayDataset):
    """Two items are in no training row."""

    def trained_items(self):
        is_trained = np.ones(self.n_items, dtype=bool)
        is_trained[[0, *NEW]] = False
        return is_trained

    def target_counts(self):
        return torch.ones(self.n_items, dtype=torch.int64)


def build(**overrides):
    sizes = {"hidden_size": 4, "inner_size": 8, "n_layers": 1}
    config = model_config("HM4SR", **sizes, **overrides)
    model = HM4SR(config, Dataset(N_ITEMS, {"text": TEXT}))
    fill_parameters(model)
    return model.eval()


def test_by_default_every_id_is_read():
    model = build()
    assert model.has_id is None
    assert model.left_out is None
    torch.testing.assert_close(model.item_rows()[:, 0], model.item_embedding.weight)


@pytest.mark.parametrize("missing", ["zero", "mean"])
def test_new_items_have_nothing_or_the_mean_and_are_no_negatives(missing):
    model = build(catalogue="all", modalities={"text": "npz"}, missing_ids=missing)
    weight = model.item_embedding.weight.detach()
    trained = [item for item in range(1, N_ITEMS) if item not in NEW]
    expected = weight[trained].mean(dim=0) if missing == "mean" else torch.zeros(4)
    rows = model.item_rows()[:, 0]
    torch.testing.assert_close(rows[trained], weight[trained])
    torch.testing.assert_close(rows[NEW], expected.expand(2, 4))
    assert model.left_out.tolist() == NEW
    # An item of no number has the row that a new one of its features has.
    own = AlignedFeatures(TEXT[NEW], np.arange(2), "", "")
    torch.testing.assert_close(model.rows_of_new({"text": own}), model.item_rows()[NEW])


def test_a_step_drops_a_share_of_the_ids_from_inputs_and_candidates():
    model = build(id_dropout=0.5)
    torch.testing.assert_close(model.item_rows()[1:4, 0], model.item_embedding.weight[1:4])
    model.train()
    torch.manual_seed(1)
    rows = [model.item_rows()[1:, 0] for _ in range(200)]
    kept = torch.stack([row.any(dim=1) for row in rows])
    trained = [item - 1 for item in range(1, N_ITEMS) if item not in NEW]
    # Of 1,200 draws of one half, 0.06 is four standard deviations.
    assert abs(kept[:, trained].double().mean() - 0.5) < 0.06
    assert not kept[:, [item - 1 for item in NEW]].any()
    features = model.item_rows()[:, 1]
    torch.testing.assert_close(features, model.projections["text"].rows())
