"""Ranks and best items of a packed model are those of its scores."""

import numpy as np
import pytest
import torch
from helpers import ArrayDataset, fill_parameters, model_config
from recbole.data.interaction import Interaction

from recbole_hm4sr.layers.seen import pairs_of_rows
from recbole_hm4sr.layers.similarity import ScaledCosine
from recbole_hm4sr.model.hm4sr.model import HM4SR
from recbole_hm4sr.model.ids.sasrec_plus import SASRecPlus

N_ITEMS, LENGTH, N_ROWS = 19, 10, 6


def build(cls):
    values = np.sin(np.arange(N_ITEMS * 5, dtype=np.float32)).reshape(N_ITEMS, 5)
    config = model_config(cls.__name__, hidden_size=16, inner_size=24)
    model = cls(config, ArrayDataset(N_ITEMS, {"text": values}))
    fill_parameters(model)
    return model.double().eval()


def batch():
    random = torch.Generator().manual_seed(3)
    lengths = torch.tensor([1, 4, 10, 2, 7, 3])
    padding = torch.arange(LENGTH) >= lengths[:, None]
    items = torch.randint(1, N_ITEMS, (N_ROWS, LENGTH), generator=random)
    times = torch.randint(0, 10**7, (N_ROWS, LENGTH), generator=random).cumsum(1)
    return Interaction(
        {
            "item_id_list": items.masked_fill(padding, 0),
            "item_length": lengths,
            "timestamp_list": (1_700_000_000 + times).masked_fill(padding, 0),
        }
    )


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("cls", [HM4SR, SASRecPlus])
def test_they_follow_from_the_scores(cls, cosine, monkeypatch):
    monkeypatch.setattr("recbole_hm4sr.layers.ranked_rows.block_shape", lambda *_: (4, 5))
    model = build(cls)
    if cosine:
        model.similarity = ScaledCosine(0.3)
    targets = torch.tensor([3, 18, 1, 7, 9, 12])
    seen = torch.rand(N_ROWS, N_ITEMS, generator=torch.Generator().manual_seed(2)) < 0.3
    seen[torch.arange(N_ROWS), targets] = False
    seen[:, 0] = False
    pairs = pairs_of_rows(seen.nonzero(), N_ROWS)
    with torch.no_grad():
        scores = model.full_sort_predict(batch())
        include, exclude = model.rank_targets(batch(), targets, pairs)
        values, items = model.top_items(batch(), 4, pairs)
        tower = model.user_tower()
        columns = [batch()[name] for name in ("item_id_list", "item_length", "timestamp_list")]
        products = tower(*columns) @ model.item_vectors().T
    torch.testing.assert_close(products, scores, rtol=1e-10, atol=1e-10)
    scores[:, 0] = -torch.inf
    own = scores.gather(1, targets[:, None])
    assert include.tolist() == (1 + (scores > own).sum(dim=1)).tolist()
    shown = scores.masked_fill(seen, -torch.inf)
    assert exclude.tolist() == (1 + (shown > own).sum(dim=1)).tolist()
    assert items.tolist() == shown.argsort(dim=1, descending=True)[:, :4].tolist()
    torch.testing.assert_close(values, shown.sort(dim=1, descending=True).values[:, :4])
