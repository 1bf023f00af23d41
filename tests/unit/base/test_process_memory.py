"""The command starts itself again with glibc's cache of small blocks off, once."""

import json
import os
import subprocess
import sys

import pytest

from recbole_hm4sr.base import process_memory as memory


@pytest.fixture
def started(monkeypatch):
    """What the process would have become."""
    calls = []
    monkeypatch.setattr(os, "execve", lambda *words: calls.append(words))
    monkeypatch.setattr(os, "confstr", lambda _: "glibc 2.36", raising=False)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "utf8", "-m", "recbole_hm4sr", "check"])
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    return calls


def test_the_same_words_start_again_with_the_setting(started, monkeypatch):
    monkeypatch.setenv("SOME_NAME", "kept")
    memory.reexec_without_tcache()
    ((path, words, environment),) = started
    assert path == sys.executable
    assert words == [sys.executable, "-X", "utf8", "-m", "recbole_hm4sr", "check"]
    assert environment["GLIBC_TUNABLES"] == "glibc.malloc.tcache_count=0"
    assert environment["SOME_NAME"] == "kept"


def test_the_user_s_own_setting_stays(started, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=1")
    memory.reexec_without_tcache()
    assert started == []


def test_other_c_libraries_are_left_alone(started, monkeypatch):
    def unknown(_):
        raise ValueError

    monkeypatch.setattr(os, "confstr", unknown)
    memory.reexec_without_tcache()
    monkeypatch.delattr(os, "confstr")
    memory.reexec_without_tcache()
    assert started == []


def test_the_command_keeps_its_process_its_words_and_its_exit_code(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import json, os, sys\n"
        "with open('starts', 'a') as file:\n"
        "    setting = os.environ.get('GLIBC_TUNABLES')\n"
        "    print(json.dumps([os.getpid(), sys.argv, setting]), file=file)\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    done = subprocess.run(
        [sys.executable, "-m", "recbole_hm4sr", "evaluate", "--rnu=a b"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: No such option: --rnu")
    starts = [json.loads(line) for line in (tmp_path / "starts").read_text().splitlines()]
    assert len({pid for pid, *_ in starts}) == 1
    assert {tuple(argv[1:]) for _, argv, _ in starts} == {("evaluate", "--rnu=a b")}
    if sys.platform == "linux" and hasattr(os, "confstr"):
        assert [setting for *_, setting in starts] == [None, "glibc.malloc.tcache_count=0"]
