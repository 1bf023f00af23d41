"""MISSRec serves items without interactions: scored by features, with interests of their own."""

import numpy as np
import pytest
import torch
from coldfiles import COLD, TWIN, write_cold
from laterfiles import write_csv, write_halves
from servedruns import NOW, train_toy

from recbole_hm4sr.data.features import ItemFeatures, load_features, save_features
from recbole_hm4sr.later.options import Recipe
from recbole_hm4sr.later.update import update
from recbole_hm4sr.run.serving_file import read_serving_file
from recbole_hm4sr.serve.add_items import add_items
from recbole_hm4sr.serve.opening import open_for_serving
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.train.checkpoint import read_checkpoint

pytestmark = pytest.mark.integration
SMALL = {
    "epochs": 1, "hidden_size": 8, "inner_size": 8, "n_heads": 1, "use_ids": False,
    "item_fusion": "per_item", "seq_fusion": "stack",
}  # fmt: skip
LATE = "N1"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Without ids an item is its features: equal ones are one item to the model."""
    path = write_cold(tmp_path_factory.mktemp("cold"))
    folder = train_toy("MISSRec", path, tmp_path_factory.mktemp("runs") / "missrec", **SMALL)
    new = path / "new.item"
    new.write_text(f'item_id:token\ttitle:token_seq\n{LATE}\tItem "3"\n')
    files = {}
    for name in ("text", "image"):
        there = load_features(path / "toy" / f"toy.{name}.npz")
        row = there.values[there.tokens.tolist().index(TWIN)]
        files[name] = path / f"new.{name}.npz"
        save_features(files[name], ItemFeatures(np.array([LATE]), row[None], "test", "1", "new"))
    assert add_items(folder, new, files).n_added == 1
    return folder


def test_a_new_item_has_the_row_and_the_interests_of_equal_features(run):
    kept = read_serving_file(run).data
    numbers = [kept.item_tokens.tolist().index(token) for token in (TWIN, COLD, LATE)]
    assert numbers[1] >= len(kept.counts)
    for name in ("catalogue", "interests", "has_features"):
        twin, cold, late = kept.arrays[name][numbers]
        assert np.any(twin)
        np.testing.assert_allclose(cold, twin, rtol=1e-5)
        np.testing.assert_allclose(late, twin, rtol=1e-5)


def test_its_score_is_that_of_cosines_weighed_alike(run):
    """The number that an item has of its own is one that nobody trained: 0."""
    opened = open_for_serving(run)
    model, tokens = opened.model, opened.data.item_tokens.tolist()
    number = tokens.index(COLD)
    history = torch.zeros(1, model.max_seq_length, dtype=torch.int64)
    history[0, :2] = torch.tensor([number, 1])
    from recbole.data.interaction import Interaction

    batch = Interaction(
        {"item_id_list": history, "timestamp_list": history, "item_length": torch.tensor([2])}
    )
    with torch.no_grad():
        score = model.full_sort_predict(batch)[0, number]
        users, _ = model.ask(batch)
    u = users.vectors[0, 0].double().numpy()  # times the share of one of two modalities
    rows = opened.data.arrays["catalogue"][number].astype(np.float64)
    cosines = rows @ u / np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(score, cosines.sum(), rtol=1e-5)


def test_histories_with_it_are_as_those_with_its_twin(run):
    recommender = Recommender.load(run)
    times = [NOW - 100, NOW]
    answers = recommender.recommend(
        [([token, "B001"], times) for token in (TWIN, COLD, LATE)], k=5, exclude_seen=False
    )
    rows = answers.scores
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-6)
    np.testing.assert_allclose(rows[2], rows[0], rtol=1e-6)


def test_an_update_keeps_the_interests_and_gives_new_items_the_nearest(tmp_path):
    """Where an update does not cluster anew: it has an epoch 3 and 4, and every ninth is due."""
    path, later = tmp_path, write_halves(tmp_path)
    run = train_toy("MISSRec", path, tmp_path / "run", **{**SMALL, "interest_every": 9})
    before = read_checkpoint(run / "checkpoint" / "best.pt")["state_dict"]
    done = update(run, write_csv(tmp_path / "week.csv", later), recipe=Recipe(passes=1))
    assert done.n_items == 1
    kept = read_serving_file(run)
    after = read_checkpoint(run / kept.checkpoint_file)["state_dict"]
    n_items, n_centres = len(before["interest_of"]), len(before["interest_centres"])
    assert after["interest_of"][:n_items].equal(before["interest_of"])
    assert after["interest_centres"][:n_centres].equal(before["interest_centres"])
    more = after["interest_centres"][n_centres:]
    assert more.equal(before["interest_centres"][-1:].expand_as(more))
    # B777 has no features: its vectors are the biases of the weights that the update began with.
    centres = before["interest_centres"][1:]
    biases = [before[f"projections.{name}.bias"] for name in ("text", "image")]
    nearest = [int((centres - it).square().sum(dim=1).argmin()) + 1 for it in biases]
    assert after["interest_of"][n_items].tolist() == nearest
    served = kept.data.arrays["interests"]
    np.testing.assert_array_equal(served, after["interest_of"].numpy())
