"""``hm4sr report``: the page of a run again, with or without the model, and several runs on one."""

import json
import shutil

import pytest

from recbole_hm4sr import cli
from recbole_hm4sr.report.finish import report_run
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.testing.toydata import QUICK, QUICK_HM4SR, write_toy_dataset

pytestmark = pytest.mark.integration


def report(capsys, *words, code=0):
    """Run the command; what it printed."""
    with pytest.raises(SystemExit, match=str(code)):
        cli.main(["report", *map(str, words)])
    printed = capsys.readouterr()
    return printed.out if code == 0 else printed.err


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    write_toy_dataset(folder / "toy")
    data = {"data_path": str(folder)}
    quick_start.run(
        "HM4SR",
        "toy",
        overrides={**QUICK_HM4SR, **data},
        run_dir=folder / "ours",
        on_finish=report_run,
    )
    quick_start.run(
        "GRU4Rec",
        "toy",
        overrides={**QUICK, **data},
        run_dir=folder / "theirs",
        on_finish=report_run,
    )
    return folder


@pytest.fixture
def copy(runs, tmp_path):
    """A copy of the HM4SR run, to be spoiled."""
    return shutil.copytree(runs / "ours", tmp_path / "ours")


def test_every_run_leaves_a_page_with_what_its_model_can_show(runs):
    ours = (runs / "ours" / "report.html").read_text()
    for anchor in ("metrics", "training", "time", "groups", "parts", "temporal", "interactive"):
        assert f'<section id="{anchor}">' in ours
    theirs = (runs / "theirs" / "report.html").read_text()
    assert '<section id="cases">' in theirs
    assert '<section id="temporal">' not in theirs


def test_the_page_is_made_again_from_files_alone(copy, capsys):
    before = (copy / "report.html").read_text()
    (copy / "report.html").unlink()
    shutil.rmtree(copy / "checkpoint")
    assert report(capsys, copy) == f"report: {copy / 'report.html'}\n"
    assert (copy / "report.html").read_text() == before


def test_the_model_is_opened_where_its_part_is_missing_or_asked_for(copy, capsys):
    cases = json.loads((copy / "report.json").read_text())["cases"]
    (copy / "report.json").unlink()
    report(capsys, copy)
    assert json.loads((copy / "report.json").read_text())["cases"] == cases
    (copy / "report.json").write_text(json.dumps({"version": 1}))
    report(capsys, copy, "--anew")
    assert json.loads((copy / "report.json").read_text())["cases"] == cases


def test_without_data_the_page_says_what_is_missing(copy, capsys):
    (copy / "report.json").unlink()
    shutil.rmtree(copy / "checkpoint")
    assert "note: the page is without what only the model can show" in report(capsys, copy)
    assert "holds no report.json" in (copy / "report.html").read_text()
    assert "best.pt does not exist" in report(capsys, copy, "--anew", code=2)


def test_two_runs_are_compared(runs, tmp_path, capsys):
    path = tmp_path / "both.html"
    report(capsys, runs / "ours", runs / "theirs", "--out", path)
    page = path.read_text()
    assert "GRU4Rec less HM4SR" in page
    assert '<th scope="row">use_temporal_moe</th><td>True</td>' in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ours", "--out=x.html"], "--out must go with several runs"),
        (["ours", "theirs", "--anew"], "--images and --anew must go with one run"),
        (["nowhere"], "must be the folder of a finished run"),
        (["ours", "--images=nowhere"], "images must be in a folder"),
    ],
)
def test_wrong_words_are_answered(runs, capsys, monkeypatch, words, message):
    monkeypatch.chdir(runs)
    assert message in report(capsys, *words, code=2)


@pytest.mark.slow
def test_the_page_of_the_sample_is_small(tmp_path):
    result = quick_start.run(
        "HM4SR",
        "sports",
        overrides={"epochs": 1, "n_threads": 1},
        run_dir=tmp_path / "run",
        on_finish=report_run,
    )
    assert (result.run_dir / "report.html").stat().st_size < 3_000_000
