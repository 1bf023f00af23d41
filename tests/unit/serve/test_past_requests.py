"""A service says where a refresh will not reach every user."""

import logging
from types import SimpleNamespace

import pytest

from recbole_hm4sr.data.memory_files import MemoryClock
from recbole_hm4sr.serve.moments import warn_of_past_requests

CLOCK = MemoryClock(first=0, span=11, end=10, grain=1)


@pytest.mark.parametrize(
    ("clock", "asks_when", "warns"),
    [(CLOCK, False, True), (CLOCK, True, False), (None, False, False)],
)
def test_requests_of_the_newest_interaction_are_warned_of(clock, asks_when, warns, caplog):
    data = SimpleNamespace(clock=clock)
    recommender = SimpleNamespace(run=SimpleNamespace(data=data), asks_when=asks_when)
    with caplog.at_level(logging.WARNING):
        warn_of_past_requests(recommender)
    assert ("a refresh does not reach a user who was away" in caplog.text) == warns
