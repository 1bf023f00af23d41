"""SASRec+ keeps the contract, in both training modes and with a sampled softmax."""

import pytest
import torch
from contract.recommender import RecommenderContract
from contract.test_hm4sr_contract import weights_of_sasrec

from recbole_hm4sr.model.registry import find_model

SMALL = {"hidden_size": 16, "inner_size": 32}


class TestSASRecPlus(RecommenderContract):
    model = "SASRecPlus"
    overrides = SMALL


class TestSASRecPlusOnPrefixes(RecommenderContract):
    model = "SASRecPlus"
    overrides = {**SMALL, "train_mode": "prefix", "train_history": "exclude"}


class TestSASRecPlusWithSampledSoftmax(RecommenderContract):
    model = "SASRecPlus"
    overrides = {**SMALL, "n_negatives": 7}


@pytest.mark.parametrize("train", [False, True])
def test_it_is_the_sasrec_of_recbole(toy_path, tmp_path, train):
    contract = RecommenderContract()
    contract.model = "SASRecPlus"
    no_dropout = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
    session = contract.open(toy_path, tmp_path, **SMALL, **no_dropout, train_mode="prefix")
    ours = session.model.double()
    config = {**session.config.final_config_dict, "loss_type": "CE"}
    sasrec = find_model("SASRec").model_class(config, session.train_data._dataset).double()
    names = {"input_norms.id": "input_norm", "encoders.id": "encoder"}
    state = weights_of_sasrec(sasrec.state_dict(), ours.settings.n_layers)
    for old, new in names.items():
        state = {name.replace(old, new): value for name, value in state.items()}
    ours.load_state_dict(state)
    batch = next(iter(session.train_data))
    if train:
        losses = [model.train().calculate_loss(batch) for model in (ours, sasrec)]
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=0)
        for loss in losses:
            loss.backward()
        expected = sasrec.item_embedding.weight.grad
        torch.testing.assert_close(ours.item_embedding.weight.grad, expected, rtol=1e-9, atol=1e-12)
    else:
        with torch.no_grad():
            scores = [model.eval().full_sort_predict(batch) for model in (ours, sasrec)]
        torch.testing.assert_close(scores[0], scores[1], rtol=1e-9, atol=1e-12)
