"""Vision models: small random ones written here, and images drawn here."""

import importlib.util

import numpy as np
import pytest

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.data.features import load_features
from recbole_hm4sr.prepare.encode.feature_job import EncoderSpec
from recbole_hm4sr.prepare.encode.image_encoders import (
    IMAGE_PRESETS,
    encode_images,
    encode_item_images,
    find_images,
)
from recbole_hm4sr.prepare.images.folder import file_stem

HAS_MODELS = all(importlib.util.find_spec(name) for name in ("transformers", "PIL"))
needs_models = pytest.mark.skipif(
    not HAS_MODELS, reason="the extra image (transformers, pillow) is not installed"
)
# One float16 step at values up to 4 is 2**-8; the models' outputs are normalised.
TOLERANCE = {"rtol": 2**-10, "atol": 2**-9}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
    "initializer_range": 0.5,
}
TEXT = {**VISION, "vocab_size": 9, "max_position_embeddings": 8, "eos_token_id": 2}
TEXT |= {"bos_token_id": 1, "pad_token_id": 0}
SQUARE = {"height": 32, "width": 32}


def make_model(name):
    """A random model of a family, and its preprocessing."""
    import transformers as hf

    if name == "clip":
        config = hf.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=12)
        processor = hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=SQUARE)
        return hf.CLIPModel(config), processor
    if name == "siglip":
        config = hf.SiglipConfig(text_config=TEXT, vision_config=VISION)
        return hf.SiglipModel(config), hf.SiglipImageProcessor(size=SQUARE)
    if name == "dinov2":
        model = hf.Dinov2Model(hf.Dinov2Config(**VISION))
        return model, hf.BitImageProcessor(size={"shortest_edge": 40}, crop_size=SQUARE)
    if name == "resnet":
        config = hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
        return hf.ResNetModel(config), hf.ConvNextImageProcessor(size={"shortest_edge": 64})
    if name == "swin":
        sizes = {"image_size": 32, "patch_size": 4, "window_size": 4, "embed_dim": 8}
        config = hf.SwinConfig(**sizes, depths=[1, 1], num_heads=[2, 2])
        return hf.SwinModel(config), hf.ViTImageProcessor(size=SQUARE)
    return hf.ViTModel(hf.ViTConfig(**VISION)), hf.ViTImageProcessor(size=SQUARE)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The folder above one folder a family."""
    import torch

    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("models")
    for name in ("clip", "vit", "dinov2", "siglip", "resnet", "swin"):
        for part in make_model(name):
            part.save_pretrained(path / name)
    return path


@pytest.fixture
def images(tmp_path):
    """A folder of nine images of random blocks, of different sizes."""
    from PIL import Image

    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(4)
    for number in range(9):
        blocks = generator.integers(0, 256, (3 + number % 3, 4, 3), dtype=np.uint8)
        image = Image.fromarray(blocks).resize((40 + 3 * number, 50), Image.Resampling.NEAREST)
        image.save(folder / f"i{number}.{'png' if number % 2 else 'webp'}", lossless=True)
    return folder


def paths_of(folder):
    return sorted(folder.iterdir())


def one_by_one(folder, paths, pick):
    """The plain form: each image on its own."""
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    rows = []
    for path in paths:
        pixels = processor(Image.open(path).convert("RGB"), return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            rows.append(pick(model, pixels)[0].numpy())
    return np.stack(rows)


def clip_projection(model, pixels):
    return model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)


def clip_first(model, pixels):
    hidden = model.vision_model(pixel_values=pixels).last_hidden_state
    return model.vision_model.post_layernorm(hidden[:, 0])


def first(model, pixels):
    return model(pixel_values=pixels).last_hidden_state[:, 0]


def pooler(model, pixels):
    return model(pixel_values=pixels).pooler_output


def patches(model, pixels):
    # 32 / 8 = 4 patches a side; before them stands the class token.
    hidden = model(pixel_values=pixels).last_hidden_state
    assert hidden.shape[1] == 17
    return hidden[:, 1:].mean(dim=1)


def siglip_head(model, pixels):
    return model.vision_model(pixel_values=pixels).pooler_output


def siglip_patches(model, pixels):
    return model.vision_model(pixel_values=pixels).last_hidden_state.mean(dim=1)


def every_patch(model, pixels):
    # Swin's 8 x 8 patches of 4 pixels are merged to 4 x 4 of twice the width.
    hidden = model(pixel_values=pixels).last_hidden_state
    assert hidden.shape[1:] == (16, 16)
    return hidden.mean(dim=1)


def places(model, pixels):
    hidden = model(pixel_values=pixels).last_hidden_state
    assert hidden.ndim == 4
    return hidden.mean(dim=(2, 3))


def flat_pooler(model, pixels):
    return pooler(model, pixels)[:, :, 0, 0]


@needs_models
@pytest.mark.parametrize(
    ("name", "pooling", "pick"),
    [
        ("clip", "auto", clip_projection),
        ("clip", "cls", clip_first),
        ("vit", "auto", first),
        ("vit", "model", pooler),
        ("vit", "mean", patches),
        ("dinov2", "auto", first),
        ("siglip", "auto", siglip_head),
        ("siglip", "mean", siglip_patches),
        ("swin", "auto", every_patch),
        ("swin", "mean", every_patch),
        ("resnet", "auto", places),
        ("resnet", "mean", places),
        ("resnet", "model", flat_pooler),
    ],
)
def test_batches_equal_images_encoded_one_by_one(models, images, name, pooling, pick):
    encoder = EncoderSpec(name=str(models / name), pooling=pooling)
    good, values = encode_images(paths_of(images), encoder=encoder, batch_size=4)
    assert good.all()
    assert values.dtype == np.float16
    expected = one_by_one(models / name, paths_of(images), pick)
    np.testing.assert_allclose(values, expected, **TOLERANCE)


@needs_models
@pytest.mark.parametrize("name", ["siglip", "swin", "resnet"])
def test_a_model_without_a_class_token_has_no_first_token(models, images, name):
    encoder = EncoderSpec(name=str(models / name), pooling="cls")
    with pytest.raises(ConfigError, match="pooling cls must have a model with a class token"):
        encode_images(paths_of(images), encoder=encoder)


def encode_folder(folder, tokens, out, model, **options):
    encoder = EncoderSpec(name=str(model), pooling="cls")
    report = encode_item_images(folder, tokens, out, encoder=encoder, batch_size=2, **options)
    return report, load_features(out)


@needs_models
def test_every_item_without_a_row_is_counted_by_reason_and_shifts_no_other(
    models, images, tmp_path
):
    whole = (images / "i1.png").read_bytes()
    (images / "i1.png").write_bytes(whole[: len(whole) // 2])
    (images / "i3.png").write_bytes(b"no image")
    (images / "i2.JPG").write_bytes((images / "i2.webp").read_bytes())
    (images / "stranger.png").write_bytes(whole)
    (images / "notes.txt").write_text("not an image")
    tokens = ["i8", "i3", "i1", "../i5", "i2", "i0", "nobody"]
    report, features = encode_folder(images, tokens, tmp_path / "x.npz", models / "vit")
    assert features.tokens.tolist() == ["i8", "i2", "i0"]
    expected = one_by_one(models / "vit", [images / f"{t}.webp" for t in ("i8", "i2", "i0")], first)
    np.testing.assert_allclose(features.values, expected, **TOLERANCE)
    assert report.skipped == {
        "no image file": ["../i5", "nobody"],
        "the image is damaged, too large, or not of 1 to 16 bits a channel": ["i3", "i1"],
        "image of no item": ["i4.webp", "i5.png", "i6.webp", "i7.png", "stranger.png"],
    }
    assert report.notes == ["1 items have several images, of which one is taken, e.g. 'i2'"]


@needs_models
def test_grey_of_16_bits_has_the_features_of_its_8(models, images, tmp_path):
    from PIL import Image

    deep = tmp_path / "deep"
    deep.mkdir()
    for path in paths_of(images):
        grey = np.asarray(Image.open(path).convert("L"))
        Image.fromarray(grey).save(images / f"{path.stem}.png")
        Image.fromarray(grey.astype(np.uint16) * 257).save(deep / f"{path.stem}.png")
    encoder = EncoderSpec(name=str(models / "vit"))
    _, expected = encode_images(sorted(images.glob("*.png")), encoder=encoder)
    good, values = encode_images(paths_of(deep), encoder=encoder)
    assert good.all()
    assert np.array_equal(values, expected)
    assert len(np.unique(values, axis=0)) == len(values)


@needs_models
def test_rows_belong_to_tokens_whatever_their_order(models, images, tmp_path):
    tokens = [f"i{number}" for number in range(9)]
    _, one = encode_folder(images, tokens, tmp_path / "one.npz", models / "clip")
    _, other = encode_folder(images, tokens[::-1], tmp_path / "other.npz", models / "clip")
    assert other.tokens.tolist() == tokens[::-1]
    np.testing.assert_allclose(one.values, other.values[::-1], **TOLERANCE)


@needs_models
def test_an_interrupted_folder_goes_on_to_identical_bytes(models, images, tmp_path):
    tokens = [f"i{number}" for number in range(9)]
    (images / "i3.png").write_bytes(b"no image")
    encode_folder(images, tokens, tmp_path / "whole.npz", models / "vit")
    seen = []

    def interrupt(n_items, kept, total):
        seen.append(n_items)
        if len(seen) == 4:
            raise KeyboardInterrupt

    out = tmp_path / "broken.npz"
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        encode_folder(images, tokens, out, models / "vit", on_batch=interrupt)
    calls = []
    encode_folder(images, tokens, out, models / "vit", on_batch=lambda *call: calls.append(call))
    assert [kept for _, kept, _ in calls[1:]] == [True] * 3 + [False] * 2
    assert out.read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.npz", "images", "whole.npz"]


@needs_models
def test_a_folder_of_which_nothing_decodes_is_refused(models, images, tmp_path):
    for path in paths_of(images):
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="at least one item must be encodable, got none"):
        encode_folder(images, ["i0", "i1"], tmp_path / "x.npz", models / "vit")


@needs_models
def test_a_folder_that_is_no_model_is_refused(images, tmp_path):
    with pytest.raises(DataError, match=r"the folder .*nowhere of the encoder does not exist"):
        encode_images(paths_of(images), encoder=EncoderSpec(name=str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match="cannot read the encoder"):
        encode_images(paths_of(images), encoder=EncoderSpec(name=str(tmp_path)))


# --- without any package --------------------------------------------------------------------------


def test_of_several_images_of_an_item_the_first_kind_is_taken(tmp_path):
    for name in ("a.webp", "a.PNG", "b.c.jpeg", "x.tiff", "a.tiff", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    files = find_images(tmp_path, ["b.c", "a", "x"])
    assert files.paths == {"b.c": tmp_path / "b.c.jpeg", "a": tmp_path / "a.PNG"}
    assert (files.without, files.unused, files.doubled) == (["x"], [], ["a"])
    assert files.unread == ["x.tiff"]


def test_what_prepare_images_saves_is_found(tmp_path):
    names = ["00000.gif", "00001.bmp", "00002.jpg", "00003.png", "00004.webp"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    files = find_images(tmp_path, [name[:5] for name in names])
    assert [path.name for path in files.paths.values()] == names
    assert (files.without, files.unused, files.doubled, files.unread) == ([], [], [], [])


def test_images_are_found_as_they_were_downloaded(tmp_path):
    (tmp_path / f"{file_stem('a/b')}.png").write_bytes(b"")
    files = find_images(tmp_path, ["a/b", "c"])
    assert files.paths == {"a/b": tmp_path / "a%2Fb.png"}
    assert files.without == ["c"]
    assert files.unused == []


def test_a_folder_without_an_items_image_is_refused(tmp_path):
    (tmp_path / "z.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"named by item token, such as a.jpg, got 1 files and none"
    ):
        find_images(tmp_path, ["a", "b"])
    with pytest.raises(DataError, match=r"images must be in a folder, got .*nowhere: No such file"):
        find_images(tmp_path / "nowhere", ["a"])


def test_the_papers_preset_is_clips_vit_before_the_projection():
    preset = IMAGE_PRESETS["paper"]
    assert (preset.name, preset.pooling) == ("openai/clip-vit-base-patch16", "cls")


@pytest.mark.parametrize("package", ["PIL.Image", "transformers"])
def test_a_missing_package_names_the_extra(package, monkeypatch):
    pytest.importorskip("PIL", reason="pillow is not installed")
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(
        ConfigError, match=r"not installed; .* pip install 'recbole-hm4sr\[image\]'"
    ):
        encode_images([], encoder=EncoderSpec(name="some-model"))
