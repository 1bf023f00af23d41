"""Which models and metrics go with ``catalogue: all`` and ``candidate_items: alive``."""

import pytest

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.compose import check_settings
from recbole_hm4sr.model.registry import find_model


def check(model, **overrides):
    entry = find_model(model)
    return check_settings(
        model, "ml-100k", settings_class=entry.settings_class, overrides=overrides
    )


@pytest.mark.parametrize(
    ("model", "why"),
    [
        *[(it, "features; models that do") for it in ("SASRec", "SASRecPlus", "gSASRec", "FDSA")],
        ("MMSR", r"features \(a candidate is its id alone: codes of features are read of"),
        ("TedRec", r"features \(a candidate is its id alone: features are read of the items of a"),
    ],
)  # fmt: skip
def test_models_that_score_by_ids_refuse_all_and_say_why(model, why):
    refusal = f"catalogue must be interacted with {model}, which does not score .* by its {why}"
    with pytest.raises(ConfigError, match=refusal):
        check(model, catalogue="all", modalities={"text": "npz"})


def test_a_model_of_ids_that_begin_as_features_refuses_all():
    check("WhitenRec", catalogue="all", modalities={"text": "npz"})
    with pytest.raises(ConfigError, match="catalogue must be interacted with WhitenRec, which"):
        check("WhitenRec", catalogue="all", modalities={"text": "npz"}, item_rows="id")


@pytest.mark.parametrize(
    "model", ["HM4SR", "Momento", "UniSRec", "PixelRec", "WhitenRec", "MoRec", "IISAN", "MISSRec"]
)
def test_models_that_score_by_features_need_some(model):
    check(model, catalogue="all", modalities={"text": "npz"})
    with pytest.raises(ConfigError, match="catalogue must be interacted without modalities"):
        check(model, catalogue="all", modalities={})


@pytest.mark.parametrize("model", ["Popular", "ItemKNN", "EASE", "RecentPopular", "RepeatLast"])
def test_models_that_are_fitted_once_rank_new_items_last(model):
    assert check(model, catalogue="all")["catalogue"] == "all"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"metrics": ["NDCG", "ItemCoverage"]}, "metrics ItemCoverage"),
        ({"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni100"}},
         "eval_args.mode uni100"),
    ],
)  # fmt: skip
def test_alive_is_for_ranks(wrong, why):
    check("HM4SR", candidate_items="alive")
    with pytest.raises(ConfigError, match=f"candidate_items must be all with {why}: alive is"):
        check("HM4SR", candidate_items="alive", **wrong)
