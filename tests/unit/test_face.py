"""The names of the package's top level: what they are, and that they cost nothing until used."""

import inspect
import subprocess
import sys

import pytest

import recbole_hm4sr

SCRIPT = """
import sys, recbole_hm4sr
names = dir(recbole_hm4sr)
from recbole_hm4sr import run, evaluate, compare, tune, UserError
assert not {"torch", "recbole", "pandas", "numpy"} & set(sys.modules), sorted(sys.modules)
import recbole_hm4sr.run.folder
from recbole_hm4sr.run import quick_start
assert recbole_hm4sr.run.quick_start is quick_start and recbole_hm4sr.run is run
print(",".join(names))
"""


def test_nothing_is_imported_before_it_is_asked_for():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = done.stdout.strip().split(",")
    assert set(recbole_hm4sr.__all__) <= set(names)


@pytest.mark.parametrize("name", recbole_hm4sr.__all__)
def test_every_name_is_there(name):
    assert getattr(recbole_hm4sr, name) is not None


def test_a_room_is_called_as_its_function(tmp_path):
    from recbole_hm4sr.run import quick_start

    assert inspect.signature(recbole_hm4sr.run) == inspect.signature(quick_start.run)
    with pytest.raises(recbole_hm4sr.UserError, match="must be the folder of a run"):
        recbole_hm4sr.evaluate(tmp_path)
    with pytest.raises(recbole_hm4sr.UserError, match="must be the folder of a run"):
        recbole_hm4sr.resume(tmp_path)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="has no attribute 'train_model'"):
        recbole_hm4sr.train_model  # noqa: B018
