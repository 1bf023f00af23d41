"""What the report reads off the model: against the model itself and the file of interactions."""

import json

import numpy as np
import pytest
import torch
from datafiles import DAY
from recbole.data.interaction import Interaction

from recbole_hm4sr.data.item_table import title_column
from recbole_hm4sr.data.seen import mark_seen
from recbole_hm4sr.evaluate.statistics import user_metric
from recbole_hm4sr.model.capabilities import MODALITY_WEIGHTS, TIME_ROUTES, Probe
from recbole_hm4sr.model.explain import find_reasons, median_items
from recbole_hm4sr.model.registry import find_model
from recbole_hm4sr.report import model_facts, permutation
from recbole_hm4sr.report.cases import draw, rank_of, top_items, without_history
from recbole_hm4sr.report.items import describe_items
from recbole_hm4sr.report.permutation import permutation_facts
from recbole_hm4sr.report.routing import GateRecorder, explained_share, group_routes, split_span
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import N_USERS, QUICK, QUICK_HM4SR


def open_toy(toy_path, folder, model="HM4SR", **overrides):
    entry = find_model(model)
    settings = QUICK_HM4SR if model == "HM4SR" else QUICK
    values = {**settings, "data_path": str(toy_path), **overrides}
    return build_parts(compose(entry, "toy", overrides=values), folder)


@pytest.fixture(scope="module")
def session(toy_path, tmp_path_factory):
    return open_toy(toy_path, tmp_path_factory.mktemp("facts"))


@pytest.fixture(scope="module")
def facts(session):
    return model_facts.collect_facts(session)


def whole_test_part(session):
    """All test users as one batch, their targets' positions, and their scores."""
    loader = session.test_data
    interaction, scores = session.trainer.evaluator.score(loader, range(len(loader._dataset)))
    return interaction, loader._dataset.inter_feat.targets, scores


def users_of(session):
    """Tokens of the test users, in the order of the samples."""
    dataset = session.test_data._dataset
    return dataset.id2token("user_id", dataset.inter_feat["user_id"].numpy()).tolist()


def histories(toy_path):
    rows = (toy_path / "toy" / "toy.inter").read_text().splitlines()[1:]
    taken = {}
    for user, item, time in (row.split("\t") for row in rows):
        taken.setdefault(user, []).append((item, int(time)))
    return taken


def test_routes_by_gap_equal_those_of_the_model(session, facts, toy_path):
    interaction, _, _ = whole_test_part(session)
    with torch.no_grad():
        encoded = session.model(session.model.read(interaction, train=False))
        routes = session.model.temporal_moe.route(encoded.time).double().numpy()
    taken, gaps = histories(toy_path), []
    for user in users_of(session):
        times = [time for _, time in taken[user][:-1]][-QUICK["MAX_ITEM_LIST_LENGTH"] :]
        gaps += [-1, *np.diff(times).tolist()]
    assert facts["temporal"]["tokens"] == len(gaps) == len(routes)
    labels = {0: "same time", 40: "under 1 min", 7 * DAY: "7 to 30 days"}
    rows = {row["label"]: row for row in facts["temporal"]["groups"]["gap"]}
    assert set(rows) == {*labels.values(), "90 to 365 days"}
    for gap, label in labels.items():
        inside = routes[np.array(gaps) == gap]
        assert rows[label]["n"] == len(inside)
        np.testing.assert_allclose(rows[label]["mean"], inside.mean(axis=0), atol=1e-6)


def test_gates_of_the_streams_equal_those_of_the_model(session, facts):
    model = session.model
    interaction, _, _ = whole_test_part(session)
    items, lengths = interaction["item_id_list"], interaction["item_length"]
    is_token = torch.arange(items.shape[1]) < lengths[:, None]
    position = torch.arange(items.shape[1]).expand_as(items)[is_token]
    with torch.no_grad():
        tokens = model.catalogue().of(items[is_token]) + model.position_embedding(position)[:, None]
        weights = model.interactive_moe.weights(tokens)
    found = facts["interactive"]
    assert found["streams"] == ["id", "text", "image"]
    np.testing.assert_allclose(found["mean"], weights.mean(dim=0), atol=1e-6)
    np.testing.assert_allclose(found["deviation"], weights.std(dim=0, correction=0), atol=1e-6)
    assert found["strength"] == [0.0, 1.0, 1.0]


def test_parts_add_up_to_the_score_above_the_mean_of_the_catalogue(session, facts):
    _, _, scores = whole_test_part(session)
    items = scores[:, 1:].double()
    above = (items - items.mean(dim=1, keepdim=True)).sort(dim=1, descending=True).values
    means = [sum(parts) for parts in facts["parts"]["ranks"]]
    np.testing.assert_allclose(means, above[:, :10].mean(dim=0), atol=1e-5)
    assert sum(facts["parts"]["decides"]) == pytest.approx(1)
    assert sum(facts["parts"]["share"]) == pytest.approx(1)
    by_length = facts["parts"]["groups"]["history"]
    assert sum(row["n"] for row in by_length) == facts["parts"]["users"] == N_USERS


def test_parts_are_summed_in_chunks_as_in_one(session, facts, monkeypatch):
    monkeypatch.setattr("recbole_hm4sr.report.parts._VALUES_AT_A_TIME", 5 * 3 * N_USERS)
    monkeypatch.setattr(model_facts, "_SCORES_AT_A_TIME", 1)
    again = model_facts.collect_facts(session)
    np.testing.assert_allclose(again["parts"]["ranks"], facts["parts"]["ranks"], atol=1e-5)
    assert [c["user"] for c in again["cases"]] == [c["user"] for c in facts["cases"]]


def test_cases_are_the_users_of_the_file(session, facts, toy_path):
    taken = histories(toy_path)
    ranks = session.trainer.evaluator.rank(session.test_data)
    tokens = users_of(session)
    assert len(facts["cases"]) == 10
    for case in facts["cases"]:
        own, target = taken[case["user"]], case["target"]
        assert case["length"] == len(own) - 1
        shown = own[:-1][-12:]
        assert [(e["item"], e["time"]) for e in case["history"]] == shown
        assert [e["gap"] for e in case["history"]][1:] == np.diff([t for _, t in shown]).tolist()
        assert (target["item"], target["time"]) == own[-1]
        place = tokens.index(case["user"])
        assert target["rank_include"] == ranks.include[place]
        assert target["rank_exclude"] == ranks.exclude[place]
        assert [e["taken"] for e in case["top"]] == [
            e["item"] in {item for item, _ in own[:-1]} for e in case["top"]
        ]
        if target["rank_include"] <= 10:
            assert case["top"][target["rank_include"] - 1]["true"]
        scores = [sum(entry["parts"]) for entry in case["top"]]
        assert scores == sorted(scores, reverse=True)


def test_the_reasons_of_the_cases_are_those_of_the_rule(session, facts):
    interaction, _, scores = whole_test_part(session)
    tokens, users = session.test_data._dataset.item_tokens, users_of(session)
    number = {token: n for n, token in enumerate(tokens)}
    kinds = set()
    for case in facts["cases"]:
        row = users.index(case["user"])
        top = torch.tensor([[number[entry["item"]] for entry in case["top"]]])
        batch = Interaction({n: v[[row]] for n, v in interaction.interaction.items()})
        own = scores[[row]]
        reasons = find_reasons(session.model, batch, top, own.gather(1, top), median_items(own))
        for place, entry in enumerate(case["top"]):
            found = entry["reason"] or {"kind": "", "item": None, "share": None}
            item = tokens[reasons.items[0, place]] if reasons.items[0, place] else None
            assert (found["kind"], found["item"]) == (reasons.kinds[0, place], item)
            kinds.add(found["kind"])
    assert "history" in kinds
    named = {e["reason"]["item"] for c in facts["cases"] for e in c["top"] if e["reason"]} - {None}
    assert named <= set(facts["items"])


def test_items_have_their_titles_and_categories(facts):
    number = int(facts["cases"][0]["target"]["item"][1:])
    assert facts["items"][f"B{number:03d}"] == {
        "title": f'Item "{number}"',
        "categories": f"Group_{number % 3} Half_{number // 12}",
    }


def test_the_file_holds_plain_numbers(session, facts):
    written = model_facts.write_facts(session)
    read = json.loads((session.run_dir / "report.json").read_text())
    assert read["cases"] == written["cases"] == facts["cases"]
    assert read["data"]["samples"] == [len(p._dataset) for p in (
        session.train_data, session.valid_data, session.test_data)]  # fmt: skip


def test_few_users_are_sampled_by_the_seed(session, monkeypatch):
    monkeypatch.setattr(model_facts, "_MAX_USERS", 12)
    found = model_facts.collect_facts(session)
    assert 12 <= found["users"] <= 22  # the ten cases are among them, or join them
    assert found["of_users"] == N_USERS
    assert draw(N_USERS, 10, 2020) == draw(N_USERS, 10, 2020) != draw(N_USERS, 10, 2021)
    assert draw(3, 10, 1) == [0, 1, 2]


def test_a_model_of_recbole_has_cases_and_no_parts(toy_path, tmp_path):
    found = model_facts.collect_facts(open_toy(toy_path, tmp_path, "SASRec"))
    assert found["temporal"] is found["interactive"] is found["parts"] is None
    assert found["streams"] == ["score"]
    assert len(found["cases"]) == 10


def test_without_the_history_no_item_is_shown_twice(toy_path, tmp_path):
    found = model_facts.collect_facts(open_toy(toy_path, tmp_path, rank_history="exclude"))
    entries = [entry for case in found["cases"] for entry in case["top"]]
    assert not any(entry["taken"] and not entry["true"] for entry in entries)


def test_sampled_candidates_leave_the_model_out(toy_path, tmp_path):
    session = open_toy(
        toy_path,
        tmp_path,
        "SASRec",
        eval_args={"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO",
                   "mode": "uni10"},
    )  # fmt: skip
    assert model_facts.collect_facts(session)["cases"] == []


def test_equal_scores_stand_in_the_order_of_item_ids():
    inf = float("-inf")
    scores = torch.tensor([[inf, *[1.0] * 20], [inf, *[0.0] * 18, 2.0, 2.0]])
    assert top_items(scores)[0].tolist() == list(range(1, 11))
    assert top_items(scores)[1].tolist() == [19, 20, *range(1, 9)]
    assert rank_of(scores[0], 7) == 7
    assert rank_of(scores[1], 1) == 3


def test_leaving_the_history_out_keeps_the_target(session):
    dataset = session.test_data._dataset
    samples = dataset.inter_feat
    scores = torch.zeros(len(samples), dataset.item_num)
    left = without_history(scores, mark_seen(samples.histories, "item_id"), samples.targets)
    assert scores.isfinite().all()  # a copy
    own = samples["item_id"]
    assert left.gather(1, own[:, None]).isfinite().all()
    items = samples.histories.columns["item_id"]
    for row, target in enumerate(samples.targets[:5].tolist()):
        before = set(items[samples.histories.starts[target] : target].tolist()) - {int(own[row])}
        assert set(left[row].isinf().nonzero().squeeze(1).tolist()) == before


def test_the_explained_share_by_hand():
    routes = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert explained_share(group_routes(routes, np.array([0, 0, 1, 1]), ("a", "b"))) == 1
    assert explained_share(group_routes(routes, np.array([0, 1, 0, 1]), ("a", "b"))) == 0
    # Means .75 and .25 of each expert: between 4 · .25² · 2 of 4 · .5² · 2 in all.
    numbers = np.array([0, 0, 0, 1])
    rows = group_routes(np.array([[1, 0], [1, 0], [0, 1], [0, 1.0]]), numbers, ("a", "b"))
    between = 3 * (2 / 3 - 1 / 2) ** 2 + 1 * (0 - 1 / 2) ** 2
    assert explained_share(rows) == pytest.approx(between / (4 * 0.25))
    assert explained_share([]) == 0
    assert explained_share(group_routes(np.full((4, 2), 0.5), numbers, ("a", "b"))) == 0


class ModelWithProbes(torch.nn.Module):
    """Four tokens, each routed to the expert of its number; what two modalities weigh is known."""

    WEIGHTS = torch.tensor([[[0.25, 0.75], [1.0, 0.0]]]).expand(4, 2, 2)

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Identity()

    def forward(self):
        return self.layer(torch.eye(4))

    def probes(self):
        return {
            TIME_ROUTES: Probe(self.layer, lambda routes: routes),
            MODALITY_WEIGHTS: Probe(self.layer, lambda _: self.WEIGHTS, names=("id", "text")),
            "another": Probe(self.layer, lambda _: 1 / 0),
        }


def test_any_model_says_what_its_layers_decide():
    model = ModelWithProbes()
    recorder = GateRecorder(model)
    with recorder.recording():
        model()
        model()
    times = np.arange(8) * DAY
    assert recorder.temporal_facts(np.full(8, DAY), times)["mean"] == [0.25] * 4
    found = recorder.interactive_facts()
    assert found["streams"] == ["id", "text"]
    assert found["tokens"] == 8
    assert found["mean"] == [[0.25, 0.75], [1.0, 0.0]]
    assert found["strength"] == [1.0, 1.0]
    nothing = GateRecorder(torch.nn.Linear(1, 1))
    assert nothing.temporal_facts(times, times) is nothing.interactive_facts() is None


@pytest.mark.parametrize(("shift", "known"), [(0, False), (3600, True)])
def test_whole_days_have_no_hours(shift, known):
    model = ModelWithProbes()
    recorder = GateRecorder(model)
    with recorder.recording():
        model()
    model()  # outside: not kept
    times = np.array([0, 1, 2, 3]) * DAY + shift
    found = recorder.temporal_facts(np.array([-1, DAY, DAY, DAY]), times)
    assert ("hour" in found["groups"]) is known
    assert found["tokens"] == 4
    days = {row["label"]: row["n"] for row in found["groups"]["weekday"]}
    assert days == {"Thu": 1, "Fri": 1, "Sat": 1, "Sun": 1}  # from 1 January 1970 on
    assert found["groups"]["gap"][0]["n"] == 3


def test_the_span_is_cut_into_equal_parts():
    numbers, labels = split_span(np.array([0, DAY - 1, DAY, 2 * DAY, 48 * DAY]))
    assert len(labels) == 24
    assert labels[:2] == ("1970-01-01", "1970-01-03")
    assert numbers.tolist() == [0, 0, 0, 1, 23]
    assert split_span(np.array([5, 5]))[1] == ("1970-01-01",)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ({"item_id": "token", "movie_title": "token_seq", "class": "token_seq"}, "movie_title"),
        ({"item_id": "token", "subtitle": "token_seq", "title": "token_seq"}, "title"),
        ({"item_id": "token", "brand": "token", "product_name": "token_seq"}, "product_name"),
        ({"item_id": "token", "words": "token_seq"}, "words"),
        ({"item_id": "token", "price": "float"}, None),
    ],
)
def test_the_column_that_names_an_item(kinds, expected):
    assert title_column(kinds, ("words",), "class") == expected


def test_a_data_set_without_an_item_file_shows_tokens(session, monkeypatch):
    dataset = session.test_data._dataset
    monkeypatch.setattr(dataset, "dataset_path", "/nowhere")
    assert describe_items(dataset, {"B001"}) == {}


@pytest.mark.parametrize("model", ["HM4SR", "MMSR"])
def test_a_shuffled_modality_is_ranked_as_the_model_scores_it(toy_path, tmp_path, model):
    session = open_toy(toy_path, tmp_path, model)
    found = permutation_facts(session, seed=5)
    evaluator, loader = session.trainer.evaluator, session.test_data
    assert (found["users"], found["of_users"]) == (len(loader._dataset),) * 2
    assert set(found["shuffled"]) == {"text", "image"}

    def ndcg():
        ranks = evaluator.rank(loader)
        return {
            name: user_metric(ranks.under(name).numpy(), "NDCG@10").mean()
            for name in ("include", "exclude")
        }

    assert found["right"] == pytest.approx(ndcg())
    for name in ("text", "image"):
        with session.model.permuted_modality(name, torch.Generator().manual_seed(5)):
            assert found["shuffled"][name] == pytest.approx(ndcg())
    assert found["right"] == pytest.approx(ndcg())  # the features are right again


def test_a_part_that_is_left_out_of_the_scores_is_what_they_lack(toy_path, tmp_path):
    session = open_toy(
        toy_path,
        tmp_path,
        "SASRecPlus",
        memory="events",
        memory_reach=8,
        popularity=True,
        modalities={},
    )
    found = permutation_facts(session, seed=5)
    assert set(found["left_out"]) == {"dense part", "events", "popularity"}
    assert found["shuffled"] == {}
    evaluator, loader, model = session.trainer.evaluator, session.test_data, session.model
    alpha, values = model.scorer.alpha.data, model.dense_weight.values
    kept, ranks = (alpha.clone(), values.clone()), {}
    # The weights themselves are set: what is left out is as if it had none.
    for name in ("dense part", "events", "popularity", "none"):
        alpha[:-1] *= name != "events"
        alpha[-1] *= name != "popularity"
        values *= name != "dense part"
        ranks[name] = user_metric(evaluator.rank(loader).exclude.numpy(), "NDCG@10").mean()
        alpha.copy_(kept[0])
        values.copy_(kept[1])
    assert found["right"]["exclude"] == pytest.approx(ranks.pop("none"))
    for name, value in ranks.items():
        assert found["left_out"][name]["exclude"] == pytest.approx(value)
    assert len({*ranks.values()}) == 3


def test_a_large_test_part_is_sampled(session, monkeypatch):
    monkeypatch.setattr(permutation, "MAX_USERS", 7)
    found = permutation_facts(session, seed=5)
    assert (found["users"], found["of_users"]) == (7, len(session.test_data._dataset))


def test_a_model_without_the_method_has_no_shuffles(toy_path, tmp_path):
    assert permutation_facts(open_toy(toy_path, tmp_path, "SASRec"), seed=5) is None


def test_a_run_without_modalities_has_no_shuffles(toy_path, tmp_path):
    assert permutation_facts(open_toy(toy_path, tmp_path, modalities={}), seed=5) is None


def test_the_facts_of_a_run_hold_the_shuffles(facts):
    assert facts["permutation"]["metric"] == "NDCG@10"
