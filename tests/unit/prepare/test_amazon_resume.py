"""``hm4sr prepare amazon``: a whole folder or none, whatever stops it."""

import hashlib
import json

import pytest
from amazonfiles import JULY, item, prepare, read_inter, reviews, write_raw

from recbole_hm4sr.errors import DataError
from recbole_hm4sr.prepare.amazon import prepare_amazon
from recbole_hm4sr.prepare.job import Job


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
    assert read_inter(out) == [("U22", "B22", JULY)]


def test_provenance_has_hashes_versions_and_sizes(tmp_path):

    out, provenance = prepare(tmp_path, reviews(2018, [("U1", "B1")]))
    raw = (tmp_path / "reviews.json").read_bytes()
    assert provenance == json.loads((out / "PROVENANCE.json").read_text())
    assert provenance["inputs"][0]["sha256"] == hashlib.sha256(raw).hexdigest()
    assert provenance["inputs"][0]["n_bytes"] == len(raw)
    assert set(provenance["versions"]) == {"recbole-hm4sr", "python", "duckdb", "orjson"}
    written = {entry["file"]: entry["sha256"] for entry in provenance["outputs"]}
    assert written["shop.inter"] == hashlib.sha256((out / "shop.inter").read_bytes()).hexdigest()
    assert str(tmp_path) not in (out / "PROVENANCE.json").read_text()
