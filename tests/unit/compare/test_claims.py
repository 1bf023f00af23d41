"""A cell belongs to one process, and to another when the first gives no sign of life."""

import json
import os

import pytest

from recbole_hm4sr.compare import claims as module
from recbole_hm4sr.compare.claims import Claims

CELL = "toy/SASRec+/seed-1"


@pytest.fixture
def clock(monkeypatch):
    """The watch of whoever looks at a claim."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def processes(folder, count=2):
    return [Claims(folder / ".claims", 60) for _ in range(count)]


def of_another_machine(claim):
    claim.path.write_text(json.dumps({"host": "elsewhere", "process": 1}))


def test_a_cell_is_taken_once_and_free_again_when_it_is_given_back(tmp_path):
    first, second = processes(tmp_path)
    claim = first.take(CELL)
    assert claim.path.name == "toy~SASRec+~seed-1.0"
    assert json.loads(claim.path.read_text())["process"] == os.getpid()
    assert second.take(CELL) is None
    assert first.take(CELL) is None  # its own too
    assert second.take("toy/SASRec+/seed-10") is not None
    first.release(claim)
    assert second.take(CELL) is not None


def test_a_silent_process_loses_its_cell_after_the_stated_time(tmp_path, clock):
    first, second, third = processes(tmp_path, 3)
    claim = first.take(CELL)
    of_another_machine(claim)
    assert second.take(CELL) is None
    clock[0] = 59
    assert second.take(CELL) is None
    os.utime(claim.path, ns=(1, 1))  # a sign of life; a clock of another machine may be wrong
    assert second.take(CELL) is None
    clock[0] = 118
    assert second.take(CELL) is None
    clock[0] = 119
    taken = second.take(CELL)
    assert taken.path.name == "toy~SASRec+~seed-1.1"
    assert third.take(CELL) is None
    # The first was asleep: it notices, and what it gives back is not the second's.
    claim.beat()
    assert claim.is_lost
    first.release(claim)
    assert taken.path.exists()
    taken.beat()
    assert not taken.is_lost
    second.release(taken)
    assert not list((tmp_path / ".claims").iterdir())


def test_of_two_that_find_a_dead_process_one_takes_its_cell(tmp_path, clock):
    first, second, third = processes(tmp_path, 3)
    of_another_machine(first.take(CELL))
    assert second.take(CELL) is third.take(CELL) is None
    clock[0] = 60
    assert [claims.take(CELL) is None for claims in (second, third)] == [False, True]


def test_a_process_that_has_ended_on_this_machine_is_dead_at_once(tmp_path, monkeypatch):
    first, second = processes(tmp_path)
    first.take(CELL)
    monkeypatch.setattr(module, "is_alive", lambda _: False)
    assert second.take(CELL) is not None


def test_signs_of_life_are_given_while_a_cell_is_held(tmp_path):
    with Claims(tmp_path / ".claims", 0.06) as claims:
        claim = claims.take(CELL)
        os.utime(claim.path, ns=(1, 1))
        for _ in range(1000):
            if claim.path.stat().st_mtime_ns > 1:
                break
            module.time.sleep(0.01)
        assert claim.path.stat().st_mtime_ns > 1
    assert not (tmp_path / ".claims").exists()
