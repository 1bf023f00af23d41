"""A sound place with a finished run, made once, and a copy for each test."""

import pytest
from faultkit import copy_place, make_place, train_in


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    place = make_place(tmp_path_factory.mktemp("sound") / "place")
    with pytest.MonkeyPatch.context() as monkeypatch:
        train_in(place, monkeypatch)
    return place


@pytest.fixture
def place(template, tmp_path, monkeypatch):
    place = copy_place(template, tmp_path / "place")
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return place
