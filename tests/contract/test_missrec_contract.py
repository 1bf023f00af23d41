"""MISSRec keeps the contract: fused cosines, stacked, one modality, without ids, with a memory."""

import pytest
import torch

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16, "inner_size": 32}


class TestMISSRec(ModelContract):
    model = "MISSRec"
    overrides = SMALL

    def test_interests_are_there_before_the_first_epoch_and_found_again(self, session):
        model = session.model
        n_vectors = 2 * (model.n_items - 1)
        assert len(model.interest_centres) == 1 + -(-n_vectors // 10)
        before = model.interest_of.clone()
        assert before[1:].min() >= 1
        assert not before[0].any()
        with torch.no_grad():
            for parameter in model.projections.parameters():
                parameter.add_(torch.randn_like(parameter))
        model.begin_epoch(1, None)
        after = model.interest_of.clone()
        assert not after.equal(before)
        model.begin_epoch(1, None)
        assert model.interest_of.equal(after)


class TestStackedMISSRec(ModelContract):
    model = "MISSRec"
    overrides = {**SMALL, "seq_fusion": "stack", "item_fusion": "per_item"}


class TestMISSRecOfOneModality(ModelContract):
    model = "MISSRec"
    overrides = {**SMALL, "modalities": {"text": "npz"}, "n_negatives": 7}


class TestStaticMISSRecWithMemoryAndWithoutIds(ModelContract):
    model = "MISSRec"
    overrides = {
        **SMALL,
        "use_ids": False,
        "item_fusion": "static",
        "memory": "events",
        "MAX_ITEM_LIST_LENGTH": 11,
        "regulariser": "official",
        "interest_weight": 1e-4,
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_mode": "sequence"}, "MISSRec must be prefix, got 'sequence': its attention is"),
        ({"n_layers": 3}, "n_layers of MISSRec must be even, at least 2, got 3"),
        ({"memory": "events"}, "item_fusion must be static with memory: events"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        compose("MISSRec", "sports", overrides={**SMALL, **settings})


def test_one_modality_cannot_be_stacked(toy_path):
    settings = {**SMALL, "seq_fusion": "stack", "modalities": {"text": "npz"}}
    settings["data_path"] = str(toy_path)
    with pytest.raises(ConfigError, match="seq_fusion: stack must go with two modalities"):
        build_parts(compose("MISSRec", "toy", overrides=settings), toy_path / "run")
