"""What the models with a filter refuse, and how their filters begin."""

import pytest
import torch
from helpers import ArrayDataset, model_config

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.settings import read_settings
from recbole_hm4sr.model.registry import find_model


def build(name, **overrides):
    config = model_config(name, hidden_size=8, **overrides)
    return find_model(name).model_class(config, ArrayDataset(9))


@pytest.mark.parametrize("name", ["BSARec", "FMLPRec"])
def test_whole_histories_need_a_causal_filter(name):
    settings_class = find_model(name).settings_class
    message = r"train_mode must be prefix with filter: circular, since a position would read its"
    with pytest.raises(ConfigError, match=message):
        read_settings({"train_mode": "sequence"}, settings_class)
    causal = {"train_mode": "sequence", "filter": "causal"}
    assert read_settings(causal, settings_class).train_mode == "sequence"


@pytest.mark.parametrize(("name", "leaf"), [("BSARec", "root"), ("FMLPRec", "spectrum")])
def test_all_layers_begin_with_one_filter(name, leaf):
    first, second = (getattr(block, leaf) for block in build(name).encoder.layers)
    assert torch.equal(first, second)
    assert first.std() > 0
    assert first.data_ptr() != second.data_ptr()


def test_a_shared_filter_has_one_channel():
    block = build("FMLPRec", share_filter=True).encoder.layers[0]
    assert block.spectrum.shape == (6, 1, 2)  # of a window of 10


@pytest.mark.parametrize("name", ["BSARec", "FMLPRec"])
def test_weights_of_another_window_do_not_load(name):
    other = build(name, MAX_ITEM_LIST_LENGTH=11).state_dict()
    with pytest.raises(RuntimeError, match="size mismatch"):
        build(name).load_state_dict(other)


def test_the_model_is_as_large_as_the_authors_log_says():
    config = model_config("BSARec", MAX_ITEM_LIST_LENGTH=50)
    model = find_model("BSARec").model_class(config, ArrayDataset(12102))
    assert sum(parameter.numel() for parameter in model.parameters()) == 878_208
