"""The grids of Momento's tables, rehearsed for one epoch on a tiny data set."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from recbole_hm4sr.compare import runner, worker
from recbole_hm4sr.compare.command import compare_grid
from recbole_hm4sr.compare.grid import find_grid, read_grid
from recbole_hm4sr.config.compose import properties_dir
from recbole_hm4sr.testing.toydata import write_toy_dataset

pytestmark = [pytest.mark.integration, pytest.mark.slow]

GRIDS = sorted(path.stem for path in (properties_dir() / "compare").glob("momento-*.yaml"))
TINY = {"epochs": 1, "train_batch_size": 256, "eval_batch_size": 64, "use_gpu": False}


class InThisProcess:
    """A run of a cell, in place of a process that would import torch again."""

    stdin = None

    def __init__(self, words, **_):
        self.returncode = worker.main(Path(words[-1]))

    def poll(self):
        return self.returncode

    def wait(self):
        return self.returncode


def write_data(folder, name):
    """The toy data under another name, with a brand for each item and no settings of its own."""
    write_toy_dataset(folder / name)
    (folder / name / "toy.yaml").unlink()
    (folder / name / "toy.inter").rename(folder / name / f"{name}.inter")
    header, *items = (folder / name / "toy.item").read_text(encoding="utf-8").splitlines()
    items = [f"{item}\tBrand_{number % 4}" for number, item in enumerate(items)]
    text = "\n".join([f"{header}\tbrand:token", *items]) + "\n"
    (folder / name / f"{name}.item").write_text(text, encoding="utf-8")


def test_there_are_four():
    names = ("beauty", "beauty-moment", "sports", "sports-moment")
    assert [f"momento-{name}" for name in names] == GRIDS


@pytest.mark.parametrize("name", GRIDS)
def test_every_row_of_a_grid_trains_and_is_in_the_tables(name, tmp_path, monkeypatch):
    grid = read_grid(find_grid(name))
    write_data(tmp_path, grid.datasets[0])
    here = SimpleNamespace(Popen=InThisProcess, PIPE=subprocess.PIPE, STDOUT=subprocess.STDOUT)
    monkeypatch.setattr(runner, "subprocess", here)
    flags = {"settings": {**TINY, "data_path": str(tmp_path)}, "seeds": [1]}
    summaries = compare_grid(name, flags, out=tmp_path / "out")
    by_moment = name.endswith("moment")
    assert (
        summaries[0].baseline == "ItemKNN as of the request · memory to the request"
    ) == by_moment
    for summary in summaries:
        assert {row.label: row.reason for row in summary.rows if row.reason} == {}
        labels = [row.label for row in summary.rows]
        with_memory = [spec for spec in grid.models if "memory_refresh" in spec.settings]
        assert len(with_memory) == (12 if by_moment else 0)
        assert len(labels) == len(grid.models) + 2 * len(with_memory)
        assert ("Momento · memory to the request" in labels) == by_moment
        assert (summary.without_history is not None) == by_moment


@pytest.mark.parametrize("name", GRIDS)
def test_main_rows_have_three_seeds_and_the_rest_one(name):
    grid = read_grid(find_grid(name))
    seeds = {spec.label: grid.seeds_of(spec.label) for spec in grid.models}
    main = {label for label, own in seeds.items() if own == (1, 2, 3)}
    of_last = set() if name.endswith("moment") else {"Momento (target time)"}
    assert main == {"ItemKNN", "ItemKNN as of the request", "SASRec+", "HM4SR", "Momento"} | of_last
    assert {own for label, own in seeds.items() if label not in main} == {(1,)}
