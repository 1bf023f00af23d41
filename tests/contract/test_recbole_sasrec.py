"""Models of this package that are RecBole's SASRec: equal losses, gradients and scores."""

import pytest
import torch
from parity.recorded_cases import NO_PARTS

from recbole_hm4sr.model.registry import find_model
from recbole_hm4sr.testing.contract import ModelContract

BACKBONE = {
    "hidden_size": 16,
    "inner_size": 32,
    "train_mode": "prefix",
    "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0,
}
# Settings, and the names of the input's norm and of the encoder.
MODELS = {
    "HM4SR": ({**BACKBONE, **NO_PARTS, "modalities": {}}, "input_norms.id", "encoders.id"),
    "SASRecPlus": (BACKBONE, "input_norm", "encoder"),
}
# RecBole's names of the parts of a layer.
PARTS = {
    "attention.query": "multi_head_attention.query",
    "attention.key": "multi_head_attention.key",
    "attention.value": "multi_head_attention.value",
    "attention.output": "multi_head_attention.dense",
    "attention_norm": "multi_head_attention.LayerNorm",
    "feed_forward.inner": "feed_forward.dense_1",
    "feed_forward.output": "feed_forward.dense_2",
    "feed_forward.norm": "feed_forward.LayerNorm",
}


def names_of_recbole(norm, encoder, n_layers):
    """Names of this package's parameters to RecBole's."""
    names = {norm: "LayerNorm"}
    for layer in range(n_layers):
        for ours, theirs in PARTS.items():
            names[f"{encoder}.layers.{layer}.{ours}"] = f"trm_encoder.layer.{layer}.{theirs}"
    names = {f"{a}.{leaf}": f"{b}.{leaf}" for a, b in names.items() for leaf in ("weight", "bias")}
    tables = ("item_embedding.weight", "position_embedding.weight")
    return {**names, **{name: name for name in tables}}


@pytest.fixture(params=MODELS)
def pair(request, toy_path, tmp_path):
    """A model, RecBole's with the same weights, the names of theirs by ours, and the loader."""
    overrides, norm, encoder = MODELS[request.param]
    contract = ModelContract()
    contract.model = request.param
    session = contract.open(toy_path, tmp_path, **overrides)
    ours = session.model.double()
    config = {**session.config.final_config_dict, "loss_type": "CE"}
    sasrec = find_model("SASRec").model_class(config, session.train_data._dataset).double()
    names = names_of_recbole(norm, encoder, ours.settings.n_layers)
    theirs = sasrec.state_dict()
    ours.load_state_dict({name: theirs[other] for name, other in names.items()})
    return ours, sasrec, names, session.train_data


def test_losses_and_gradients_are_those_of_recbole(pair):
    *models, names, loader = pair
    batch = next(iter(loader))
    losses = [model.train().calculate_loss(batch) for model in models]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=0)
    for loss in losses:
        loss.backward()
    ours, sasrec = models
    for name, other in names.items():
        found, expected = ours.get_parameter(name).grad, sasrec.get_parameter(other).grad
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_scores_are_those_of_recbole(pair):
    *models, _, loader = pair
    batch = next(iter(loader))
    with torch.no_grad():
        scores = [model.eval().full_sort_predict(batch) for model in models]
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-9, atol=1e-12)
