"""Freed memory goes back to the system; batches stay as they are."""

import platform

import numpy as np
import psutil
import pytest

from recbole_hm4sr import memory

MB = 2**20


def resident_mb():
    return psutil.Process().memory_info().rss / MB


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to")
def test_what_lies_between_used_blocks_goes_back():
    # 64 KB blocks lie on the heap; the used ones keep it from shrinking at its end.
    blocks = [np.ones(2**16, dtype=np.uint8) for _ in range(2048)]
    del blocks[::2]  # 64 MB
    before = resident_mb()
    memory.release_freed_memory()
    assert before - resident_mb() > 40
    assert all(block.all() for block in blocks)


def test_batches_pass_through_and_every_sixteenth_releases(monkeypatch):
    calls = []
    monkeypatch.setattr(memory, "release_freed_memory", lambda: calls.append(len(seen)))
    seen = []
    for batch in memory.releasing_memory(range(40)):
        seen.append(batch)
    assert seen == list(range(40))
    assert calls == [0, 16, 32]


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    memory.release_freed_memory()
