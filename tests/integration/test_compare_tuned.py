"""Comparisons of what searches have found: which settings, whose run, and what the tables say."""

import dataclasses
import json
import re
import shutil

import pytest
import yaml
from killing import history_of
from tuning import SETTINGS, lines, tune

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.compare.command import compare_grid
from recbole_hm4sr.compare.grid import read_grid
from recbole_hm4sr.compare.notes import notes_of
from recbole_hm4sr.compare.results import read_outcomes
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.resume import run_or_resume
from recbole_hm4sr.testing.toydata import QUICK
from recbole_hm4sr.train.checkpoint import read_checkpoint
from recbole_hm4sr.tune.search_result import read_found

pytest.importorskip("hyperopt", reason="needs the extra tune")
pytestmark = pytest.mark.integration

SPACE = "hidden_dropout_prob choice [0.1, 0.4]\nlearning_rate choice [0.01]\n"
SEARCH_SEED, OTHER_SEED = 5, 6


def grid_values(toy_path, tuned, *, settings=(), row=()):
    return {
        "datasets": ["toy"],
        "seeds": [SEARCH_SEED, OTHER_SEED],
        "settings": {**SETTINGS, "data_path": str(toy_path), **dict(settings)},
        "baseline": "plain",
        "baselines": [],
        "models": [
            {"label": "plain", "model": "SASRec"},
            {"label": "found", "model": "SASRec", "tuned": str(tuned), "settings": dict(row)},
        ],
    }


def write_grid(folder, values):
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def search(toy_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    settings = {"seed": SEARCH_SEED}
    return tune(toy_path, folder, space=SPACE, algorithm="exhaustive", settings=settings)


@pytest.fixture(scope="module")
def comparison(toy_path, search, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    grid = write_grid(folder, grid_values(toy_path, search.folder))
    compare_grid(str(grid), out=folder / "out")
    return folder


def test_a_search_is_read_back(search, toy_path):
    found = read_found(search.folder)
    assert (found.model, found.dataset, found.metric) == ("SASRec", "toy", search.search.metric)
    assert found.n_trials == 2
    assert found.best == search.best
    fixed = {name: value for name, value in SETTINGS.items() if name != "n_threads"}
    assert dict(found.settings) == {**fixed, **search.best.settings}


def test_the_row_runs_with_what_was_found(comparison, search):
    for seed in (SEARCH_SEED, OTHER_SEED):
        folder = comparison / "out" / "toy" / "found" / f"seed-{seed}"
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        assert config["seed"] == seed
        assert {name: config[name] for name in search.best.settings} == dict(search.best.settings)


def test_the_best_trial_is_tested_and_not_trained_again(comparison, search, toy_path):
    trial = search.folder / f"trial-{search.best.number:04d}"
    folder = comparison / "out" / "toy" / "found" / f"seed-{SEARCH_SEED}"
    # Seconds too: they are of the trial.
    assert (folder / "history.jsonl").read_bytes() == (trial / "history.jsonl").read_bytes()
    assert not (trial / "test_ranks.npz").exists()
    tested = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    anew = quick_start.run(
        "SASRec",
        "toy",
        overrides={
            **SETTINGS, **search.best.settings, "seed": SEARCH_SEED, "data_path": str(toy_path)
        },
        run_dir=comparison / "anew",
    )  # fmt: skip
    assert tested["test_include"] == anew.test_include
    assert tested["test_exclude"] == anew.test_exclude
    assert len(anew.test_exclude) > 0


@pytest.mark.parametrize(
    ("change", "same"),
    [({}, True), ({"n_threads": 2}, True), ({"epochs": 7}, False), ({"batch": 8}, False)],
    ids=["the same", "of the machine", "epochs", "batch"],
)
def test_a_run_of_other_settings_is_trained(toy_path, search, tmp_path, change, same):
    names = {"batch": "train_batch_size"}
    settings = {names.get(name, name): value for name, value in change.items()}
    grid = read_grid(write_grid(tmp_path, grid_values(toy_path, search.folder, settings=settings)))
    trials = {
        (outcome.cell.label, outcome.cell.seed): outcome.trial
        for outcome in read_outcomes(grid, tmp_path / "out")
    }
    own = search.folder / f"trial-{search.best.number:04d}"
    assert trials == {
        ("plain", SEARCH_SEED): None,
        ("plain", OTHER_SEED): None,
        ("found", SEARCH_SEED): own if same else None,
        ("found", OTHER_SEED): None,
    }


def test_the_tables_say_how_many_trials_a_row_had(comparison, search):
    text = (comparison / "out" / "table.md").read_text(encoding="utf-8")
    assert text.count("| model | seeds | trials |") == 2
    assert text.count("| plain | 2/2 | 0 |") == 2
    assert text.count("| found | 2/2 | 2 |") == 2
    best = search.best
    dropout, rate = best.settings["hidden_dropout_prob"], best.settings["learning_rate"]
    assert (
        f"found: hidden_dropout_prob {dropout}, learning_rate {rate}, the best of 2 trials on toy "
        f"by validation NDCG@10 ({best.score:.4f})."
    ) in text
    assert "The rows have not had the same number of trials." in text


def test_a_row_that_differs_from_its_search_says_so(toy_path, search, tmp_path):
    settings = {name: value for name, value in SETTINGS.items() if name != "n_layers"}
    values = grid_values(toy_path, search.folder, row={"inner_size": 16})
    values["settings"] = {**settings, "data_path": str(toy_path)}
    notes = notes_of(read_grid(write_grid(tmp_path, values)), [])
    assert notes[0].endswith("all with n_layers 1; the row has inner_size 16 besides.")


def test_what_was_searched_may_not_be_set_as_well(toy_path, search, tmp_path):
    row = {"learning_rate": 0.1}
    path = write_grid(tmp_path, grid_values(toy_path, search.folder, row=row))
    with pytest.raises(
        ConfigError, match=rf"found: settings must leave .* to {search.folder}, got learning_rate"
    ):
        read_grid(path)


def test_a_search_of_another_model_is_refused(toy_path, search, tmp_path):
    values = grid_values(toy_path, search.folder)
    values["models"][1]["model"] = "GRU4Rec"
    with pytest.raises(ConfigError, match=r"tuned must be a search of GRU4Rec, .* one of SASRec"):
        read_grid(write_grid(tmp_path, values))


def test_a_search_without_a_score_is_refused(search, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(search.folder, folder)
    failed = [{**record, "status": "failed"} for record in lines(folder / "trials.jsonl")]
    (folder / "trials.jsonl").write_text("\n".join(map(json.dumps, failed)), encoding="utf-8")
    sentence = "settings of a finished trial; go on with: hm4sr tune --model=SASRec --dataset=toy"
    with pytest.raises(ConfigError, match=sentence):
        read_found(folder)
    (folder / "best.yaml").unlink()
    with pytest.raises(ConfigError, match=sentence):
        read_found(folder)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"space": 3}'])
def test_a_folder_without_a_search_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "search.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="of a search by hm4sr tune, but has no readable search"):
        read_found(tmp_path)


def test_settings_are_counted_once(search, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(search.folder, folder)
    again = {**dataclasses.asdict(search.best), "number": 3, "status": "failed"}
    other = {**again, "number": 4, "settings": {**search.best.settings, "learning_rate": 0.02}}
    with (folder / "trials.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in (again, other))
    assert read_found(folder).n_trials == 3


def test_best_settings_that_were_not_written_are_when_the_search_goes_on(
    search, toy_path, tmp_path
):
    shutil.copytree(search.folder, tmp_path / "out")
    (tmp_path / "out" / "best.yaml").unlink()
    settings = {"seed": SEARCH_SEED}
    tune(toy_path, tmp_path, space=SPACE, algorithm="exhaustive", settings=settings)
    assert read_found(tmp_path / "out").best == search.best


def test_the_trial_is_found_for_data_in_another_place_and_tested_there(
    search, comparison, toy_path, tmp_path
):
    shutil.copytree(toy_path / "toy", tmp_path / "data" / "toy")
    grid = write_grid(
        tmp_path, {**grid_values(tmp_path / "data", search.folder), "seeds": [SEARCH_SEED]}
    )
    compare_grid(str(grid), out=tmp_path / "out")
    folder = tmp_path / "out" / "toy" / "found" / f"seed-{SEARCH_SEED}"
    there = comparison / "out" / "toy" / "found" / f"seed-{SEARCH_SEED}"
    assert history_of(folder) == history_of(there)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert config["data_path"] == str(tmp_path / "data")


def test_a_line_has_the_code_and_the_machine_of_the_training(search, toy_path, tmp_path):
    shutil.copytree(search.folder, tmp_path / "search")
    path = tmp_path / "search" / f"trial-{search.best.number:04d}" / "metrics.json"
    facts = json.loads(path.read_text(encoding="utf-8")) | {"git_revision": "of old"}
    path.write_text(json.dumps(facts), encoding="utf-8")
    grid = write_grid(tmp_path, grid_values(toy_path, tmp_path / "search"))
    compare_grid(str(grid), {"seeds": [SEARCH_SEED]}, out=tmp_path / "out")
    records = {record["label"]: record for record in lines(tmp_path / "out" / "results.jsonl")}
    assert records["found"]["git_revision"] == "of old" != records["plain"]["git_revision"]
    assert records["found"]["trained_by"] == str(path.parent)
    trained = read_checkpoint(path.parent / "checkpoint" / "last.pt")["costs"]
    if trained["peak_is_own"]:  # not with the other trials in it
        assert records["found"]["peak_memory_mb"] >= round(trained["peak_memory_bytes"] / 2**20)
    else:
        assert records["found"]["peak_memory_mb"] is None
    text = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert f"Trained by the searches, and tested here: found (seed {SEARCH_SEED})." in text
    assert "Runs are of different revisions of the code" in text
    assert re.search(r"\| found \| 1/1 \| 2 \|.*\| [\d,-]+ \|\n", text)


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_trial_that_cannot_be_taken_over_is_trained(
    search, comparison, toy_path, tmp_path, damage
):
    trial = tmp_path / "trial"
    shutil.copytree(search.folder / f"trial-{search.best.number:04d}", trial)
    if damage == "gone":
        (trial / "checkpoint" / "last.pt").unlink()
    else:
        for path in (trial / "checkpoint").glob("*.pt"):
            path.write_bytes(path.read_bytes()[:-100])
    overrides = {
        **SETTINGS, **search.best.settings, "seed": SEARCH_SEED, "data_path": str(toy_path)
    }  # fmt: skip
    result = run_or_resume(tmp_path / "run", "SASRec", "toy", overrides, trained=trial)
    there = comparison / "out" / "toy" / "found" / f"seed-{SEARCH_SEED}" / "metrics.json"
    assert result.test == json.loads(there.read_text(encoding="utf-8"))["test"]
    assert not (tmp_path / "run" / "trained_by.json").exists()


def test_of_s3rec_both_stages_are_taken_over(toy_path, tmp_path):
    settings = {**QUICK, "data_path": str(toy_path), "pretrain_epochs": 1, "seed": 1}
    trial, folder = tmp_path / "trial", tmp_path / "run"
    run_or_resume(trial, "S3Rec", "toy", settings, test=False)
    result = run_or_resume(folder, "S3Rec", "toy", settings, trained=trial)
    for name in (".", "pretrain"):
        assert history_of(folder / name) == history_of(trial / name)
        assert (folder / name / "trained_by.json").is_file()
    shutil.rmtree(trial)
    assert quick_start.evaluate(folder).test == result.test
