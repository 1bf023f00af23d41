"""Text files of a user: what is no UTF-8 text is named, and a byte-order mark is no content."""

import codecs
import gzip
import io
import zipfile

import numpy as np
import pytest

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.text_files import looks_like, read_text
from recbole_hm4sr.data.atomic import read_header
from recbole_hm4sr.prepare.convert.row_order import read_mapping
from recbole_hm4sr.serve.history_columns import HistoryColumns
from recbole_hm4sr.serve.history_table import read_history_file

TEXT = "user_id,item_id,timestamp\nu1,i1,1600000000\n"
COLUMNS = HistoryColumns(user="user_id", item="item_id", time="timestamp", unit="s")


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", TEXT)
    return file.getvalue()


OTHERS = {
    "UTF-16 text": TEXT.encode("utf-16"),
    "UTF-16 text without": TEXT.encode("utf-16-be"),
    "UTF-32 text": TEXT.encode("utf-32"),
    "a zip archive": zipped(),
    "a gzip file": gzip.compress(TEXT.encode()),
    "a Parquet file": b"PAR1\x15\x04",
    "no text": b"user\0" + TEXT.encode() * 9,
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize(
    "read",
    [
        lambda path: read_text(path, "the file", DataError),
        lambda path: read_history_file(path, COLUMNS),
        lambda path: read_header(path),
        lambda path: read_mapping(path, np.array(["[PAD]", "i1"])),
    ],
)
def test_another_kind_of_file_is_named_without_its_bytes(tmp_path, kind, read):
    path = tmp_path / "a.csv"
    path.write_bytes(OTHERS[kind])
    with pytest.raises(DataError, match=f"{path} must be UTF-8 text, but is {kind}") as caught:
        read(path)
    assert str(caught.value).isprintable()


def test_a_byte_order_mark_is_no_content(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(codecs.BOM_UTF8 + TEXT.encode())
    assert read_text(path, "the file", DataError) == TEXT
    assert read_history_file(path, COLUMNS).items.tolist() == ["i1"]


@pytest.mark.parametrize("text", ["", "a", "\u65e5\u672c", TEXT])
def test_text_is_text(text):
    assert looks_like(text.encode()) is None
