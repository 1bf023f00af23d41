"""Downloads of an item table's images: what is kept and counted, and what a restart asks for."""

import sys

import pytest
from datafiles import write_lines
from imageserver import JPEG, PNG, ledger, paths

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.prepare.images import folder as image_folder
from recbole_hm4sr.prepare.images.download import download_images
from recbole_hm4sr.prepare.images.fetch import FetchError
from recbole_hm4sr.prepare.images.folder import decode_image, file_stem


def test_images_are_saved_by_item_with_the_extension_of_their_content(download, server):
    report = download({"B1": "good", "B2": "jpeg", "B3": "modest"})
    assert (report.n_items, report.n_fetched, report.n_kept, report.missing) == (3, 3, 0, {})
    assert (report.folder / "B1.png").read_bytes() == PNG
    assert (report.folder / "B2.jpg").read_bytes() == JPEG
    # What the server calls text is an image all the same.
    assert (report.folder / "B3.jpg").read_bytes() == JPEG
    assert {line["width"] for line in ledger(report.folder)} == {8}
    assert not list(report.folder.glob(".*"))
    agent = server.seen[0][1]["User-Agent"]
    assert agent.startswith("recbole-hm4sr/")


def test_every_failure_is_counted_by_its_reason_and_listed(download):
    pages = {
        "ok": "good",
        "lies": "lies",
        "cut": "cut",
        "short": "short",
        "gone": "gone",
        "fails": "fails",
        "large": "large",
        "endless": "endless",
        "none": "",
        "odd": "ftp://127.0.0.1/x.png",
        "file": "file:///etc/hostname",
        "secret": "http://me:pass@127.0.0.1/x.png",
    }
    report = download(pages, max_bytes=2000)
    assert report.n_fetched == 1
    assert report.missing == {
        "not a whole image": 2,
        "the connection failed": 1,
        "status 404": 1,
        "status 500": 1,
        "too large": 2,
        "no address in the table": 1,
        "refused: neither http nor https": 2,
        "refused: name and password in the address": 1,
    }
    rows = (report.folder / "missing.tsv").read_text().splitlines()
    assert rows[0] == "item_id\treason\taddress"
    assert [row.split("\t")[0] for row in rows[1:]] == sorted(set(pages) - {"ok"})
    assert [path.name for path in report.folder.iterdir() if path.suffix == ".png"] == ["ok.png"]


def test_a_restart_asks_only_for_what_is_missing(download, server):
    pages = {"a": "good/a", "b": "good/b", "c": "once", "d": "gone"}
    first = download(pages, tries=1)
    assert first.n_fetched == 2
    with (first.folder / "images.jsonl").open("a") as file:
        file.write('{"token": "b", "rea')  # killed while writing
    (first.folder / ".x.png.77.new").write_bytes(b"half")
    before = len(server.seen)
    second = download(pages, tries=1)
    assert (second.n_kept, second.n_fetched, second.missing) == (2, 1, {"status 404": 1})
    assert sorted(paths(server)[before:]) == ["/gone", "/once"]
    assert not list(first.folder.glob("*.new"))
    before = len(server.seen)
    (first.folder / "a.png").write_bytes(PNG[:10])
    third = download({**pages, "b": "jpeg"}, tries=1)
    # a is cut, b has another address now, d is still missing.
    assert sorted(paths(server)[before:]) == ["/gone", "/good/a", "/jpeg"]
    assert (third.n_kept, third.n_fetched) == (1, 2)


def test_names_of_files():
    assert file_stem("B00-A.1") == "B00-A.1"
    assert file_stem("../a/b") == "%2E.%2Fa%2Fb"
    long = file_stem("x" * 400)
    assert len(long) < 200
    assert long != file_stem("x" * 401)


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(image_folder, "_MAX_PIXELS", 40)
    with pytest.raises(FetchError, match="too many pixels"):
        decode_image(PNG)


def test_a_table_that_names_an_item_twice_is_refused(tmp_path):
    table = write_lines(tmp_path / "t.item", "item_id:token\timage:token", [("a", "x"), ("a", "y")])
    with pytest.raises(DataError, match="item_id must be on one line each"):
        download_images(table, tmp_path / "images", column="image")


def test_a_column_that_is_not_there_is_named(tmp_path):
    table = write_lines(tmp_path / "t.item", "item_id:token", [("a",)])
    with pytest.raises(DataError, match="must have the column 'image'"):
        download_images(table, tmp_path / "images", column="image")


def test_the_command_reports_and_goes_on(server, tmp_path, capsys):
    from recbole_hm4sr import cli

    base = f"http://127.0.0.1:{server.server_port}/"
    rows = [("a", base + "good"), ("b", base + "gone")]
    table = write_lines(tmp_path / "toy.item", "item_id:token\timage:token", rows)
    words = ["prepare", "images", f"--items={table}", "--column=image", "--pause=0"]
    words += [f"--out={tmp_path / 'images'}", "--allow_private"]
    for new in (1, 0):
        with pytest.raises(SystemExit, match="0"):
            cli.main(words)
        printed = capsys.readouterr().out
        assert f"1 of 2 items have an image ({new} new)" in printed
        assert "1 missing: status 404" in printed
    assert paths(server).count("/good") == 1


@pytest.mark.parametrize("library", ["urllib3", "PIL"])
def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DataError, match=r"recbole-hm4sr\[prepare\]"):
        download_images(tmp_path / "t.item", tmp_path / "images", column="image")
