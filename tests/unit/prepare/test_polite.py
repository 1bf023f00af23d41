"""How hosts are spared: limits, pauses, tries, and those that do not answer."""

import socket
import threading
import time

import pytest
from imageserver import paths

from recbole_hm4sr.prepare.images.polite import Download, PoliteQueue


def test_the_queue_keeps_its_limits_and_takes_hosts_in_turn():
    jobs = [Download(f"{host}{n}", host, ()) for host in "ab" for n in range(2)]
    queue = PoliteQueue(jobs, per_host=1, pause=0.0)
    first, second = queue.take(), queue.take()
    assert {first.host, second.host} == {"a", "b"}
    late = []
    waiting = threading.Thread(target=lambda: late.append(queue.take()))
    waiting.start()
    waiting.join(0.1)
    assert late == []  # both hosts are busy
    queue.done(second)
    waiting.join(5)
    assert late[0].host == second.host
    queue.stop()
    assert queue.take() is None


def test_a_pause_stands_between_two_jobs_of_a_host():
    queue = PoliteQueue([Download(str(n), "a", ()) for n in range(3)], per_host=9, pause=0.1)
    began = time.monotonic()
    for _ in range(3):
        queue.done(queue.take())
    assert time.monotonic() - began >= 0.2
    assert queue.take() is None


def test_retry_after_rests_the_whole_host(download, server):
    began = time.monotonic()
    report = download({"a": "busy", "b": "good/1", "c": "good/2"}, workers=1, per_host=1)
    assert report.n_fetched == 3
    assert time.monotonic() - began >= 1.0
    assert paths(server) == ["/busy", "/good/1", "/good/2", "/busy"]


def test_a_server_that_asks_for_too_long_a_wait_is_left(download, server):
    report = download({"a": "closed"})
    assert report.missing == {"status 429": 1}
    assert paths(server) == ["/closed"]


def test_a_host_that_never_answers_is_given_up(download):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: every connection is refused
        port = closed.getsockname()[1]
        pages = {f"i{n}": f"http://127.0.0.1:{port}/{n}" for n in range(30)}
        report = download(pages, tries=1, workers=1)
    assert report.missing == {"the connection failed": 20, "its host does not answer": 10}


def test_what_may_help_is_tried_again_and_no_more_often_than_told(download, server):
    report = download({"a": "once", "b": "fails", "c": "gone"})
    assert report.n_fetched == 1
    assert paths(server).count("/once") == 2
    assert paths(server).count("/fails") == 3
    assert paths(server).count("/gone") == 1


def test_an_address_of_several_items_is_asked_for_once(download, server):
    report = download({"a": "good", "b": "good", "c": "good"})
    assert report.n_fetched == 3
    assert paths(server) == ["/good"]


@pytest.mark.parametrize("page", ["silent", "drips", "slowhead"])
def test_a_server_that_stalls_is_left_in_time(download, server, page):
    report = download({"B1": page}, tries=1, read_seconds=0.3, total_seconds=0.5)
    assert report.missing == {"time-out": 1}
    assert server.ended == []  # each would take 20 seconds and more
    assert len(server.seen) == 1
