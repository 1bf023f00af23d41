"""Workers share the runs of a comparison: each run once, those of a dead worker by another."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runfiles import write_run

from recbole_hm4sr.compare.results import latest_results

pytestmark = pytest.mark.integration

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "how-to" / "cluster.md"


def environment(**others):
    paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **others}


@pytest.fixture
def words(toy_path, tmp_path, monkeypatch):
    """A comparison of six runs."""
    grid = tmp_path / "grid.yaml"
    models = "models: [SASRec, GRU4Rec]\nseeds: [1, 2, 3]\nbaselines: []\n"
    grid.write_text(f"datasets: [toy]\n{models}settings: {{data_path: {toy_path}}}\n")
    facts = {"tie_order": "file", "n_items": 9, "peak_memory_of": "run", "measured_whole_run": True}
    monkeypatch.setenv("HM4SR_RUN", str(write_run(tmp_path / "run", **facts)))
    return [f"--grid={grid}", "--metrics=NDCG@10,MRR@10"]


def start(words, **others):
    command = [sys.executable, str(TESTS / "compare_worker.py"), *words]
    return subprocess.Popen(
        command,
        env=environment(**others),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def alone(words, out):
    process = start([*words, f"--out={out}"])
    said = process.communicate()[0]
    assert process.returncode == 0, said
    return (out / "table.txt").read_text()


def wait_for(condition):
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("nothing has happened in five minutes")


def test_four_workers_of_which_one_is_killed_make_the_table_of_one_process(words, tmp_path):
    expected, out, hangs = alone(words, tmp_path / "alone"), tmp_path / "shared", tmp_path / "hang"
    hangs.touch()
    words = [*words, f"--out={out}", "--worker"]
    killed = start(words, HM4SR_HANGS=str(hangs))
    wait_for(lambda: list(out.glob("toy/*/*/hangs")))
    others = [start(words) for _ in range(3)]
    wait_for(lambda: (out / "results.jsonl").exists())
    killed.kill()
    killed.wait()
    said = [process.communicate()[0] for process in others]
    assert [process.returncode for process in others] == [0, 0, 0], said
    assert (out / "table.txt").read_text() == expected
    lines = (out / "results.jsonl").read_text().splitlines()
    assert len(lines) == len(latest_results(out / "results.jsonl")) == 6
    assert {json.loads(line)["status"] for line in lines} == {"done"}
    runs = [path.name for path in out.glob("toy/*/*/run-by-*")]
    assert len(runs) == 6
    workers = {name.split("-")[2] for name in runs}
    assert workers <= {str(process.pid) for process in others}
    assert not (out / ".claims").exists()


def test_a_comparison_of_one_process_says_how_several_share_it(words, tmp_path):
    out, hangs = tmp_path / "out", tmp_path / "hang"
    hangs.touch()
    first = start([*words, f"--out={out}"], HM4SR_HANGS=str(hangs))
    wait_for(lambda: list(out.glob("toy/*/*/hangs")))
    second = start([*words, f"--out={out}"])
    said = second.communicate()[0]
    first.kill()
    first.wait()
    assert second.returncode == 2
    assert "another is running there; several share the runs with --worker" in said


def test_the_slurm_array_runs_every_run_once(words, tmp_path):
    """With a stand-in for ``sbatch`` that starts every task of the array at once."""
    programs = tmp_path / "bin"
    programs.mkdir()
    stand_in = programs / "hm4sr"
    worker = TESTS / "compare_worker.py"
    # The first word is the command's name, which the worker adds itself.
    stand_in.write_text(f'#!/bin/sh\nshift\nexec "{sys.executable}" "{worker}" "$@"\n')
    stand_in.chmod(0o755)
    text = re.search(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL).group(1)
    script = tmp_path / "compare-array.sh"
    script.write_text(text)
    first, last = map(int, re.search(r"^#SBATCH --array=(\d+)-(\d+)$", text, re.M).groups())
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    grid, out = words[0].removeprefix("--grid="), tmp_path / "out"
    tasks = [
        subprocess.Popen(
            ["bash", str(script), grid, str(out), words[1]],
            env=environment(PATH=path, SLURM_ARRAY_TASK_ID=str(task), SLURM_CPUS_PER_TASK="1"),
        )
        for task in range(first, last + 1)
    ]
    assert [task.wait() for task in tasks] == [0] * len(tasks)
    assert len(tasks) == 4
    assert (out / "table.txt").read_text() == alone(words, tmp_path / "alone")
    assert len(list(out.glob("toy/*/*/run-by-*"))) == 6
