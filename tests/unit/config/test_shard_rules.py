"""What a catalogue that several processes share refuses, before anything is read."""

import pytest

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.model.registry import find_model
from recbole_hm4sr.run.plan import compose


def plan(toy_path, model="HM4SR", **settings):
    overrides = {"data_path": str(toy_path), "catalogue_rows": "sharded", **settings}
    return compose(find_model(model), "toy", overrides=overrides)


@pytest.mark.parametrize("model", ["HM4SR", "SASRecPlus", "BSARec", "FMLPRec", "DuoRec"])
def test_models_of_ids_and_projected_features_share_their_items(toy_path, model):
    assert plan(toy_path, model).run.catalogue_rows == "sharded"


@pytest.mark.parametrize("memory", ["none", "events"])
def test_a_memory_is_shared_with_the_items(toy_path, memory):
    assert plan(toy_path, "Momento", memory=memory).run.catalogue_rows == "sharded"


@pytest.mark.parametrize("model", ["SASRec", "MMSR", "TiSASRec", "ItemKNN", "gSASRec"])
def test_other_models_are_refused(toy_path, model):
    with pytest.raises(
        ConfigError, match=rf"^catalogue_rows must be replicated with {model}, whose tables are not"
    ):
        plan(toy_path, model)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"loss": "bce", "n_negatives": 8}, "another loss than ce: the softmax is over all items"),
        ({"n_negatives": 8}, "n_negatives: the softmax is over all items"),
        ({"missing_ids": "mean"}, "missing_ids: mean, which reads all ids"),
        ({"clip_grad_norm": {"max_norm": 1}}, "clip_grad_norm, which reads all gradients"),
        (
            {"enable_amp": True, "amp_dtype": "float16"},
            "amp_dtype: float16, whose scale reads all gradients",
        ),
        ({"init_from": "runs/x"}, "init_from, which fills whole tables"),
        ({"ema_decay": 0.9}, "ema_decay, whose average every process holds whole"),
        ({"list_metrics": True}, "list_metrics: each process lists its own items"),
        ({"metrics": ["NDCG", "ItemCoverage"]}, "metrics ItemCoverage: each process ranks its own"),
    ],
)
def test_settings_that_read_all_items_are_refused(toy_path, settings, reason):
    with pytest.raises(ConfigError, match=f"^catalogue_rows must be replicated with {reason}"):
        plan(toy_path, **settings)
    assert plan(toy_path, **{**settings, "catalogue_rows": "replicated"})
