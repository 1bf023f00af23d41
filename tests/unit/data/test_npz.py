"""Arrays of an archive that may come from anywhere: plain, as large as it says, and no larger."""

import io
import struct
import zipfile

import numpy as np
import pytest

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.npz import first_sentence, read_npz


def member(array, version=(1, 0)):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), version=version, allow_pickle=False)
    return file.getvalue()


def plain(text):
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def header(shape, dtype="<f4"):
    return plain(f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}")


def write(path, members, packing=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "toy.npz"


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_arrays_come_back_whatever_the_version_and_the_packing(path, version, packing):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(["x", "yz"]), "c": np.array(5)}
    write(path, [(f"{name}.npy", member(a, version)) for name, a in arrays.items()], packing)
    found = read_npz(path, tuple(arrays))
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


def test_a_header_of_python_2_is_read_without_a_word(path, recwarn):
    # Found by make fuzz: NumPy warns, and a warning is a second line on stderr.
    write(path, [("a.npy", header("(2L,)") + np.ones(2, np.float32).tobytes())])
    assert read_npz(path, ["a"])["a"].tolist() == [1, 1]
    assert len(recwarn) == 0


def test_columns_first_come_back_too(path):
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    write(path, [("a.npy", member(array))])
    assert np.array_equal(read_npz(path, ["a"])["a"], array)


def test_members_that_are_not_asked_for_are_not_read(path):
    write(path, [("a.npy", member(np.ones(2))), ("b.npy", b"no array")])
    assert read_npz(path, ["a"])["a"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header((10**15,)), r"a has the shape \(10{15},\) and type float32, 4,0{3}"),
        (header((10**40,)), r"but 0 are there"),
        (header((-1,)), r"a has the shape \(-1,\)"),
        (header((2,)) + bytes(7), "8 bytes, but 7 are there"),
        (header((2,)) + bytes(9), "8 bytes, but 9 are there"),
        (header((2,), "|O") + bytes(16), "a holds objects"),
        (header((2,), "<f5"), "valid dtype|data type"),
        (b"\x93NUMPY\x09\x00" + bytes(20), "version"),
        (b"", "plain arrays"),
        (plain("[" * 65535), "Header info length"),
        (plain("(" * 9000), "plain arrays"),
        (plain("'" * 3 + "abc"), "plain arrays"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_header_that_lies_is_refused_before_memory_is_taken(path, content, message):
    write(path, [("a.npy", content)])
    with pytest.raises(DataError, match=r"toy\.npz must be an \.npz file of plain arrays") as found:
        read_npz(path, ["a"])
    assert found.match(message)
    assert len(str(found.value).splitlines()) == 1


@pytest.mark.parametrize("code", [0x110000, 0xFFFFFFFF, 0xD800, 0xDFFF])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_text_of_what_is_no_letter_is_refused(path, code, order):
    # Found by make fuzz: NumPy reads it, and fails with a SystemError where it is looked at.
    codes = np.array([ord("a"), code], dtype=f"{order}u4")
    write(path, [("a.npy", member(codes.view(f"{order}U1")))])
    with pytest.raises(DataError, match="plain arrays, but: a holds numbers that are no letters"):
        read_npz(path, ["a"])


def test_letters_of_any_language_and_order_are_read(path):
    for order in ("<", ">"):
        write(path, [("a.npy", member(np.array(["é漢\U0010ffff", ""]).astype(f"{order}U3")))])
        assert read_npz(path, ["a"])["a"].tolist() == ["é漢\U0010ffff", ""]
    write(path, [("a.npy", member(np.array("")))])
    assert read_npz(path, ["a"])["a"] == ""


def test_arrays_larger_than_the_machine_are_refused(path, monkeypatch):
    # 4,000 bytes of zeros pack to a few: a small file that says truly that it is large.
    write(path, [("a.npy", member(np.zeros(1000, np.float32)))], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 500
    monkeypatch.setattr("recbole_hm4sr.data.npz.total_memory", lambda: 4000)
    assert len(read_npz(path, ["a"])["a"]) == 1000
    monkeypatch.setattr("recbole_hm4sr.data.npz.total_memory", lambda: 3000)
    with pytest.raises(DataError, match=r"must fit into memory, got arrays of 0\.0 GiB on a mach"):
        read_npz(path, ["a"])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice_is_refused(path):
    write(path, [("a.npy", member(np.ones(1))), ("a.npy", member(np.zeros(1)))])
    with pytest.raises(DataError, match="must hold 'a' once, got it 2 times"):
        read_npz(path, ["a"])


def test_an_empty_archive_says_what_it_lacks(path):
    write(path, [])
    with pytest.raises(DataError, match="must hold 'a', got nothing"):
        read_npz(path, ["a"])


@pytest.mark.parametrize(
    ("text", "said"),
    [("a b. Do not\nc", "a b"), ("", "ValueError"), ("\n", "ValueError"), ("x" * 300, "x" * 200)],
)
def test_of_what_a_library_says_the_first_sentence_is_passed_on(text, said):
    assert first_sentence(ValueError(text)) == said
