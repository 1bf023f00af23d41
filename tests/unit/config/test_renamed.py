"""A setting that has another name now: a user is told it, a run of an earlier release is read."""

import pytest
from datafiles import hm4sr_config, write_text

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.renamed import RENAMED
from recbole_hm4sr.model.registry import MODELS
from recbole_hm4sr.run.place import read_run_settings


def test_a_setting_s_old_name_is_refused_with_the_new_one(data_path, tmp_path):
    path = write_text(tmp_path / "mine.yaml", "visits_per_epoch: 2\n")
    sentence = "is now called 'passes_per_epoch'"
    with pytest.raises(ConfigError, match=rf"^the setting 'visits_per_epoch' \(flag\) {sentence}$"):
        hm4sr_config(data_path, visits_per_epoch=2)
    with pytest.raises(
        ConfigError, match=rf"^the setting 'visits_per_epoch' \(.*yaml\) {sentence}$"
    ):
        hm4sr_config(data_path, [path])
    names = {name for entry in MODELS.values() for name in entry.settings_class.names()}
    assert set(RENAMED.values()) <= names


def test_a_run_of_an_earlier_release_is_read_by_the_new_name(data_path, tmp_path):
    text = f"model: HM4SR\ndataset: toy\ndata_path: {data_path}\nvisits_per_epoch: 3\n"
    write_text(tmp_path / "config.yaml", text)
    model, dataset, values = read_run_settings(tmp_path)
    assert (model, dataset) == ("HM4SR", "toy")
    assert values == {"data_path": str(data_path), "passes_per_epoch": 3}
    config = hm4sr_config(data_path, passes_per_epoch=values["passes_per_epoch"])
    assert config["passes_per_epoch"] == 3
