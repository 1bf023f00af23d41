"""PixelRec keeps the contract: pooled, with tokens, without ids, on whole histories."""

import pytest

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.contract import ModelContract

SMALL = {"hidden_size": 16, "inner_size": 32, "n_queries": 3, "query_size": 8}


class TestPixelRec(ModelContract):
    model = "PixelRec"
    overrides = SMALL


class TestPixelRecWithTokens(ModelContract):
    model = "PixelRec"
    overrides = {**SMALL, "content": "tokens", "train_history": "exclude"}


class TestPixelRecWithTokensAndWithoutIds(ModelContract):
    model = "PixelRec"
    overrides = {**SMALL, "content": "tokens", "use_ids": False}


class TestPixelRecOnWholeHistories(ModelContract):
    model = "PixelRec"
    overrides = {**SMALL, "train_mode": "sequence", "position_from": "oldest", "n_negatives": 7}


def test_one_token_leaves_nothing_to_choose(toy_path):
    settings = {**SMALL, "content": "tokens", "modalities": {"text": "npz"}}
    settings["data_path"] = str(toy_path)
    with pytest.raises(ConfigError, match="content: tokens must go with two modalities or more"):
        build_parts(compose("PixelRec", "toy", overrides=settings), toy_path / "run")
