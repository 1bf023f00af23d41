"""The README's two commands: narrow enough for a page, pasted as one, and cut in two by .ci/run."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = dict(
    re.findall(r"^<!-- (run|test) -->\n```\n(.*?)\n```", PAGE, re.DOTALL | re.MULTILINE)
)
# What the commands would start, in their place: each prints its name and arguments.
STANDINS = (
    'python3() { echo python3 "$@"; }; python() { echo python "$@"; }; pip() { echo pip "$@"; }\n'
)


@pytest.fixture
def shell(tmp_path):
    """Runs a script in bash, with a home directory that has the environment to be activated."""
    bash = shutil.which("bash") or pytest.skip("needs bash")
    activate = tmp_path / ".venvs" / "hm4sr" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.write_text("echo activated\n")

    def run(script):
        done = subprocess.run(
            [bash, "-c", f"set -euo pipefail\n{STANDINS}{script}"],
            cwd=ROOT, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.replace(str(tmp_path), "~").splitlines()

    return run


@pytest.mark.parametrize(
    ("name", "last"),
    [("run", "python run_hm4sr.py --dataset=sports"), ("test", "python -m pytest -n 2")],
)
def test_a_command_stands_on_three_narrow_lines_and_is_one(shell, name, last):
    lines = COMMANDS[name].split("\n")
    assert len(lines) == 3
    assert max(map(len, lines)) <= 80
    assert all(line.endswith(" && \\") for line in lines[:-1])
    extra = "[test]" if name == "test" else ""
    assert shell(COMMANDS[name]) == [
        "python3 -m venv ~/.venvs/hm4sr",
        "activated",
        f"pip install -c constraints.txt -e .{extra}",
        last,
    ]


def test_a_step_that_fails_stops_the_command(shell):
    script = f"pip() {{ return 1; }}\n{{ {COMMANDS['run']}\n}} || echo stopped"
    assert shell(script)[-2:] == ["activated", "stopped"]


def test_ci_installs_first_and_tests_last(shell):
    ci = ROOT / ".ci" / "run"
    if not ci.is_file():
        pytest.skip("needs the checkout's .ci/run")
    text = ci.read_text(encoding="utf-8")
    reader = re.search(r"^readme_command\(\) .*?README\.md; }$", text, re.DOTALL | re.MULTILINE)
    cut = re.findall(r"^(?:test_command=|eval ).*", text, re.MULTILINE)
    assert len(cut) == 3
    assert shell("\n".join([reader.group(), *cut[:2], "echo lint", cut[2]])) == [
        "python3 -m venv ~/.venvs/hm4sr",
        "activated",
        "pip install -c constraints.txt -e .[test]",
        "lint",
        "python -m pytest -n 2",
    ]
