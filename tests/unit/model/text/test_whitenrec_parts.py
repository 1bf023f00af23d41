"""WhitenRec's own: dropped directions, columns that ids begin as, what is refused."""

import numpy as np
import pytest
import torch
from helpers import ArrayDataset, model_config

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.settings import read_settings
from recbole_hm4sr.layers.whitening import find_whitening
from recbole_hm4sr.model.text.whitenrec import WhitenRec, initial_vectors
from recbole_hm4sr.model.text.whitenrec_settings import WhitenRecSettings


@pytest.mark.parametrize("kind", ["pca", "zca"])
def test_a_direction_without_variance_is_dropped(kind):
    x = np.random.default_rng(1).normal(size=(50, 4))
    x[:, 3] = 2 * x[:, 0] + 1  # says nothing that column 0 does not
    found = find_whitening(x, kind)
    z = found(x)
    assert found.n_dropped == 1
    assert np.isfinite(z).all()
    divisor = 50 if kind == "zca" else 49
    values = np.linalg.eigvalsh(z.T @ z / divisor)
    np.testing.assert_allclose(values, [0, 1, 1, 1], atol=1e-9)


def test_groups_must_divide_the_width():
    with pytest.raises(ValueError, match="groups must divide the width of the features, got 3"):
        find_whitening(np.ones((2, 4)), "zca", groups=3)
    config = model_config("WhitenRec", hidden_size=4, whiten_groups=3)
    features = np.random.default_rng(1).normal(size=(9, 4))
    with pytest.raises(ConfigError, match="whiten_groups must divide the width of each modality"):
        WhitenRec(config, ArrayDataset(9, {"text": features}))


def test_ids_begin_as_chosen_columns():
    random = np.random.default_rng(2)
    rows = random.normal(size=(10, 6)) * [1, 2, 3, 4, 5, 6]
    rows[:2] = rows[:2] * [20, 1, 1, 1, 1, 1]  # the popular ones differ most in column 0
    centred = rows - rows.mean(axis=0)
    counts = np.array([9, 8, 0, 0, 0, 0, 0, 0, 0, 0])
    uniform = initial_vectors(rows, 2, "uniform_columns", counts)
    np.testing.assert_allclose(uniform, centred[:, [0, 3]])
    variances = centred[:2].var(axis=0)  # of the two that are the most popular fifth
    chosen = np.sort(np.argsort(-variances)[:2])
    top = initial_vectors(rows, 2, "top_variance", counts)
    np.testing.assert_allclose(top, centred[:, chosen])
    with pytest.raises(ConfigError, match="hidden_size must be at most the width of the features"):
        initial_vectors(rows, 7, "pca", counts)


def test_items_without_features_begin_at_random():
    class Counted(ArrayDataset):
        def target_counts(self):
            return torch.ones(9, dtype=torch.int64)

    features = np.random.default_rng(3).normal(size=(9, 5))
    features[[0, 4]] = 0
    config = model_config("WhitenRec", hidden_size=4, item_rows="id", id_init="pca", init_scale=2.0)
    weight = WhitenRec(config, Counted(9, {"text": features})).item_embedding.weight.detach()
    assert not weight[0].any()
    assert 0 < weight[4].abs().max() < 0.2  # N(0, 0.02)
    own = weight[torch.tensor([1, 2, 3, 5, 6, 7, 8])]
    assert own.std(unbiased=False).item() == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"whitening": "pca", "whiten_groups": 2}, "whiten_groups must be 1 unless whitening is"),
        ({"id_init": "pca"}, "id_init must be normal with item_rows: text, got 'pca'"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        read_settings(settings, WhitenRecSettings)
