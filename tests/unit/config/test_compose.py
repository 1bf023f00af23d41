"""Settings composed from files and flags: precedence, names, values, and what stays untouched."""

import os
import re
import sys
from pathlib import Path

import pytest
import yaml
from datafiles import config_of, hm4sr_config, write_text
from recbole.config import Config
from recbole.utils import argument_list

from recbole_hm4sr.base import recbole_files
from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.compose import (
    UNSUPPORTED,
    recbole_defaults,
    resolve_data_path,
)
from recbole_hm4sr.config.settings import DataSettings, read_settings

# --- precedence --------------------------------------------------------------------------------


def test_each_source_wins_over_the_ones_before(data_path, tmp_path):
    assert recbole_defaults("HM4SR")["train_batch_size"] == 2048
    assert hm4sr_config(data_path)["train_batch_size"] == 1024  # properties/overall.yaml
    assert hm4sr_config(data_path)["hidden_size"] == 64  # HM4SRSettings
    beside = "hidden_size: 2\nepochs: 2\nseed: 2\nn_layers: 2\n"
    write_text(data_path / "toy" / "toy.yaml", beside)
    first = write_text(tmp_path / "first.yaml", "epochs: 3\nseed: 3\nn_layers: 3\n")
    second = write_text(tmp_path / "second.yaml", "seed: 4\nn_layers: 4\n")
    config = hm4sr_config(data_path, [first, str(second)], n_layers=5)
    assert [config[name] for name in ("hidden_size", "epochs", "seed", "n_layers")] == [2, 3, 4, 5]
    assert config["worker"] == 0  # RecBole's own default


def test_the_data_set_s_file_of_the_package_counts(tmp_path):
    config = config_of("HM4SR", "ml-100k")
    assert read_settings(config, DataSettings).modalities == {"text": "tfidf-svd"}
    assert Path(config["data_path"]) == recbole_files.bundled_dataset_folder("ml-100k")


def test_a_value_replaces_a_mapping_as_a_whole(data_path):
    config = hm4sr_config(data_path, load_col={"inter": "*"})
    assert config["load_col"] == {"inter": "*"}


# --- names -------------------------------------------------------------------------------------


def test_unknown_names_are_refused_with_where_and_the_near_miss(data_path, tmp_path):
    path = write_text(tmp_path / "mine.yaml", "hiden_size: 8\n")
    write_text(data_path / "toy" / "toy.yaml", "modalites: {}\n")
    with pytest.raises(ConfigError, match="modalites") as caught:
        hm4sr_config(data_path, [path], learning_rat=1, zzzzzz=1)
    beside = data_path / "toy" / "toy.yaml"
    assert str(caught.value).split("; the setting ") == [
        f"the setting 'modalites' ({beside}) is unknown; did you mean 'modalities'?",
        f"'hiden_size' ({path}) is unknown; did you mean 'hidden_size'?",
        "'learning_rat' (flag) is unknown; did you mean 'learning_rate'?",
        "'zzzzzz' (flag) is unknown",
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("split", "eval_args"),
        ("lr", "learning_rate"),
        ("batch_size", "train_batch_size"),
        ("batch-size", "train_batch_size"),
        ("dropout", "hidden_dropout_prob"),
        ("max_len", "MAX_ITEM_LIST_LENGTH"),
        ("n_epochs", "epochs"),
        ("device", "use_gpu"),
    ],
)
def test_what_other_projects_call_a_setting_leads_to_ours(data_path, name, meant):
    with pytest.raises(ConfigError, match=rf"^the setting '{name}' .* did you mean '{meant}'\?$"):
        hm4sr_config(data_path, **{name: 1})


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
def test_settings_that_would_be_ignored_are_refused_with_the_reason(data_path, name):
    reason = re.escape(UNSUPPORTED[name])
    with pytest.raises(ConfigError, match=rf"^{name} \(flag\) is not supported here: {reason}$"):
        hm4sr_config(data_path, **{name: recbole_defaults("HM4SR").get(name)})


def test_what_is_not_supported_is_refused_beside_the_data_too(data_path):
    path = write_text(data_path / "toy" / "toy.yaml", "save_dataset: true\n")
    with pytest.raises(ConfigError, match=rf"^save_dataset \({re.escape(str(path))}\) is not supp"):
        hm4sr_config(data_path)


def test_every_unsupported_name_but_the_outdated_is_one_recbole_knows():
    outdated = {"neg_sampling", "training_neg_sample_num"}
    assert set(UNSUPPORTED) - outdated <= set(recbole_defaults("HM4SR"))


# --- values ------------------------------------------------------------------------------------


def test_all_problems_of_names_types_and_ranges_stand_in_one_error(data_path):
    with pytest.raises(ConfigError, match="epochs") as caught:
        hm4sr_config(
            data_path, epoch=1, epochs=0, seed="x", n_threads=-1, n_heads=3, timestamp_unit="d"
        )
    assert str(caught.value).split("; ") == [
        "the setting 'epoch' (flag) is unknown",
        "did you mean 'epochs'?",
        "seed must be a whole number, got 'x'",
        "epochs must be 1 or more, got 0",
        "timestamp_unit must be one of s, ms, got 'd'",
        "n_threads must be from 0 to 1024, got -1",
        "hidden_size must be a multiple of n_heads (3), got 64",
    ]


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"epochs": True}, "epochs must be a whole number, got True"),
        ({"epochs": 1.5}, "epochs must be a whole number, got 1.5"),
        ({"epochs": None}, "epochs must be a whole number, got None"),
        ({"learning_rate": None}, "learning_rate must be a number, got None"),
        ({"learning_rate": "1e-3x"}, "learning_rate must be a number, got '1e-3x'"),
        ({"learning_rate": 0}, "learning_rate must be above 0, got 0"),
        ({"learning_rate": float("inf")}, "learning_rate must be a number, got inf"),
        ({"use_gpu": 1}, "use_gpu must be true or false, got 1"),
        ({"learner": ["adam"]}, r"learner must be a text, got \['adam'\]"),
        ({"numerical_features": None}, "numerical_features must be a list, got None"),
        ({"numerical_features": "rating"}, "numerical_features must be a list, got 'rating'"),
        ({"field_separator": ","}, "field_separator must be a tab, got ','"),
        ({"data_path": 5}, "data_path must be the folder above the data set, got 5"),
        ({"load_col": "inter"}, "load_col must map files to lists of .*, got 'inter'"),
        ({"load_col": {"inter": "user_id"}}, "load_col must map files to lists of their columns"),
        ({"load_col": {"item": "*"}}, r"load_col.inter must name user_id, item_id, timestamp too"),
        (
            {"load_col": {"inter": ["user_id", "item_id"], "user": ["age"]}},
            r"inter must name timestamp too, got .*; load_col.user must name user_id too",
        ),
        ({"eval_args": "full"}, "eval_args must be a mapping, got 'full'"),
        ({"eval_args": {"split": {"LS": "test_only"}}}, "order must be TO .*, got None"),
        ({"eval_args": {"order": "RO"}}, "'RO'; eval_args.split must be LS with"),
        ({"eval_args": {"order": "TO", "split": {"RS": [8, 2]}}}, r"three ratios, got .*\[8, 2"),
        (
            {"eval_args": {"order": "TO", "split": {"RS": [0, 0, 0]}}},
            "RS, TS or GT with three ratios",
        ),
        ({"eval_args": {"order": "TO", "split": {"LS": "all"}}}, "LS with valid_and_test, valid"),
        ({"eval_args": {"order": "TO", "split": {"XX": 1}}}, "eval_args.split must be LS with"),
        ({"eval_args": {"order": "TO", "split": None}}, "eval_args.split must be .*, got None"),
        (
            {"eval_args": {"order": "TO", "split": {"LS": "test_only"}, "group_by": 1, "by": 1}},
            "eval_args.by is unknown; .*; eval_args.group_by must be user or none, got 1",
        ),
        ({"metrics": [5]}, r"metrics must be names, got \[5\]"),
        ({"metrics": []}, r"metrics must be names, got \[\]"),
        ({"topk": ["a"]}, r"topk must be whole numbers, got \['a'\]"),
        ({"topk": [10]}, "valid_metric must be one of .*, as NDCG@10, got 'NDCG@20'"),
        ({"valid_metric": "NDCG"}, "valid_metric must be .* topk, as NDCG@5, got 'NDCG'"),
    ],
)
def test_a_bad_value_is_refused_before_anything_is_read(data_path, flags, problem):
    with pytest.raises(ConfigError, match=problem):
        hm4sr_config(data_path, **flags)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"topk": [5, 0], "valid_metric": "NDCG@5"}, "topk must be 1 or more, got 0"),
        ({"repeatable": False}, "repeatable must be true: .*, got False"),
        ({"gpu_id": "x"}, "gpu_id must be the number of a GPU, or empty, got 'x'"),
        ({"transform": "mask"}, "transform must be null or one of mask_itemseq, .*, got 'mask'"),
        ({"learner": "sparse_adam"}, "learner must be one of adagrad, .*, got 'sparse_adam'"),
        ({"metric_decimal_place": 400}, "metric_decimal_place must be from 1 to 17, got 400"),
        ({"valid_metric_bigger": False}, "valid_metric_bigger must be true for NDCG@20"),
        ({"train_neg_sample_args": "none"}, "train_neg_sample_args must be null or a mapping"),
        (
            {"train_neg_sample_args": {}},
            "train_neg_sample_args must be null, since the loss of HM4SR reads no negative",
        ),
    ],
)
def test_what_recbole_refuses_late_or_never_is_refused(data_path, flags, problem):
    with pytest.raises(ConfigError, match="^" + problem):
        hm4sr_config(data_path, **flags)


LEAVE_ONE_OUT = {"order": "TO", "split": {"LS": "valid_and_test"}}


@pytest.mark.parametrize(
    "mode",
    ["full", "uni1", "uni100", "pop100", {"valid": "uni5"}, {"valid": "full", "test": "pop5"}],
)
def test_modes_of_evaluation_that_work_are_taken(data_path, mode):
    config = hm4sr_config(data_path, eval_args={**LEAVE_ONE_OUT, "mode": mode})
    first = mode if isinstance(mode, str) else mode["valid"]
    last = first if isinstance(mode, str) else mode.get("test", first)
    assert config["eval_args"]["mode"] == {"valid": first, "test": last}


@pytest.mark.parametrize(
    "mode",
    [
        *("labeled", "some", "Full", "uni", "uni0", "uni-3", "unix", None, 3, ["full"]),
        *({}, {"all": "full"}, {"valid": "labeled", "test": "full"}),
    ],
)
def test_modes_of_evaluation_that_cannot_be_made_are_refused(data_path, mode):
    with pytest.raises(ConfigError, match=r"^eval_args\.mode must be full, or uni or pop .*, got "):
        hm4sr_config(data_path, eval_args={**LEAVE_ONE_OUT, "mode": mode})


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"metrics": ["AUC"], "valid_metric": "AUC"}, "mode must draw items, as uni100, for AUC"),
        ({"metrics": ["AUC", "NDCG"], "valid_metric": "AUC"}, "by rank alone or by score alone"),
    ],
)
def test_metrics_that_do_not_fit_the_candidates_are_refused(data_path, flags, problem):
    with pytest.raises(ConfigError, match=problem):
        hm4sr_config(data_path, **flags)
    if len(flags["metrics"]) == 1:
        assert hm4sr_config(data_path, eval_args={**LEAVE_ONE_OUT, "mode": "uni5"}, **flags)


@pytest.mark.parametrize(
    ("given", "meant"),
    [("[0,inf)", "[0,inf)"), ([5, 10], "[5,10]"), ([5, float("inf")], "[5,inf]")],
)
def test_an_interval_may_be_a_list_of_two_numbers(data_path, given, meant):
    config = hm4sr_config(data_path, item_inter_num_interval=given)
    assert config["item_inter_num_interval"] == meant


def test_values_that_recbole_s_users_write_are_taken(data_path):
    config = hm4sr_config(
        data_path,
        gpu_id=0,
        learning_rate=1,
        topk=5,
        metrics="NDCG",
        valid_metric="ndcg@5",
        field_separator="\t",
        user_inter_num_interval=None,
        load_col=None,
        eval_args={"split": {"RS": [8, 1, 1]}, "order": "TO", "mode": "uni100"},
    )
    assert config["topk"] == [5]
    assert config["metrics"] == ["NDCG"]
    assert config["eval_args"]["group_by"] == "user"


def test_a_share_of_a_recbole_model_may_be_a_fraction_where_its_default_is_whole(data_path):
    assert recbole_defaults("SASRecCPR")["hidden_dropout_prob"] == 0
    flags = {"data_path": str(data_path), "hidden_dropout_prob": 0.2}
    assert config_of("SASRecCPR", "toy", **flags)["hidden_dropout_prob"] == 0.2


@pytest.mark.parametrize(
    "text", ["__import__('os').mkdir('x')", "[].__class__", "open('x', 'w')", "os.mkdir('x')"]
)
def test_code_stays_a_text_or_is_refused(data_path, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    path = write_text(tmp_path / "mine.yaml", yaml.safe_dump({"wandb_project": text}))
    assert hm4sr_config(data_path, [path])["wandb_project"] == text
    assert hm4sr_config(data_path, wandb_project=text)["wandb_project"] == text
    with pytest.raises(ConfigError, match="seed must be a whole number, got "):
        hm4sr_config(data_path, seed=text)
    assert not (tmp_path / "x").exists()


# --- the data set's folder -----------------------------------------------------------------------


def test_the_folder_is_looked_for_where_the_user_says_only(tmp_path, data_path):
    assert resolve_data_path("toy", str(data_path)) == data_path / "toy"
    place = re.escape(str(tmp_path))
    with pytest.raises(ConfigError, match="the data set 'ml-100k' must be a folder .* in " + place):
        resolve_data_path("ml-100k", str(tmp_path))


def test_the_working_directory_comes_before_the_package_and_recbole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_data_path("ml-100k", None) == recbole_files.bundled_dataset_folder("ml-100k")
    folder = tmp_path / "dataset_atomic" / "ml-100k"
    folder.mkdir(parents=True)
    assert resolve_data_path("ml-100k", None) == folder


def test_a_near_miss_of_a_data_set_is_named():
    with pytest.raises(ConfigError, match=r"did you mean 'ml-100k'. name the folder above it with"):
        resolve_data_path("ml-100", None)


@pytest.mark.parametrize("name", ["../toy", "a/b", "", ".", "..", "a b"])
def test_a_data_set_s_name_is_no_path(name, tmp_path):
    with pytest.raises(ConfigError, match="the data set's name must be the name of a folder"):
        resolve_data_path(name, str(tmp_path))


# --- what a configuration leaves behind ----------------------------------------------------------


def test_recbole_s_modules_and_the_process_are_as_before(data_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["hm4sr", "--epochs=3"])
    environment = dict(os.environ)
    lists = {n: list(v) for n, v in vars(argument_list).items() if isinstance(v, list)}
    resolvers = {
        loader: {key: list(value) for key, value in loader.yaml_implicit_resolvers.items()}
        for loader in (yaml.FullLoader, yaml.SafeLoader)
    }
    config = hm4sr_config(data_path)
    assert isinstance(config, Config)
    assert config["epochs"] == 100
    assert sys.argv == ["hm4sr", "--epochs=3"]
    assert dict(os.environ) == environment
    assert lists == {n: v for n, v in vars(argument_list).items() if isinstance(v, list)}
    for loader, before in resolvers.items():
        assert loader.yaml_implicit_resolvers == before


def test_two_configurations_share_nothing(data_path):
    first = hm4sr_config(data_path)
    first["eval_args"]["mode"]["valid"] = "changed"
    first["metrics"].append("changed")
    second = hm4sr_config(data_path)
    assert second["eval_args"]["mode"] == {"valid": "full", "test": "full"}
    assert second["metrics"] == ["NDCG", "MRR", "Hit"]


def test_the_user_s_own_mapping_is_not_changed(data_path):
    negatives = {"distribution": "uniform"}
    given = {"data_path": str(data_path), "loss_type": "BPR", "train_neg_sample_args": negatives}
    flags = dict(given)
    config_of("SASRec", "toy", **flags)
    assert flags == given
    assert negatives == {"distribution": "uniform"}
