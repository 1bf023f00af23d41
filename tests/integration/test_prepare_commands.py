"""``hm4sr prepare`` from the words of the user to a data set that loads."""

import shlex
from pathlib import Path

import duckdb
import pytest
from amazonfiles import JULY, RELEASES, item, reviews, write_raw
from datafiles import read_dataset

from recbole_hm4sr import cli

pytestmark = pytest.mark.integration
PAIRS = [(f"U{user}", f"B{(user + step) % 8}") for user in range(8) for step in range(6)]


def run(*words, code):
    with pytest.raises(SystemExit, match=f"^{code}$"):
        cli.main(["prepare", *map(str, words)])


@pytest.mark.parametrize("release", RELEASES)
def test_amazon_writes_a_data_set_that_loads(release, tmp_path, capsys):
    rows = [(user, name, JULY + place) for place, (user, name) in enumerate(PAIRS)]
    raw = write_raw(tmp_path / "reviews.gz", [*reviews(release, rows), "{", ""], packed=True)
    meta = write_raw(tmp_path / "meta.gz", [item(release, f"B{n}") for n in range(7)], packed=True)
    words = ("--reviews", raw, "--meta", meta, "--out", tmp_path / "data/toy", "--threads=1")
    run("amazon", *words, code=0)
    printed = capsys.readouterr().out
    assert "8 users, 8 items, 48 interactions" in printed
    assert "read interactions: dropped line is blank (1), line is no JSON object (1)" in printed
    assert "1 of 8 items have no metadata" in printed
    dataset = read_dataset(tmp_path / "data", modalities={}, load_col=None)
    assert [dataset.user_num - 1, dataset.item_num - 1] == [8, 8]
    factor = 1000 if release == 2023 else 1
    assert dataset.inter_feat["timestamp"].tolist() == [row[2] * factor for row in rows]
    assert dataset.item_feat["price"].notna().all()


def test_csv_writes_a_data_set_that_loads(tmp_path, capsys):
    again = [f"U0,B0,{JULY + 9}", f"U0,B0,{JULY}", f"few,B0,{JULY}"]
    rows = [f"{user},{name},{JULY}" for user, name in PAIRS]
    lines = ["who,what,when", *rows, *again, "u,i"]
    raw = write_raw(tmp_path / "log.csv", lines)
    items = write_raw(tmp_path / "items.csv", ["what;name", *(f"B{n};Item {n}" for n in range(8))])
    words = ("--user=who", "--item=what", "--time=when", "--title=name", "--threads=1")
    out = tmp_path / "data/toy"
    run("csv", "--interactions", raw, "--items", items, "--out", out, *words, code=0)
    printed = capsys.readouterr().out
    assert "dropped line has too few columns (1)" in printed
    assert "8 users, 8 items, 48 interactions" in printed
    assert (
        "repeats: dropped the same user and item again, later (1) (--keep_later keeps them), the "
        "same user, item and time again (1)\n"
    ) in printed
    assert "interactions of a user with fewer than 5 (1) (--core=0 keeps all)\n" in printed
    assert "all 8 items are described\n" in printed
    assert printed.endswith(f"next: hm4sr check --dataset=toy --data_path={tmp_path / 'data'}\n")
    dataset = read_dataset(tmp_path / "data", modalities={}, category_field=None)
    assert len(dataset.inter_feat) == 48


DOCS = Path(__file__).parents[2] / "docs"


def commands_of(page):
    """The commands in the blocks of a page, each on one line."""
    blocks = page.read_text(encoding="utf-8").split("```\n")[1::2]
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("hm4sr ")]


def test_the_commands_of_the_page_can_be_typed_as_they_stand(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    rows = [(user, name, JULY + n) for n, (user, name) in enumerate(PAIRS)]
    query = f'SELECT * FROM (VALUES {", ".join(map(str, rows))}) AS t(who, sku, "when")'
    duckdb.sql(f"COPY ({query}) TO '{tmp_path / 'log.parquet'}'")
    write_raw(tmp_path / "week.csv", ["who,sku,when", f"U0,new,{JULY + 99}"])
    head = "id;name;groups;cost"
    shop = [f"B{n};Item {n};Group {n % 2};{n}.5" for n in range(8)]
    write_raw(tmp_path / "shop.csv", [head, *shop])
    write_raw(tmp_path / "new.csv", [head, "new;A new one;Group 1;3"])
    words = [
        it[1:] for it in commands_of(DOCS / "data/prepare.md") if it[1:3] == ["prepare", "csv"]
    ]
    assert [[it for it in line if it in ("--append", "--replace")] for line in words] == [
        [], ["--append"], ["--replace"]
    ]  # fmt: skip
    for line in words:
        run(*line[1:], "--threads=1", code=0)
    printed = capsys.readouterr().out
    assert next(it for it in printed.splitlines() if it.startswith("next: ")) == (
        "next: hm4sr check --dataset=my-shop --data_path=data"
    )
    newest = sorted((tmp_path / "data").iterdir())
    assert [len((it / f"{it.name}.inter").read_text().splitlines()) for it in newest] == [
        49,
        50,
        49,
    ]


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, capsys):
    raw = write_raw(tmp_path / "r", reviews(2018, [("U", "B")]))
    run("amazon", "--reviews", raw, "--meta", raw, "--out", tmp_path / "shop", code=2)
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "line 1 must be a record of metadata" in error


def test_a_second_call_says_what_stands_in_its_way(tmp_path, capsys):
    raw = write_raw(tmp_path / "r", reviews(2018, [("U", "B")]))
    words = ("amazon", "--reviews", raw, "--out", tmp_path / "shop", "--core=0", "--threads=1")
    run(*words, code=0)
    run(*words, code=2)
    assert "must be new or empty, got one with a finished data set" in capsys.readouterr().err
