"""Locks and memory, by POSIX and, with its modules hidden, by the way of Windows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.base.files import locked
from recbole_hm4sr.base.system import is_alive, peak_process_memory

# Windows' module, over lockf; then a process without fcntl and resource. What others import of
# them on POSIX they have already.
WINDOWS = """
import json, os, sys, types
import fcntl, psutil, torch, recbole.data
def locking(descriptor, mode, n):
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, n, 0)
    except OSError as error:
        raise PermissionError(13, "Permission denied") from error
sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=2)
sys.modules["fcntl"] = sys.modules["resource"] = None
"""
HOLD = """
from pathlib import Path
from recbole_hm4sr.base.files import locked
with locked(Path(sys.argv[1]), refusal="held"):
    print("held", flush=True)
    sys.stdin.readline()
"""
WHOLE = """
from pathlib import Path
import recbole_hm4sr.run.quick_start
from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.base.files import locked
from recbole_hm4sr.train.costs import CostMeter
from recbole_hm4sr.base.system import peak_process_memory
try:
    with locked(Path(sys.argv[1]), refusal="held"):
        answer = "free"
except ConfigError as error:
    answer = str(error)
print(json.dumps([answer, peak_process_memory(), psutil.Process().memory_info().rss]))
"""


def python(code, *words):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("hidden", ["", WINDOWS], ids=["POSIX", "Windows"])
def test_a_lock_is_one_process_s_and_goes_with_it(tmp_path, hidden):
    path = tmp_path / "lock"
    holder = python((hidden or "import sys\n") + HOLD, path)
    assert holder.stdout.readline() == "held\n"
    other = python((hidden or "import json, sys, psutil\n") + WHOLE, path)
    answer, peak, resident = json.loads(other.communicate()[0].splitlines()[-1])
    assert answer == "held"
    assert resident / 2 < peak < resident * 4
    holder.kill()
    holder.wait()
    if not hidden:
        with locked(path, refusal="held"):
            pass
        return
    other = python(hidden + WHOLE, path)
    assert json.loads(other.communicate()[0].splitlines()[-1])[0] == "free"


def test_a_second_lock_of_this_process_is_refused_with_the_sentence(tmp_path):
    second = locked(tmp_path / "lock", refusal="one at a time")
    with (
        locked(tmp_path / "lock"),
        pytest.raises(ConfigError, match=r"^one at a time$"),
        second,
    ):
        pass


def test_the_peak_is_that_of_proc():
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("this system has no /proc")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    now = int(lines["VmRSS"].split()[0]) * 1024
    assert peak_process_memory() >= now * 0.9


def test_a_process_that_has_ended_is_not_alive():
    ended = python("")
    ended.communicate()
    assert not is_alive(ended.pid)
    assert is_alive(os.getpid())
    assert is_alive(os.getppid())
