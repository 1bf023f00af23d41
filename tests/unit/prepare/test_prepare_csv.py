"""``hm4sr prepare csv``: tables with named columns, clean and dirty."""

import gzip

import pytest
import yaml
from amazonfiles import DAY, JULY, read_rows, write_raw

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.prepare.tables.job import Preparation
from recbole_hm4sr.prepare.tables.table_files import InteractionColumns, ItemColumns, prepare_tables

NAMES = InteractionColumns("user", "item", "time")


def prepare(path, columns=NAMES, **options):
    """Prepare a table beside ``path``. Returns the data set's folder and its provenance."""
    out = path.parent / "shop"
    tables = {name: options.pop(name) for name in ("items", "item_columns") if name in options}
    job = Preparation(out, **{"core": 0, "threads": 1, **options})
    return out, prepare_tables(path, columns, job, **tables)


def dropped(provenance, step=0):
    found = provenance["steps"][step]["dropped"]
    return {reason: entry["count"] for reason, entry in found.items()}


def inter(out):
    return [(user, item, int(time)) for user, item, time in read_rows(out / "shop.inter")[1:]]


def write_parquet(path, query):
    import duckdb

    duckdb.sql(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    return path


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_table_keeps_the_order_of_its_rows(sign, packed, tmp_path):
    rows = [("time", "user", "stars", "item"), (JULY, "u2", 5, "b"), (JULY, "u1", 4, '"a b"')]
    lines = [sign.join(map(str, row)) for row in rows]
    out, _ = prepare(write_raw(tmp_path / "t.dat", lines, packed))
    assert inter(out) == [("u2", "b", JULY), ("u1", "a b", JULY)]
    settings = yaml.safe_load((out / "shop.yaml").read_text())
    assert settings == {
        "timestamp_unit": "s",
        "modalities": {},
        "text_fields": [],
        "category_field": None,
    }


def test_the_core_is_that_of_the_reviews(tmp_path):
    pairs = ["u1,a", "u1,b", "u8,x", "u8,y", "u9,x", "u9,y"]
    path = write_raw(tmp_path / "t.csv", ["user,item,time", *(f"{pair},{JULY}" for pair in pairs)])
    out, _ = prepare(path, core=2)
    assert [row[:2] for row in inter(out)] == [tuple(pair.split(",")) for pair in pairs[2:]]


def test_parquet_is_recognised_by_content_and_numbers_become_names(tmp_path):
    query = f"SELECT 7 + i AS user, 3 - i AS item, {JULY} + i AS time FROM range(3) AS t(i)"
    out, provenance = prepare(write_parquet(tmp_path / "t.bin", query))
    assert inter(out) == [(f"{7 + n}", f"{3 - n}", JULY + n) for n in range(3)]
    assert provenance["inputs"][0]["form"] == "Parquet"
    assert provenance["inputs"][0]["n_lines"] == 3


def test_dates_are_read_as_utc_or_by_their_offset(tmp_path):
    dates = ["2014-07-14", "2014-07-14 00:00:07", "2014-07-14T02:00:00+02:00", "soon"]
    path = write_raw(tmp_path / "t.csv", ["user,item,time", *(f"u,i{d[-3:]},{d}" for d in dates)])
    out, provenance = prepare(path, InteractionColumns("user", "item", "time", "date"))
    assert [time - JULY for _, _, time in inter(out)] == [0, 7, 0]
    reason = next(iter(dropped(provenance)))
    assert reason.startswith("time is no date such as 2024-03-01, 2024-03-01 10:00:00.25 or ")
    assert reason.endswith("(others need --time_format)")


def test_a_parquet_column_of_moments_says_so_itself(tmp_path):
    query = "SELECT 'u' AS user, 'i' AS item, TIMESTAMP '2014-07-15' AS time"
    for unit in ("s", "date"):
        (tmp_path / unit).mkdir()
        path = write_parquet(tmp_path / unit / "t.parquet", query)
        out, _ = prepare(path, InteractionColumns("user", "item", "time", unit))
        assert inter(out) == [("u", "i", JULY + DAY)]


def test_every_row_that_cannot_be_used_is_counted_under_a_reason_with_its_place(tmp_path):
    lines = [
        "user,item,time",
        f"u1,a,{JULY}",
        "u1,a",
        f"u1,a,{JULY},9",
        b"u\xff,a,1405296000",
        f",a,{JULY}",
        f"u1,  ,{JULY}",
        "u1,a,",
        "u1,a,soon",
        "u1,a,1e-400x",
        "u1,a,inf",
        f"u1,a,{JULY * 1000}",
        f"u1,a,-{JULY}",
        f"u\t1,a,{JULY}",
        f"u1,a,{JULY}",
        f"u2,a,{JULY}.0",
    ]
    out, provenance = prepare(write_raw(tmp_path / "t.csv", lines))
    assert inter(out) == [("u1", "a", JULY), ("u2", "a", JULY)]
    assert dropped(provenance) == {
        "line has too few columns": 1,
        "line has too many columns": 1,
        "line is not UTF-8": 1,
        "no user": 1,
        "no item": 1,
        "no time": 1,
        "time is no number (dates need --unit=date)": 3,
        "time is not in s": 2,
        "user's name is no plain text": 1,
    }
    assert dropped(provenance, 1) == {"the same user, item and time again": 1}
    reasons = provenance["steps"][0]["dropped"]
    assert reasons["line has too few columns"]["first"] == ["t.csv, line 3"]
    assert provenance["inputs"][0]["n_lines"] == len(lines)
    assert provenance["inputs"][0]["n_rows"] == len(lines) - 1


def test_a_broken_last_line_costs_no_other(tmp_path):
    """The engine's own guess at the form of such a file fails."""
    lines = ["user;item;time\r", *(f"u{n};a;{JULY}\r" for n in range(3)), f'u9;"a;{JULY}\r']
    out, provenance = prepare(write_raw(tmp_path / "t.csv", lines))
    assert inter(out) == [(f"u{n}", "a", JULY) for n in range(3)]
    assert dropped(provenance) == {"line has a broken quotation": 1}


def test_names_of_columns_may_be_quoted_repeated_or_missing(tmp_path):
    lines = ['\ufeff"user",TIME,,"item, really",time', f"u,soon,x,a,{JULY}"]
    out, _ = prepare(
        write_raw(tmp_path / "t.csv", lines), InteractionColumns("user", "item, really", "time_1")
    )
    assert inter(out) == [("u", "a", JULY)]


def test_items_become_cleaned_columns(tmp_path):
    path = write_raw(tmp_path / "t.csv", ["user,sku,time", f"u,a,{JULY}", f"u,b,{JULY}"])
    lines = [
        "sku,name,maker,groups,cost,picture",
        'a,"Salt &amp; pepper, fine",Mill,Kitchen|Spice rack,"$1,299.50",https://x.example/a.jpg',
        "a,again,,,,",
        "c,not taken,,,,",
        ",nameless,,,,",
        "b,,,,-2,nowhere",
    ]
    items = write_raw(tmp_path / "items.csv", lines)
    columns = ItemColumns("sku", "name", "maker", "groups", price="cost", image_url="picture")
    out, provenance = prepare(
        path, InteractionColumns("user", "sku", "time"), items=items, item_columns=columns
    )
    header, *rows = read_rows(out / "shop.item")
    cells = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert cells["a"] == {
        "item_id:token": "a",
        "title:token_seq": "Salt & pepper, fine",
        "brand:token": "Mill",
        "category:token": "Kitchen > Spice rack",
        "categories:token_seq": "Kitchen Spice_rack",
        "price:float": "1299.5",
        "image_url:token": "https://x.example/a.jpg",
    }
    assert set(cells["b"].values()) == {"b", ""}
    step = provenance["steps"][-1]
    assert dropped(provenance, -1) == {"no item": 1, "items that nobody interacted with": 1}
    assert step["item_again_in_metadata"] == 1
    assert {reason: entry["first"] for reason, entry in step["values_left_empty"].items()} == {
        "price is below 0": ["items.csv, line 6"],
        "image address is not http": ["items.csv, line 6"],
    }


def test_a_list_of_categories_in_parquet_and_only_columns_that_have_values(tmp_path):
    path = write_raw(tmp_path / "t.csv", ["user,item,time", f"u,a,{JULY}"])
    query = "SELECT 'a' AS item, ['Kitchen', 'Spice rack'] AS groups, NULL::VARCHAR AS name"
    items = write_parquet(tmp_path / "items.parquet", query)
    columns = ItemColumns("item", title="name", categories="groups")
    out, _ = prepare(path, items=items, item_columns=columns)
    assert read_rows(out / "shop.item") == [
        ["item_id:token", "category:token", "categories:token_seq"],
        ["a", "Kitchen > Spice rack", "Kitchen Spice_rack"],
    ]
    assert yaml.safe_load((out / "shop.yaml").read_text())["text_fields"] == ["categories"]


def cut(path, content):
    path.write_bytes(content[: len(content) // 2])
    return path


def truncated_gzip(path):
    lines = [f"u{n * 7919 % 1000},i{n % 77},{JULY + n}" for n in range(30000)]
    return cut(path, gzip.compress("\n".join(["user,item,time", *lines]).encode()))


def truncated_parquet(path):
    return cut(path, write_parquet(path, "SELECT * FROM range(9)").read_bytes())


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: write_raw(path, []), r"t\.csv must be a CSV or Parquet file, got an empty"),
        (
            lambda path: write_raw(path, ["users,item,time", "u,i,1"]),
            r"must have the column 'user' \(--user\), got users, item, time; did you mean 'users'",
        ),
        (
            lambda path: write_raw(path, ["user,item,time", f"u,i,{JULY * 1000}"]),
            r"at least one interaction .*got none: 1 of \"time is not in s\" \(t\.csv, line 2\)",
        ),
        (truncated_gzip, r"t\.csv must be a whole gzip file, but it ends too early"),
        (truncated_parquet, r"t\.csv must be a whole Parquet file, got: "),
        (lambda path: path, r"the file .*t\.csv does not exist"),
    ],
)
def test_a_file_that_is_no_table_is_answered_with_one_sentence(write, message, tmp_path):
    path = tmp_path / "t.csv"
    write(path)
    with pytest.raises(DataError, match=message):
        prepare(path)
    assert not (tmp_path / "shop").exists()


def test_a_table_of_items_without_a_named_column_is_refused(tmp_path):
    path = write_raw(tmp_path / "t.csv", ["user,item,time", f"u,i,{JULY}"])
    with pytest.raises(ConfigError, match=r"--items must come with a flag for .* --title=name"):
        prepare(path, items=path, item_columns=ItemColumns("item"))


def test_the_items_own_column_is_named_by_its_flag(tmp_path):
    path = write_raw(tmp_path / "t.csv", ["user,item,time", f"u,i,{JULY}"])
    items = write_raw(tmp_path / "i.csv", ["id,name", "i,Salt"])
    with pytest.raises(DataError, match=r"i.csv must have the column 'item' \(--items_item\), got"):
        prepare(path, items=items, item_columns=ItemColumns("item", title="name"))
    out, _ = prepare(path, items=items, item_columns=ItemColumns("id", title="name"))
    assert read_rows(out / "shop.item")[1] == ["i", "Salt"]


def test_an_unknown_unit_is_refused(tmp_path):
    path = write_raw(tmp_path / "t.csv", ["user,item,time", f"u,i,{JULY}"])
    with pytest.raises(ConfigError, match="--unit must be one of s, ms, date, got 'hours'"):
        prepare(path, InteractionColumns("user", "item", "time", "hours"))


def test_items_of_which_none_was_taken_are_refused_with_keys_of_both_sides(tmp_path):
    lines = ["user,item,time", *(f"u{n},00{n},{JULY + n}" for n in range(4))]
    path = write_raw(tmp_path / "t.csv", lines)
    items = write_raw(tmp_path / "items.csv", ["sku,title", *(f"{n},Thing {n}" for n in range(9))])
    message = (
        r"items\.csv must describe items of the interactions, but none of its 9 is one: it has "
        r"0, 1, 2, and they have 000, 001, 002; name the column of the same keys"
    )
    columns = ItemColumns("sku", title="title")
    with pytest.raises(DataError, match=message):
        prepare(path, items=items, item_columns=columns)
    assert not (tmp_path / "shop").exists()
    # Mended, the same command ends.
    write_raw(items, ["sku,title", *(f"00{n},Thing {n}" for n in range(9))])
    out, _ = prepare(path, items=items, item_columns=columns)
    assert read_rows(out / "shop.item")[1] == ["000", "Thing 0"]


def test_descriptions_are_words_of_the_text_features(tmp_path):
    path = write_raw(tmp_path / "t.csv", ["user,item,time", f"u1,a,{JULY}", f"u2,b,{JULY}"])
    lines = ["item,name,about", "a,Shoe,<b>light</b> &amp; dry", "b,Sock,"]
    items = write_raw(tmp_path / "items.csv", lines)
    columns = ItemColumns("item", title="name", description="about")
    out, _ = prepare(path, items=items, item_columns=columns)
    assert read_rows(out / "shop.item") == [
        ["item_id:token", "title:token_seq", "description:token_seq"],
        ["a", "Shoe", "light & dry"],
        ["b", "Sock", ""],
    ]
    settings = yaml.safe_load((out / "shop.yaml").read_text())
    assert settings["text_fields"] == ["title", "description"]
