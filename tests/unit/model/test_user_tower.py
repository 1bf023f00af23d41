"""The padded user tower is the packed model."""

import numpy as np
import pytest
import torch
from helpers import ArrayDataset, fill_parameters, model_config
from recbole.data.interaction import Interaction

from recbole_hm4sr.model.hm4sr.model import HM4SR

N_ITEMS, LENGTH = 12, 10


def histories():
    random = torch.Generator().manual_seed(3)
    lengths = torch.arange(1, LENGTH + 1)
    padding = torch.arange(LENGTH) >= lengths[:, None]
    items = torch.randint(1, N_ITEMS, (LENGTH, LENGTH), generator=random)
    gaps = torch.randint(0, 10**7, (LENGTH, LENGTH), generator=random)
    times = 1_700_000_000 + gaps.cumsum(1)
    return items.masked_fill(padding, 0), lengths, times.masked_fill(padding, 0)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"n_layers": 0},
        {"n_layers": 1, "n_heads": 4, "hidden_act": "relu"},
        {"use_temporal_moe": False},
        {"use_interactive_moe": False},
        {"use_temporal_moe": False, "placeholder_weight": 0},
        {"time_origin": "dataset", "time_scale": 86400, "buckets_per_doubling": 3},
        {"modalities": ()},
    ],
)
def test_its_scores_are_the_models(overrides):
    values = np.sin(np.arange(N_ITEMS * 5, dtype=np.float32)).reshape(N_ITEMS, 5)
    names = overrides.pop("modalities", ("text", "image"))
    dataset = ArrayDataset(N_ITEMS, dict.fromkeys(names, values), origin=1_600_000_000)
    model = HM4SR(model_config(hidden_size=16, inner_size=24, **overrides), dataset)
    fill_parameters(model)
    model = model.double().eval()
    items, lengths, times = histories()
    tower, table = model.user_tower(), model.item_vectors()
    batch = {"item_id_list": items, "item_length": lengths, "timestamp_list": times}
    with torch.no_grad():
        expected = model.full_sort_predict(Interaction(batch))
        users = tower(items, lengths, times)
        scores = users @ table.T
    torch.testing.assert_close(scores, expected, rtol=1e-12, atol=1e-12)
