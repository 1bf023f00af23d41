"""Tables of items: which lines are kept, what is counted, and files that are no tables."""

import gzip
import zipfile

import pytest
from amazonfiles import JULY, read_rows, write_raw

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.prepare.tables.job import Preparation
from recbole_hm4sr.prepare.tables.table_files import InteractionColumns, ItemColumns, prepare_tables

NEVER, OUT = "items that nobody interacted with", "items that the core took out"
HEAD = "user_id,item_id,timestamp"


def shop(folder, **options):
    """Items a and b stay in the 2-core, c falls out of it, d and e nobody takes."""
    pairs = ("u1,a", "u1,b", "u2,a", "u2,b", "u2,c")
    path = write_raw(folder / "log.csv", [HEAD, *(f"{pair},{JULY}" for pair in pairs)])
    lines = ["item_id,title", "e,E", "a,A", "c,C", "d,D", "a,again", "d,again", ",none"]
    items = write_raw(folder / "items.csv", lines)
    out = folder / "shop"
    job = Preparation(out, **{"core": 2, "threads": 1, **options})
    columns = ItemColumns(title="title")
    return out, prepare_tables(path, InteractionColumns(), job, items=items, item_columns=columns)


def counts(step):
    return {reason: entry["count"] for reason, entry in step["dropped"].items()}


def test_items_without_interactions_keep_their_lines_and_are_counted(tmp_path):
    out, provenance = shop(tmp_path, keep_items="all")
    assert [row[:2] for row in read_rows(out / "shop.item")[1:]] == [
        ["a", "A"], ["b", ""], ["c", "C"], ["d", "D"], ["e", "E"]
    ]  # fmt: skip
    step = provenance["steps"][-1]
    assert step["kept_without_interactions"] == {NEVER: 2, OUT: 1}
    assert [step["items"], step["without_metadata"], step["item_again_in_metadata"]] == [2, 1, 2]
    assert counts(step) == {"no item": 1}


def test_items_without_interactions_may_be_left_out_and_are_counted(tmp_path):
    out, provenance = shop(tmp_path, keep_items="interacted")
    assert [row[0] for row in read_rows(out / "shop.item")[1:]] == ["a", "b"]
    step = provenance["steps"][-1]
    assert counts(step) == {"no item": 1, NEVER: 3, OUT: 1}
    assert step["kept_without_interactions"] == {}


def test_other_words_for_the_items_that_are_kept_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="--keep_items must be all or interacted, got 'some'"):
        shop(tmp_path, keep_items="some")


@pytest.mark.parametrize("keep", ["all", "interacted"])
def test_every_row_that_is_read_is_written_or_counted(keep, tmp_path):
    out, provenance = shop(tmp_path, keep_items=keep)
    log, items = provenance["inputs"]
    lost = sum(sum(counts(step).values()) for step in provenance["steps"][:-1])
    assert log["n_rows"] == len(read_rows(out / "shop.inter")[1:]) + lost
    step = provenance["steps"][-1]
    written = len(read_rows(out / "shop.item")[1:]) - step["without_metadata"]
    again = step["item_again_in_metadata"]
    assert items["n_rows"] == written + again + sum(counts(step).values())


DIRT = {
    "a quotation that never closes": f'u2,"i2,{JULY}',
    "a line that is too long": f"u2,{'i' * 2_000_001},{JULY}",
    "bytes that are no text": b"u\xff,i,1405296000",
    "a fraction": f"u2,i2,{JULY}.264",
    "a date": "u2,i2,2014-07-14 00:00:00.9",
    "a no-break space": f"u2,\u00a0x,{JULY}",
    "a zero byte": f"u2,x\0,{JULY}",
    "nothing": ",,",
    "too much": "a,b,c,d",
    "the same again": f"u0,i0,{JULY}",
}


@pytest.mark.parametrize("dirt", DIRT)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_no_row_is_lost_whatever_stands_in_it(dirt, end, tmp_path):
    line = DIRT[dirt]
    lines = [HEAD, *(f"u{n},i{n},{JULY}" for n in range(5)), line, f"u9,i9,{JULY}"]
    path = tmp_path / "log.csv"
    encoded = [one if isinstance(one, bytes) else one.encode() for one in lines]
    path.write_bytes(end.encode().join(encoded))
    out = tmp_path / "shop"
    provenance = prepare_tables(path, InteractionColumns(), Preparation(out, core=0, threads=1))
    facts = provenance["inputs"][0]
    assert [facts["n_lines"], facts["n_rows"]] == [8, 7]
    lost = sum(sum(counts(step).values()) for step in provenance["steps"])
    assert len((out / "shop.inter").read_text("utf-8").split("\n")) - 2 + lost == 7
    assert lost <= 1


@pytest.mark.parametrize("role", ["log", "items"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_workbook_or_text_in_utf_16_is_named_as_such(role, packed, tmp_path):
    with zipfile.ZipFile(tmp_path / "book.xlsx", "w") as file:
        file.writestr("sheet", "x")
    text = f"user_id,item_id,timestamp,title\nu,i,{JULY},T\n"
    good = write_raw(tmp_path / "good.csv", text.splitlines())
    path = tmp_path / "bad.csv"
    for content, message in (
        ((tmp_path / "book.xlsx").read_bytes(), r"bad\.csv must be a CSV or .* is a zip archive"),
        (text.encode("utf-16"), r"is UTF-16 text: .* or give its encoding, as utf-16"),
        (text.encode("utf-16-le"), r"is UTF-16 text without a byte-order mark"),
    ):
        path.write_bytes(gzip.compress(content) if packed else content)
        log, items = (path, good) if role == "log" else (good, path)
        with pytest.raises(DataError, match=message) as caught:
            prepare_tables(
                log, InteractionColumns(), Preparation(tmp_path / "shop"), items=items,
                item_columns=ItemColumns(title="title"),
            )  # fmt: skip
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("code", ["utf-16", "utf-16-le", "utf-8-sig"])
def test_other_unicode_is_read_where_it_is_named(code, tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(f"{HEAD}\nu,é,{JULY}\n".encode(code))
    out = tmp_path / "shop"
    prepare_tables(path, InteractionColumns(encoding=code), Preparation(out, core=0, threads=1))
    assert read_rows(out / "shop.inter")[1:] == [["u", "é", str(JULY)]]


def test_levels_of_a_category_are_names_of_their_own(tmp_path):
    path = write_raw(tmp_path / "log.csv", [HEAD, f"u,i,{JULY}"])
    items = write_raw(tmp_path / "items.csv", ["item_id,groups", "i,Shoes > Running|Gifts"])
    out = tmp_path / "shop"
    columns = ItemColumns(categories="groups", level_separator=">")
    prepare_tables(
        path,
        InteractionColumns(),
        Preparation(out, core=0, threads=1),
        items=items,
        item_columns=columns,
    )
    assert read_rows(out / "shop.item")[1] == ["i", "Shoes > Running", "Shoes Running Gifts"]


def test_names_of_columns_that_are_control_codes_are_spelt(tmp_path):
    path = write_raw(tmp_path / "log.csv", ["a\x1b[2J,b", "1,2"])
    with pytest.raises(DataError, match=r"got 'a\\x1b\[2J', b") as caught:
        prepare_tables(path, InteractionColumns(), Preparation(tmp_path / "shop"))
    assert str(caught.value).isprintable()
