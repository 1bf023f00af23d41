"""``hm4sr encode`` and ``hm4sr convert`` as a user runs them."""

import numpy as np
import pytest
import torch
from datafiles import read_config, read_dataset, walks, write_dataset, write_lines

from recbole_hm4sr.cli import main
from recbole_hm4sr.config.settings import DataSettings, read_settings
from recbole_hm4sr.data.features import load_features
from recbole_hm4sr.prepare.encode.tfidf import make_missing_text_features

ITEM = "item_id:token\ttitle:token_seq\tbrand:token"
ROWS = [(f"i{number}", f"word{number} thing word{number % 3}", "Acme") for number in range(7)]


@pytest.fixture
def shop(tmp_path):
    """The folder above a data set of seven items, of which i4 has no text."""
    rows = [(token, "", "") if token == "i4" else (token, *rest) for token, *rest in ROWS]
    return write_dataset(tmp_path / "toy", walks([7, 5]), item=(ITEM, rows))


def run(shop, *words):
    try:
        main([*words, "--dataset=toy", f"--data_path={shop}"])
    except SystemExit as end:
        return end.code
    return 0


def test_encoded_texts_are_a_modality_of_the_next_run(shop, capsys):
    assert run(shop, "encode", "text") == 0
    said = capsys.readouterr().out
    assert "text of each item: title, brand" in said
    assert "left out, no text in title, brand: 1, e.g. 'i4'" in said
    assert "toy.text.npz: 6 items" in said
    # Nothing is silently left unused: the toy's settings name no modality.
    assert (
        "runs of toy do not read it; to read this file, give them --modalities='{text: npz}'"
        in said
    )
    (shop / "toy" / "toy.yaml").write_text("modalities: {text: auto}")
    assert run(shop, "encode", "text") == 0
    assert "--modalities" not in capsys.readouterr().out
    dataset = read_dataset(shop, modalities={"text": "npz"}, missing_features="zero")
    features = dataset.modality("text")
    absent = dataset.item_tokens[~features.present].tolist()
    assert absent == ["[PAD]", "i4"]


def test_an_encoder_gets_the_words_that_tfidf_svd_gets(shop, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(shop / "cache"))
    (shop / "toy" / "toy.yaml").write_text("modalities: {text: tfidf-svd}\ntext_fields: [brand]")
    settings = read_settings(read_config(shop), DataSettings)
    made = make_missing_text_features(shop / "toy", "toy", settings, item_field="item_id")
    made = load_features(made)
    assert run(shop, "encode", "text", "--storage=float32") == 0
    assert "text of each item: brand" in capsys.readouterr().out
    read = load_features(shop / "toy" / "toy.text.npz")
    # A single word for all items is a single value; i4 has no text.
    assert read.values.tolist() == [[1.0]] * 6
    assert np.array_equal(read.values, made.values[made.tokens != "i4"])
    assert run(shop, "encode", "text", "--fields=title, brand") == 0
    assert "text of each item: title, brand" in capsys.readouterr().out
    assert load_features(shop / "toy" / "toy.text.npz").values.shape == (6, 6)


def test_text_fields_that_are_no_columns_are_refused(shop, capsys):
    (shop / "toy" / "toy.yaml").write_text("text_fields: [colour]")
    assert run(shop, "encode", "text") == 2
    assert "must have the text_fields colour, got item_id, title, brand" in capsys.readouterr().err
    (shop / "toy" / "toy.yaml").write_text("text_fields: colour")
    assert run(shop, "encode", "text") == 2
    assert "text_fields must be a list, each entry a text, got 'colour'" in capsys.readouterr().err
    (shop / "toy" / "toy.yaml").write_text("text_fields: []")
    write_lines(shop / "toy" / "toy.item", "item_id:token\tblurb:token_seq", [("i0", "a")])
    assert run(shop, "encode", "text") == 2
    said = capsys.readouterr().err
    assert "text_fields of toy (or --fields) must name columns of" in said
    assert "which has item_id, blurb" in said


def test_a_feature_file_goes_to_the_authors_format_and_back(shop, capsys):
    assert run(shop, "encode", "text", "--storage=float32") == 0
    folder = shop / "toy"
    assert run(shop, "convert", "--from=npz", f"--file={folder / 'toy.text.npz'}", "--to=hm4sr",
               "--modality=text") == 2  # fmt: skip
    assert "must have a row for each of 7 items, but 1 have none" in capsys.readouterr().err
    order = read_dataset(shop).item_tokens
    values = np.arange(14, dtype=np.float32).reshape(7, 2)
    torch.save(torch.from_numpy(values), folder / "txt_emb.pt")
    assert run(shop, "convert", "--from=hm4sr", f"--file={folder / 'txt_emb.pt'}",
               "--modality=text") == 0  # fmt: skip
    features = load_features(folder / "toy.text.npz")
    assert dict(zip(features.tokens, features.values.tolist(), strict=True)) == dict(
        zip(order[1:], values.tolist(), strict=True)
    )


def test_categories_are_converted_where_a_file_is_named(shop, capsys):
    folder = shop / "toy"
    torch.save(torch.eye(7), folder / "cat.pt")
    words = ["convert", "--from=hm4sr", "--to=categories", f"--file={folder / 'cat.pt'}"]
    words.append("--modality=categories")
    assert run(shop, *words) == 2
    assert "categories must have a file to write; name it with --out" in capsys.readouterr().err
    assert run(shop, *words, f"--out={folder / 'categories.item'}") == 0
    assert (folder / "categories.item").read_text().count("\n") == 8


def test_wrong_words_are_one_line(shop, capsys):
    assert run(shop, "encode", "text", "--fields=title,colour") == 2
    assert "must have the text_fields colour, got item_id, title, brand" in capsys.readouterr().err
    assert run(shop, "encode", "text", "--fields=,") == 2
    assert "--fields must name columns of" in capsys.readouterr().err
    assert run(shop, "encode", "text", "--pooling=max") == 2
    assert "pooling must be one of auto, cls, mean, model, got 'max'" in capsys.readouterr().err
