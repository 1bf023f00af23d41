"""How far the engine is, told from another thread."""

import threading

from recbole_hm4sr.prepare import progress
from recbole_hm4sr.prepare.progress import engine_progress


class Engine:
    """Knows nothing at first, then two fifths."""

    def __init__(self):
        self.asked, self.told = 0, threading.Event()

    def query_progress(self):
        self.asked += 1
        if self.asked > 2:
            self.told.set()
        return -1.0 if self.asked == 1 else 40.5


def test_percents_are_reported_where_the_engine_knows_them(monkeypatch):
    monkeypatch.setattr(progress, "_EVERY_SECONDS", 0.001)
    engine, said = Engine(), []
    with engine_progress(engine, "sorting", lambda *words: said.append(words)):
        assert engine.told.wait(60)
    n_said = len(said)
    assert said[:2] == [("sorting", 0, 0), ("sorting", 40, 100)]
    assert engine.asked == n_said  # once without an answer, and once before any question
    threading.Event().wait(0.02)
    assert len(said) == n_said  # nothing is asked after the block
