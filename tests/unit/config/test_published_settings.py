"""Published settings of a model on a data set are valid settings of that model."""

import pytest

from recbole_hm4sr.config.compose import check_settings, properties_dir, read_yaml
from recbole_hm4sr.model.registry import MODELS, find_model

PUBLISHED = sorted((properties_dir() / "model" / "published").glob("*.yaml"))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_they_are_valid_settings(path):
    name, _, dataset = path.stem.partition("-")
    assert name in MODELS
    entry = find_model(name)
    values = check_settings(
        name,
        dataset,
        settings_class=entry.settings_class,
        losses=entry.losses,
        config_files=[path],
        needs_data=False,
    )
    assert all(values[key] == value for key, value in read_yaml(path).items())
