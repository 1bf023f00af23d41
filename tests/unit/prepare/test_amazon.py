"""``hm4sr prepare amazon`` on files written here, clean and dirty, by arithmetic and by a loop."""

import gzip
import html
import itertools
import json
import random
import sys
from pathlib import Path

import pytest
import yaml
from amazonfiles import DAY, JULY, RELEASES, item, read_rows, review, reviews, write_raw

from recbole_hm4sr.data.atomic import read_atomic
from recbole_hm4sr.errors import ConfigError, DataError
from recbole_hm4sr.prepare.amazon import prepare_amazon
from recbole_hm4sr.prepare.job import Job

INTER = ["user_id:token", "item_id:token", "timestamp:float"]
BEAUTY = Path(__file__).resolve().parents[4] / "shared/datasets/beauty"


def prepare(folder, lines, meta=None, **options):
    """Prepare lines in ``folder``. Returns the data set's folder and its provenance."""
    paths = [write_raw(folder / "reviews.json", lines)]
    metas = [] if meta is None else [write_raw(folder / "meta.json", meta)]
    out = folder / "shop"
    job = Job(out, **{"core": 0, "threads": 1, **options})
    return out, prepare_amazon(paths, metas, job)


def dropped(provenance, step=0):
    found = provenance["steps"][step]["dropped"]
    return {reason: entry["count"] for reason, entry in found.items()}


def inter(out):
    header, *rows = read_rows(out / "shop.inter")
    assert header == INTER
    return [(user, name, int(time)) for user, name, time in rows]


# --- the three forms ----------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("release", RELEASES)
def test_each_release_is_recognised_and_kept_in_the_order_of_the_file(release, packed, tmp_path):
    rows = [("U2", "B2", JULY), ("U1", "B1", JULY - DAY), ("U2", "B1", JULY), ("U1", "B2", JULY)]
    path = write_raw(tmp_path / "reviews.bin", reviews(release, rows), packed)
    names = ("B2", "B1", "B9")
    meta = write_raw(tmp_path / "meta.bin", [item(release, name) for name in names], packed)
    out = tmp_path / "shop"
    provenance = prepare_amazon([path], [meta], Job(out, core=2, threads=1))
    unit, factor = ("ms", 1000) if release == 2023 else ("s", 1)
    assert inter(out) == [(user, name, time * factor) for user, name, time in rows]
    assert [entry["form"] for entry in provenance["inputs"]] == [
        f"reviews of {release}, JSON lines",
        f"metadata of {release}, {'Python literals' if release == 2014 else 'JSON lines'}",
    ]
    assert read_rows(out / "shop.item") == [
        ["item_id:token", "title:token_seq", "brand:token", "category:token",
         "categories:token_seq", "price:float", "image_url:token"],
        *([name, "A title", "A brand", "Root > Kind", "Kind", "9.5",
           f"http://images.example/{name}.jpg"] for name in ("B1", "B2")),
    ]  # fmt: skip
    assert yaml.safe_load((out / "shop.yaml").read_text()) == {
        "timestamp_unit": unit,
        "modalities": {"text": "tfidf-svd"},
        "text_fields": ["title", "brand", "categories"],
        "category_field": "categories",
    }


def test_reviews_as_python_literals_are_read_too(tmp_path):
    lines = [repr(json.loads(line)) for line in reviews(2014, [("U1", "B1"), ("U2", "B1")])]
    out, provenance = prepare(tmp_path, lines)
    assert inter(out) == [("U1", "B1", JULY), ("U2", "B1", JULY)]
    assert provenance["inputs"][0]["form"] == "reviews of 2014, Python literals"


def test_files_follow_each_other_and_gzip_may_have_several_members(tmp_path):
    first, second = (f"{line}\n".encode() for line in reviews(2018, [("U1", "B1"), ("U2", "B1")]))
    (tmp_path / "a.gz").write_bytes(gzip.compress(first) + gzip.compress(second) + b"\0" * 7)
    write_raw(tmp_path / "b", reviews(2018, [("U0", "B0")]))
    prepare_amazon(
        [tmp_path / "a.gz", tmp_path / "b"], [], Job(tmp_path / "shop", core=0, threads=1)
    )
    assert [row[0] for row in inter(tmp_path / "shop")] == ["U1", "U2", "U0"]


def test_without_metadata_there_is_no_item_file_and_no_modality(tmp_path):
    out, _ = prepare(tmp_path, reviews(2014, [("U1", "B1")]))
    assert sorted(path.name for path in out.iterdir()) == [
        "PROVENANCE.json",
        "shop.inter",
        "shop.yaml",
    ]
    settings = yaml.safe_load((out / "shop.yaml").read_text())
    assert settings["modalities"] == {}
    assert settings["category_field"] is None


# --- k-core and repeats -------------------------------------------------------------------------


def test_the_core_is_the_fixed_point_and_each_round_is_counted(tmp_path):
    chain = [("U1", "A"), ("U1", "B"), ("U2", "B"), ("U2", "C"), ("U3", "C"), ("U3", "D")]
    square = [("U8", "X"), ("U9", "Y"), ("U8", "Y"), ("U9", "X")]
    out, provenance = prepare(tmp_path, reviews(2014, chain + square), core=2)
    # A and D have one each; without them U1 and U3 have one, and then B and C, and U2 none.
    assert [row[:2] for row in inter(out)] == square
    assert [dropped(provenance, step) for step in range(5)] == [
        {},
        {},
        {"item with fewer than 2": 2},
        {"item with fewer than 2": 2, "user with fewer than 2": 2},
        {},
    ]
    counted = [step["interactions"] for step in provenance["steps"]]
    assert counted == [10, 10, 8, 4, 4]
    assert [provenance["steps"][-1][name] for name in ("users", "items")] == [2, 2]


def plain_core(rows, core):
    """The k-core by its definition."""
    while True:
        users, items = (
            {name for name, many in itertools.groupby(sorted(column)) if len([*many]) >= core}
            for column in ([row[0] for row in rows], [row[1] for row in rows])
        )
        left = [row for row in rows if row[0] in users and row[1] in items]
        if left == rows:
            return rows
        rows = left


def test_the_core_equals_a_plain_loop(tmp_path):
    generator = random.Random(5)
    pairs = [(f"U{generator.randrange(90)}", f"B{generator.randrange(60)}") for _ in range(520)]
    rows = [(*pair, JULY + generator.randrange(9) * DAY) for pair in dict.fromkeys(pairs)]
    expected = plain_core(rows, 5)
    assert 0 < len(expected) < len(rows)
    out, _ = prepare(tmp_path, reviews(2018, rows), core=5)
    assert inter(out) == expected


REPEATED = [
    ("U1", "B1", JULY + DAY),
    ("U1", "B1", JULY),  # earlier, though it stands later
    ("U1", "B1", JULY),
    ("U1", "B1", JULY + 2 * DAY),
    ("U2", "B1", JULY),
]


def test_the_earliest_of_the_same_user_and_item_is_kept(tmp_path):
    out, provenance = prepare(tmp_path, reviews(2018, REPEATED))
    assert inter(out) == [REPEATED[1], REPEATED[4]]
    assert dropped(provenance, 1) == {
        "the same user, item and time again": 1,
        "the same user and item again, later": 2,
    }


def test_later_interactions_of_the_same_user_and_item_can_be_kept(tmp_path):
    out, provenance = prepare(tmp_path, reviews(2018, REPEATED), keep_later=True)
    assert inter(out) == [REPEATED[place] for place in (0, 1, 3, 4)]
    assert dropped(provenance, 1) == {"the same user, item and time again": 1}


# --- dirt ---------------------------------------------------------------------------------------


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
    assert inter(out) == [("U1", "B1", JULY), ("U 2", "B1", JULY)]
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
    assert [row[1] for row in inter(out)] == ["B1", "XB1"]


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
    assert dropped(provenance, -1) == {"no item": 1, "line is no JSON object": 1}
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


# --- refused ------------------------------------------------------------------------------------


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
        prepare_amazon([path], [], Job(tmp_path / "shop", core=0, threads=1))
    assert not (tmp_path / "shop").exists()


def test_reviews_given_as_metadata_are_refused(tmp_path):
    lines = reviews(2018, [("U1", "B1")])
    with pytest.raises(DataError, match=r"meta\.json, line 1 must be a record of metadata, got re"):
        prepare(tmp_path, lines, lines)


def test_releases_of_two_units_are_not_mixed(tmp_path):
    paths = [write_raw(tmp_path / f"{r}", reviews(r, [("U1", "B1")])) for r in (2018, 2023)]
    with pytest.raises(DataError, match=r"must be of one release, got reviews of 2018.*of 2023"):
        prepare_amazon(paths, [], Job(tmp_path / "shop"))


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


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ConfigError, match=r"pip install 'recbole-hm4sr\[prepare\]'"):
        prepare(tmp_path, reviews(2018, [("U1", "B1")]))


# --- whole or not at all ------------------------------------------------------------------------


def test_a_finished_folder_is_not_overwritten(tmp_path):
    out, _ = prepare(tmp_path, reviews(2018, [("U1", "B1")]))
    before = (out / "shop.inter").read_bytes()
    with pytest.raises(DataError, match=r"must be new or empty, got one with a finished data set"):
        prepare(tmp_path, reviews(2018, [("U2", "B2")]))
    assert (out / "shop.inter").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"shop", "reviews.json"}


def test_a_stopped_run_leaves_no_data_set_and_goes_on_behind_its_last_stage(tmp_path):
    lines = reviews(2018, [("U1", "B1"), ("U1", "B2"), ("U2", "B1"), ("U2", "B2")])
    path = write_raw(tmp_path / "reviews.json", lines)
    meta = write_raw(tmp_path / "meta.json", [item(2018, "B1")])
    job = Job(tmp_path / "shop", core=2, threads=1)

    def stop_at(word):
        def report(what, done, total):
            said.append(what)
            if word in what:
                raise KeyboardInterrupt

        return report

    for word in ("reading reviews", "round 1", "reading meta", "writing", "never"):
        said = []
        try:
            provenance = prepare_amazon([path], [meta], job, report=stop_at(word))
        except KeyboardInterrupt:
            assert not (tmp_path / "shop").exists()
    assert said == ["writing"]  # the stages before it were finished by the calls before
    at_once = prepare_amazon([path], [meta], Job(tmp_path / "once/shop", core=2, threads=1))
    varying = {"made_at": ""}
    assert provenance | varying == at_once | varying
    assert not job.work.exists()


def test_half_done_work_on_other_files_is_not_taken_over(tmp_path):
    def stop(what, done, total):
        if what == "writing":
            raise KeyboardInterrupt("stopped")

    path = write_raw(tmp_path / "reviews.json", reviews(2018, [("U1", "B1")]))
    with pytest.raises(KeyboardInterrupt, match="stopped"):
        prepare_amazon([path], [], Job(tmp_path / "shop", core=0, threads=1), report=stop)
    out, _ = prepare(tmp_path, reviews(2018, [("U22", "B22")]))
    assert inter(out) == [("U22", "B22", JULY)]


def test_provenance_has_hashes_versions_and_sizes(tmp_path):
    import hashlib

    out, provenance = prepare(tmp_path, reviews(2018, [("U1", "B1")]))
    raw = (tmp_path / "reviews.json").read_bytes()
    assert provenance == json.loads((out / "PROVENANCE.json").read_text())
    assert provenance["inputs"][0]["sha256"] == hashlib.sha256(raw).hexdigest()
    assert provenance["inputs"][0]["n_bytes"] == len(raw)
    assert set(provenance["versions"]) == {"recbole-hm4sr", "python", "duckdb", "orjson"}
    written = {entry["file"]: entry["sha256"] for entry in provenance["outputs"]}
    assert written["shop.inter"] == hashlib.sha256((out / "shop.inter").read_bytes()).hexdigest()
    assert str(tmp_path) not in (out / "PROVENANCE.json").read_text()


# --- against a real set -------------------------------------------------------------------------


def raw_items(release, columns):
    """The set's items as raw lines: entities escaped, categories as paths below a department."""
    for name, title, brand, path, categories in columns:
        first = path.split(" > ")
        words = [word.replace("_", " ") for word in categories.split(" ")]
        more = [word for word in words if word not in first[1:]]
        paths = [first, ["Another department", *more]] if more else [first]
        if release != 2014:  # one path an item
            paths = [[first[0], *words]]
        paths = [[html.escape(part) for part in path] for path in paths]
        title, brand = html.escape(html.unescape(title)), html.escape(html.unescape(brand))
        yield item(release, name, title=title, brand=brand, paths=paths)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.skipif(not BEAUTY.is_dir(), reason="the Beauty set does not lie beside the checkout")
def test_a_raw_form_of_beauty_gives_its_rows_back(release, tmp_path):
    """Rows are equal in order, with names for the set's numbers of users and resolved entities."""
    _, *rows = read_rows(BEAUTY / "beauty.inter")
    rows = [(f"A{user}", name, int(time)) for user, name, time in rows]
    noise = [(f"Z{n}", f"B00NOISE{n % 7}", JULY) for n in range(28)]
    lines = reviews(release, itertools.chain(noise, rows[:1000], rows))
    frame = read_atomic(BEAUTY / "beauty.item").frame
    columns = frame[["item_id", "title", "brand", "category", "categories"]].to_numpy().tolist()
    path = write_raw(tmp_path / "reviews.json.gz", lines, packed=True)
    meta = write_raw(tmp_path / "meta.json", raw_items(release, columns))
    out = tmp_path / "shop"
    provenance = prepare_amazon([path], [meta], Job(out, threads=1))
    factor = 1000 if release == 2023 else 1
    assert inter(out) == [(user, name, time * factor) for user, name, time in rows]
    counts = [provenance["steps"][-2][name] for name in ("users", "items", "interactions")]
    assert counts == [22_363, 12_101, 198_502]
    made = read_atomic(out / "shop.item").frame
    assert made["item_id"].tolist() == [row[0] for row in columns]
    for place, name in ((1, "title"), (2, "brand"), (4, "categories")):
        assert made[name].tolist() == [" ".join(html.unescape(r[place]).split()) for r in columns]
    if release == 2014:
        assert made["category"].tolist() == [row[3] for row in columns]
