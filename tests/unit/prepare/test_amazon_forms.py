"""``hm4sr prepare amazon``: the three releases, and a real set written in each of them."""

import gzip
import html
import itertools
import json
from pathlib import Path

import pytest
import yaml
from amazonfiles import (
    DAY,
    JULY,
    RELEASES,
    item,
    prepare,
    read_inter,
    read_rows,
    reviews,
    write_raw,
)

from recbole_hm4sr.data.atomic import read_atomic
from recbole_hm4sr.prepare.raw.amazon import prepare_amazon
from recbole_hm4sr.prepare.tables.job import Preparation

BEAUTY = Path(__file__).resolve().parents[4] / "shared/datasets/beauty"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("release", RELEASES)
def test_each_release_is_recognised_and_kept_in_the_order_of_the_file(release, packed, tmp_path):
    rows = [("U2", "B2", JULY), ("U1", "B1", JULY - DAY), ("U2", "B1", JULY), ("U1", "B2", JULY)]
    path = write_raw(tmp_path / "reviews.bin", reviews(release, rows), packed)
    names = ("B2", "B1", "B9")
    meta = write_raw(tmp_path / "meta.bin", [item(release, name) for name in names], packed)
    out = tmp_path / "shop"
    provenance = prepare_amazon([path], [meta], Preparation(out, core=2, threads=1))
    unit, factor = ("ms", 1000) if release == 2023 else ("s", 1)
    assert read_inter(out) == [(user, name, time * factor) for user, name, time in rows]
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
    assert read_inter(out) == [("U1", "B1", JULY), ("U2", "B1", JULY)]
    assert provenance["inputs"][0]["form"] == "reviews of 2014, Python literals"


def test_files_follow_each_other_and_gzip_may_have_several_members(tmp_path):
    first, second = (f"{line}\n".encode() for line in reviews(2018, [("U1", "B1"), ("U2", "B1")]))
    (tmp_path / "a.gz").write_bytes(gzip.compress(first) + gzip.compress(second) + b"\0" * 7)
    write_raw(tmp_path / "b", reviews(2018, [("U0", "B0")]))
    prepare_amazon(
        [tmp_path / "a.gz", tmp_path / "b"], [], Preparation(tmp_path / "shop", core=0, threads=1)
    )
    assert [row[0] for row in read_inter(tmp_path / "shop")] == ["U1", "U2", "U0"]


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


# --- against a real set ---------------------------------------------------------------------------


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
    provenance = prepare_amazon([path], [meta], Preparation(out, threads=1))
    factor = 1000 if release == 2023 else 1
    assert read_inter(out) == [(user, name, time * factor) for user, name, time in rows]
    counts = [provenance["steps"][-2][name] for name in ("users", "items", "interactions")]
    assert counts == [22_363, 12_101, 198_502]
    made = read_atomic(out / "shop.item").frame
    assert made["item_id"].tolist() == [row[0] for row in columns]
    for place, name in ((1, "title"), (2, "brand"), (4, "categories")):
        assert made[name].tolist() == [" ".join(html.unescape(r[place]).split()) for r in columns]
    if release == 2014:
        assert made["category"].tolist() == [row[3] for row in columns]
