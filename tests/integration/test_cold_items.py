"""Items that nobody has interacted with: ranked, recommended, added."""

import json

import numpy as np
import pytest
import torch
from coldfiles import COLD, TWIN, write_cold

from recbole_hm4sr.evaluate.groups import group_masks
from recbole_hm4sr.evaluate.lists import top_lists
from recbole_hm4sr.evaluate.rank_file import read_ranks
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.testing.toydata import QUICK_HM4SR

GLOBAL = {"order": "TO", "mode": "full", "split": {"GT": [0.6, 0.2, 0.2]}, "targets": "all"}
MODELS = {
    "HM4SR": QUICK_HM4SR,
    "Momento": {
        **{name: it for name, it in QUICK_HM4SR.items() if name != "n_temporal_experts"},
        "memory": "events",
        "memory_reach": 4,
        "request_time": "target",
    },
}


@pytest.fixture(scope="module")
def cold_path(tmp_path_factory):
    return write_cold(tmp_path_factory.mktemp("cold"))


@pytest.fixture(scope="module", params=list(MODELS))
def all_run(request, cold_path, tmp_path_factory):
    """The folder of a run under ``catalogue: all``, ranked among items that are alive."""
    folder = tmp_path_factory.mktemp("runs") / request.param
    overrides = {
        **MODELS[request.param],
        "epochs": 1,
        "data_path": str(cold_path),
        "catalogue": "all",
        "candidate_items": "alive",
        "list_metrics": True,
        "id_dropout": 0.3,
        "eval_args": GLOBAL,
    }
    quick_start.run(request.param, "toy", overrides=overrides, run_dir=folder)
    return folder


def test_a_new_item_is_scored_by_its_features_alone(all_run):
    with quick_start.open_for_evaluation(all_run) as parts, torch.no_grad():
        model, dataset = parts.model.eval(), parts.test_data._dataset
        tokens = dataset.item_tokens.tolist()
        items = torch.tensor([tokens.index(TWIN), tokens.index(COLD)])
        found = model.score_parts(next(iter(parts.test_data))[0], items)
        of = dict(zip(model.part_names, found.unbind(dim=2), strict=True))
        assert not of["id"][:, 1].any()
        for name in ("text", "image"):
            torch.testing.assert_close(of[name][:, 0], of[name][:, 1])
            assert of[name].any()
        assert tokens.index(COLD) in model.left_out.tolist()
        if "near_text" in of:  # its features make it a neighbour
            torch.testing.assert_close(of["near_text"].any(dim=0), torch.tensor([True, True]))
        events = [it for name, it in of.items() if name.startswith(("forward", "backward"))]
        assert not any(it[:, 1].any() for it in events)


def test_groups_and_ranks_are_those_of_the_items_there_are(all_run):
    ranks, facts = read_ranks(all_run), json.loads((all_run / "metrics.json").read_text())
    assert facts["n_items"] == 25
    masks = group_masks(ranks)
    assert (masks["cold"] | masks["warm"]).all()
    np.testing.assert_array_equal(masks["cold"], ranks["interactions_before"] == 0)
    # Every target counts among candidates, so its rank is a number of the catalogue.
    assert ranks["rank_include"].min() >= 1
    assert ranks["rank_include"].max() <= 25


def test_what_the_lists_are_like_is_measured_where_it_is_asked_for(all_run):
    """What a user has seen leaves the lists, so each of the 25 items has another chance."""
    lists = json.loads((all_run / "metrics.json").read_text())["lists"]
    assert lists.keys() == {"include", "exclude"}
    with quick_start.open_for_evaluation(all_run) as parts:
        for name, found in lists.items():
            shown = top_lists(
                parts.model, parts.config, parts.test_data, 10, removes_seen=name == "exclude"
            )
            assert found["coverage@10"] == len(np.unique(shown[shown > 0])) / 25
            assert {"gini@10", "novelty@10", "diversity@10"} <= found.keys()


def test_baselines_are_fitted_beside_such_a_run(all_run):
    with quick_start.open_for_evaluation(all_run) as parts:
        from recbole_hm4sr.run.baselines import record_baselines

        record_baselines(parts)
    found = json.loads((all_run / "metrics.json").read_text())["baselines"]
    assert found.keys() == {"Popular", "ItemKNN"}
