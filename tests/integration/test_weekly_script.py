"""The script of the page on weekly retraining runs as it stands, in the first week and later."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from amazonfiles import JULY, write_raw

duckdb = pytest.importorskip("duckdb")
pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "weekly-retraining.md"
# In place of the command: it prepares, notes what else it is told, and makes the folder of a run.
STANDIN = """
import json, sys
from pathlib import Path
from recbole_hm4sr import cli
words = sys.argv[1:]
with open("called.jsonl", "a") as file:
    file.write(json.dumps(words) + "\\n")
if words[0] == "prepare":
    cli.main([*words, "--threads=1"])
for word in words:
    if word.startswith("--run_dir="):
        Path(word.partition("=")[2]).mkdir(parents=True)
"""


def script():
    """The first block of the page."""
    return PAGE.read_text(encoding="utf-8").split("```\n")[1]


def week(folder, day):
    """Run the script as on a day; the commands that it called."""
    bash = shutil.which("bash") or pytest.skip("needs bash")
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    standin = tools / "standin.py"
    standin.write_text(STANDIN, encoding="utf-8")
    for name, line in (
        ("hm4sr", f'exec "{sys.executable}" "{standin}" "$@"'),
        ("date", f"echo {day}"),
    ):
        (tools / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    called = folder / "called.jsonl"
    called.unlink(missing_ok=True)
    done = subprocess.run(
        [bash, "-c", script()], cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in called.read_text(encoding="utf-8").splitlines()]


def test_the_first_week_and_the_next(tmp_path):
    rows = [(f"u{n}", f"i{(n + k) % 6}", JULY + k) for n in range(6) for k in range(6)]
    query = f"SELECT * FROM (VALUES {', '.join(map(str, rows))}) t(user_id, item_id, timestamp)"
    duckdb.sql(f"COPY ({query}) TO '{tmp_path / 'log.parquet'}'")
    write_raw(tmp_path / "items.csv", ["item_id,name", *(f"i{n},Item {n}" for n in range(6))])
    first = week(tmp_path, "2014-07-07")
    assert [words[0] for words in first] == ["prepare", "check", "train", "refresh"]
    assert "--replace" not in first[0]
    assert first[1] == ["check", "--dataset=shop", "--data_path=data"]
    assert first[2][2:] == [
        "--dataset=shop", "--data_path=data", "--run_dir=runs/2014-07-07",
        "--rank_history=exclude", "--request_time=target", "--max_cpu_minutes=240",
    ]  # fmt: skip
    assert first[3] == ["refresh", "--run=runs/2014-07-07", "--held_out"]
    assert (tmp_path / "current").readlink() == Path("runs/2014-07-07")
    (tmp_path / "best.yaml").write_text("epochs: 1\n", encoding="utf-8")
    second = week(tmp_path, "2014-07-14")
    newest = max(path.name for path in (tmp_path / "data").iterdir())
    assert "--replace" in second[0]
    assert newest.startswith("shop-20")
    assert f"--dataset={newest}" in second[2]
    assert second[2][-1] == "--config_files=best.yaml"
    assert second[4] == [
        "report", "runs/2014-07-07", "runs/2014-07-14", "--out=reports/2014-07-14.html"
    ]  # fmt: skip
    assert (tmp_path / "current").readlink() == Path("runs/2014-07-14")
    assert not (tmp_path / "next").exists()
