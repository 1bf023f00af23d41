"""Items with equal rows are equal to a model only while its memory knows the same of them."""

import numpy as np
import pytest

import recbole_hm4sr
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.testing.toydata import QUICK

pytestmark = pytest.mark.integration
NOW = 1_800_000_000


def test_new_items_are_twins_until_one_is_bought_otherwise(toy_path, tmp_path):
    """Both have a row of zeros; at first both were bought once, beside the same item at once."""
    settings = {
        **QUICK, "epochs": 1, "memory": "events", "request_time": "target", "n_layers": 1,
        "MAX_ITEM_LIST_LENGTH": 11, "same_visit_gap": 0, "data_path": str(toy_path),
    }  # fmt: skip
    run = tmp_path / "run"
    quick_start.run("SASRecPlus", "toy", overrides=settings, run_dir=run)

    def refreshed(*rows):
        path = tmp_path / "new.csv"
        path.write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n", encoding="utf-8")
        recbole_hm4sr.refresh(run, path)
        return Recommender.load(run)

    pairs = [f"{user},{item},{NOW}" for user in ("a", "b") for item in ("B001", f"new-{user}")]
    recommender = refreshed(*pairs)
    first = recommender.n_items - 2
    assert (recommender._twins.items.tolist(), recommender._twins.firsts.tolist()) == (
        [first + 1],
        [first],
    )
    recommender = refreshed(f"c,B001,{NOW + 1}", f"c,new-b,{NOW + 1}")
    assert recommender._twins.items.tolist() == []
    found = recommender.recommend([(["B001"], [NOW])], 26, at=NOW + 5, exclude_seen=False)
    scores = dict(zip(found.items[0], found.scores[0], strict=True))
    assert scores["new-b"] > scores["new-a"] > 0
    assert np.isfinite(found.scores).all()
