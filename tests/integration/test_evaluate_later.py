"""A run judged on what came after it, as it would have been asked."""

import json

import numpy as np
import pytest
from laterfiles import read_rows, write_csv, write_halves
from servedruns import train_toy
from typer.testing import CliRunner

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.cli import app
from recbole_hm4sr.data.features import ItemFeatures, load_features, save_features
from recbole_hm4sr.data.log import InteractionLog
from recbole_hm4sr.later.drift import measure_drift
from recbole_hm4sr.later.evaluation import evaluate_later
from recbole_hm4sr.later.update import update
from recbole_hm4sr.serve.add_items import add_items
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.testing.toydata import DAY

pytestmark = pytest.mark.integration
SMALL = {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 1, "epochs": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("halves")
    return path, write_halves(path)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "sasrec"
    return train_toy("SASRec", data[0], folder, **SMALL, baselines=["Popular"])


def popular(earlier, later):
    """NDCG@10 of counts before the first later interaction; an item without one is missed."""
    numbers = {}
    for _, item, _ in earlier:
        numbers.setdefault(item, len(numbers))
    counts = np.bincount([numbers[item] for _, item, _ in earlier])
    order = np.lexsort((np.arange(len(counts)), -counts)).tolist()
    users, gains = {user for user, _, _ in earlier}, []
    for user, item, _ in later:
        if user in users:
            rank = 1 + order.index(numbers[item]) if item in numbers else 99
            gains.append(1 / np.log2(rank + 1) if rank <= 10 else 0.0)
        users.add(user)
    return gains


def test_shares_metrics_and_a_baseline_are_what_counting_gives(data, run, tmp_path):
    path, later = data
    earlier = read_rows(path / "toy" / "toy.inter")
    file = write_csv(tmp_path / "later.csv", [*later, earlier[0]])  # one row is known
    found = evaluate_later(run, file)
    gains = popular(earlier, later)
    assert found.n_interactions == len(later)
    assert found.n_targets == len(gains)
    assert found.baselines["Popular"]["ndcg@10"] == pytest.approx(np.mean(gains), abs=1e-6)
    known = [{row[k] for row in earlier} for k in (0, 1)]
    assert found.unknown_users == pytest.approx(np.mean([r[0] not in known[0] for r in later]))
    assert found.unknown_items == pytest.approx(np.mean([r[1] not in known[1] for r in later]))
    # A new item is in no list.
    assert found.groups["new items"]["metrics"]["hit@10"] == 0
    assert found.own_test == json.loads((run / "metrics.json").read_text())["test"]
    assert 0 < found.lists["coverage@10"] <= 1
    assert set(found.lists) >= {"gini@10", "novelty@10"}


def test_after_an_update_the_run_knows_more(data, run, tmp_path):
    import shutil

    own = shutil.copytree(run, tmp_path / "run")
    later = data[1]
    update(own, write_csv(tmp_path / "first.csv", later[:60]))
    found = evaluate_later(own, write_csv(tmp_path / "all.csv", later))
    assert found.n_interactions == len(later) - 60
    assert found.unknown_users == found.unknown_items == 0
    with pytest.raises(DataError, match="must bring an interaction that is new to the run"):
        evaluate_later(own, tmp_path / "first.csv")


def test_the_command_prints_short_tables_and_a_verdict_and_writes_a_page(data, run, tmp_path):
    file = write_csv(tmp_path / "later.csv", data[1])
    words = ["evaluate", "--run", str(run), "--interactions", str(file), "--page", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "later.json").read_text())
    own, tested, popular = (
        it["ndcg@10"] for it in (found["metrics"], found["own_test"], found["baselines"]["Popular"])
    )
    assert (
        f"On the later data the run has NDCG@10 {own:.4f}, Popular {popular:.4f}; its own test had "
        f"{tested:.4f}.\n"
    ) in done.output
    page = (tmp_path / "later.html").read_text()
    for text in ("the run, its own test", "Popular, later", "known items", "MRR@10", "Hit@10"):
        assert text in done.output
        assert text in page
    for text in ("Drift of the interactions", "coverage@10"):  # all else is on the page
        assert text not in done.output
        assert text in page


def test_items_that_the_run_does_not_know_take_no_rank_and_no_place_in_a_list(data, run, tmp_path):
    """Without a history before them they are no targets: all else is as if they had not come."""
    path, later = data
    known = [{row[k] for row in read_rows(path / "toy" / "toy.inter")} for k in (0, 1)]
    some = [row for row in later if row[0] in known[0] and row[1] in known[1]]
    unknown = [[f"v{k}", f"X{k}", later[0][2]] for k in range(200)]
    alone = evaluate_later(run, write_csv(tmp_path / "alone.csv", some))
    found = evaluate_later(run, write_csv(tmp_path / "found.csv", [*unknown, *some]))
    assert found.unknown_items == pytest.approx(200 / (200 + len(some)))
    assert (found.n_targets, found.metrics) == (alone.n_targets, alone.metrics)
    assert (found.baselines, found.lists) == (alone.baselines, alone.lists)


MISSREC = {"hidden_size": 8, "inner_size": 8, "n_heads": 1, "epochs": 1, "learning_rate": 0.05}


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        ("UniSRec", {"hidden_size": 8, "inner_size": 8, "n_experts": 2, "epochs": 1}),
        ("MISSRec", MISSREC),  # its interests are those of the checkpoint, of weights that learned
    ],
)
def test_an_added_item_is_ranked_as_it_is_served_and_counted_apart(data, tmp_path, model, sizes):
    path, later = data
    cuts = {"topk": [40], "valid_metric": "NDCG@40", "baselines": [], "rank_history": "include"}
    run = train_toy(model, path, tmp_path / model.lower(), **sizes, **cuts)
    new = ("B777", "B778")
    (tmp_path / "new.item").write_text("item_id:token\n" + "\n".join(new) + "\n")
    features = {}
    for name in ("text", "image"):
        there = load_features(path / "toy" / f"toy.{name}.npz")
        features[name] = tmp_path / f"{name}.npz"
        found = ItemFeatures(np.array(new), there.values[[3, 9]], "test", "1", "new")
        save_features(features[name], found)
    assert add_items(run, tmp_path / "new.item", features).n_added == 2
    earlier = read_rows(path / "toy" / "toy.inter")
    user, _, time = next(row for row in later if row[0] != "new")
    found = evaluate_later(run, write_csv(tmp_path / "later.csv", [[user, "B777", time]]))
    own = sorted((at, item) for who, item, at in earlier if who == user)
    history = ([item for _, item in own], [at for at, _ in own])
    served = Recommender.load(run).recommend([history], k=40, exclude_seen=False).items[0].tolist()
    assert "B778" in served  # a candidate that no interaction has
    expected = 1 / np.log2(2 + served.index("B777"))
    assert found.metrics["ndcg@40"] == pytest.approx(expected, abs=1e-4)
    assert found.groups["added after training"] == {"n": 1, "metrics": found.metrics}
    assert (found.added_items, found.unknown_items) == (1.0, 0.0)
    n_served = sum(item is not None for item in served)
    assert found.lists["coverage@10"] == pytest.approx(10 / n_served)


class Part:
    """What drift reads of a split: two users, of whom the second is new."""

    timestamp_unit = "s"

    def __init__(self):
        users, items = np.array([1, 1, 1, 2, 2]), np.array([1, 1, 2, 2, 2])
        times = np.array([0, 0, 2 * DAY, 4 * DAY, 7 * DAY])
        self.log = InteractionLog.of_ordered(users, items, times)

    def categories(self):
        return np.array([[0, 0], [1, 0], [1, 1]]), ("A", "B")


def test_drift_is_half_the_difference_of_shares():
    found = {it.what: it for it in measure_drift(Part(), np.array([0, 0, 0, 1, 1], dtype=bool))}
    # Before: A three times and B once; later: A and B twice each.
    assert found["categories"].distance == pytest.approx(0.25)
    assert (found["category A"].before, found["category A"].later) == ("75 %", "50 %")
    # Before: the same time and two days (1 to 7 days); later: three days. Half is in common.
    assert found["gap before an interaction, median"].distance == pytest.approx(0.5)
    assert found["at the time of the one before"].before == "50 %"
    assert found["interactions a day"].later == "0.6667"
