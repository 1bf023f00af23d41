"""Words to vectors: fitted once, kept, applied to items that come later."""

import numpy as np
import pytest
from datafiles import write_lines
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.data.features import load_features
from recbole_hm4sr.data.text_encoder import TextEncoder, WordWeights, encoder_path
from recbole_hm4sr.prepare.encode.feature_job import EncoderSpec
from recbole_hm4sr.prepare.encode.text_encoders import encode_item_texts


def drawn_texts(n, seed=0):
    random = np.random.default_rng(seed)
    words = np.array([f"word{number}" for number in range(60)])
    share = 1 / np.arange(1, 61)
    return [
        " ".join(random.choice(words, random.integers(0, 9), p=share / share.sum()))
        for _ in range(n)
    ]


def test_an_item_encoded_again_has_the_same_row_to_the_last_bit(tmp_path):
    texts = drawn_texts(300)
    fitted = TextEncoder.fit(texts, width=16).described(
        fields=["title"], storage="float32", revision="r"
    )
    values = fitted.encode(texts)
    hashed = fitted.save(tmp_path / "toy.text.encoder.npz")
    assert hashed == hash_file(tmp_path / "toy.text.encoder.npz")
    kept = TextEncoder.load(tmp_path / "toy.text.encoder.npz")
    assert (kept.fields, kept.storage, kept.revision, kept.width) == (
        ("title",),
        "float32",
        "r",
        16,
    )
    for some in ([7], [299, 0, 7], list(range(100, 200))):
        # Among others, with words that the fit has never seen.
        others = ["unheard of word1", *(texts[it] for it in some)]
        assert kept.encode(others)[1:].tobytes() == values[some].tobytes()
    assert not kept.encode(["unheard"]).any()


def test_values_are_those_of_scikit_learn_fitted_to_all():
    texts = drawn_texts(300)
    counts = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit_transform(texts)
    expected = normalize(TruncatedSVD(16, random_state=2020).fit_transform(counts))
    found = TextEncoder.fit(texts, width=16).encode(texts)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_idf_is_that_of_the_first_texts():
    words = WordWeights.fit(["red shoe", "blue shoe"])
    assert words.terms == ("blue", "blue shoe", "red", "red shoe", "shoe")
    # ln((1 + n) / (1 + texts with it)) + 1, of n = 2.
    rare = np.log(3 / 2) + 1
    np.testing.assert_allclose(words.idf, [rare, rare, rare, rare, 1])
    row = words.apply(["shoe red hat"]).toarray()[0]
    np.testing.assert_allclose(row, np.array([0, 0, rare, 0, 1]) / np.hypot(rare, 1))


def test_a_damaged_encoder_and_one_of_another_release_are_refused(tmp_path):
    path = tmp_path / "toy.text.encoder.npz"
    with pytest.raises(DataError, match="does not exist"):
        TextEncoder.load(path)
    TextEncoder.fit(["a red shoe", "a hat"], width=1).save(path)
    with np.load(path) as archive:
        parts = dict(archive)
    for wrong, sentence in (
        ({"format": np.array("recbole-hm4sr text encoder 9")}, "must have the format .* 1', got"),
        ({"idf": np.ones(3)}, "must be a kept text encoder, but its parts contradict"),
        ({"about": np.array(["float32"])}, "must be a kept text encoder, but: not enough values"),
    ):
        np.savez(path, **{**parts, **wrong})
        with pytest.raises(DataError, match=sentence):
            TextEncoder.load(path)


HEADER = "item_id:token\ttitle:token_seq\tbrand:token"
ROWS = [("i0", "red running shoe", "Acme"), ("i1", "steel hammer", "Bolt"), ("i2", "red hat", "A")]


@pytest.mark.parametrize("storage", ["float16", "float32"])
def test_new_items_are_encoded_by_the_kept_encoder(storage, tmp_path):
    first = write_lines(tmp_path / "toy.item", HEADER, ROWS)
    options = {"item_field": "item_id", "fields": ["title", "brand"]}
    out = tmp_path / "toy.text.npz"
    encode_item_texts(first, out, encoder=EncoderSpec(name="tfidf-svd", storage=storage), **options)
    old, kept = load_features(out), encoder_path(out)
    assert kept == tmp_path / "toy.text.encoder.npz"
    new = write_lines(tmp_path / "new.item", HEADER, [("n0", "red shoe", "Acme"), ROWS[1]])
    spec = EncoderSpec(name=str(kept))
    encode_item_texts(new, tmp_path / "new.npz", encoder=spec, **options)
    found = load_features(tmp_path / "new.npz")
    assert found.tokens.tolist() == ["n0", "i1"]
    assert (found.encoder, found.revision) == (old.encoder, old.revision)
    assert found.values.dtype == storage
    assert found.values[1].tobytes() == old.values[1].tobytes()
    assert found.values[0] @ old.values[0] > 0.5
    options["fields"] = ["title"]
    with pytest.raises(ConfigError, match=r"--fields must be those .* fitted to, title,brand, got"):
        encode_item_texts(new, tmp_path / "new.npz", encoder=spec, **options)
