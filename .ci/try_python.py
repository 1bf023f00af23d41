"""Try Python versions: each gets a fresh environment, the package as installed by its users, a run.

    python .ci/try_python.py python3.10 python3.13

The steps are those of docs/start/install.md: where RecBole's own requirements cannot be installed,
RecBole comes first and without them. Then the sample is trained for one epoch, and the run
recommends for a history that it has not seen. It ends with one line per interpreter; what
README.md says of a Python version is what such a line has said.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHOWN = ("torch", "numpy", "pandas", "scipy", "recbole")
_LEFT_OUT = shutil.ignore_patterns(".*_cache", ".git", "__pycache__", "*.egg-info", "build", "runs")
# RecBole requires ray<=2.6.3, which has wheels up to Python 3.11.
FIRST_WITHOUT_RAY = (3, 12)
_HISTORY = "user_id,item_id,timestamp\nnew,{0},1700000000\nnew,{1},1700000060\n"


class StepError(Exception):
    """A step ended with another code than 0."""


def main() -> int:
    """Try each interpreter; the number of those that failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("interpreters", nargs="+", help="commands or paths of Python interpreters")
    parser.add_argument("--constraints", type=Path, default=ROOT / "constraints.txt")
    asked = parser.parse_args()
    lines, n_failed = [], 0
    for interpreter in asked.interpreters:
        with tempfile.TemporaryDirectory(prefix="try-python-") as scratch:
            try:
                lines.append(try_one(interpreter, asked.constraints.resolve(), Path(scratch)))
            except StepError as error:
                n_failed += 1
                lines.append(f"{interpreter}: FAILED: {error}")
    print(*lines, sep="\n")
    return n_failed


def try_one(interpreter: str, constraints: Path, scratch: Path) -> str:
    """Install and run with one interpreter.

    Args:
        interpreter: Its command.
        constraints: File of versions for pip.
        scratch: Empty folder, for the environment and the run.

    Returns:
        What was installed and what the run found.

    Raises:
        StepError: If a step failed.
    """
    version = json.loads(
        step([interpreter, "-c", "import sys; print(list(sys.version_info[:3]))"], scratch)
    )
    print(f"== Python {'.'.join(map(str, version))}", flush=True)
    step([interpreter, "-m", "venv", "environment"], scratch)
    commands = scratch / "environment" / ("Scripts" if os.name == "nt" else "bin")
    python, hm4sr = str(commands / "python"), str(commands / "hm4sr")
    # Built from a copy: setuptools writes beside what it builds.
    shutil.copytree(ROOT, scratch / "source", ignore=_LEFT_OUT)
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if tuple(version) >= FIRST_WITHOUT_RAY:
        step([*install, "--no-deps", "recbole==1.2.1"], scratch)
    step([*install, "-c", str(constraints), str(scratch / "source")], scratch)
    step([hm4sr, "train", "--dataset=sports", "--epochs=1", "--run_dir=run"], scratch)
    (scratch / "history.csv").write_text(_HISTORY.format(*two_items()), encoding="utf-8")
    recommend = [hm4sr, "recommend", "--run=run", "--history=history.csv", "-k", "3"]
    rows = step(recommend, scratch).strip().splitlines()
    if len(rows) != 1 + 3:
        raise StepError(f"hm4sr recommend printed {len(rows) - 1} items instead of 3: {rows}")
    found = json.loads((scratch / "run" / "metrics.json").read_text(encoding="utf-8"))
    ask = f"from importlib.metadata import version as v; print(*[n + ' ' + v(n) for n in {SHOWN}])"
    versions = step([python, "-c", ask], scratch).strip()
    return (
        f"Python {'.'.join(map(str, version))}: {versions}; one epoch, test NDCG@10 "
        f"{found['test']['ndcg@10']:.4f}; recommended first {rows[1].split(',')[2]}"
    )


def two_items() -> list[str]:
    """The first two items of the sample."""
    path = ROOT / "dataset_atomic" / "sports" / "sports.item"
    with path.open(encoding="utf-8") as file:
        return [line.split("\t")[0] for line, _ in zip(file, range(3), strict=False)][1:]


def step(command: list[str], folder: Path) -> str:
    """Run a command outside the checkout; what it printed.

    Raises:
        StepError: If it fails.
    """
    names = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # On a busy machine several threads wait for each other at every operation.
    names.setdefault("OMP_NUM_THREADS", "1")
    done = subprocess.run(command, cwd=folder, env=names, capture_output=True, text=True)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise StepError(f"{' '.join(command)} ended with {done.returncode}:\n{tail}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
