"""Why an item is recommended: shares of a score, and the item of the history that it comes from."""

import numpy as np
import pytest
import torch
from servedruns import assert_reasons_hold, train_toy

from recbole_hm4sr.data.item_table import ItemTable
from recbole_hm4sr.serve.recommend import Recommender

pytestmark = pytest.mark.integration


def test_every_item_above_the_median_has_a_reason(recommender, expected):
    found = recommender.recommend([*expected.histories, ([], [])], 5, explain=True)
    assert_reasons_hold(recommender, expected.histories, found)
    reasons = found.reasons
    assert set(reasons.kinds[:-1].flat) <= {"history", "text", "image", "whole history"}
    assert (reasons.kinds[-1] == "").all()
    assert np.isnan(reasons.shares[-1]).all()
    for user, (items, _) in enumerate(expected.histories):
        named = {token for token in reasons.items[user] if token is not None}
        assert named <= set(items)
    numbers = {int(token[1:]) for token in reasons.items.flat if token is not None}
    assert {title for title in reasons.titles.flat if title} == {f'Item "{n}"' for n in numbers}
    row = found.table().iloc[0]
    assert list(row.index)[-4:] == ["reason", "reason_item", "reason_title", "reason_share"]
    assert row["reason"] == reasons.kinds[0, 0]
    assert recommender.recommend(expected.histories[:1], 5).reasons is None


def test_titles_of_reasons_come_from_the_serving_file(hm4sr_run, expected, monkeypatch):
    recommender = Recommender.load(hm4sr_run)
    recommender.run.config["data_path"] = "/nowhere"
    found = recommender.recommend(expected.histories[:3], 5, explain=True).reasons
    wanted = [[f'Item "{int(it[1:])}"' if it else "" for it in row] for row in found.items]
    assert found.titles.tolist() == wanted
    monkeypatch.setattr(recommender.items, "table", ItemTable())
    found = recommender.recommend(expected.histories[:3], 5, explain=True)
    assert set(found.reasons.titles.flat) == {""}
    record = next(record for user in found.records() for record in user["items"])
    assert set(record["reason"]) <= {"kind", "item", "share"}


@pytest.mark.parametrize("model", ["ItemKNN", "Popular"])
def test_a_closed_form_says_which_item_added_most(toy_path, tmp_path, model):
    expected_kinds = {"ItemKNN": {"memory"}, "Popular": {"popularity"}}
    recommender = Recommender.load(train_toy(model, toy_path, tmp_path / "run"))
    history = (["B003", "B005", "B011"], [100, 200, 300])
    found = recommender.recommend([history], 10, explain=True)
    assert set(found.reasons.kinds[0, :3]) == expected_kinds[model]
    if model == "ItemKNN":
        alone = [recommender.recommend([([i], [1])], 24, exclude_seen=False) for i in history[0]]
        scores = [dict(zip(a.items[0], a.scores[0], strict=True)) for a in alone]
        for rank in np.flatnonzero(found.reasons.kinds[0] == "memory"):
            item = found.items[0, rank]
            added = [0.6 ** (2 - n) * scores[n].get(item, 0.0) for n in range(3)]
            assert found.reasons.items[0, rank] == history[0][int(np.argmax(added))]
            assert sum(added) == pytest.approx(found.scores[0, rank], rel=1e-5)


def test_the_shares_of_the_modalities_sum_to_the_score(recommender, expected):
    found = recommender.recommend([*expected.histories, ([], [])], 5, explain=True)
    assert found.streams == ("id", "text", "image")
    np.testing.assert_allclose(
        found.shares[:-1].sum(axis=2), found.scores[:-1], rtol=1e-5, atol=1e-5
    )
    assert np.isnan(found.shares[-1]).all()
    inputs = recommender_inputs(recommender, expected.histories[0])
    users = recommender.model(recommender.model.read(inputs, train=False)).users.vectors[0]
    number = list(recommender.run.data.item_tokens).index(found.items[0, 0])
    text = (users[1] * recommender.model.served_rows[number, 1]).sum()
    assert found.shares[0, 0, 1] == pytest.approx(text.item(), rel=1e-5)


def recommender_inputs(recommender, history):
    items, times = history
    tokens = list(recommender.run.data.item_tokens)
    numbers = [tokens.index(item) for item in items][-recommender.max_length :]
    times = times[-recommender.max_length :]
    return {
        "item_id_list": torch.tensor([numbers]),
        "item_length": torch.tensor([len(numbers)]),
        "timestamp_list": torch.tensor([times]),
    }
