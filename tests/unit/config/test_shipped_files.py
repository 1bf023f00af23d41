"""The files of properties/ set what differs from the defaults in code, and nothing else."""

import pytest
from datafiles import config_of, read_config

from recbole_hm4sr.config.compose import (
    properties_dir,
    read_yaml,
    recbole_defaults,
)
from recbole_hm4sr.config.recbole_settings import RecBoleSettings
from recbole_hm4sr.config.settings import DataSettings, RunSettings, read_settings
from recbole_hm4sr.model.hm4sr.settings import HM4SRSettings
from recbole_hm4sr.model.registry import find_model


def fields(*classes):
    return {name for cls in classes for name in cls.names()}


OWN_FILES = sorted((properties_dir() / "model").glob("*.yaml"))


@pytest.mark.parametrize("path", OWN_FILES, ids=lambda path: path.stem)
def test_a_model_s_file_sets_only_what_differs(path):
    settings_class = find_model(path.stem).settings_class
    defaults = settings_class.defaults() if settings_class else {}
    below = defaults | recbole_defaults(path.stem) | read_yaml(properties_dir() / "overall.yaml")
    values = read_yaml(path)
    assert set(values) <= set(below)
    assert {name for name, value in values.items() if below[name] == value} == set()


def test_the_protocol_s_file_sets_only_what_differs():
    values = read_yaml(properties_dir() / "overall.yaml")
    below = DataSettings.defaults() | RunSettings.defaults() | recbole_defaults("HM4SR")
    assert set(values) <= set(below)
    assert {name for name, value in values.items() if below[name] == value} == set()


def test_recbole_has_the_settings_that_are_declared_for_it():
    outdated = {"neg_sampling", "training_neg_sample_num"}
    assert fields(RecBoleSettings) - outdated <= set(recbole_defaults("HM4SR"))


@pytest.mark.parametrize(
    "path", sorted((properties_dir() / "dataset").glob("*.yaml")), ids=lambda path: path.stem
)
def test_a_data_set_s_file_sets_known_names_and_builds(path, tmp_path):
    values = read_yaml(path)
    assert set(values) <= fields(DataSettings) | set(recbole_defaults("HM4SR"))
    (tmp_path / path.stem).mkdir()
    config = config_of("HM4SR", path.stem, data_path=str(tmp_path))
    assert {name: config[name] for name in values} == values


def test_no_setting_is_ours_and_recbole_s_at_once():
    assert not fields(DataSettings, RunSettings) & set(recbole_defaults("HM4SR"))


def test_settings_read_from_a_config_are_those_of_the_files(data_path):
    config = read_config(data_path)
    values = HM4SRSettings.defaults() | read_yaml(properties_dir() / "model" / "HM4SR.yaml")
    assert read_settings(config, HM4SRSettings).model_dump(mode="json") == values
