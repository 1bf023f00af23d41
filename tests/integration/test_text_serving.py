"""A served multi-modal model scores as the trained one, from what a run keeps, without features."""

import pytest
import torch

from recbole_hm4sr.data.serving_data import ServingDataset, describe_dataset
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import QUICK

pytestmark = pytest.mark.integration
CASES = {
    "UniSRec": [{}, {"use_ids": False}],
    "PixelRec": [{}, {"content": "tokens"}],
    "WhitenRec": [{}, {"hidden_size": 4, "item_rows": "id", "id_init": "pca"}],
    "MoRec": [{}, {"id_fusion": "cat", "loss": "in_batch"}],
    "TedRec": [{}, {"causal_filter": True, "train_mode": "sequence"}],
    "MISSRec": [{"n_heads": 2}, {"seq_fusion": "stack", "item_fusion": "per_item"}],
    "IISAN": [{}, {"modalities": {"text": "npz"}, "loss": "ce"}],
}


@pytest.mark.parametrize(
    ("name", "overrides"), [(name, case) for name, cases in CASES.items() for case in cases]
)
def test_a_served_model_scores_as_the_trained_one(name, overrides, toy_path, tmp_path):
    values = {**QUICK, "hidden_size": 16, "data_path": str(toy_path), **overrides}
    parts = build_parts(compose(name, "toy", overrides=values), tmp_path)
    model, dataset = parts.model.eval(), parts.train_data._dataset
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    kept = describe_dataset(dataset, model.serving_arrays())
    served = type(model).from_serving(parts.config, ServingDataset(kept, parts.config))
    served.load_state_dict(model.state_dict())
    batch = next(iter(parts.valid_data))[0]
    with torch.no_grad():
        expected = model.full_sort_predict(batch)
        found = served.eval().full_sort_predict(batch)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="the features were dropped"):
        served.features("text", None)
