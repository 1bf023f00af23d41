"""Times of a table with parts of a second: their unit, their order, their forms."""

import pytest
import yaml
from amazonfiles import JULY, read_rows, write_raw

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.prepare.tables.job import Preparation
from recbole_hm4sr.prepare.tables.table_files import InteractionColumns, prepare_tables

DATE = "2014-07-14 00:00:"  # of JULY


def prepare(folder, rows, **columns):
    """Prepare (item, time) pairs of one user. Returns what is written, its unit and PROVENANCE."""
    path = write_raw(
        folder / "log.csv", ["user_id,item_id,timestamp", *(f"u1,{i},{t}" for i, t in rows)]
    )
    out = folder / "shop"
    provenance = prepare_tables(
        path, InteractionColumns(**columns), Preparation(out, core=0, threads=1)
    )
    unit = yaml.safe_load((out / "shop.yaml").read_text())["timestamp_unit"]
    written = [(item, int(time)) for _, item, time in read_rows(out / "shop.inter")[1:]]
    return written, unit, provenance


def test_dates_with_parts_of_a_second_are_milliseconds(tmp_path):
    rows = [("late", f"{DATE}00.900"), ("early", f"{DATE}00.100"), ("last", f"{DATE}05.000")]
    written, unit, _ = prepare(tmp_path, rows, unit="date")
    base = JULY * 1000
    assert written == [("late", base + 900), ("early", base + 100), ("last", base + 5000)]
    assert unit == "ms"


def test_seconds_with_a_fraction_are_milliseconds(tmp_path):
    rows = [("a", "1593878862.264"), ("b", "1593878862.997"), ("c", "1593878863")]
    written, unit, provenance = prepare(tmp_path, rows)
    assert written == [("a", 1593878862264), ("b", 1593878862997), ("c", 1593878863000)]
    assert unit == "ms"
    assert provenance["steps"][0]["dropped"] == {}


@pytest.mark.parametrize(("unit", "times"), [
    ("date", (f"{DATE}00.0000007", f"{DATE}00.0000002", f"{DATE}01", f"{DATE}00.0000005")),
    ("date", (f"{DATE}00.000002", f"{DATE}00.000001", f"{DATE}01", f"{DATE}00.0000015")),
    ("s", (f"{JULY}.0000000007", f"{JULY}.0000000002", f"{JULY + 1}.0", f"{JULY}.0000000005")),
    ("ms", (f"{JULY}000.7", f"{JULY}000.2", f"{JULY + 1}000", f"{JULY}000.5")),
])  # fmt: skip
def test_rows_of_one_millisecond_stand_in_the_order_of_finer_digits(unit, times, tmp_path):
    if unit == "s":  # nanoseconds are the finest
        times = tuple(time.replace(".0000000", ".00000") for time in times)
    written, found, _ = prepare(tmp_path, zip("cadb", times, strict=True), unit=unit)
    base = JULY * 1000
    assert written == [("a", base), ("b", base), ("d", base + 1000), ("c", base)]
    assert found == "ms"


def test_rows_of_the_same_time_keep_the_order_of_the_file(tmp_path):
    rows = [("c", f"{JULY}.5"), ("a", f"{JULY}.5"), ("b", f"{JULY}.50")]
    assert [item for item, _ in prepare(tmp_path, rows)[0]] == ["c", "a", "b"]


@pytest.mark.parametrize(("unit", "time"), [("s", f"{JULY}.000"), ("date", f"{DATE}00.000")])
def test_whole_seconds_stay_seconds(unit, time, tmp_path):
    written, found, _ = prepare(tmp_path, [("a", time)], unit=unit)
    assert written == [("a", JULY)]
    assert found == "s"


def test_dates_of_another_form_need_it_named(tmp_path):
    rows = [("a", "14.07.2014 00:00"), ("b", "soon"), ("c", "14.07.2014 00:01")]
    message = r'of "time is no date such as 2024-03-01, .* \(others need --time_format\)"'
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, rows, unit="date")
    written, unit, provenance = prepare(tmp_path, rows, unit="date", time_format="%d.%m.%Y %H:%M")
    assert written == [("a", JULY), ("c", JULY + 60)]
    assert unit == "s"
    assert list(provenance["steps"][0]["dropped"]) == ["time is not of the form %d.%m.%Y %H:%M"]


def test_a_form_with_an_offset_is_of_its_time(tmp_path):
    rows = [("a", "14/07/2014 02:00:00.250 +0200")]
    written, unit, _ = prepare(tmp_path, rows, unit="date", time_format="%d/%m/%Y %H:%M:%S.%g %z")
    assert (written, unit) == ([("a", JULY * 1000 + 250)], "ms")


def test_a_form_that_is_none_is_refused_before_anything_is_read(tmp_path):
    for columns, message in (
        ({"unit": "date", "time_format": "%Q"}, r"--time_format must be a format such as .* '%Q'"),
        ({"time_format": "%Y"}, "--time_format must come with --unit=date, got --unit=s"),
    ):
        with pytest.raises(ConfigError, match=message):
            prepare(tmp_path, [("a", "x")], **columns)


@pytest.mark.parametrize("time", ["infinity", "-infinity", "9999999999-01-01", "1e30", "nan"])
def test_times_without_an_end_are_counted(time, tmp_path):
    for unit, good in (("date", f"{DATE}00"), ("s", JULY), ("ms", JULY * 1000)):
        folder = tmp_path / unit
        folder.mkdir()
        written, _, provenance = prepare(folder, [("a", good), ("b", time)], unit=unit)
        assert [item for item, _ in written] == ["a"]
        assert sum(d["count"] for d in provenance["steps"][0]["dropped"].values()) == 1


def test_spaces_other_than_blanks_and_tabs_are_letters_of_a_name(tmp_path):
    names = ["x", "\u00a0x", "x\u00a0", "a\u2003b", "\u3000", " y ", "\tz\t", "a\tb"]
    lines = [
        "user_id,item_id,timestamp",
        *(f"u1,{name},{JULY + n}" for n, name in enumerate(names)),
    ]
    out = tmp_path / "shop"
    provenance = prepare_tables(
        write_raw(tmp_path / "log.csv", lines),
        InteractionColumns(),
        Preparation(out, core=0, threads=1),
    )
    items = [
        line.split("\t")[1] for line in (out / "shop.inter").read_text("utf-8").split("\n")[1:-1]
    ]
    assert items == ["x", "\u00a0x", "x\u00a0", "a\u2003b", "\u3000", "y", "z"]
    assert list(provenance["steps"][0]["dropped"]) == ["item's name is no plain text"]
