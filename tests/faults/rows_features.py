"""Broken feature files."""

import io
import pickle
import struct
import zipfile
import zlib

import numpy as np
from faultkit import CHECK, ITEMS, TRAIN, Fault, put, remove

NPZ = "data/toy/toy.text.npz"
VALUES = np.arange(21, dtype=np.float32).reshape(7, 3)
SOUND = {"tokens": np.array(ITEMS), "values": VALUES, "encoder": np.array("e"),
         "revision": np.array("1")}  # fmt: skip


def npz(**members):
    """The bytes of an archive; a member of None is left out."""
    file = io.BytesIO()
    parts = {name: value for name, value in {**SOUND, **members}.items() if value is not None}
    np.savez(file, **parts)
    return file.getvalue()


def zipped(**members):
    """An archive of members given as bytes, the others sound."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in SOUND.items():
            plain = io.BytesIO()
            np.save(plain, value)
            archive.writestr(f"{name}.npy", members.pop(name, plain.getvalue()))
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy_header(shape, dtype="<f4"):
    """The header of an array without its content."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


class Trap:
    """What runs code when it is unpickled."""

    def __reduce__(self):
        return open, ("trap-was-sprung", "w")


def pickled_npy():
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + "\n"
    return (
        b"\x93NUMPY\x01\x00"
        + struct.pack("<H", len(header))
        + header.encode()
        + pickle.dumps([Trap()])
    )


def bomb():
    """A member of a gigabyte of zeros, 1 MB packed; its header tells the truth."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    rows = (1 << 30) // 12
    packed = packer.compress(npy_header((rows, 3)))
    for _ in range(1 << 10):
        packed += packer.compress(block)
    return packed + packer.flush()


def altered(place):
    path = place / NPZ
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def spoilt(name, says, content, command=TRAIN):
    return Fault(f"features: {name}", command, says, put(NPZ, content))


def with_values(change):
    values = VALUES.copy()
    change(values)
    return npz(values=values)


FAULTS = [
    Fault("features: missing", TRAIN, r"toy\.text\.npz does not exist", remove(NPZ)),
    Fault("features: a folder", TRAIN, r"toy\.text\.npz",
          lambda p: ((p / NPZ).unlink(), (p / NPZ).mkdir())),
    Fault("features: one altered byte", TRAIN, r"toy\.text\.npz", altered),
    spoilt("empty", "must be an .npz", b""),
    spoilt("a text", "must be an .npz", b"tokens values"),
    spoilt("UTF-16", "must be an .npz archive, but is UTF-16 text", "tokens".encode("utf-16")),
    spoilt("truncated", "must be an .npz", npz()[:400]),
    spoilt("without its last byte", "must be an .npz|does not", npz()[:-1]),
    spoilt("a single array", "must be an .npz archive, but is a single NumPy array",
           (lambda f: (np.save(f, VALUES), f.getvalue())[1])(io.BytesIO())),
    spoilt("an empty archive", "must hold 'tokens'", b"PK\x05\x06" + bytes(18)),
    *(spoilt(f"without {name}", f"must hold '{name}'", npz(**{name: None})) for name in SOUND),
    spoilt("pickled", "must be an .npz", pickle.dumps(Trap())),
    spoilt("tokens as objects", "plain arrays",
           npz(tokens=np.array([Trap(), *ITEMS[1:]], dtype=object))),
    spoilt("values as objects", "plain arrays", npz(values=VALUES.astype(object))),
    spoilt("encoder as an object", "plain arrays", npz(encoder=np.array({"a": 1}, dtype=object))),
    spoilt("a pickled member", "plain arrays", zipped(values=pickled_npy())),
    spoilt("tokens of no letters", "tokens holds numbers that are no letters",
           npz(tokens=np.full(7, 0x110000, np.uint32).view("U1"))),
    spoilt("tokens as numbers", "tokens must be a list of texts", npz(tokens=np.arange(7))),
    spoilt("tokens as bytes", "tokens must be a list of texts",
           npz(tokens=np.array(ITEMS).astype("S"))),
    spoilt("tokens as a matrix", "tokens must be a list of texts",
           npz(tokens=np.array([ITEMS]))),
    spoilt("float64", "values must be float16 or float32", npz(values=VALUES.astype(float))),
    spoilt("integers", "values must be float16 or float32", npz(values=VALUES.astype(int))),
    spoilt("complex", "values must be float16 or float32", npz(values=VALUES.astype(complex))),
    spoilt("records", "values must be float16 or float32",
           npz(values=np.zeros(7, dtype=[("a", "f4")]))),
    spoilt("big-endian", "values must be float16 or float32", npz(values=VALUES.astype(">f4"))),
    spoilt("one dimension", "values must be .* shape", npz(values=VALUES[:, 0])),
    spoilt("four dimensions", "values must be .* shape", npz(values=VALUES[None, None])),
    spoilt("layers of too few rows", "same number of rows", npz(values=VALUES[None])),
    spoilt("no columns", "at least 1", npz(values=VALUES[:, :0])),
    spoilt("no rows", "at least 1", npz(tokens=np.array([], dtype="U1"), values=VALUES[:0])),
    spoilt("a row too few", "same number of rows", npz(values=VALUES[:6])),
    spoilt("a token twice", "a token must appear once, got more of 1 item, e.g. 'i1'",
           npz(tokens=np.array(["i1", *ITEMS[1:]]))),
    spoilt("NaN", "the rows of 1 item, e.g. 'i2' hold NaN",
           with_values(lambda v: v.__setitem__((2, 0), np.nan))),
    spoilt("infinity", "e.g. 'i3' hold NaN or inf",
           with_values(lambda v: v.__setitem__((3, 1), np.inf))),
    spoilt("infinity in float16", "e.g. 'i3' hold NaN or inf",
           npz(values=np.where(VALUES == 9, np.inf, VALUES).astype(np.float16))),
    spoilt("items without a row", "1 of 7 items have no text feature",
           npz(tokens=np.array(ITEMS[1:]), values=VALUES[1:])),
    spoilt("tokens of another data set", "none matches",
           npz(tokens=np.array([f"B{n}" for n in range(7)]))),
    spoilt("a header of a huge array", "plain arrays",
           zipped(values=npy_header((10**12, 768)))),
    spoilt("a header of more than int64", "plain arrays", zipped(values=npy_header((10**30, 3)))),
    spoilt("a header with a negative shape", "plain arrays", zipped(values=npy_header((-7, 3)))),
    spoilt("a header of code", "plain arrays",
           zipped(values=b"\x93NUMPY\x01\x00\x20\x00" + b"open('trap-was-sprung', 'w')".ljust(32))),
    spoilt("a header of brackets", "plain arrays",
           zipped(values=b"\x93NUMPY\x01\x00" + struct.pack("<H", 60000) + b"[" * 60000)),
    spoilt("tokens of huge width", "plain arrays", zipped(tokens=npy_header((7,), "<U500000000"))),
    spoilt("a member that is no array", "plain arrays", zipped(values=b"no array")),
    spoilt("a member with a wrong check sum", "must be an .npz",
           zipped().replace(struct.pack("<I", zlib.crc32(b"")), b"\0\0\0\0")[:-30]),
    spoilt("encrypted", "must be an .npz", zipped().replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00",
           b"PK\x01\x02\x14\x03\x14\x00\x01\x00")),
    Fault("check: features with NaN", CHECK, "hold NaN or infinity",
          put(NPZ, with_values(lambda v: v.__setitem__((2, 0), np.nan)))),
    Fault("check: pickled features", CHECK, "plain arrays", put(NPZ, npz(tokens=np.array(
          [Trap(), *ITEMS[1:]], dtype=object)))),
    Fault("column: no such column", [*TRAIN, "--modalities={title_vector: item}"],
          "must have the column 'title_vector'"),
    Fault("column: of another kind", [*TRAIN, "--modalities={title: item}"],
          "'title' must be float_seq, got token_seq"),
    Fault("column: a word", [*TRAIN, "--modalities={v: side}"],
          "line 3: v must hold numbers", put("data/toy/toy.v",
          "item_id:token\tv:float_seq\ni0\t1 2\ni1\t1 b\n")),
    Fault("column: another width", [*TRAIN, "--modalities={v: side}"],
          "line 3: v must hold 2 values", put("data/toy/toy.v",
          "item_id:token\tv:float_seq\ni0\t1 2\ni1\t1\n")),
    Fault("column: empty", [*TRAIN, "--modalities={v: side}"],
          "line 2: v must hold at least 1", put("data/toy/toy.v",
          "item_id:token\tv:float_seq\ni0\t\n")),
    Fault("column: NaN", [*TRAIN, "--modalities={v: side}"], "hold NaN or inf",
          put("data/toy/toy.v", "item_id:token\tv:float_seq\ni0\t1 nan\n")),
    Fault("column: beyond float32", [*TRAIN, "--modalities={v: side}"], "hold NaN or inf",
          put("data/toy/toy.v", "item_id:token\tv:float_seq\ni0\t1 1e39\n")),
    Fault("column: a token twice", [*TRAIN, "--modalities={v: side}"], "must appear once",
          put("data/toy/toy.v", "item_id:token\tv:float_seq\ni0\t1\ni0\t1\n")),
    Fault("source: none exists", [*TRAIN, "--modalities={sound: auto}"],
          "modality 'sound' must have"),
    Fault("source: unknown", [*TRAIN, "--modalities={text: csv}"],
          "the source of modality 'text' must be one of"),
    Fault("source: text without columns",
          [*TRAIN, "--modalities={text: tfidf-svd}", "--text_fields=[]"],
          "text_fields must name at least one column"),
    Fault("source: text of a missing column",
          [*TRAIN, "--modalities={text: tfidf-svd}", "--text_fields=[blurb]"],
          "must have the text_fields blurb"),
]  # fmt: skip
