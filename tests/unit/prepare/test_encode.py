"""What all encoders share: batches, order, kept batches, refusals."""

import numpy as np
import pytest
from datafiles import write_lines

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.data.features import load_features
from recbole_hm4sr.prepare.encode.feature_job import (
    EncoderSpec,
    encode_in_batches,
    kept_batches,
    read_tokens,
    refuse_duplicates,
)
from recbole_hm4sr.prepare.encode.hub import choose_torch_device
from recbole_hm4sr.prepare.encode.text_encoders import encode_item_texts, encode_texts
from recbole_hm4sr.prepare.encode.tfidf import encode_tfidf_svd

LENGTHS = [3, 9, 1, 9, 5, 2, 7]


def row_numbers(rows):
    """Encodes item k as (k, 2k): any mix-up of rows shows."""
    return rows, np.stack([rows, 2 * rows], axis=1).astype(np.float32)


def run(encode_batch=row_numbers, **options):
    options = {"batch_size": 3, "storage": "float16", **options}
    return encode_in_batches(LENGTHS, encode_batch, **options)


def test_rows_stand_where_their_items_stand_whatever_the_order_of_batches():
    done, values = run()
    assert done.all()
    assert values.dtype == np.float16
    assert values.tolist() == [[k, 2 * k] for k in range(7)]


def test_batches_are_by_length_the_longest_first_and_equal_lengths_in_order():
    batches = []
    run(lambda rows: (batches.append(rows.tolist()), row_numbers(rows))[1])
    assert batches == [[1, 3, 6], [4, 0, 5], [2]]


def test_rows_that_cannot_be_encoded_shift_no_other():
    def even_only(rows):
        return row_numbers(rows[rows % 2 == 0])

    done, values = run(even_only)
    assert done.tolist() == [True, False, True, False, True, False, True]
    assert values[:, 0].tolist() == [0, 2, 4, 6]


def test_a_batch_of_which_nothing_can_be_encoded_is_passed_over():
    def not_the_first_batch(rows):
        rows = rows[~np.isin(rows, [1, 3, 6])]
        return (rows, np.zeros((0, 0), np.float32)) if not len(rows) else row_numbers(rows)

    done, values = run(not_the_first_batch)
    assert values[:, 0].tolist() == np.flatnonzero(done).tolist() == [0, 2, 4, 5]


def test_nothing_encodable_is_refused():
    with pytest.raises(DataError, match="at least one item must be encodable, got none"):
        run(lambda rows: (rows[:0], np.zeros((0, 0), np.float32)))


def test_progress_tells_the_start_each_batch_and_what_was_kept(tmp_path):
    calls = []
    for _ in range(2):
        run(keep=tmp_path / "keep", on_batch=lambda *call: calls.append(call))
    fresh, kept = calls[:4], calls[4:]
    assert fresh == [(0, False, 7), (3, False, 7), (3, False, 7), (1, False, 7)]
    assert kept == [(0, False, 7), (3, True, 7), (3, True, 7), (1, True, 7)]


def test_an_interrupted_run_goes_on_and_gives_the_same_values(tmp_path):
    keep, encoded = tmp_path / "keep", []

    def interrupted(rows):
        if len(encoded) == 2:
            raise KeyboardInterrupt
        encoded.append(rows.tolist())
        return row_numbers(rows)

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        run(interrupted, keep=keep)
    rest = []
    _, values = run(lambda rows: (rest.append(rows.tolist()), row_numbers(rows))[1], keep=keep)
    assert (encoded, rest) == ([[1, 3, 6], [4, 0, 5]], [[2]])
    assert values.tobytes() == run()[1].tobytes()


def test_a_spoilt_kept_batch_is_encoded_again(tmp_path):
    run(keep=tmp_path / "keep")
    (tmp_path / "keep" / "0000001.npz").write_bytes(b"PK no archive")
    assert run(keep=tmp_path / "keep")[1].tolist() == run()[1].tolist()


def test_values_that_are_not_finite_or_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"finite values, got NaN or infinity .* row 1; use dtype"):
        run(lambda rows: (rows, np.full((len(rows), 2), np.nan, np.float32)))
    # The largest float16 is 65504.
    large = np.full((3, 2), 70000, np.float32)
    with pytest.raises(DataError, match="must fit float16, got up to 70000; use storage float32"):
        run(lambda rows: (rows, large[: len(rows)]))
    assert run(lambda rows: (rows, large[: len(rows)]), storage="float32")[1].max() == 70000


def test_the_kept_folder_depends_on_every_input_and_its_place(tmp_path):
    out = tmp_path / "toy.text.npz"
    names = set()
    for inputs in [("a", "b"), ("ab",), ("a", ["b"], "c"), ("a", ["b", "c"]), ("b", "a")]:
        with kept_batches(out, *inputs) as keep:
            names.add(keep)
    assert len(names) == 5
    assert all(name.parent == tmp_path and ".toy.text.npz." in name.name for name in names)


def test_kept_batches_go_when_the_output_is_written_and_stay_otherwise(tmp_path):
    def encode_and_write(error):
        with kept_batches(tmp_path / "out", "input") as keep:
            run(keep=keep)
            if error:
                raise error

    with pytest.raises(KeyboardInterrupt, match="stopped"):
        encode_and_write(KeyboardInterrupt("stopped"))
    assert len(list(tmp_path.rglob("*.npz"))) == 3
    encode_and_write(None)
    assert list(tmp_path.iterdir()) == []


def test_options_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="batch_size must be 1 or more, got 0"):
        run(batch_size=0)
    with pytest.raises(ConfigError, match="pooling must be one of auto, cls, mean, model, got 'x'"):
        EncoderSpec(name="m", pooling="x")
    with pytest.raises(ConfigError, match=r"dtype must be one of float32, .* got 'half'"):
        EncoderSpec(name="m", dtype="half")
    with pytest.raises(ConfigError, match="max_length must be 1 or more, got 0"):
        EncoderSpec(name="m", max_length=0)
    with pytest.raises(ConfigError, match="device must be auto, cpu or cuda, got 'toaster'"):
        choose_torch_device("toaster")
    assert choose_torch_device("cpu").type == "cpu"


def test_tokens_are_read_once_each_and_duplicates_refused(tmp_path):
    path = write_lines(tmp_path / "toy.inter", "item_id:token", [["b"], ["a"], ["b"]])
    assert read_tokens(path, "item_id").tolist() == ["b", "a"]
    with pytest.raises(DataError, match=r"toy.item: an item must be on one line, got 'a' again"):
        refuse_duplicates(["b", "a", "a"], "toy.item")


# --- tfidf-svd, which needs no package ------------------------------------------------------------

HEADER = "item_id:token\ttitle:token_seq\tbrand:token"
ROWS = [
    ("i0", "red running shoe", "Acme"),
    ("i1", "", ""),
    ("i2", "blue running shoe", "Acme"),
    ("i3", "steel hammer", "Bolt"),
]
TFIDF = EncoderSpec(name="tfidf-svd", storage="float32")


def encode_items(tmp_path, rows):
    item_file = write_lines(tmp_path / "toy.item", HEADER, rows)
    out = tmp_path / "toy.text.npz"
    report = encode_item_texts(
        item_file, out, item_field="item_id", fields=["title", "brand"], encoder=TFIDF
    )
    return report, load_features(out)


def test_tfidf_svd_gives_the_values_of_the_built_in_source_without_the_empty_items(tmp_path):
    report, features = encode_items(tmp_path, ROWS)
    texts = [f"{title} {brand}" for _, title, brand in ROWS]
    expected = encode_tfidf_svd(texts, width=128)[[0, 2, 3]]
    assert np.array_equal(features.values, expected)
    assert features.tokens.tolist() == ["i0", "i2", "i3"]
    assert features.encoder == "tfidf-svd"
    assert report.skipped == {"no text in title, brand": ["i1"]}
    assert (report.n_items, report.width) == features.values.shape
    assert np.array_equal(encode_texts(texts, encoder=TFIDF)[[0, 2, 3]], expected)


def test_a_file_without_text_or_with_an_item_twice_is_refused(tmp_path):
    with pytest.raises(DataError, match="at least one item must have text in title, brand"):
        encode_items(tmp_path, [("i0", "", ""), ("i1", " ", "")])
    with pytest.raises(DataError, match="an item must be on one line, got 'i0' again"):
        encode_items(tmp_path, [ROWS[0], ROWS[0]])
