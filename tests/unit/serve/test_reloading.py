"""When another ``serving.npz`` is opened, and what happens if it cannot be."""

import hashlib
import logging
import os
from types import SimpleNamespace

import pytest
from webclient import read_metrics

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.run.serving_file import FILE_NAME
from recbole_hm4sr.serve.metrics import FAILED_SWAPS, SWAPS, Metrics
from recbole_hm4sr.serve.reloading import RETRY_LOOKS, RunWatch
from recbole_hm4sr.serve.served import Served, Source, version_of


class HeldState:
    """Holds what is served, as a service does."""

    def __init__(self):
        self.metrics, self.served = Metrics(), None

    def put(self, served, app):
        assert app == "the application"
        self.served = served

    @property
    def counts(self):
        samples = read_metrics(self.metrics.text(None))
        return samples[SWAPS,], samples[FAILED_SWAPS,]


OPENED = []


def open_state(folder, metrics, threads):
    """What a source opens. A file that says "bad" cannot be opened."""
    assert isinstance(metrics, Metrics)
    assert threads == 3
    OPENED.append(folder)
    content = (folder / FILE_NAME).read_bytes()
    if content == b"bad":
        raise DataError("it is bad")
    sha256 = hashlib.sha256(content).hexdigest()
    return Served(folder.name, version_of(sha256), "", sha256), "the application"


@pytest.fixture
def opened():
    """Folders that were opened, in their order."""
    OPENED.clear()
    return OPENED


def watch_of(folder, service):
    return RunWatch(Source(folder, FILE_NAME, f"{__name__}:open_state"), service, 3)


def write(folder, content, at):
    """Replace the file in one step, with a time of its own."""
    folder.mkdir(exist_ok=True)
    new = folder / "new"
    new.write_bytes(content)
    os.utime(new, (at, at))
    new.replace(folder / FILE_NAME)


def name_of(content):
    return hashlib.sha256(content).hexdigest()[:12]


@pytest.fixture
def watched(tmp_path, opened):
    folder = tmp_path.resolve() / "run"
    write(folder, b"one", at=1)
    service = HeldState()
    watch = watch_of(folder, service)
    watch.open()
    assert opened == [folder]
    assert service.served.version == name_of(b"one")
    return SimpleNamespace(folder=folder, service=service, watch=watch, opened=opened)


def test_a_file_that_stays_or_is_written_again_is_not_opened_again(watched):
    assert not watched.watch.look()
    write(watched.folder, b"one", at=2)
    assert [watched.watch.look() for _ in range(3)] == [False] * 3
    assert len(watched.opened) == 1
    assert watched.service.counts == (0, 0)


def test_another_file_is_served_from_the_next_look(watched, caplog):
    write(watched.folder, b"two", at=2)
    with caplog.at_level(logging.INFO):
        assert [watched.watch.look(), watched.watch.look()] == [True, False]
    assert watched.service.served.version == name_of(b"two")
    assert watched.service.counts == (1, 0)
    words = f"is served as version {name_of(b'two')}, no longer as {name_of(b'one')}"
    assert words in caplog.text


def test_what_cannot_be_opened_is_said_and_the_old_state_goes_on(watched, caplog):
    write(watched.folder, b"bad", at=2)
    assert not watched.watch.look()
    assert watched.service.served.version == name_of(b"one")
    assert watched.service.counts == (0, 1)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{watched.folder} has another serving.npz, which cannot be served; the state before goes "
        f"on: DataError: it is bad"
    )
    # It is tried again after a while, and the same is not said twice.
    for _ in range(RETRY_LOOKS - 1):
        assert not watched.watch.look()
    assert watched.service.counts == (0, 1)
    watched.watch.look()
    assert watched.service.counts == (0, 2)
    assert len(caplog.records) == 1
    # A good one is not kept waiting.
    write(watched.folder, b"two", at=3)
    assert watched.watch.look()
    assert watched.service.served.version == name_of(b"two")


def test_what_could_not_be_opened_is_tried_again_as_it_stands(watched, monkeypatch):
    write(watched.folder, b"two", at=2)
    opener = open_state

    def full(folder, *_):
        raise MemoryError(folder)

    monkeypatch.setitem(globals(), "open_state", full)
    assert not watched.watch.look()
    monkeypatch.setitem(globals(), "open_state", opener)
    assert [watched.watch.look() for _ in range(RETRY_LOOKS)] == [False] * (RETRY_LOOKS - 1) + [
        True
    ]
    assert watched.service.counts == (1, 1)


def test_the_served_file_put_back_after_a_bad_one_changes_nothing(watched):
    write(watched.folder, b"bad", at=2)
    watched.watch.look()
    write(watched.folder, b"one", at=1)
    assert not any(watched.watch.look() for _ in range(2 * RETRY_LOOKS))
    assert watched.service.counts == (0, 1)


def test_a_file_that_is_gone_changes_nothing_until_there_is_one(watched):
    (watched.folder / FILE_NAME).unlink()
    assert not watched.watch.look()
    assert watched.service.counts == (0, 0)
    write(watched.folder, b"two", at=2)
    assert watched.watch.look()


def test_a_link_set_to_another_run_is_followed(tmp_path, opened):
    root = tmp_path.resolve()
    for name in ("first", "second"):
        write(root / name, name.encode(), at=1)
    (root / "current").symlink_to("first")
    service = HeldState()
    watch = watch_of(root / "current", service)
    watch.open()
    (root / "next").symlink_to("second")
    (root / "next").replace(root / "current")
    assert watch.look()
    assert service.served.run == "second"
    # Each is opened by its own name, so that no file is read through a link that has moved on.
    assert opened == [root / "first", root / "second"]
