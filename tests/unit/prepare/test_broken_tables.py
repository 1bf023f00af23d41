"""Tables with broken quotations, another encoding, or keys that became floats."""

import pytest
from amazonfiles import JULY, read_rows, write_raw

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.prepare.raw.csv_rows import CsvRows
from recbole_hm4sr.prepare.tables.job import Preparation
from recbole_hm4sr.prepare.tables.table_files import InteractionColumns, ItemColumns, prepare_tables

BROKEN = "line has a broken quotation"


def prepare(path, columns=None, **tables):
    out = path.parent / "shop"
    return out, prepare_tables(
        path, columns or InteractionColumns(), Preparation(out, core=0, threads=1), **tables
    )


def log(path, n_rows, **changed):
    lines = [f"u{n},i{n},{JULY + n}" for n in range(n_rows)]
    for number, line in changed.items():
        lines[int(number.removeprefix("row"))] = line
    return write_raw(path, ["user_id,item_id,timestamp", *lines])


def dropped(step):
    return {reason: entry["count"] for reason, entry in step["dropped"].items()}


def test_a_quotation_that_never_closes_costs_its_own_line(tmp_path):
    path = log(tmp_path / "log.csv", 100, row2=f'u2,"i2,{JULY}')
    out, provenance = prepare(path)
    assert [row[0] for row in read_rows(out / "shop.inter")[1:]] == [
        f"u{n}" for n in range(100) if n != 2
    ]
    reasons = provenance["steps"][0]["dropped"]
    assert reasons == {BROKEN: {"count": 1, "first": ["log.csv, line 4"]}}
    facts = provenance["inputs"][0]
    assert [facts["n_lines"], facts["n_rows"]] == [101, 100]


def test_it_costs_no_more_in_a_file_longer_than_a_row_can_be(tmp_path):
    path = log(tmp_path / "log.csv", 250_000, row1000=f'u1000,"i1000,{JULY}')
    out, provenance = prepare(path)
    assert provenance["steps"][0]["interactions"] == 249_999
    assert dropped(provenance["steps"][0]) == {BROKEN: 1}
    assert provenance["inputs"][0]["n_lines"] == 250_001
    assert len(read_rows(out / "shop.inter")) == 250_000


@pytest.mark.parametrize("later", ['u5,"i5",{time}', 'u5,i5",{time}', 'u5,"i5","{time}"'])
def test_a_quotation_closed_by_another_lines_costs_its_own_line(later, tmp_path):
    path = log(tmp_path / "log.csv", 8, row2=f'u2,"i2,{JULY}', row5=later.format(time=JULY))
    out, provenance = prepare(path)
    assert dropped(provenance["steps"][0]) == {BROKEN: 1}
    assert len(read_rows(out / "shop.inter")) == 8


def test_it_costs_its_own_line_of_a_table_of_items(tmp_path):
    path = log(tmp_path / "log.csv", 30)
    lines = [f'i{n},"{"Thing"} {n}{"" if n == 3 else chr(34)}' for n in range(30)]
    items = write_raw(tmp_path / "items.csv", ["item_id,title", *lines])
    out, provenance = prepare(path, items=items, item_columns=ItemColumns(title="title"))
    assert dropped(provenance["steps"][-1]) == {BROKEN: 1}
    assert sum(bool(title) for _, title in read_rows(out / "shop.item")[1:]) == 29
    assert provenance["steps"][-1]["without_metadata"] == 1


def test_a_cell_may_go_over_lines_and_hold_quotations(tmp_path):
    path = write_raw(
        tmp_path / "t.csv", ["a,b,c", '1,"one ""and""', "", 'two, three",x', '2,5" screen,"y"']
    )
    rows = CsvRows(path)
    assert list(rows.rows([0])) == [
        (2, ["1", 'one "and"\n\ntwo, three', "x"]),
        (5, ["2", '5" screen', "y"]),
    ]
    assert [rows.n_lines, rows.n_rows] == [5, 2]


def test_what_is_lost_in_the_middle_of_a_row_is_the_row_alone(tmp_path):
    lines = ["user_id,item_id,timestamp,text", f'u1,a,{JULY},"good', 'and cheap"']
    lines += [f'u2,a,{JULY},"good', f"u3,a,{JULY},", f'u4,a,{JULY},"']
    out, provenance = prepare(write_raw(tmp_path / "t.csv", lines))
    # u2's quotation closes in the line of u4, as a text over three lines does.
    assert [row[0] for row in read_rows(out / "shop.inter")[1:]] == ["u1", "u2"]
    facts = provenance["inputs"][0]
    assert [facts["n_lines"], facts["n_rows"]] == [6, 2]


@pytest.mark.parametrize(("end", "name"), [("\r", "mac"), ("\r\n", "dos"), ("\n", "unix")])
def test_lines_may_end_in_any_way(end, name, tmp_path):
    path = tmp_path / f"{name}.csv"
    rows = ["user_id,item_id,timestamp", f"u1,a,{JULY}", f"u1,b,{JULY + 1}"]
    path.write_bytes(end.join(rows).encode())
    out, provenance = prepare(path)
    assert read_rows(out / "shop.inter")[1:] == [["u1", "a", str(JULY)], ["u1", "b", str(JULY + 1)]]
    assert provenance["inputs"][0]["n_lines"] == 3


def test_a_line_longer_than_a_row_can_be_is_counted(tmp_path):
    path = log(tmp_path / "log.csv", 3, row1=f"u1,{'i' * 2_000_000},{JULY}")
    out, provenance = prepare(path)
    assert dropped(provenance["steps"][0]) == {"line is too long": 1}
    assert [row[0] for row in read_rows(out / "shop.inter")[1:]] == ["u0", "u2"]


def cp1252(path, n_items):
    text = "item_id;title\r\n" + "".join(f"i{n};Café {n}\r\n" for n in range(n_items))
    path.write_bytes(text.encode("cp1252"))
    return path


def test_a_table_of_items_in_another_encoding_is_an_error_that_names_it(tmp_path):
    path = log(tmp_path / "log.csv", 5)
    items = cp1252(tmp_path / "items.csv", 5)
    message = (
        r'got 5 of 5 that cannot: 5 of "line is not UTF-8" \(items\.csv, line 2\); '
        r"give its encoding, likely --items_encoding=cp1252, as Excel writes it"
    )
    with pytest.raises(DataError, match=message):
        prepare(path, items=items, item_columns=ItemColumns(title="title"))
    columns = ItemColumns(title="title", encoding="cp1252")
    out, provenance = prepare(path, items=items, item_columns=columns)
    assert read_rows(out / "shop.item")[1] == ["i0", "Café 0"]
    assert provenance["options"]["item_columns"]["encoding"] == "cp1252"


def test_interactions_in_another_encoding_are_an_error_too(tmp_path):
    path = tmp_path / "log.csv"
    text = "user_id,item_id,timestamp\n" + f"Юлия,Книга,{JULY}\n" * 3
    path.write_bytes(text.encode("cp1251"))
    with pytest.raises(DataError, match="such as --encoding=cp1251, gb18030 or shift_jis"):
        prepare(path)
    out, _ = prepare(path, InteractionColumns(encoding="cp1251"))
    assert read_rows(out / "shop.inter")[1] == ["Юлия", "Книга", str(JULY)]


def test_names_of_columns_in_another_encoding_are_named_as_such(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(f"café,user_id,item_id,timestamp\n1,u,i,{JULY}\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"log.csv, line 1 must be UTF-8; .*--encoding=cp1252"):
        prepare(path)


def test_an_encoding_that_python_does_not_have_is_refused(tmp_path):
    path = log(tmp_path / "log.csv", 1)
    with pytest.raises(ConfigError, match=r"--encoding must be an encoding such as .* got 'ansi2'"):
        prepare(path, InteractionColumns(encoding="ansi2"))


def test_a_table_of_items_without_one_is_an_error(tmp_path):
    path = log(tmp_path / "log.csv", 1)
    items = write_raw(tmp_path / "items.csv", ["item_id,title"])
    with pytest.raises(DataError, match="must describe items of the interactions, got no item"):
        prepare(path, items=items, item_columns=ItemColumns(title="title"))


def write_parquet(path, query):
    import duckdb

    duckdb.sql(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    return path


def test_keys_that_pandas_has_made_floats_are_their_digits(tmp_path):
    path = write_parquet(
        tmp_path / "log.parquet",
        f"SELECT CAST(u AS FLOAT) AS user_id, i AS item_id, {JULY} AS timestamp FROM "
        f"(VALUES (1, 10::DOUBLE), (2, 20), (3, 'nan')) AS t(u, i)",
    )
    items = write_parquet(
        tmp_path / "items.parquet",
        "SELECT * FROM (VALUES (10::DOUBLE, 'Ten'), (20, 'Twenty'), (NULL, 'None')) "
        "AS t(item_id, title)",
    )
    out, provenance = prepare(path, items=items, item_columns=ItemColumns(title="title"))
    assert [row[:2] for row in read_rows(out / "shop.inter")[1:]] == [["1", "10"], ["2", "20"]]
    assert read_rows(out / "shop.item")[1:] == [["10", "Ten"], ["20", "Twenty"]]
    assert dropped(provenance["steps"][0]) == dropped(provenance["steps"][-1]) == {"no item": 1}


def test_floats_that_have_lost_digits_are_no_keys(tmp_path):
    path = write_parquet(
        tmp_path / "log.parquet",
        f"SELECT 1 AS user_id, 2.0::DOUBLE ** 53 AS item_id, {JULY} AS timestamp",
    )
    with pytest.raises(DataError, match=r"'item_id' must be of whole numbers or text, got DOUBLE"):
        prepare(path)
