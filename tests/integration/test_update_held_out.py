"""A run learns from what its training held out: once, before files and after them."""

import shutil

import numpy as np
import pytest
from laterfiles import read_rows, write_csv
from servedruns import SMALL_MOMENTO

from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.later.learning import Learner
from recbole_hm4sr.later.options import Recipe
from recbole_hm4sr.later.update import undo, update
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.serving_file import HELD_OUT, read_serving_file
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.serve.refresh import refresh
from recbole_hm4sr.testing.toydata import QUICK, write_toy_dataset

pytestmark = pytest.mark.integration
LATE = 1_790_000_000  # after all of the toy data
SETTINGS = {
    "Momento": SMALL_MOMENTO,
    "SASRec": {**QUICK, "hidden_size": 16, "inner_size": 16, "n_layers": 1, "epochs": 1},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held")
    write_toy_dataset(folder / "toy")
    for name, settings in SETTINGS.items():
        overrides = {**settings, "data_path": str(folder)}
        quick_start.run(name, "toy", overrides=overrides, run_dir=folder / name)
    return folder


@pytest.fixture(params=SETTINGS)
def run(request, trained, tmp_path):
    return shutil.copytree(trained / request.param, tmp_path / "run")


@pytest.fixture
def plain(trained, tmp_path):
    return shutil.copytree(trained / "SASRec", tmp_path / "plain")


@pytest.fixture(scope="module")
def held_out(trained):
    """The last two of every user; of one with three the last, since one target is left to train."""
    by_user = {}
    for row in read_rows(trained / "toy" / "toy.inter"):
        by_user.setdefault(row[0], []).append(row)
    return [row for rows in by_user.values() for row in rows[-min(2, len(rows) - 2) :]]


@pytest.fixture
def learned(monkeypatch):
    """The new targets of each step, as rows of a file."""
    found, step = [], Learner.step

    def kept(self, part, known, new, **options):
        known_as, log = part.vocabulary, part.log
        users, items = known_as.users[log.users[new]], known_as.items[log.items[new]]
        rows = zip(users, items, log.times[new].tolist(), strict=True)
        found.append(sorted([str(user), str(item), time] for user, item, time in rows))
        return step(self, part, known, new, **options)

    monkeypatch.setattr(Learner, "step", kept)
    return found


def test_all_that_was_held_out_is_learned_once_and_can_be_taken_back(
    run, held_out, learned, capsys
):
    asked = answers(run)
    assert command(f"--run={run}", "--held_out", "--passes=1") == 0
    assert f"{len(held_out)} targets learned; new users: 0" in said(capsys)
    assert learned == [sorted(held_out)]
    first = answers(run)
    assert first != asked
    content = read_serving_file(run)
    assert (content.learned, content.learned_files) == ((HELD_OUT,), ())
    assert content.memory is None or content.memory.held_out == 0
    assert update(run, held_out=True).is_known
    assert command(f"--run={run}", "--held_out") == 0
    assert "what training held out was learned from before: nothing to do" in said(capsys)
    assert len(learned) == 1
    undo(run)
    assert answers(run) == asked


def test_a_file_before_or_after_it_is_learned_by_itself(run, held_out, learned, tmp_path):
    week = write_csv(tmp_path / "week.csv", [["u0", "B001", LATE], ["u0", "B777", LATE + 9]])
    other = shutil.copytree(run, tmp_path / "other")
    assert update(run, held_out=True).n_learned == len(held_out)
    assert update(run, week).n_learned == 2
    assert read_serving_file(run).learned[1:] == (HELD_OUT,)
    assert update(run, held_out=True).is_known
    if read_serving_file(other).memory is not None:  # what a refresh brought is learned with it
        refresh(other, week)
        assert update(other, held_out=True).n_learned == len(held_out) + 2
        assert update(other, week).is_known
    else:
        assert update(other, week).n_learned == 2
        assert update(other, held_out=True).n_learned == len(held_out)
    assert learned[1] == [["u0", "B001", LATE], ["u0", "B777", LATE + 9]]
    undo(run)
    assert read_serving_file(run).learned == (HELD_OUT,)


def test_it_ranks_what_was_held_out_higher(plain, held_out, trained):
    """Forty passes over these alone."""

    def hits():
        histories, targets = [], []
        rows = read_rows(trained / "toy" / "toy.inter")
        for row in held_out:
            own = [it for it in rows if it[0] == row[0]]
            _, items, times = zip(*own[: own.index(row)], strict=True)
            histories.append((list(items), list(times)))
            targets.append(row[1])
        found = Recommender.load(plain).recommend(histories, k=3, exclude_seen=False)
        return np.mean([item in row for item, row in zip(targets, found.items, strict=True)])

    before = hits()
    update(plain, held_out=True, recipe=Recipe(passes=40, replay=0.0))
    assert hits() > 2 * before


def test_what_validation_chose_is_not_chosen_again_by_it(trained, tmp_path, monkeypatch):
    run = shutil.copytree(trained / "Momento", tmp_path / "run")

    def refuse(*_, **__):
        raise AssertionError("chosen again")

    monkeypatch.setattr(Learner, "choose", refuse)
    assert update(run, held_out=True, recipe=Recipe(passes=1)).n_learned > 0


def test_one_source_is_given_and_the_data_are_those_of_the_training(plain, trained, tmp_path):
    with pytest.raises(ConfigError, match="either --interactions or --held_out"):
        update(plain)
    assert command(f"--run={plain}", "--held_out", "--undo") == 2
    assert command(f"--run={plain}") == 2
    data = shutil.copytree(trained / "toy", tmp_path / "toy")
    config = plain / "config.yaml"
    config.write_text(config.read_text().replace(str(trained), str(tmp_path)))
    lines = (data / "toy.inter").read_text().splitlines()
    (data / "toy.inter").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match=r"toy must be those that .*plain was trained on, but they"):
        update(plain, held_out=True)
    assert read_serving_file(plain).learned == ()


def answers(run):
    found = Recommender.load(run).recommend([(["B001", "B002"], [1_700_000_000] * 2)], k=24)
    return list(found.records())


def command(*words):
    with pytest.raises(SystemExit) as stop:
        cli.main(["update", *words])
    return stop.value.code


def said(capsys):
    return " ".join(capsys.readouterr().out.split())
