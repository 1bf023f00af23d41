"""Runs of the rivals with side information and time: trained, served and exported."""

import numpy as np
import pytest
import torch
from servedruns import expected_of, train_toy

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import read_plan
from recbole_hm4sr.serve.opening import open_for_serving
from recbole_hm4sr.serve.recommend import Recommender

SIDE = {"hidden_size": 16, "inner_size": 16, "n_layers": 1, "n_heads": 2}
RUNS = {
    "DIFSR": {**SIDE, "attribute_sizes": [4, 6], "attributes": ["categories", "text"]},
    "NOVA": SIDE,
    "TiSASRec": {"hidden_size": 8, "max_interval": 9},
    "MEANTIME": {"hidden_size": 8},
    "TiCoSeRec": {"hidden_size": 8, "inner_size": 8, "cl_start_epoch": 2},
}
QUICK = {"epochs": 2, "baselines": []}


@pytest.fixture(scope="module", params=RUNS)
def run_dir(request, toy_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / request.param
    return train_toy(request.param, toy_path, folder, **RUNS[request.param], **QUICK)


def test_it_is_served_as_it_was_evaluated_and_has_a_tower(run_dir):
    expected = expected_of(run_dir)
    served = Recommender.load(run_dir)
    found = served.recommend(expected.histories, 10, exclude_seen=False)
    scores = torch.from_numpy(np.sort(expected.scores.numpy(), axis=1)[:, :-11:-1].copy())
    torch.testing.assert_close(torch.from_numpy(found.scores), scores, rtol=1e-4, atol=1e-5)
    model = open_for_serving(run_dir).model.eval()
    session = build_parts(read_plan(run_dir), run_dir)
    batch = next(iter(session.test_data))[0]
    with torch.no_grad():
        users = model.user_tower()(
            batch["item_id_list"], batch["item_length"], batch["timestamp_list"]
        )
        scores = users @ model.item_vectors().T
    expected = expected.scores[: len(scores), 1:]
    torch.testing.assert_close(scores[:, 1:], expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def at_target(toy_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "MEANTIME"
    settings = {"hidden_size": 8, "request_time": "target", **QUICK}
    return train_toy("MEANTIME", toy_path, folder, **settings)


def test_a_request_may_name_its_moment(at_target):
    served = Recommender.load(at_target)
    assert served.asks_when
    assert served.known_until() is None
    history = [(["B001", "B002"], [1_600_000_000, 1_600_000_040])]
    earliest = served.earliest_moment()
    soon = served.recommend(history, 24, at=1_600_000_080)
    late = served.recommend(history, 24, at=1_700_000_000)
    assert not np.allclose(soon.scores, late.scores)
    assert served.recommend(history, 3).scores.shape == (1, 3)  # now
    with pytest.raises(ConfigError, match="the first time of the training part, got"):
        served.recommend(history, 3, at=earliest - 1)


def test_an_index_knows_no_moment(at_target):
    with pytest.raises(ConfigError, match="request_time must be last for hm4sr export of MEANTIME"):
        open_for_serving(at_target).model.user_tower()


def test_a_score_that_is_no_inner_product_has_no_tower(toy_path, tmp_path):
    settings = {"hidden_size": 8, "time_channels": 2, "n_long_items": 3, **QUICK}
    run_dir = train_toy("MOJITO", toy_path, tmp_path / "run", **settings)
    served = Recommender.load(run_dir)
    with pytest.raises(
        ConfigError, match=r"reads the moment of a request only with request_time: target"
    ):
        served.recommend([(["B001"], [1_600_000_000])], 3, at=1_700_000_000)
    assert served.recommend([(["B001"], [1_600_000_000])], 3).scores.shape == (1, 3)
    assert open_for_serving(run_dir).model.user_tower() is None
