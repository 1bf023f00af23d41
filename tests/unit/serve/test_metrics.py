"""What Prometheus reads of a service, against counts by hand."""

import ctypes
import multiprocessing
import threading
import time

import numpy as np
import pytest
from webclient import read_metrics

from recbole_hm4sr.serve import metrics
from recbole_hm4sr.serve.metrics import Metrics
from recbole_hm4sr.serve.served import Served


def read(found, served=None):
    return read_metrics(found.text(served))


def served_of(*, run="shop", known=None):
    return Served(run, "abc", "c0ffee", "", known)


def test_requests_are_counted_by_path_and_status():
    found = Metrics()
    for path, status in [("/similar", 200), ("/similar", 404), ("/similar", 200), ("/ready", 503)]:
        found.observe(path, status, 0.0)
    requests = {key: n for key, n in read(found).items() if key[0] == metrics.REQUESTS}
    assert requests == {
        (metrics.REQUESTS, ("path", "/similar"), ("status", "200")): 2,
        (metrics.REQUESTS, ("path", "/similar"), ("status", "404")): 1,
        (metrics.REQUESTS, ("path", "/ready"), ("status", "503")): 1,
    }


def test_paths_that_are_none_and_answers_that_never_began_share_a_series():
    found = Metrics()
    for path in ("/a", "/b", "/wp-admin.php"):
        found.observe(path, None, 0.0)
    requests = [key for key in read(found) if key[0] == metrics.REQUESTS]
    assert requests == [(metrics.REQUESTS, ("path", "other"), ("status", "none"))]


def test_the_histogram_counts_all_that_is_no_longer_than_each_end():
    found = Metrics()
    seconds = [0.0005, 0.001, 0.0011, 0.05, 0.7, 11.0]
    for each in seconds:
        found.observe("/recommend", 200, each)
    samples = read(found)
    path = ("path", "/recommend")
    for end in metrics.SECONDS:
        bucket = samples[metrics.DURATION + "_bucket", ("le", str(end)), path]
        assert bucket == sum(each <= end for each in seconds)
    assert samples[metrics.DURATION + "_bucket", ("le", "+Inf"), path] == 6
    assert samples[metrics.DURATION + "_count", path] == 6
    assert samples[metrics.DURATION + "_sum", path] == pytest.approx(sum(seconds), rel=1e-12)


def test_series_of_answers_and_swaps_begin_at_zero():
    assert read(Metrics()) == {
        (metrics.USERS, ("source", "model")): 0,
        (metrics.USERS, ("source", "popular")): 0,
        (metrics.UNKNOWN, ("path", "/recommend")): 0,
        (metrics.UNKNOWN, ("path", "/similar")): 0,
        (metrics.SWAPS,): 0,
        (metrics.FAILED_SWAPS,): 0,
        (metrics.WORKERS,): 0,
        (metrics.ENDED_WORKERS,): 0,
    }


def test_what_is_served_is_named_and_its_moment_is_in_seconds():
    run = 'my "shop"\\\n2'
    samples = read(Metrics(), served_of(run=run, known=1_800_000_000.0))
    labels = (("checkpoint", "c0ffee"), ("run", run), ("version", "abc"))
    assert samples[(metrics.SERVED, *labels)] == 1
    assert samples[metrics.KNOWN_UNTIL,] == 1_800_000_000
    assert (metrics.KNOWN_UNTIL,) not in read(Metrics(), served_of())


def test_threads_lose_no_count_and_a_text_is_of_one_moment():
    class Slow(np.ndarray):
        """Another thread comes between what is read and what is written."""

        def __getitem__(self, key):
            value = super().__getitem__(key)
            time.sleep(1e-5)
            return value

    found = Metrics()
    found._own = {name: part.view(Slow) for name, part in found._own.items()}
    texts = []

    def count():
        for _ in range(50):
            found.observe("/recommend", 200, 0.25)
            found.add(metrics.USERS, 3, source="popular")
            texts.append(found.text(None))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    path = ("path", "/recommend")
    samples = read(found)
    assert samples[metrics.REQUESTS, path, ("status", "200")] == 200
    assert samples[metrics.DURATION + "_count", path] == 200
    assert samples[metrics.DURATION + "_sum", path] == 50.0
    assert samples[metrics.USERS, ("source", "popular")] == 600
    for text in texts:
        then = read_metrics(text)
        n_requests = then[metrics.REQUESTS, path, ("status", "200")]
        assert then[metrics.DURATION + "_count", path] == n_requests
        assert then[metrics.DURATION + "_sum", path] == 0.25 * n_requests


def test_a_text_is_of_all_processes_whichever_is_asked():
    rows = metrics.shared_rows(3, multiprocessing)
    first, second = Metrics(rows, 0), Metrics(rows, 1)
    first.observe("/recommend", 200, 0.25)
    second.observe("/recommend", 200, 0.5)
    second.observe("/recommend", None, 0.5)
    second.add(metrics.SWAPS)
    Metrics(rows, 2).add(metrics.WORKERS, 2)
    assert read(first) == read(second)
    samples, path = read(first), ("path", "/recommend")
    assert samples[metrics.REQUESTS, path, ("status", "200")] == 2
    assert samples[metrics.REQUESTS, path, ("status", "none")] == 1
    assert samples[metrics.DURATION + "_sum", path] == 1.25
    assert (samples[metrics.SWAPS,], samples[metrics.WORKERS,]) == (1, 2)
    # Who takes the place of a process counts on where that ended.
    Metrics(rows, 1).observe("/recommend", 200, 0.5)
    assert read(first)[metrics.REQUESTS, path, ("status", "200")] == 3


def test_the_rows_of_processes_lie_side_by_side():
    rows = metrics.shared_rows(2, multiprocessing)
    assert len(rows) * ctypes.sizeof(rows._type_) == 2 * metrics.N_COLUMNS * 8
    Metrics(rows, 1).observe("other", 599, 99.0)
    assert not np.frombuffer(rows)[: metrics.N_COLUMNS].any()
