"""Exported indexes of a run that is refreshed: written anew, or said before anything changes."""

import json
from pathlib import Path

import numpy as np
import pytest
from refreshable import FIRST, contents, with_lines

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.data.memory_files import PREFIX
from recbole_hm4sr.serve import export, exported
from recbole_hm4sr.serve import refresh as refreshing


def with_index(folder, moment=0):
    folder.mkdir()
    facts = {
        "n_items": 2, "memory": {"moment": moment, "list_length": 20, "measured": None},
    }  # fmt: skip
    (folder / "index.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


def test_stale_indexes_of_the_run_are_written_anew_after_the_merge(run, tmp_path, monkeypatch):
    known = contents(run)[f"{PREFIX}clock"][2]
    stale, fresh = with_index(run / "index"), with_index(run / "other", int(known))
    renewed = []
    monkeypatch.setattr(export, "require_packages", lambda: None)
    monkeypatch.setattr(export, "renew_index", lambda *words: renewed.append(words))
    # An interaction of before the newest changes what is known up to the same moment.
    path = with_lines(tmp_path, f"u3,i2,{FIRST + 1}")
    done = refreshing.refresh(run, path)
    assert (done.n_added, done.known_until, done.indexes) == (1, known, (stale, fresh))
    done = refreshing.refresh(run, path)
    assert (done.n_added, done.known_until, done.indexes) == (0, known, (stale,))
    done = refreshing.refresh(run, with_lines(tmp_path, f"u1,i1,{FIRST + 20}"))
    assert done.indexes == (stale, fresh)
    assert [words[1] for words in renewed] == [stale, fresh, stale, stale, fresh]
    assert renewed[0][2]["memory"]["list_length"] == 20


def test_an_index_that_cannot_be_written_anew_is_said_before_anything_changes(
    run, tmp_path, monkeypatch
):
    def missing():
        raise ConfigError("hm4sr export needs the package onnx")

    with_index(run / "index")
    monkeypatch.setattr(export, "require_packages", missing)
    before = contents(run)
    with pytest.raises(
        ConfigError, match=r"writes the index .*index anew, but .* package onnx; or"
    ):
        refreshing.refresh(run, with_lines(tmp_path, f"u1,i1,{FIRST + 20}"))
    for array, values in contents(run).items():
        np.testing.assert_array_equal(values, before[array])
    (run / "index" / "index.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"index\.json must be the JSON file of an exported index"):
        refreshing.refresh(run, with_lines(tmp_path, f"u1,i1,{FIRST + 20}"))


def test_an_index_is_put_back_where_the_process_that_replaced_it_was_killed(tmp_path, monkeypatch):
    index, new = with_index(tmp_path / "index", 1), with_index(tmp_path / ".index.7.new", 2)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing_after(1))
        with pytest.raises(OSError, match="stopped"):
            exported.replace_folder(new, index)
    assert not index.exists()
    assert exported.indexes_of(tmp_path)[index]["memory"]["moment"] == 1
    exported.replace_folder(new, index)
    assert exported.indexes_of(tmp_path)[index]["memory"]["moment"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def failing_after(n_calls):
    calls, replace = [], Path.replace

    def replace_or_fail(path, target):
        calls.append(path)
        if len(calls) > n_calls:
            raise OSError("stopped")
        return replace(path, target)

    return replace_or_fail
