"""The models that are fitted once equal their formulas in NumPy loops, also as they are served."""

import json

import numpy as np
import pytest
import torch

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.features import ItemFeatures, save_features
from recbole_hm4sr.model.trivial import ease
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.run.quick_start import open_for_evaluation
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.testing.toydata import DAY, QUICK

N_USERS, N_ITEMS, WIDTH = 40, 15, 6
OWN = {
    "Popular": {},
    "RecentPopular": {"recent_days": 20.0},
    "RepeatLast": {},
    "ItemKNN": {"memory_reach": 3, "memory_neighbours": 4},
    "EASE": {"l2_weight": 3.0, "served_weights": 5},
}


def histories():
    """Random ones with repeats: (item, time) of each user, oldest first."""
    random = np.random.default_rng(11)
    made = []
    for _ in range(N_USERS):
        length = random.integers(4, 14)
        items = random.choice(N_ITEMS, size=length, p=np.arange(3, N_ITEMS + 3) / 150)
        times = 1_600_000_000 + DAY * random.integers(0, 9, size=length).cumsum()
        made.append(list(zip(items.tolist(), times.tolist(), strict=True)))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("atomic")
    (path / "shop").mkdir()
    rows = [f"u{u}\tB{i:02d}\t{t}" for u, taken in enumerate(histories()) for i, t in taken]
    head = "user_id:token\titem_id:token\ttimestamp:float"
    (path / "shop" / "shop.inter").write_text("\n".join([head, *rows]) + "\n")
    (path / "shop" / "shop.yaml").write_text("modalities: {text: npz}\n")
    values = np.random.default_rng(2).normal(size=(N_ITEMS, WIDTH)).astype(np.float32)
    tokens = np.array([f"B{i:02d}" for i in range(N_ITEMS)])
    save_features(path / "shop" / "shop.text.npz", ItemFeatures(tokens, values, "t", "1", "t"))
    return path


@pytest.fixture(scope="module", params=OWN)
def run(request, folder, tmp_path_factory):
    settings = {**QUICK, **OWN[request.param], "data_path": str(folder)}
    path = tmp_path_factory.mktemp(request.param) / "run"
    return quick_start.run(request.param, "shop", overrides=settings, run_dir=path)


# --- the formulas ------------------------------------------------------------------------------


class Formulas:
    """Score of every item, by its number in the shop, for a history (items, oldest first)."""

    def __init__(self):
        self.training = [taken[:-2] for taken in histories()]  # leave one out
        self.items = [[item for item, _ in taken] for taken in self.training]
        self.counts = np.bincount(np.concatenate(self.items), minlength=N_ITEMS)

    def popular(self, history):
        return self.counts.astype(float)

    def recent_popular(self, history):
        events = [event for taken in self.training for event in taken]
        newest = max(time for _, time in events)
        return np.array(
            [sum(i == j and t > newest - 20 * DAY for i, t in events) for j in range(N_ITEMS)]
        )

    def repeat_last(self, history):
        scores = np.zeros(N_ITEMS)
        for since, item in enumerate(reversed(history)):
            scores[item] = max(scores[item], 1 / (1 + since))
        return scores

    def item_knn(self, history):
        pairs = np.zeros((N_ITEMS, N_ITEMS))
        for taken in self.items:
            for s in range(len(taken)):
                for k in range(1, 4):
                    if s + k < len(taken):
                        pairs[taken[s], taken[s + k]] += 1 / k
                        pairs[taken[s + k], taken[s]] += 1 / k
        scores = np.zeros(N_ITEMS)
        for since, i in enumerate(reversed(history[-3:])):
            for j in range(N_ITEMS):
                damped = pairs[i, j] / max(self.counts[i], 1) ** 0.3 / max(self.counts[j], 1) ** 0.3
                scores[j] += 0.6**since * (damped + self.cosine(i, j))
        return scores

    def cosine(self, i, j):
        rows = np.random.default_rng(2).normal(size=(N_ITEMS, WIDTH)).astype(np.float32)
        unit = rows.astype(float) / np.linalg.norm(rows.astype(float), axis=1, keepdims=True)
        near = sorted((j for j in range(N_ITEMS) if j != i), key=lambda j: -unit[i] @ unit[j])
        return max(unit[i] @ unit[j], 0) if j in near[:4] else 0

    def ease(self, history):
        weights = self.weights()
        for row in weights:  # five of each are kept
            row[np.argsort(-np.abs(row))[5:]] = 0
        return sum(weights[item] for item in set(history))

    def weights(self):
        has = np.zeros((N_USERS, N_ITEMS))
        for user, taken in enumerate(self.items):
            has[user, taken] = 1
        inverse = np.linalg.inv(has.T @ has + 3 * np.eye(N_ITEMS))
        weights = -inverse / np.diag(inverse)[None, :]
        np.fill_diagonal(weights, 0)
        return weights

    def of(self, model, history):
        name = {"ItemKNN": "item_knn", "EASE": "ease", "RepeatLast": "repeat_last"}.get(model)
        return getattr(self, name or {"Popular": "popular"}.get(model, "recent_popular"))(history)


def expected(model, tokens, windows, lengths):
    """Scores by the numbers of a run. Shape ``[B, I]``, padding left out."""
    formulas, shop = Formulas(), [int(token[1:]) for token in tokens[1:]]
    rows = []
    for window, length in zip(windows.tolist(), lengths.tolist(), strict=True):
        rows.append(formulas.of(model, [shop[i - 1] for i in window[:length]])[shop])
    return np.array(rows)


def test_scores_are_those_of_the_formula(run):
    with open_for_evaluation(run.run_dir) as parts:
        batch = next(iter(parts.test_data))[0]
        scores = parts.model.full_sort_predict(batch)[:, 1:].numpy()
        tokens = parts.train_data._dataset.item_tokens
    want = expected(run.model, tokens, batch["item_id_list"], batch["item_length"])
    np.testing.assert_allclose(scores, want, rtol=2e-6, atol=1e-6)


def test_what_is_served_scores_the_same(run):
    served = Recommender.load(run.run_dir).model
    with open_for_evaluation(run.run_dir) as parts:
        batch = next(iter(parts.test_data))[0]
        scores = parts.model.full_sort_predict(batch)
    assert torch.equal(served.full_sort_predict(batch), scores)


def test_recommendations_follow_scores_then_frequency(run):
    recommender, history = Recommender.load(run.run_dir), histories()[0]
    tokens = [f"B{item:02d}" for item, _ in history]
    found = recommender.recommend(
        [(tokens, [time for _, time in history])], k=N_ITEMS, exclude_seen=False
    )
    formulas = Formulas()
    items = [item for item, _ in history][-QUICK["MAX_ITEM_LIST_LENGTH"] :]
    scores = formulas.of(run.model, items)
    number = {token: place for place, token in enumerate(recommender.run.data.item_tokens)}
    order = sorted(
        range(N_ITEMS),
        key=lambda i: (-round(scores[i], 6), -formulas.counts[i], number[f"B{i:02d}"]),
    )
    assert found.items[0].tolist() == [f"B{item:02d}" for item in order]


def test_a_run_has_one_epoch_and_says_what_it_found(run):
    history = (run.run_dir / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in history] == [1]
    assert json.loads(history[0])["losses"] == {}
    metrics = json.loads((run.run_dir / "metrics.json").read_text())
    assert metrics["n_parameters"] == 0
    assert set(metrics.get("valid_as_fitted", {})) == (
        set(metrics["valid"]) if run.model == "EASE" else set()
    )


def test_the_share_of_targets_of_which_nothing_is_known(run):
    metrics = json.loads((run.run_dir / "metrics.json").read_text())
    unknown = []
    for taken in histories():
        items = [item for item, _ in taken]
        history = items[:-1][-QUICK["MAX_ITEM_LIST_LENGTH"] :]
        unknown.append(Formulas().of(run.model, history)[items[-1]] == 0)
    assert metrics["zero_score_share"] == pytest.approx(np.mean(unknown), abs=1e-12)
    if run.model == "RepeatLast":
        assert 0 < np.mean(unknown) < 1


def test_all_weights_of_ease_are_in_no_file_and_measured(run):
    if run.model != "EASE":
        return
    kept = torch.load(run.run_dir / "checkpoint" / "best.pt", weights_only=False)["state_dict"]
    assert set(kept) == {"order", "offsets", "others", "values"}
    assert kept["values"].shape == ((N_ITEMS + 1) * 5,)
    with (
        open_for_evaluation(run.run_dir) as parts,
        parts.model.as_fitted(parts.train_data._dataset),
    ):
        valid = parts.trainer.evaluator.measure(parts.valid_data)
    assert json.loads((run.run_dir / "metrics.json").read_text())["valid_as_fitted"] == valid


def test_a_finished_run_is_resumed_and_evaluated_again(run):
    again = quick_start.resume(run.run_dir)
    assert again.test_include == run.test_include
    assert quick_start.evaluate(run.run_dir).test_exclude == run.test_exclude


def test_parts_are_what_their_names_say(run):
    with open_for_evaluation(run.run_dir) as parts:
        model, batch = parts.model, next(iter(parts.test_data))[0]
        items = torch.arange(1, N_ITEMS + 1)
        found = model.score_parts(batch, items)
        tokens = parts.train_data._dataset.item_tokens
    names = {
        "Popular": ("count",),
        "RecentPopular": ("recent_count",),
        "RepeatLast": ("repeats",),
        "ItemKNN": ("pairs", "near_text"),
        "EASE": ("weights",),
    }
    assert model.part_names == names[run.model]
    if run.model == "ItemKNN":
        shop = [int(token[1:]) for token in tokens[1:]]
        near = np.zeros((len(batch), N_ITEMS))
        windows, lengths = batch["item_id_list"].tolist(), batch["item_length"].tolist()
        for row, (window, length) in enumerate(zip(windows, lengths, strict=True)):
            for since, item in enumerate(reversed(window[:length][-3:])):
                own = [Formulas().cosine(shop[item - 1], j) for j in shop]
                near[row] += 0.6**since * np.array(own)
        np.testing.assert_allclose(found[..., 1], near, rtol=2e-6, atol=1e-6)


def test_large_catalogues_are_refused_with_the_memory_they_need(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(ease, "_MOST_ITEMS", 10)
    plan = compose("EASE", "shop", overrides={**QUICK, "data_path": str(folder)})
    with pytest.raises(ConfigError, match=r"at most 10 items, got 15, whose weights need 0.0 GB"):
        build_parts(plan, tmp_path)


def test_settings_of_recboles_model_of_the_name_are_unknown(folder):
    with pytest.raises(ConfigError, match="the setting 'reg_weight'"):
        compose("EASE", "shop", overrides={"data_path": str(folder), "reg_weight": 1.0})
    with pytest.raises(ConfigError, match="the setting 'shrink' \\(flag\\) is unknown"):
        compose("ItemKNN", "shop", overrides={"data_path": str(folder), "shrink": 0.0})
