"""Several processes at one port: one is killed, the run is swapped, and all end together."""

import os
import shutil
import signal
import threading
from dataclasses import replace

import pytest
from servecommand import Client, ServeCommand, none_is_left, until
from webclient import read_metrics

from recbole_hm4sr.run.serving_file import read_serving_file, save_serving_file
from recbole_hm4sr.serve import metrics
from recbole_hm4sr.serve.recommend import Recommender

httpx = pytest.importorskip("httpx", reason="needs httpx of the extra dev")
pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("fastapi_offline", reason="needs the extra serve")

pytestmark = [pytest.mark.integration, pytest.mark.slow]
HISTORY = ["B003", "B004"], [100, 200]
BODY = {
    "histories": [[{"item": it, "time": t} for it, t in zip(*HISTORY, strict=True)], []],
    "k": 10,
}
N_CLIENTS = 4


@pytest.fixture
def root(hm4sr_run, tmp_path):
    """Two states of a run, in which other items are popular, and a link to the first."""
    for name in ("one", "two"):
        shutil.copytree(hm4sr_run, tmp_path / name)
    kept = read_serving_file(tmp_path / "two")
    counts = kept.data.counts.copy()
    counts[1:] = counts[:0:-1] + 1
    save_serving_file(tmp_path / "two", replace(kept, data=replace(kept.data, counts=counts)))
    (tmp_path / "current").symlink_to("one")
    return tmp_path


def expected_of(run):
    recommender = Recommender.load(run)
    records = recommender.recommend([HISTORY, ([], [])], k=10).records()
    return recommender.run.serving[:12], [[it["item"] for it in user["items"]] for user in records]


def samples_of(address):
    # A connection of its own each time: any process may answer.
    return read_metrics(httpx.get(f"{address}/metrics", timeout=300).text)


def play(root, command, clients, stop):
    """A worker is killed, then the run is swapped; returns what was counted at the end."""
    address, alive = command.address(), command.process
    try:
        first, second = (expected_of(root / name)[0] for name in ("one", "two"))
        until(lambda: len(command.listening()) == 2, alive=alive)
        until(lambda: httpx.get(f"{address}/ready", timeout=300).status_code == 200, alive=alive)
        until(lambda: samples_of(address)[metrics.WORKERS,] == 2, alive=alive)
        clients += [Client(address, BODY, stop) for _ in range(N_CLIENTS)]
        for client in clients:
            until(lambda client=client: client.count(first) >= 3, alive=alive)
        os.kill(command.listening()[0], signal.SIGKILL)
        until(lambda: samples_of(address)[metrics.ENDED_WORKERS,] == 1, alive=alive)
        until(lambda: samples_of(address)[metrics.WORKERS,] == 2, alive=alive)
        (root / "next").symlink_to("two")
        (root / "next").replace(root / "current")
        for client in clients:
            until(lambda client=client: client.count(second) >= 3, alive=alive)
    finally:
        stop.set()
        for client in clients:
            client.thread.join()
    return samples_of(address)


def test_a_killed_worker_and_a_swap_lose_nothing_and_all_end_at_once(root):
    words = ["serve", f"--run={root / 'current'}", "--port=0", "--workers=2", "--reload_on_change"]
    command = ServeCommand(root, "recbole_hm4sr", *words)
    clients, stop = [], threading.Event()
    try:
        samples = play(root, command, clients, stop)
        assert len(command.listening()) == 2
        code, family = command.end()
        assert code == 0
        assert none_is_left(family)
    finally:
        stop.set()
        command.kill_all()
    found = [expected_of(root / name) for name in ("one", "two")]
    expected, order = dict(found), [version for version, _ in found]
    assert expected[order[0]][1] != expected[order[1]][1]
    for client in clients:
        statuses = {status for status, _ in client.answers}
        # Before a worker has opened its run it says so; all were ready when the clients began,
        # unless one of the first two was slow.
        assert statuses <= {200, 503}
        answered = [body for status, body in client.answers if status == 200]
        seen = [body["version"] for body in answered]
        assert set(seen) == set(order)
        assert client.n_retried <= 1
        for body in answered:
            lists = [[it["item"] for it in user["items"]] for user in body["users"]]
            assert lists == expected[body["version"]]
    n_answers = sum(status == 200 for client in clients for status, _ in client.answers)
    n_retried = sum(client.n_retried for client in clients)
    counted = samples[metrics.REQUESTS, ("path", "/recommend"), ("status", "200")]
    # Of all processes, the killed one too: what it was answering may have been counted.
    assert n_answers <= counted <= n_answers + n_retried
    assert samples[metrics.USERS, ("source", "popular")] >= n_answers
    assert samples[metrics.SWAPS,] >= 2


def test_a_run_that_no_worker_can_open_ends_the_command_with_a_sentence(hm4sr_run, tmp_path):
    shutil.copytree(hm4sr_run, tmp_path / "run")
    (tmp_path / "run" / "serving.npz").write_bytes(b"PK")
    words = ["serve", f"--run={tmp_path / 'run'}", "--port=0", "--workers=2"]
    command = ServeCommand(tmp_path, "recbole_hm4sr", *words)
    try:
        assert command.process.wait(600) == 2
    finally:
        command.kill_all()
    assert "error: " in command.log
    assert "serving.npz must be the serving file of a run" in command.log
    assert "Traceback" not in command.log
