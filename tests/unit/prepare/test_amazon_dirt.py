"""``hm4sr prepare amazon``: lines and values that cannot be used, and files that are refused."""

import gzip
import json
import sys
from pathlib import Path

import pytest
from amazonfiles import (
    JULY,
    dropped,
    item,
    prepare,
    read_inter,
    read_rows,
    review,
    reviews,
    write_raw,
)

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.data.atomic import read_atomic
from recbole_hm4sr.prepare.raw.amazon import prepare_amazon
from recbole_hm4sr.prepare.tables.job import Preparation


def test_every_line_that_cannot_be_used_is_counted_under_a_reason_with_its_place(tmp_path):
    good = review(2018, "U1", "B1")
    record = json.loads(good)
    lines = [
        good,
        good[:40],
        "",
        b'{"reviewerID": "U\xff", "asin": "B1", "unixReviewTime": 1405296000}',
        json.dumps({**record, "reviewerID": None}),
        json.dumps({key: value for key, value in record.items() if key != "asin"}),
        json.dumps({**record, "unixReviewTime": ""}),
        json.dumps({**record, "unixReviewTime": "soon"}),
        json.dumps({**record, "unixReviewTime": JULY * 1000}),
        json.dumps({**record, "unixReviewTime": -1}),
        json.dumps({**record, "reviewerID": "U\t1"}),
        "[1, 2]",
        json.dumps({**record, "reviewerID": " U 2 ", "unixReviewTime": f"{JULY}"}),
    ]
    out, provenance = prepare(tmp_path, lines)
    assert read_inter(out) == [("U1", "B1", JULY), ("U 2", "B1", JULY)]
    assert dropped(provenance) == {
        "line is no JSON object": 2,
        "line is blank": 1,
        "line is not UTF-8": 1,
        "no user": 1,
        "no item": 1,
        "no time": 1,
        "time is no whole number": 1,
        "time is not in s": 2,
        "user's name is no plain text": 1,
    }
    places = provenance["steps"][0]["dropped"]["line is no JSON object"]["first"]
    assert places == ["reviews.json, line 2", "reviews.json, line 12"]
    assert provenance["inputs"][0]["n_lines"] == len(lines)


def test_a_review_of_2023_without_a_parent_keeps_its_own_item(tmp_path):
    record = json.loads(review(2023, "U1", "B1"))
    del record["parent_asin"]
    out, _ = prepare(tmp_path, [review(2023, "U1", "B1"), json.dumps(record)])
    assert [row[1] for row in read_inter(out)] == ["B1", "XB1"]


def test_text_prices_and_addresses_are_cleaned_and_what_cannot_be_is_counted(tmp_path):
    rows = [("U1", f"B{number}") for number in range(1, 8)]
    base = json.loads(item(2018, "B"))
    meta = [
        {"asin": "B1", "title": " Salt &amp;amp;\tpepper\n", "brand": "L&#39;Oreal"},
        {"asin": "B2", "price": "$1,299.00 - $1,500.00", "category": ["A", "For &amp; by", "C"]},
        {"asin": "B3", "price": "-3", "title": "var x = getTime()"},
        {"asin": "B4", "price": ".a-box-inner{background-color:#fff}" * 2},
        {"asin": "B5", "imageURLHighRes": [], "image": ["ftp://images.example/a.jpg"]},
        {"asin": "B1", "title": "again"},
        {"asin": "B99"},
        {"asin": ""},
        {"asin": "B6", "title": 'a "quoted" title', "brand": None, "price": ""},
    ]
    lines = [json.dumps({**base, **values}) for values in meta]
    out, provenance = prepare(tmp_path, reviews(2018, rows), [*lines, "{"])
    cells = {row[0]: row[1:] for row in read_rows(out / "shop.item")}
    assert cells["B1"][:2] == ["Salt & pepper", "L'Oreal"]
    assert cells["B2"][2:5] == ["A > For & by > C", "For_&_by C", "1299.0"]
    assert [cells["B3"][place] for place in (0, 4)] == ["", ""]
    assert cells["B4"][4] == ""
    assert cells["B5"][5] == ""
    assert [cells["B6"][place] for place in (0, 1, 4)] == ['a "quoted" title', "", ""]
    assert cells["B7"] == [""] * 6
    step = provenance["steps"][-1]
    assert dropped(provenance, -1) == {
        "no item": 1,
        "line is no JSON object": 1,
        "items that nobody interacted with": 1,
    }
    assert {reason: entry["count"] for reason, entry in step["values_left_empty"].items()} == {
        "title is a page's program": 1,
        "price is below 0": 1,
        "price is no number": 1,
        "image address is not http": 1,
    }
    counted = ("items", "without_metadata", "item_again_in_metadata")
    assert [step[name] for name in counted] == [7, 1, 1]
    assert len(read_atomic(out / "shop.item").frame) == 7


def test_half_a_character_in_a_python_literal_does_not_reach_the_file(tmp_path):
    meta = [item(2014, "B1"), r"{'asin': 'B2', 'title': 'a \ud800 b', 'categories': []}"]
    out, _ = prepare(tmp_path, reviews(2014, [("U1", "B1"), ("U1", "B2")]), meta)
    assert read_rows(out / "shop.item")[2][1] == "a ? b"


def test_a_literal_is_data_and_never_runs(tmp_path):
    flag = tmp_path / "ran"
    evil = f"{{'asin': __import__('pathlib').Path({str(flag)!r}).touch()}}"
    meta = [item(2014, "B1"), evil, "(" * 5000]
    _, provenance = prepare(tmp_path, reviews(2014, [("U1", "B1")]), meta)
    assert dropped(provenance, -1) == {"line is no Python literal of a dict": 2}
    assert not flag.exists()


# --- refused --------------------------------------------------------------------------------------


def truncated(path):
    content = gzip.compress("\n".join(reviews(2018, [("U1", "B1")] * 20000)).encode(), 1)
    path.write_bytes(content[: len(content) // 2])


def broken(path):
    content = bytearray(gzip.compress("\n".join(reviews(2018, [("U1", "B1")] * 20000)).encode()))
    content[-6] ^= 1  # in the checksum
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b""), r"r\.json must hold one record a line, got an empty"),
        (lambda path: path.write_bytes(gzip.compress(b"")), r"got an empty file$"),
        (truncated, r"must be a whole gzip file, but it ends too early after line \d+,\d+; fetch"),
        (broken, r"must be a whole gzip file, but it is broken \(.*\) after line \d+"),
        (
            lambda path: write_raw(path, ["user,item", "U1,B1"]),
            r"must hold reviews of .* a line, got 'user,item' in its first line",
        ),
        (
            lambda path: write_raw(path, [item(2014, "B1")]),
            r"line 1 must be a record of reviews, got metadata of 2014.*meta swapped\?",
        ),
        (
            lambda path: write_raw(path, [review(2018, None, "B1"), review(2018, "U1", None)]),
            r'r\.json must hold at least one .* got none: 1 of "no user" \(r\.json, line 1\); 1 of',
        ),
        (
            lambda path: path.write_bytes(b"x" * (17 << 20)),
            r"r\.json, line 1 must be shorter than 16 MiB, got more; give a file with one",
        ),
        (lambda path: None, r"the file .*r\.json does not exist"),
    ],
)
def test_a_file_that_is_not_reviews_is_answered_with_one_sentence(write, message, tmp_path):
    path = tmp_path / "r.json"
    write(path)
    with pytest.raises(DataError, match=message):
        prepare_amazon([path], [], Preparation(tmp_path / "shop", core=0, threads=1))
    assert not (tmp_path / "shop").exists()


def test_reviews_given_as_metadata_are_refused(tmp_path):
    lines = reviews(2018, [("U1", "B1")])
    with pytest.raises(DataError, match=r"meta\.json, line 1 must be a record of metadata, got re"):
        prepare(tmp_path, lines, lines)


def test_releases_of_two_units_are_not_mixed(tmp_path):
    paths = [write_raw(tmp_path / f"{r}", reviews(r, [("U1", "B1")])) for r in (2018, 2023)]
    with pytest.raises(DataError, match=r"must be of one release, got reviews of 2018.*of 2023"):
        prepare_amazon(paths, [], Preparation(tmp_path / "shop"))


def test_an_empty_core_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"got none of 1 with at least 5 .*set a smaller --core"):
        prepare(tmp_path, reviews(2018, [("U1", "B1")]), core=5)
    assert not (tmp_path / "shop").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"core": -1}, "--core and --threads must be 0 or more, got -1 and 1"),
        ({"memory": "much"}, "--memory must be a size such as 2GB, got 'much'"),
    ],
)
def test_options_out_of_range_are_refused(options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        prepare(tmp_path, reviews(2018, [("U1", "B1")]), **options)


def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch):
    path = write_raw(tmp_path / "reviews.json", reviews(2018, [("U1", "B1")]))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(DataError, match=r"--out must be another than the one you are in, got \."):
        prepare_amazon([path], [], Preparation(Path(), core=0, threads=1))


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ConfigError, match=r"pip install 'recbole-hm4sr\[prepare\]'"):
        prepare(tmp_path, reviews(2018, [("U1", "B1")]))
