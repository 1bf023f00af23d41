"""Seconds and peak memory of a whole run, over its processes; what was not measured is said."""

import dataclasses

import pytest
import torch

from recbole_hm4sr.report.run_costs import peak_memory_text, whole_run_text
from recbole_hm4sr.train import costs
from recbole_hm4sr.train.costs import CostMeter
from recbole_hm4sr.train.epochs import EpochRecord

CPU = torch.device("cpu")
MB = 2**20


@pytest.fixture
def clock(monkeypatch):
    """The time and the peak memory that a meter reads."""

    class Clock:
        now, peak = 1000.0, 0

    monkeypatch.setattr(costs.time, "perf_counter", lambda: Clock.now)
    monkeypatch.setattr(costs.time, "process_time", lambda: 2 * Clock.now)  # of two threads
    monkeypatch.setattr(costs, "_peak_bytes", lambda _: Clock.peak)
    monkeypatch.setattr(costs, "_reset_peak", lambda _: True)
    return Clock


def process(clock, *, opening, training, peak, before=None, history=()):
    """A process that goes on with a run; the costs at its end, as a checkpoint keeps them."""
    meter = CostMeter(CPU)
    clock.peak = 1
    clock.now += opening
    meter.opened()
    if history or before:
        meter.resume_from(before, history)
    clock.now += training
    clock.peak = peak
    return dataclasses.asdict(meter.costs())


def test_seconds_are_summed_and_the_largest_peak_is_kept(clock):
    first = process(clock, opening=2, training=10, peak=300)
    second = process(clock, opening=3, training=20, peak=500, before=first)
    clock.now += 10_000  # nobody trains
    third = process(clock, opening=4, training=30, peak=400, before=second)
    assert third == {
        "seconds": 2 + 10 + 3 + 20 + 4 + 30,
        "cpu_seconds": 2 * (2 + 10 + 3 + 20 + 4 + 30),
        "opening_seconds": 2 + 3 + 4,
        "peak_memory_bytes": 500,
        "peak_is_own": True,
        "complete": True,
    }


def test_a_budget_counts_the_processor_time_of_all_processes_of_a_run(clock):
    first = process(clock, opening=0, training=40, peak=1)  # 80 s of processor time
    meter = CostMeter(CPU, max_cpu_minutes=2)
    meter.resume_from(first, ())
    clock.now += 19.5
    assert not meter.is_spent
    clock.now += 0.5  # 80 + 40 s
    assert meter.is_spent
    endless = CostMeter(CPU)
    clock.now += 1e6
    assert not endless.is_spent


def test_a_checkpoint_without_costs_gives_the_seconds_of_its_epochs_and_says_so(clock):
    history = [
        EpochRecord(
            epoch=n,
            loss=1.0,
            losses={},
            valid_score=0.0,
            valid={},
            is_best=True,
            train_seconds=5.0,
            valid_seconds=1.0,
        )
        for n in (1, 2)
    ]
    found = process(clock, opening=2, training=10, peak=300, history=history)
    assert found["seconds"] == 2 * (5 + 1) + 2 + 10
    assert found["complete"] is False
    later = process(clock, opening=1, training=1, peak=1, before=found)
    assert later["complete"] is False


def test_a_peak_that_could_not_be_reset_is_not_the_run_s(clock, monkeypatch):
    monkeypatch.setattr(costs, "_reset_peak", lambda _: False)
    first = process(clock, opening=0, training=1, peak=9)
    assert first["peak_is_own"] is False
    monkeypatch.setattr(costs, "_reset_peak", lambda _: True)
    assert process(clock, opening=0, training=1, peak=1, before=first)["peak_is_own"] is False


def test_the_peak_is_of_what_came_after_the_meter():
    """A block of 256 MB before it does not count, one of 128 MB within does."""
    if not costs._reset_peak(CPU):
        pytest.skip("this system cannot reset a process's peak memory")
    before = torch.ones(256 * MB, dtype=torch.uint8)
    del before
    meter = CostMeter(CPU)
    at_start = meter.costs()
    block = torch.ones(128 * MB, dtype=torch.uint8)
    del block
    grown = meter.costs().peak_memory_bytes - at_start.peak_memory_bytes
    assert 100 * MB < grown < 160 * MB
    assert at_start.peak_is_own


def test_where_the_system_has_no_such_file_the_peak_is_the_process_s(monkeypatch, tmp_path):
    monkeypatch.setattr(costs, "_CLEAR_REFS", tmp_path / "none" / "clear_refs")
    monkeypatch.setattr(costs, "_STATUS", tmp_path / "none" / "status")
    found = CostMeter(CPU).costs()
    assert found.peak_is_own is False
    assert found.peak_memory_bytes > 50 * MB  # of getrusage: torch alone is larger


def test_a_gpu_s_peak_is_reset_at_the_start(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", calls.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 7 * MB)
    device = torch.device("cuda", 0)
    assert CostMeter(device).costs().peak_memory_bytes == 7 * MB
    assert calls == [device]


@pytest.mark.parametrize(
    ("metrics", "whole", "peak"),
    [
        ({"measured_whole_run": True, "peak_memory_of": "run"}, "92 s", "1,234 MiB"),
        (
            {"measured_whole_run": False, "peak_memory_of": "run"},
            "at least 92 s",
            "at least 1,234 MiB",
        ),
        (
            {"measured_whole_run": True, "peak_memory_of": "process"},
            "92 s",
            "1,234 MiB of its process, with what ran there before",
        ),
        # Of an earlier release: of the last process only, whose peak was never reset.
        ({}, "at least 92 s", "1,234 MiB of its process, with what ran there before"),
    ],
)
def test_the_page_says_what_was_not_measured(metrics, whole, peak):
    metrics = {"seconds": 92.0, "peak_memory_mb": 1234, **metrics}
    assert whole_run_text(metrics) == whole
    assert peak_memory_text(metrics) == peak
