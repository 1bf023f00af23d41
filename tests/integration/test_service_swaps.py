"""A service before its run is loaded, and while its run is refreshed under load."""

import shutil
import threading
import time
import weakref
from types import SimpleNamespace

import pytest
from servedruns import NOW, SMALL_MOMENTO
from webclient import read_metrics, serving

import recbole_hm4sr
from recbole_hm4sr import cli
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.serve import metrics
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.serve.reloading import RunWatch
from recbole_hm4sr.serve.served import run_source
from recbole_hm4sr.testing.toydata import write_toy_dataset

httpx = pytest.importorskip("httpx", reason="needs httpx of the extra dev")
pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("fastapi_offline", reason="needs the extra serve")

from fastapi import testclient  # noqa: E402

from recbole_hm4sr.serve.service import Service, create_app  # noqa: E402

pytestmark = pytest.mark.integration

BODY = {
    "histories": [[{"item": "B003", "time": NOW - 100}, {"item": "B004", "time": NOW - 50}], []],
    "k": 30,
    "at": NOW,
}
N_CLIENTS = 4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swapped")
    write_toy_dataset(folder / "toy")
    settings = {**SMALL_MOMENTO, "data_path": str(folder)}
    quick_start.run("Momento", "toy", overrides=settings, run_dir=folder / "run")
    return folder / "run"


def users_of(run, version):
    """What the run as it lies there answers, asked alone."""
    recommender = Recommender.load(run)
    assert recommender.run.serving.startswith(version)
    (known, popular) = recommender.recommend(
        [(["B003", "B004"], [NOW - 100, NOW - 50]), ([], [])], k=30, at=NOW
    ).records()
    return [[it["item"] for it in user["items"]] for user in (known, popular)]


class Client:
    """Asks one thing without a pause, and keeps each answer."""

    def __init__(self, address, stop):
        self.answers = []
        self._address, self._stop = address, stop
        self.thread = threading.Thread(target=self._ask)
        self.thread.start()

    def _ask(self):
        with httpx.Client(base_url=self._address, timeout=60) as client:
            while not self._stop.is_set():
                answer = client.post("/recommend", json=BODY)
                self.answers.append((answer.status_code, answer.json()))

    def wait_for(self, version, number):
        """Until so many answers are of a version."""
        until(lambda: self.count(version) >= number, self.thread)

    def count(self, version):
        """How many answers are of a version."""
        return sum(body.get("version") == version for _, body in self.answers)


def until(holds, thread):
    """Wait for something that a thread brings about."""
    while not holds():
        assert thread.is_alive()
        time.sleep(0.01)


def refresh_with(run, path, day):
    """New users take one new item each, and one that the run knows."""
    rows = [
        f"n{day}{user},{item},{NOW - 40 + day}"
        for user in range(9)
        for item in (f"new{day}", f"B0{10 + user}")
    ]
    path.write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n", encoding="utf-8")
    recbole_hm4sr.refresh(run, path)


@pytest.fixture(scope="module")
def played(run, tmp_path_factory):
    """Three refreshes and a damaged file, one after the other, while clients ask."""
    folder = tmp_path_factory.mktemp("files")
    service, stop = Service(), threading.Event()
    watch = RunWatch(run_source(run), service)
    watch.open()
    found = SimpleNamespace(versions=[service.served.version])
    found.expected = {found.versions[0]: users_of(run, found.versions[0])}
    follower = threading.Thread(target=watch.follow, args=(stop, 0.01))
    with serving(service) as address:
        found.clients = [Client(address, stop) for _ in range(N_CLIENTS)]
        follower.start()
        try:
            for day in range(3):
                for client in found.clients:
                    client.wait_for(found.versions[-1], 3)
                refresh_with(run, folder / f"{day}.csv", day)
                until(lambda: service.served.version != found.versions[-1], follower)
                found.versions.append(service.served.version)
                found.expected[found.versions[-1]] = users_of(run, found.versions[-1])
            kept = (run / "serving.npz").read_bytes()
            (run / "serving.npz").write_bytes(kept[: len(kept) // 2])
            until(lambda: counted(service)[metrics.FAILED_SWAPS,], follower)
            for client in found.clients:
                client.wait_for(found.versions[-1], client.count(found.versions[-1]) + 3)
        finally:
            stop.set()
            follower.join()
            for client in found.clients:
                client.thread.join()
        (run / "serving.npz").write_bytes(kept)  # not in one step: nobody looks any more
        found.samples = read_metrics(httpx.get(f"{address}/metrics").text)
        found.described = httpx.get(f"{address}/version").json()
    return found


def test_a_state_that_is_no_longer_served_is_let_go(hm4sr_run):
    testclient = pytest.importorskip("fastapi.testclient")
    service = Service()
    watch = RunWatch(run_source(hm4sr_run), service)
    watch.open()
    body = {"histories": [[{"item": "B001", "time": 5}]]}
    assert testclient.TestClient(service).post("/recommend", json=body).status_code == 200
    before = weakref.ref(service._state[1].model)
    assert before() is not None
    watch._swap()
    watch.look()
    assert before() is None


def counted(service):
    return read_metrics(service.metrics.text(None))


def test_swaps_lose_no_request_and_each_answer_is_of_the_version_it_names(played):
    assert len({str(users) for users in played.expected.values()}) == 4
    for client in played.clients:
        assert {status for status, _ in client.answers} == {200}
        seen = [body["version"] for _, body in client.answers]
        assert set(seen) == set(played.versions)
        assert seen == sorted(seen, key=played.versions.index)  # never back to an older state
        for _, body in client.answers:
            lists = [[it["item"] for it in user["items"]] for user in body["users"]]
            assert lists == played.expected[body["version"]]


def test_counts_go_on_over_swaps_and_name_what_is_served(played):
    samples, described, version = played.samples, played.described, played.versions[-1]
    n_answers = sum(len(client.answers) for client in played.clients)
    path = ("path", "/recommend")
    of_path = {key: n for key, n in samples.items() if key[0] == metrics.REQUESTS and path in key}
    assert of_path == {(metrics.REQUESTS, path, ("status", "200")): n_answers}
    assert samples[metrics.DURATION + "_count", path] == n_answers
    assert samples[metrics.USERS, ("source", "model")] == n_answers
    assert samples[metrics.USERS, ("source", "popular")] == n_answers
    assert samples[metrics.SWAPS,] == 3
    assert samples[metrics.FAILED_SWAPS,] >= 1
    labels = (("checkpoint", described["checkpoint"]), ("run", "run"), ("version", version))
    assert samples[(metrics.SERVED, *labels)] == 1
    assert samples[metrics.KNOWN_UNTIL,] == described["known_until"]["time"] == NOW - 38 + 1
    assert described["served"] == version == described["serving"][:12]


def test_a_service_without_a_run_is_alive_but_not_ready(hm4sr_run):
    service = Service()
    refusal = {"errors": ["no run is loaded yet; ask again later"]}
    with serving(service) as address, httpx.Client(base_url=address, timeout=60) as client:
        assert client.get("/health").json() == {"status": "ok"}
        for path in ("/ready", "/version", "/docs", "/openapi.json"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()) == (503, refusal)
        assert client.post("/recommend", json=BODY).status_code == 503
        before = client.get("/metrics")
        assert before.headers["content-type"] == metrics.CONTENT_TYPE
        assert not [key for key in read_metrics(before.text) if key[0] == metrics.SERVED]
        RunWatch(run_source(hm4sr_run), service).open()
        assert client.get("/health").json() == {"status": "ok"}
        answer = client.get("/ready")
        assert (answer.status_code, answer.json()["status"]) == (200, "ready")
        answer = client.post("/recommend", json={"histories": [[]]})
        assert (answer.status_code, answer.json()["version"]) == (200, service.served.version)
        samples = read_metrics(client.get("/metrics").text)
    for status, number in (("503", 1), ("200", 1)):
        key = (metrics.REQUESTS, ("path", "/recommend"), ("status", status))
        assert samples[key] == number
    assert samples[metrics.REQUESTS, ("path", "/health"), ("status", "200")] == 2


def test_unknown_items_and_popular_answers_are_counted(hm4sr_run):
    client = testclient.TestClient(create_app(Recommender.load(hm4sr_run)))
    histories = [["B001", "x", "y"], ["x"], []]
    body = {"histories": [[{"item": it, "time": 5} for it in items] for items in histories]}
    assert client.post("/recommend", json=body).status_code == 200
    assert client.post("/similar", json={"items": ["B001", "x"]}).status_code == 200
    client.get("/nothing")
    samples = read_metrics(client.get("/metrics").text)
    # Nothing that was asked to write the examples of the page is among them.
    assert samples[metrics.USERS, ("source", "model")] == 1
    assert samples[metrics.USERS, ("source", "popular")] == 2
    assert samples[metrics.UNKNOWN, ("path", "/recommend")] == 3
    assert samples[metrics.UNKNOWN, ("path", "/similar")] == 1
    assert samples[metrics.REQUESTS, ("path", "other"), ("status", "404")] == 1


def test_the_command_ends_with_a_sentence_where_the_run_cannot_be_loaded(
    hm4sr_run, tmp_path, capsys
):
    copy = tmp_path / "copy"
    shutil.copytree(hm4sr_run, copy)
    (copy / "serving.npz").write_bytes(b"PK")
    with pytest.raises(SystemExit, match="2"):
        cli.main(["serve", "--run", str(copy), "--port", "0"])
    assert "serving.npz must be the serving file of a run" in capsys.readouterr().err
