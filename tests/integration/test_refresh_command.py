"""A trained run with a memory: refreshed by command, asked at a moment, also over HTTP."""

import shutil

import numpy as np
import pytest
import torch
from servedruns import NOW, SMALL_MOMENTO

import recbole_hm4sr
from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.testing.toydata import write_toy_dataset

pytestmark = pytest.mark.integration

HISTORY = [(["B003", "B004"], [NOW - 100, NOW - 50])]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refreshed")
    write_toy_dataset(folder / "toy")
    settings = {**SMALL_MOMENTO, "data_path": str(folder)}
    quick_start.run("Momento", "toy", overrides=settings, run_dir=folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def before(run):
    """The run as it was opened before its refresh."""
    return Recommender.load(run)


@pytest.fixture(scope="module")
def after(run, before, tmp_path_factory):
    """The run opened after its refresh by command: "new" was bought by many who had B004."""
    del before
    path = tmp_path_factory.mktemp("file") / "new.csv"
    rows = [
        f"n{u},{item},{NOW - 40 + k}" for u in range(9) for k, item in enumerate(("B004", "new"))
    ]
    path.write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n", encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        cli.main(["refresh", f"--run={run}", f"--interactions={path}"])
    assert stop.value.code == 0
    with pytest.raises(SystemExit):
        cli.main(["refresh", f"--run={run}", f"--interactions={path}"])
    return Recommender.load(run)


def test_a_new_item_is_recommended_by_the_memory_alone(before, after):
    assert not before.knows(["new"]).any()
    assert after.n_items == before.n_items + 1
    found = after.recommend(HISTORY, k=after.n_items - 1, at=NOW, explain=True)
    place = found.items[0].tolist().index("new")
    shares = dict(zip(found.streams, found.shares[0, place].tolist(), strict=True))
    of_memory = sum(value for name, value in shares.items() if name not in after.model.streams)
    assert of_memory > 0
    assert [shares[name] for name in after.model.streams] == [0.0] * len(after.model.streams)
    assert shares["forward_later_30d"] > 0
    # A history that ends with it is scored too.
    assert len(after.recommend([(["new"], [NOW - 1])], k=3, at=NOW).items[0]) == 3


def test_answers_carry_the_moment_up_to_which_the_memory_knows(before, after):
    clock = before.run.data.clock
    assert before.recommend(HISTORY, at=NOW).known_until == clock.end == clock.newest + clock.grain
    assert after.recommend(HISTORY, at=NOW).known_until == NOW - 39 + 1
    # At the newest time itself nothing of that time is known.
    assert after.recommend(HISTORY, at=NOW - 39).known_until == NOW - 39


def test_a_request_before_the_newest_time_is_refused(after):
    sentence = (
        r"a request must be of 2027-01-15T07:59:21Z \(1799999961\) or later, the newest time that "
        r"the memory knows, got 2027-01-15T07:59:20Z \(1799999960\); hm4sr evaluate"
    )
    with pytest.raises(ConfigError, match=sentence):
        after.recommend(HISTORY, at=NOW - 40)
    with pytest.raises(ConfigError, match=r"at must be from 0 to 99999999999, got -1"):
        after.recommend(HISTORY, at=-1)


def test_one_file_is_mapped_by_all(after):
    store = after.model.scorer.memory.events
    mapped = after.run.data.arrays["memory.events.times"]
    assert isinstance(mapped, np.memmap)
    assert mapped.mode == "c"  # so that torch reads it as it lies
    assert store.times.data_ptr() == mapped.ctypes.data
    assert store.times.dtype == torch.int64


def test_a_file_merged_before_is_said_to_be(after, run, tmp_path, capsys):
    path = tmp_path / "again.csv"
    path.write_text(f"user_id,item_id,timestamp\nu1,B001,{NOW}\n", encoding="utf-8")
    texts = []
    for _ in range(2):
        with pytest.raises(SystemExit):
            cli.main(["refresh", f"--run={run}", f"--interactions={path}"])
        texts.append(" ".join(capsys.readouterr().out.split()))
    assert texts[0] == (
        "1 interactions merged, 0 skipped that were there; new users: 0, new items: 0; known "
        "before 2027-01-15T08:00:01Z (1800000001)"
    )
    assert (
        "again.csv was merged before: nothing to do; known before 2027-01-15T08:00:01Z" in texts[1]
    )
    assert recbole_hm4sr.refresh(run, path).is_known


def test_recommend_says_once_up_to_when_the_memory_knows(after, run, tmp_path, capsys):
    path = tmp_path / "history.csv"
    path.write_text(f"user_id,item_id,timestamp\na,B001,{NOW}\nb,B002,{NOW}\n", encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        cli.main(["recommend", f"--run={run}", f"--history={path}", "-k", "2", f"--at={NOW + 9}"])
    printed = capsys.readouterr()
    assert stop.value.code == 0
    assert printed.err.count("the memory knows what was known before") == 1
    assert len(printed.out.splitlines()) == 1 + 4


def test_the_service_tells_the_moment_and_what_is_read(after):
    pytest.importorskip("fastapi_offline", reason="needs the extra serve")
    pytest.importorskip("httpx", reason="needs httpx of the extra dev")
    from fastapi import testclient

    from recbole_hm4sr.serve.service import create_app

    moment = {"time": NOW - 38, "date": "2027-01-15T07:59:22Z"}
    with testclient.TestClient(create_app(after)) as asked:
        version = asked.get("/version").json()
        assert version["known_until"] == moment
        assert (version["reads"], version["asks_when"]) == (
            ["features", "target_time", "times"],
            True,
        )
        body = {"histories": [[{"item": "B004", "time": NOW - 50}]], "at": NOW}
        assert asked.post("/recommend", json=body).json()["known_until"] == moment
        early = asked.post("/recommend", json={**body, "at": NOW - 50})
        assert early.status_code == 422
        assert "or later, the newest time that the memory knows" in early.json()["errors"][0]


def test_a_damaged_file_of_the_memory_is_one_sentence(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    for path in (copy / "memory").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"\.npy must be as it was written, but is damaged; copy"):
        Recommender.load(copy)
