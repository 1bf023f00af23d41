"""ItemKNN as of the request equals a loop over what was known at that moment."""

import numpy as np
import pytest
import torch

from recbole_hm4sr.data.features import ItemFeatures, save_features
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.quick_start import open_for_evaluation
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.testing.toydata import DAY, QUICK

N_USERS, N_ITEMS, FIRST = 30, 12, 1_600_000_000
SETTINGS = {**QUICK, "counts": "as_of", "memory_reach": 3, "memory_neighbours": 2}


def histories():
    """(item, time) of each user, oldest first; many equal times, over two months."""
    random = np.random.default_rng(3)
    made = []
    for _ in range(N_USERS):
        length = random.integers(5, 12)
        times = FIRST + DAY * random.integers(0, 60, size=length)
        items = random.integers(0, N_ITEMS, size=length).tolist()
        made.append(list(zip(items, sorted(times.tolist()), strict=True)))
    return made


def features():
    return np.random.default_rng(4).normal(size=(N_ITEMS, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("atomic")
    (path / "shop").mkdir()
    rows = [f"u{u:02d}\tB{i:02d}\t{t}" for u, taken in enumerate(histories()) for i, t in taken]
    head = "user_id:token\titem_id:token\ttimestamp:float"
    (path / "shop" / "shop.inter").write_text("\n".join([head, *rows]) + "\n")
    (path / "shop" / "shop.yaml").write_text("modalities: {text: npz}\n")
    tokens = np.array([f"B{i:02d}" for i in range(N_ITEMS)])
    save_features(path / "shop" / "shop.text.npz", ItemFeatures(tokens, features(), "t", "1", "t"))
    return path


def cosines(i):
    """Of the two nearest items."""
    unit = features().astype(float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    near = sorted((j for j in range(N_ITEMS) if j != i), key=lambda j: -unit[i] @ unit[j])[:2]
    return [max(unit[i] @ unit[j], 0) if j in near else 0 for j in range(N_ITEMS)]


def scores(history, moment, known):
    """Of all items of the shop, from what was known of others before a moment."""
    start = min(t for taken in histories() for _, t in taken)
    snapshot = start + max(0, moment - start) // (7 * DAY) * (7 * DAY)
    counts = np.zeros(N_ITEMS)
    for taken in known:
        for item, time in taken:
            counts[item] += time < snapshot
    damped = np.maximum(counts, 1) ** -0.3
    found = np.zeros(N_ITEMS)
    for since, i in enumerate(reversed(history[-3:])):
        pairs = np.zeros(N_ITEMS)
        for taken in known:
            for s, (first, _) in enumerate(taken):
                for k in range(1, 4):
                    if s + k < len(taken) and taken[s + k][1] < moment:
                        second = taken[s + k][0]
                        pairs[second] += (first == i) / k
                        pairs[first] += (second == i) / k
        found += 0.6**since * (pairs * damped[i] * damped + cosines(i))
    return found


@pytest.mark.parametrize("request_time", ["last", "target"])
def test_scores_are_those_of_what_was_known(folder, tmp_path, request_time):
    settings = {**SETTINGS, "request_time": request_time, "data_path": str(folder)}
    run = quick_start.run("ItemKNN", "shop", overrides=settings, run_dir=tmp_path / "run")
    with open_for_evaluation(run.run_dir) as parts:
        batch = next(iter(parts.test_data))[0]
        found = parts.model.full_sort_predict(batch)[:, 1:].numpy()
        tokens = parts.train_data._dataset.item_tokens
        users = parts.train_data._dataset.id2token("user_id", batch["user_id"])
    known = [taken[:-2] for taken in histories()]  # leave one out
    shop = [int(token[1:]) for token in tokens[1:]]
    for row, user in enumerate(users):
        taken = histories()[int(user[1:])]
        moment = taken[-1 if request_time == "target" else -2][1]
        history = [item for item, _ in taken[:-1]][-QUICK["MAX_ITEM_LIST_LENGTH"] :]
        expected = scores(history, moment, known)[shop]
        np.testing.assert_allclose(found[row], expected, rtol=1e-5, atol=1e-6)


def test_a_memory_refreshed_at_the_request_knows_more(folder, tmp_path):
    split = {"split": {"GT": [0.6, 0.2, 0.2]}, "targets": "visits", "group_by": None}
    settings = {
        **SETTINGS,
        "eval_args": {**split, "order": "TO", "mode": "full"},
        "data_path": str(folder),
        "request_time": "target",
    }
    found, expected, tested = {}, {}, {}
    for refresh in ("none", "request"):
        overrides = {**settings, "memory_refresh": refresh}
        run = quick_start.run("ItemKNN", "shop", overrides=overrides, run_dir=tmp_path / refresh)
        tested[refresh] = run.test_exclude
        with open_for_evaluation(run.run_dir) as parts:
            train = parts.train_data._dataset
            batch = next(iter(parts.test_data))[0]
            found[refresh] = parts.model.full_sort_predict(batch)[:, 1:].numpy()
            shop = [int(token[1:]) for token in train.item_tokens[1:]]
            windows, lengths = batch["item_id_list"].tolist(), batch["item_length"].tolist()
            until = batch["timestamp"].long()
            if refresh == "none":
                until = until.clamp(max=train.ends_before)
        expected[refresh] = [
            scores([shop[i - 1] for i in window[:length]], int(t), histories())[shop]
            for window, length, t in zip(windows, lengths, until, strict=True)
        ]
        np.testing.assert_allclose(found[refresh], expected[refresh], rtol=1e-5, atol=1e-6)
    assert not np.allclose(expected["none"], expected["request"])
    # One run gives both.
    overrides = {**settings, "memory_refresh": ["none", "request"]}
    both = quick_start.run("ItemKNN", "shop", overrides=overrides, run_dir=tmp_path / "both")
    assert {name: view.test_exclude for name, view in both.views.items()} == tested


def test_it_is_served_with_its_memory(folder, tmp_path):
    settings = {**SETTINGS, "data_path": str(folder)}
    run = quick_start.run("ItemKNN", "shop", overrides=settings, run_dir=tmp_path / "run")
    assert quick_start.evaluate(run.run_dir).test_exclude == run.test_exclude
    served = Recommender.load(run.run_dir).model
    with open_for_evaluation(run.run_dir) as parts:
        batch = next(iter(parts.test_data))[0]
        expected = parts.model.full_sort_predict(batch)
        assert torch.equal(served.full_sort_predict(batch), expected)
        assert served.part_names == parts.model.part_names
    assert served.part_names[-1] == "near_text"
    assert len(served.part_names) == 12 + 1
