"""One protocol for all models: the same splits, candidates, metrics; validation alone chooses."""

import dataclasses

import pytest
import torch

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.base.recbole_files import properties_folder
from recbole_hm4sr.compare.grid import read_grid
from recbole_hm4sr.compare.protocol import check_grid
from recbole_hm4sr.config.compose import properties_dir, read_yaml
from recbole_hm4sr.config.protocol import PROTOCOL
from recbole_hm4sr.model.registry import find_model
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.parts import build_parts as open_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import N_ITEMS, QUICK, QUICK_HM4SR, write_toy_dataset

pytestmark = pytest.mark.integration

YAML_OF_RECBOLES = [
    "SASRec", "BERT4Rec", "GRU4Rec", "CORE", "FEARec", "LightSANs", "Caser", "NARM", "FDSA",
    "S3Rec", "SASRecF", "GRU4RecF", "FPMC", "TransRec", "DIN",
]  # fmt: skip
MODELS = ["HM4SR", "MMSR", *YAML_OF_RECBOLES]
OWN = {
    "HM4SR": QUICK_HM4SR,
    "MMSR": {**QUICK, "modalities": {"text": "npz", "image": "npz"}, "n_codes": 4},
    "S3Rec": {**QUICK, "train_stage": "pretrain"},  # its second stage reads a file of the first
}


def build_parts(model, data_path, folder):
    entry = find_model(model)
    settings = OWN.get(model, QUICK)
    plan = compose(
        entry,
        "toy",
        overrides={**settings, "data_path": str(data_path)},
    )
    return open_parts(plan, folder)


@pytest.fixture(scope="module")
def sessions(toy_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sessions")
    with (toy_path / "toy" / "toy.item").open("a", encoding="utf-8") as file:
        file.write("B999\tnever taken\tGroup_0\n")  # must be nobody's candidate
    return {model: build_parts(model, toy_path, folder / model) for model in MODELS}


@pytest.fixture(scope="module")
def toy_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("atomic")
    write_toy_dataset(path / "toy")
    return path


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("part", ["train_data", "valid_data", "test_data"])
def test_every_model_gets_the_same_splits(sessions, model, part):
    first = getattr(sessions["HM4SR"], part)._dataset
    other = getattr(sessions[model], part)._dataset
    for field in (first.uid_field, first.iid_field, first.time_field):
        assert torch.equal(other.inter_feat[field], first.inter_feat[field])
        if field != first.time_field:
            assert list(other.field2id_token[field]) == list(first.field2id_token[field])


class EqualScores:
    """A scorer that gives all items 0 and padding, above all, 1."""

    part = ""

    def prepare(self, users, catalogue):
        return users

    def scores(self, users, candidates):
        return (candidates.items == 0).float().expand(len(users.vectors), -1).clone()


@pytest.mark.parametrize("model", MODELS)
def test_every_model_ranks_all_items_but_padding(sessions, model, monkeypatch):
    session = sessions[model]
    dataset = session.test_data._dataset
    assert dataset.item_tokens[0] == "[PAD]"
    assert "B999" not in dataset.item_tokens

    def score(interaction):
        scores = torch.zeros(len(interaction), dataset.item_num)
        scores[:, 0] = 1  # padding above all
        return scores

    monkeypatch.setattr(session.model, "full_sort_predict", score)
    if hasattr(session.model, "scorer"):  # a packed model, ranked through its catalogue
        monkeypatch.setattr(session.model, "scorer", EqualScores())
        session.model._cache.forget()
    ranks = session.trainer.evaluator.rank(session.test_data)
    # Equal scores stand in the order of ids: the target's rank is its id, so every item from 1 is
    # a candidate and padding is none.
    assert torch.equal(ranks.include, dataset.inter_feat[dataset.iid_field])


@pytest.mark.parametrize("model", MODELS)
def test_every_model_scores_every_item(sessions, model):
    data = sessions[model].test_data
    rows = range(len(data._dataset))
    _, scores = sessions[model].trainer.evaluator.score(data, rows)
    assert scores.shape == (len(rows), data._dataset.item_num)
    assert torch.isfinite(scores[:, 1:]).all()
    assert (scores[:, 0] == -torch.inf).all()


def test_models_that_read_items_have_the_targets_of_those_that_do_not(tmp_path):
    """RecBole drops what has no line in a file, but only for the models that read the file."""
    write_toy_dataset(tmp_path / "toy")
    path = tmp_path / "toy" / "toy.item"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("B007\t")))
    first, *others = (
        build_parts(model, tmp_path, tmp_path / model).test_data._dataset
        for model in ("SASRec", "FDSA", "S3Rec")
    )
    assert first.item_num == N_ITEMS + 1
    for other in others:
        assert list(other.item_tokens) == list(first.item_tokens)
        for field in (first.uid_field, first.iid_field):
            assert torch.equal(other.inter_feat[field], first.inter_feat[field])


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_measured_the_same(sessions, model):
    session = sessions[model]
    assert {name: session.config[name] for name in PROTOCOL} == {
        name: sessions["HM4SR"].config[name] for name in PROTOCOL
    }
    ranks = torch.tensor([1, 3, 20])
    metrics = session.trainer.evaluator.metrics(ranks)
    assert metrics["mrr@10"] == pytest.approx((1 + 1 / 3) / 3, abs=1e-6)
    assert metrics["hit@5"] == pytest.approx(2 / 3, abs=1e-6)


@pytest.mark.parametrize("model", YAML_OF_RECBOLES)
def test_a_models_yaml_has_its_own_settings_and_none_of_the_protocol(model):
    path = properties_dir() / "model" / f"{model}.yaml"
    values = read_yaml(path) if path.is_file() else {}
    own = read_yaml(_recboles_yaml(model))
    assert set(values) - {"load_col", "train_neg_sample_args"} <= set(own)
    assert not set(values) & set(PROTOCOL)
    # Over all items, or over drawn ones for models whose loss is of pairs or single items.
    over_all = own.get("loss_type") == "CE"
    assert over_all != ("train_neg_sample_args" in values)


def _recboles_yaml(model):
    return properties_folder() / "model" / f"{model}.yaml"


def grid(toy_path, settings):
    models = ["SASRec", {"label": "other", "model": "SASRec", "settings": settings}]
    common = {**QUICK, "data_path": str(toy_path)}
    return read_grid(flags={"datasets": ["toy"], "models": models, "settings": common})


@pytest.mark.parametrize(
    "settings",
    [{"topk": [10]}, {"rank_history": "exclude"}, {"tie_order": "shuffle"},
     {"user_inter_num_interval": "[5,inf)"}, {"filter_inter_by_user_or_item": True},
     {"eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO",
      "mode": "uni10"}}],
)  # fmt: skip
def test_models_with_protocols_of_their_own_are_refused(toy_path, settings):
    name = next(iter(settings))
    with pytest.raises(ConfigError, match=f"{name} must be the same for all models of toy"):
        check_grid(grid(toy_path, settings))


def test_models_may_differ_in_everything_else(toy_path):
    check_grid(grid(toy_path, {"learning_rate": 0.1, "n_layers": 1}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": ["NDCG", "ItemCoverage"]}, "metrics must be of hit, map"),
        ({"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni10"}},
         "eval_args.mode must be full for comparisons"),
    ],
)  # fmt: skip
def test_what_tables_cannot_show_is_refused(toy_path, settings, message):
    common = {**QUICK, "data_path": str(toy_path), **settings}
    flags = {"datasets": ["toy"], "models": ["SASRec"], "settings": common}
    with pytest.raises(ConfigError, match=message):
        check_grid(read_grid(flags=flags))


def test_a_setting_that_a_model_does_not_have_is_refused(toy_path):
    with pytest.raises(ConfigError, match=r"other on toy: the setting 'n_layer'.*'n_layers'"):
        check_grid(grid(toy_path, {"n_layer": 1}))


def with_other_test_targets(path):
    """The same data set, but the last items of the later users are item B000."""
    write_toy_dataset(path / "toy")
    file = path / "toy" / "toy.inter"
    rows = [line.split("\t") for line in file.read_text().splitlines()]
    # After 40 users all items have appeared, so that the items keep their numbers.
    for number in range(len(rows)):
        last = number + 1 == len(rows) or rows[number + 1][0] != rows[number][0]
        if rows[number][0][1:].isdigit() and int(rows[number][0][1:]) >= 40 and last:
            rows[number][1] = "B000"
    file.write_text("\n".join("\t".join(row) for row in rows) + "\n")


@pytest.mark.parametrize("model", ["HM4SR", "SASRec"])
def test_test_targets_change_neither_training_nor_the_best_epoch(model, tmp_path):
    results = []
    for name in ("first", "second"):
        path = tmp_path / name
        path.mkdir()
        if name == "first":
            write_toy_dataset(path / "toy")
        else:
            with_other_test_targets(path)
        settings = QUICK_HM4SR if model == "HM4SR" else QUICK
        overrides = {**settings, "data_path": str(path), "epochs": 3}
        results.append(
            quick_start.run(model, "toy", overrides=overrides, run_dir=tmp_path / f"run-{name}")
        )
    first, second = ([without_seconds(record) for record in run.epochs] for run in results)
    assert first == second
    assert results[0].best_epoch == results[1].best_epoch
    best = max(results[0].epochs, key=lambda record: record.valid_score)
    assert results[0].best_epoch == best.epoch
    assert results[0].valid == results[1].valid
    assert results[0].test != results[1].test


def without_seconds(record):
    seconds = ("train_seconds", "valid_seconds", "run_seconds", "cpu_seconds")
    return dataclasses.replace(record, **dict.fromkeys(seconds, 0))
