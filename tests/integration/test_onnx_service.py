"""An exported index over HTTP: it answers as the run does, also where torch is not installed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from servecommand import ServeCommand, none_is_left, until
from servedruns import train_toy
from test_export_memory import SETTINGS

from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.serve.reloading import RunWatch
from recbole_hm4sr.serve.served import index_source

httpx = pytest.importorskip("httpx", reason="needs httpx of the extra dev")
testclient = pytest.importorskip("fastapi.testclient", reason="needs the extra serve")
pytest.importorskip("fastapi_offline", reason="needs the extra serve")
pytest.importorskip("onnxscript", reason="needs the extra export")

from recbole_hm4sr.serve import onnx_index  # noqa: E402
from recbole_hm4sr.serve.export import export_index  # noqa: E402
from recbole_hm4sr.serve.onnx_index import OnnxIndex  # noqa: E402
from recbole_hm4sr.serve.service import Service, create_app  # noqa: E402

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def run(toy_path, tmp_path_factory):
    """A run with a memory whose weights depend on the situation of a request."""
    return train_toy("SASRecPlus", toy_path, tmp_path_factory.mktemp("runs") / "run", **SETTINGS)


@pytest.fixture(scope="module")
def index(run, tmp_path_factory):
    return export_index(run, tmp_path_factory.mktemp("index") / "index", list_length=10_000)


@pytest.fixture(scope="module")
def now(index):
    """A moment after all that the memory knows."""
    return json.loads((index / "index.json").read_text())["memory"]["moment"] + 40 * 86400


@pytest.fixture(scope="module")
def full(run):
    return testclient.TestClient(create_app(Recommender.load(run)))


@pytest.fixture(scope="module")
def light(index):
    service = Service()
    RunWatch(index_source(index), service).open()
    return testclient.TestClient(service)


def bodies_of(now):
    """Histories of several lengths, unknown items, none, and what may be recommended."""
    history = [{"item": f"B{n:03d}", "time": now - 9000 * (20 - n)} for n in range(14)]
    twice = [{"item": "B003", "time": now - 5}, {"item": "B003", "time": now - 9}]
    unknown = [{"item": " B004 ", "time": now - 5}, {"item": "none", "time": now - 9}]
    plain = {"histories": [history, history[:1], twice, unknown, []], "k": 24, "at": now}
    return [
        {**plain, "exclude_seen": False},
        plain,
        {**plain, "candidates": ["B001", "B020", "none"], "exclude_items": ["B001", "x"], "k": 3},
        {**plain, "at": "2100-01-01T00:00:00Z"},
    ]


def assert_like(answer, expected):
    """The same users and items, with scores to 1e-4 of the largest, best first."""
    for name in ("version", "unknown_candidates", "known_until"):
        assert answer[name] == expected[name]
    for own, other in zip(answer["users"], expected["users"], strict=True):
        assert (own["source"], own["unknown_items"]) == (other["source"], other["unknown_items"])
        scores = [it["score"] for it in own["items"]]
        assert scores == sorted(scores, reverse=True)
        mine, theirs = ({it["item"]: it["score"] for it in them["items"]} for them in (own, other))
        assert set(mine) == set(theirs)
        largest = max(map(abs, theirs.values()), default=1)
        for item, score in mine.items():
            assert score == pytest.approx(theirs[item], abs=TOLERANCE * largest, rel=TOLERANCE)


def test_it_answers_as_the_run_does(full, light, now):
    for body in bodies_of(now):
        answers = [client.post("/recommend", json=body) for client in (light, full)]
        assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
        assert_like(*(answer.json() for answer in answers))
    assert light.get("/version").json() == full.get("/version").json()
    assert light.get("/ready").json() == full.get("/ready").json()


@pytest.mark.parametrize(
    "body",
    [
        {"histories": [[]], "candidates": ["none"]},
        {"histories": [[{"item": "B001", "time": "yesterday"}]]},
        {"histories": [[]], "k": 0},
        {"histories": [[]], "at": 5},
    ],
)
def test_it_refuses_as_the_run_does(full, light, body):
    own, other = (client.post("/recommend", json=body) for client in (light, full))
    assert own.status_code == other.status_code
    assert own.status_code in (404, 422)
    assert own.json() == other.json()


def test_what_it_cannot_do_is_refused(light, now):
    late = {"histories": [[{"item": "B001", "time": now * 1000}]]}
    answer = light.post("/recommend", json=late)
    assert answer.status_code == 422
    assert "times must be in seconds, got" in answer.json()["errors"][0]
    answer = light.post("/recommend", json={"histories": [[]], "where": "price < 5"})
    assert answer.json() == {"errors": ["body.where: Extra inputs are not permitted"]}
    assert light.post("/similar", json={"items": ["B001"]}).status_code == 404


def test_equal_scores_are_in_the_order_of_items_and_twins_have_equal_ones():
    scores = np.array([1.0, 3.0, 2.0, 3.0, -np.inf, 2.0], dtype=np.float32)
    best, found = onnx_index._best(scores, 4)
    assert best.tolist() == [1, 3, 2, 5]
    assert found.tolist() == [3, 3, 2, 2]
    assert onnx_index._best(scores, 9)[0].tolist() == [1, 3, 2, 5, 0]
    assert onnx_index._best(scores[4:5], 3)[0].tolist() == []
    rows = np.array([[1, 2], [0, 0], [1, 2], [0, 0], [1, 2]], dtype=np.float32)
    assert onnx_index._twins_of(rows).tolist() == [[2, 0], [3, 1], [4, 0]]


@pytest.mark.parametrize(
    ("keep", "stays"), [(None, [1, 1, 1, 1]), ("first", [1, 1, 0, 1]), ("last", [0, 1, 1, 1])]
)
def test_interactions_of_one_item_stay_as_the_run_keeps_them(keep, stays):
    rows = np.array([7, 3, 7, 5])
    assert onnx_index._first_or_last(rows, keep).tolist() == [bool(it) for it in stays]


def test_a_folder_that_is_damaged_or_of_an_earlier_release_is_refused(index, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(index, copy)
    np.save(copy / "counts.npy", np.load(copy / "counts.npy") + 1)
    with pytest.raises(DataError, match=r"counts.npy must be the file that index.json names"):
        OnnxIndex(copy)
    facts = json.loads((copy / "index.json").read_text())
    del facts["files"]
    (copy / "index.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match=r"an index of an earlier release does not; export the run"):
        OnnxIndex(copy)


def test_an_index_that_is_written_anew_is_served_from_the_next_look(run, index, tmp_path):
    link = tmp_path / "current"
    link.symlink_to(index)
    service = Service()
    watch = RunWatch(index_source(link), service)
    watch.open()
    body = {"histories": [[{"item": "B001", "time": 5}]]}
    assert testclient.TestClient(service).post("/recommend", json=body).status_code == 200
    assert not watch.look()
    export_index(run, tmp_path / "short", list_length=1)
    (tmp_path / "next").symlink_to("short")
    (tmp_path / "next").replace(link)
    before, old = service.served, weakref.ref(service._state[1].model)
    assert watch.look()
    assert service.served.content != before.content
    assert service.served.version == before.version  # of the same state of the run
    watch.look()
    assert old() is None


def test_the_command_serves_an_index_and_wants_one_of_the_two(index, capsys, monkeypatch):
    uvicorn = pytest.importorskip("uvicorn")
    asked = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: asked.append(sockets))
    with pytest.raises(SystemExit, match="0"):
        cli.main(["serve", f"--onnx={index}", "--port=0"])
    assert len(asked) == 1
    for words in ([], [f"--onnx={index}", f"--run={index}"]):
        with pytest.raises(SystemExit, match="2"):
            cli.main(["serve", *words])
        assert "hm4sr serve must have either --run or --onnx" in capsys.readouterr().err


def serve_index(folder, index, python=sys.executable, **options):
    words = [str(index), "--port=0", "--workers=2"]
    return ServeCommand(folder, "recbole_hm4sr.serve.onnx_only", *words, python=python, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "is_of_group", "expected"),
    [(signal.SIGINT, True, 0), (signal.SIGKILL, False, -signal.SIGKILL)],
    ids=["ctrl-C", "killed supervisor"],
)
def test_no_process_outlives_the_one_that_was_started(
    index, tmp_path, number, is_of_group, expected
):
    command = serve_index(tmp_path, index)
    try:
        address = command.address()
        until(lambda: len(command.listening()) == 2, alive=command.process)
        assert httpx.get(f"{address}/health", timeout=300).status_code == 200
        code, family = command.end(number, group=is_of_group)
        assert code == expected
        assert len(family) >= 4
        assert none_is_left(family)
    finally:
        command.kill_all()
    assert "Traceback" not in command.log


@pytest.fixture(scope="module")
def slim(tmp_path_factory):
    """The interpreter of an environment with the package and what a slim image has."""
    folder = tmp_path_factory.mktemp("slim")
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    source = folder / "source"
    skipped = shutil.ignore_patterns(".git", "runs", "*.egg-info", "build", ".mypy_cache")
    shutil.copytree(ROOT, source, ignore=skipped)
    python = folder / "venv" / "bin" / "python"
    packages = ["numpy", "onnxruntime", "fastapi", "uvicorn"]
    for words in (
        [sys.executable, "-m", "venv", str(folder / "venv")],
        [str(python), "-m", "pip", "install", "-q", *packages],
        [str(python), "-m", "pip", "install", "-q", "--no-deps", str(source)],
    ):
        done = subprocess.run(
            words, env=environment, cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"{' '.join(words[1:6])} failed: {done.stderr[-300:]}")
    return python, environment


@pytest.mark.slow
def test_without_torch_and_recbole_it_answers_as_the_run_does(slim, index, full, now, tmp_path):
    python, environment = slim
    code = "import importlib.util as u; print([u.find_spec(n) is None for n in %r])"
    missing = ["torch", "recbole", "pandas", "scipy", "typer", "yaml"]
    done = subprocess.run(
        [str(python), "-c", code % missing], env=environment, capture_output=True, text=True,
        check=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.strip() == str([True] * len(missing))
    command = serve_index(tmp_path, index, python=str(python), env=environment, cwd=tmp_path)
    try:
        address = command.address()
        with httpx.Client(base_url=address, timeout=300) as client:
            until(lambda: len(command.listening()) == 2, alive=command.process)
            until(lambda: client.get("/ready").status_code == 200, alive=command.process)
            for body in bodies_of(now):
                answer = client.post("/recommend", json=body)
                assert answer.status_code == 200, answer.text
                assert_like(answer.json(), full.post("/recommend", json=body).json())
            counts = client.get("/metrics").text
        assert "hm4sr_workers 2" in counts.splitlines()
        code, family = command.end()
        assert code == 0
        assert none_is_left(family)
    finally:
        command.kill_all()


@pytest.mark.slow
def test_the_command_says_what_it_can_do_without_its_requirements(slim, tmp_path):
    python, environment = slim
    done = subprocess.run(
        [str(python), "-m", "recbole_hm4sr", "serve"], env=environment, capture_output=True,
        text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the command needs the package ")
    assert line.endswith("exported folders alone: python -m recbole_hm4sr.serve.onnx_only")
