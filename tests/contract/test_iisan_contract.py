"""IISAN keeps the contract: with layers, one modality, one layer, over all items, on prefixes."""

import logging

import numpy as np
import pytest

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.features import ItemFeatures, save_features
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.contract import ModelContract
from recbole_hm4sr.testing.toydata import N_ITEMS, write_toy_dataset

SMALL = {"hidden_size": 16, "adapter_size": 6}


def write_layers(folder):
    """The toy data set with three layers of text and of images, of different widths."""
    write_toy_dataset(folder)
    random = np.random.default_rng(3)
    for name, width in (("text", 6), ("image", 4)):
        save_features(
            folder / f"toy.{name}.npz",
            ItemFeatures(
                np.array([f"B{item:03d}" for item in random.permutation(N_ITEMS)]),
                random.normal(size=(N_ITEMS, 3 * width)).astype(np.float32),
                "test",
                "1",
                "toy",
                3,
            ),
        )


class TestIISAN(ModelContract):
    model = "IISAN"
    overrides = SMALL

    @pytest.fixture(scope="class")
    @classmethod
    def toy_path(cls, tmp_path_factory):
        path = tmp_path_factory.mktemp("layers")
        write_layers(path / "toy")
        return path

    def test_learning_rates_keep_the_authors_proportions(self, session):
        model, rate = session.model, session.config["learning_rate"]
        shares = {
            id(parameter): group["lr"] / rate
            for group in model.parameter_groups()
            for parameter in group["params"]
        }
        assert len(shares) == len(list(model.parameters()))
        image, text, inter = (model.towers[name] for name in ("image", "text", "inter-modal"))
        assert shares[id(text.end.weight)] == pytest.approx(0.25)
        assert shares[id(image.end.weight)] == shares[id(image.gates)] == pytest.approx(0.5)
        assert shares[id(inter.down[0].weight)] == shares[id(text.up[1].bias)] == pytest.approx(0.5)
        for weight in (inter.end.weight, text.gates, inter.gates, text.out.bias, model.join.weight):
            assert shares[id(weight)] == pytest.approx(1)

    def test_it_is_the_papers_form(self, session):
        assert session.model.variant() == ""
        assert session.model.side_layers == [0, 1, 2]


class TestIISANOfOneModalityOverAllItems(TestIISAN):
    overrides = {
        **SMALL,
        "modalities": {"text": "npz"},
        "loss": "ce",
        "n_negatives": 7,
        "side_layers": [0, 2],
        "remove_first": True,
    }

    def test_learning_rates_keep_the_authors_proportions(self, session):
        assert len(session.model.towers) == 1

    def test_it_is_the_papers_form(self, session):
        assert session.model.variant() == ""
        assert session.model.side_layers == [0, 2]


class TestIISANOfOneLayerOnPrefixes(ModelContract):
    model = "IISAN"
    overrides = {**SMALL, "train_mode": "prefix", "train_history": "exclude"}

    def test_it_says_so(self, toy_path, tmp_path, caplog):
        with caplog.at_level(logging.WARNING):
            model = self.open(toy_path, tmp_path).model
        assert "IISAN runs as IISAN (one layer)" in caplog.text
        assert model.variant().startswith("IISAN (one layer)")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"side_layers": [1, 3]}, "side_layers must be numbers of the 3 stored layers, from 0"),
        ({"side_layers": [1], "remove_first": True}, "remove_first must leave a layer to read"),
        ({"side_layers": [2, 1]}, "side_layers must rise"),
        ({"modalities": {}}, "modalities must name at least one, since IISAN"),
        ({"memory": "events"}, "memory must be none with loss: in_batch"),
        ({"n_negatives": 3}, "n_negatives must be 0 unless loss is ce"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message, tmp_path):
    write_layers(tmp_path / "toy")
    values = {**SMALL, "data_path": str(tmp_path), **settings}
    with pytest.raises(ConfigError, match=message):
        build_parts(compose("IISAN", "toy", overrides=values), tmp_path / "run")
