"""The padded user tower is the packed model."""

import math

import numpy as np
import pytest
import torch
from helpers import ArrayDataset, fill_parameters, model_config
from recbole.data.interaction import Interaction

from recbole_hm4sr.errors import ConfigError
from recbole_hm4sr.layers.time import TimeEncoding, bucketize_gaps
from recbole_hm4sr.model.hm4sr import HM4SR
from recbole_hm4sr.serve.user_tower import PaddedTimeEncoding, build_tower

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
    tower, table = build_tower(model, "HM4SR")
    batch = {"item_id_list": items, "item_length": lengths, "timestamp_list": times}
    with torch.no_grad():
        expected = model.full_sort_predict(Interaction(batch))
        users = tower(items, lengths, times)
        # The table is float32, as it is exported; float64 here shows that the formulas agree.
        assert table.dtype == torch.float32
        scores = users @ model.catalogue().table().T
    torch.testing.assert_close(scores, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("buckets_per_doubling", [100, 7.3, 1])
def test_buckets_are_exact_at_every_edge(buckets_per_doubling):
    encoding = TimeEncoding(
        hidden_size=4,
        longest_gap=10**9,
        buckets_per_doubling=buckets_per_doubling,
        origin=0,
        scale=1,
    )
    numbers = range(int(31 * buckets_per_doubling))
    edges = torch.tensor([round(2 ** (b / buckets_per_doubling)) for b in numbers])
    gaps = torch.cat([edges - 2, edges - 1, edges, edges + 1, 2 ** torch.arange(40)]).clamp(min=0)
    buckets = PaddedTimeEncoding(encoding)._buckets(gaps)
    expected = bucketize_gaps(
        gaps,
        buckets_per_doubling=buckets_per_doubling,
        n_buckets=encoding.interval_embedding.num_embeddings,
    )
    assert torch.equal(buckets, expected)


def test_the_first_gaps_mend_a_logarithm_that_is_off_by_one_bucket(monkeypatch):
    encoding = TimeEncoding(
        hidden_size=4, longest_gap=10**6, buckets_per_doubling=100, origin=0, scale=1
    )
    padded = PaddedTimeEncoding(encoding)
    gaps = torch.arange(5000)
    expected = torch.tensor([math.floor(100 * math.log2(gap + 1)) for gap in range(5000)])
    # 2^k - 1 is the first gap of bucket 100 k: there floor(100 log2) may come out one too small.
    exact = torch.log2
    monkeypatch.setattr(torch, "log2", lambda x: exact(x) * (1 - 1e-15))
    assert torch.equal(padded._buckets(gaps)[:1000], expected[:1000])
    assert padded._buckets(torch.tensor([1023])).item() == 1000


def test_models_of_another_form_are_refused():
    with pytest.raises(ConfigError, match=r"inner products .* HM4SR, SASRec; got NARM"):
        build_tower(torch.nn.Identity(), "NARM")
