"""Features that stay in their file: mapped, checked whole, gathered by rows."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data import matrices
from recbole_hm4sr.data.features import ItemFeatures, align_features, load_features, save_features
from recbole_hm4sr.data.matrices import check_rows, map_values, take_rows

TOKENS = np.array([f"i{number}" for number in range(50)])


@pytest.fixture(autouse=True)
def _few_rows_at_a_time(monkeypatch):
    monkeypatch.setattr(matrices, "_BYTES_AT_A_TIME", 100)


def values_of(dtype=np.float16, n=50, width=7):
    return np.random.default_rng(0).standard_normal((n, width)).astype(dtype)


def write(path, values, save=np.savez):
    save(path, tokens=TOKENS[: len(values)], values=values, encoder="clip", revision="r1")
    return path


def is_mapped(array):
    base = array
    while base is not None and not isinstance(base, np.memmap):
        base = getattr(base, "base", None)
    return base is not None


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_an_uncompressed_archive_is_mapped_and_cannot_be_written(tmp_path, dtype):
    values = values_of(dtype)
    read = load_features(write(tmp_path / "a.npz", values)).values
    assert is_mapped(read)
    assert read.dtype == dtype
    assert np.array_equal(read, values)
    with pytest.raises(ValueError, match="read-only"):
        read[0, 0] = 1


def test_layers_are_mapped_too(tmp_path):
    values = values_of(n=50, width=12).reshape(50, 3, 4)
    read = load_features(write(tmp_path / "a.npz", values))
    assert is_mapped(read.values)
    assert read.n_layers == 3
    aligned = align_features(read, ["[PAD]", *TOKENS], modality="text", missing="error")
    assert is_mapped(aligned.stored)
    assert np.array_equal(aligned.values[1:], values[:, -1].astype(np.float32))


def resident_kb(path):
    """Memory that the map of a file takes in this process, by the system's own account."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.endswith(str(path)))
    return next(int(line.split()[1]) for line in lines[start:] if line.startswith("Rss:"))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="/proc/self/smaps is of Linux")
def test_a_whole_pass_over_a_mapped_file_leaves_no_memory_behind(tmp_path):
    values = values_of(np.float32, width=7_000)  # 1.4 MB
    features = load_features(write(tmp_path / "a.npz", values))
    assert resident_kb(tmp_path / "a.npz") == 0  # read to be checked
    aligned = align_features(features, ["[PAD]", *TOKENS], modality="text", missing="error")
    assert resident_kb(tmp_path / "a.npz") == 0  # read for the fingerprint
    assert np.array_equal(aligned.take(np.arange(51))[1:], values)
    assert resident_kb(tmp_path / "a.npz") == 0  # copied for a model
    assert np.array_equal(aligned.take(np.arange(1, 31)), values[:30])
    assert resident_kb(tmp_path / "a.npz") >= 30 * 28  # a part, read again


def test_what_save_features_writes_is_mapped(tmp_path):
    stored = ItemFeatures(TOKENS, values_of(), "clip", "r1", "")
    save_features(tmp_path / "a.npz", stored)
    assert is_mapped(load_features(tmp_path / "a.npz").values)


def test_a_member_written_as_a_stream_is_mapped(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name, array in (("values", values_of()), ("tokens", TOKENS)):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        values, finite = map_values(archive)
    assert np.array_equal(values, values_of())
    assert finite.all()


@pytest.mark.parametrize(
    ("save", "values"),
    [
        (np.savez_compressed, values_of()),
        (np.savez, np.asfortranarray(values_of())),
    ],
    ids=["compressed", "by columns"],
)
def test_other_archives_are_read_as_before(tmp_path, save, values):
    path = write(tmp_path / "a.npz", values, save)
    with zipfile.ZipFile(path) as archive:
        assert map_values(archive) is None
    assert np.array_equal(load_features(path).values, values)


def test_a_file_that_is_replaced_leaves_the_map_as_it_was(tmp_path):
    path = write(tmp_path / "a.npz", values_of())
    read = load_features(path)
    save_features(path, ItemFeatures(TOKENS, values_of() + 1, "clip", "r2", ""))
    assert np.array_equal(read.values, values_of())
    assert np.array_equal(load_features(path).values, values_of() + 1)


@pytest.mark.parametrize("row", [0, 17, 49])
def test_a_changed_letter_of_a_mapped_value_is_refused(tmp_path, row):
    path = write(tmp_path / "a.npz", values_of())
    content = path.read_bytes()
    place = content.index(values_of()[row].tobytes())
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(DataError, match=r"a\.npz must be an \.npz file of .* Bad CRC-32 for file"):
        load_features(path)


def test_a_header_that_promises_other_rows_is_refused(tmp_path):
    path = write(tmp_path / "a.npz", values_of())
    content = path.read_bytes()
    path.write_bytes(content.replace(b"(50, 7)", b"(51, 7)"))
    with pytest.raises(DataError, match=r"a\.npz must be an \.npz file of plain arrays"):
        load_features(path)


def test_rows_that_are_not_finite_are_named_in_a_mapped_file(tmp_path):
    values = values_of()
    values[3, 2], values[40, 6] = np.nan, -np.inf
    path = write(tmp_path / "a.npz", values)
    with pytest.raises(
        DataError, match=r"finite, but the rows of 2 items, e\.g\. 'i3', 'i40' hold"
    ):
        load_features(path)


def test_rows_are_checked_as_all_at_once():
    values = values_of(np.float32)
    values[[0, 24, 25, 49], [0, 3, 6, 6]] = [np.inf, np.nan, -np.inf, np.nan]
    finite, _ = check_rows(values)
    assert np.array_equal(finite, np.isfinite(values).all(axis=1))


def test_rows_are_taken_with_zeros_where_there_are_none():
    values = values_of()
    rows = np.array([4, -1, 49, 0, -1, 4] * 9)
    taken = take_rows(values, rows)
    assert taken.dtype == np.float32
    assert np.array_equal(taken[rows < 0], np.zeros((18, 7)))
    assert np.array_equal(taken[rows >= 0], values[rows[rows >= 0]].astype(np.float32))
    assert take_rows(values, rows[:0]).shape == (0, 7)


# --- aligned features ----------------------------------------------------------------------------


@pytest.fixture
def aligned(tmp_path):
    """50 rows, of which the catalogue takes 30 in another order; 5 items have no row."""
    features = load_features(write(tmp_path / "a.npz", values_of()))
    catalogue = ["[PAD]", *np.random.default_rng(1).permutation(TOKENS)[:30]]
    catalogue += [f"new{number}" for number in range(5)]
    return align_features(features, catalogue, modality="text", missing="zero"), catalogue


def whole_matrix(catalogue):
    """The matrix in memory, item by item."""
    rows = dict(zip(TOKENS, values_of().astype(np.float32), strict=True))
    return np.stack([rows.get(token, np.zeros(7, np.float32)) for token in catalogue])


def test_the_values_are_those_of_the_whole_matrix(aligned):
    features, catalogue = aligned
    assert is_mapped(features.stored)
    assert np.array_equal(features.values, whole_matrix(catalogue))
    assert features.values.dtype == np.float32
    assert features.width == 7
    assert features.rows.dtype == np.int64
    assert features.rows[[0, -1]].tolist() == [-1, -1]
    assert features.present.tolist() == [False] + [True] * 30 + [False] * 5


def test_some_items_are_taken_without_the_others(aligned):
    features, catalogue = aligned
    items = np.array([35, 0, 3, 3, 17, 1])
    assert np.array_equal(features.take(items), whole_matrix(catalogue)[items])
    assert features.take(items).dtype == np.float32


def test_the_fingerprint_is_that_of_the_whole_matrix(aligned):
    # As it was computed when the matrix was in memory: checkpoints hold it.
    features, catalogue = aligned
    values = whole_matrix(catalogue)
    digest = hashlib.sha256(repr(values.shape).encode())
    digest.update(values.data)
    digest.update(np.array([False] + [True] * 30 + [False] * 5).data)
    assert features.fingerprint == digest.hexdigest()
