"""Grids: files, flags, what is refused, and what makes a cell another cell."""

import pytest

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.compare.cells import Cell, slug
from recbole_hm4sr.compare.grid import find_grid, read_grid
from recbole_hm4sr.compare.protocol import check_grid
from recbole_hm4sr.config.compose import properties_dir
from recbole_hm4sr.config.fingerprint import data_hash
from recbole_hm4sr.testing.toydata import write_toy_dataset

TEXT = """\
datasets: [toy]
seeds: [3, 4]
settings: {epochs: 2}
baseline: plain
metrics: [NDCG@5]
models:
  - HM4SR
  - {label: plain, model: HM4SR, settings: {use_temporal_moe: false, epochs: 9}}
"""


@pytest.fixture
def grid_file(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_a_grid_is_every_model_with_every_seed(grid_file):
    grid = read_grid(grid_file)
    assert grid.baseline == "plain"
    assert grid.metrics == ("NDCG@5",)
    plain = {"epochs": 9, "use_temporal_moe": False}
    assert grid.cells() == [
        Cell("toy", "HM4SR", "HM4SR", {"epochs": 2}, 3),
        Cell("toy", "plain", "HM4SR", plain, 3),
        Cell("toy", "HM4SR", "HM4SR", {"epochs": 2}, 4),
        Cell("toy", "plain", "HM4SR", plain, 4),
    ]


def test_flags_win_over_the_file_and_add_settings(grid_file):
    flags = {"models": ["SASRec"], "seeds": None, "baseline": "SASRec"}
    grid = read_grid(grid_file, {**flags, "settings": {"learning_rate": 0.1}})
    assert [spec.label for spec in grid.models] == ["SASRec"]
    assert grid.seeds == (3, 4)
    assert grid.settings == {"epochs": 2, "learning_rate": 0.1}


def test_models_choose_rows_of_the_file_by_their_labels(grid_file):
    grid = read_grid(grid_file, {"models": ["plain", "SASRec"]})
    assert [(spec.label, spec.model) for spec in grid.models] == [
        ("plain", "HM4SR"),
        ("SASRec", "SASRec"),
    ]
    assert grid.models[0].settings == {"use_temporal_moe": False, "epochs": 9}


def test_a_flag_does_not_silently_lose_to_a_row(grid_file):
    message = r"the flag --epochs must leave it to the row 'plain' .* sets it to 9, got 1"
    with pytest.raises(ConfigError, match=message):
        read_grid(grid_file, {"settings": {"epochs": 1}})
    assert read_grid(grid_file, {"settings": {"epochs": 9}}).settings == {"epochs": 9}
    chosen = {"models": ["HM4SR"], "baseline": "HM4SR", "settings": {"epochs": 1}}
    assert read_grid(grid_file, chosen).settings == {"epochs": 1}


def test_config_files_stand_below_the_grid(grid_file, tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("epochs: 5\nlearning_rate: 0.1\nn_layers: 1\n")
    second.write_text("n_layers: 3\n")
    grid = read_grid(grid_file, {"settings": {"learning_rate": 0.2}}, [first, second])
    assert grid.settings == {"epochs": 2, "learning_rate": 0.2, "n_layers": 3}


def test_the_first_model_is_the_baseline_unless_another_is_named():
    grid = read_grid(flags={"datasets": ["toy"], "models": ["SASRec", "HM4SR"]})
    assert grid.baseline == "SASRec"
    assert grid.seeds == (2020,)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("[1-3]", (1, 2, 3)),
        ("[1, 5-7, 9]", (1, 5, 6, 7, 9)),
        ("['2 - 3']", (2, 3)),
        ("[4-4]", (4,)),
    ],
)
def test_a_range_of_seeds_is_its_numbers(grid_file, text, seeds):
    grid_file.write_text(TEXT.replace("[3, 4]", text), encoding="utf-8")
    assert read_grid(grid_file).seeds == seeds


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[3, 4]", "[3-1]", "a range of them as 1-3, got '3-1'"),
        ("[3, 4]", "[1..3]", "a range of them as 1-3, got '1..3'"),
        ("[3, 4]", "[1-3, 2]", "seeds must differ, got '2' twice"),
        ("seeds:", "seed:", "'seed' is unknown; did you mean 'seeds'"),
        ("label:", "lable:", "'lable' is unknown; did you mean 'label'"),
        ("[3, 4]", "[3, 3]", "seeds must differ, got '3' twice"),
        ("[3, 4]", "[-1]", "a range of them as 1-3, got -1"),
        ("[3, 4]", "[4294967296]", "4294967295, or a range of them as 1-3, got 4294967296"),
        ("[NDCG@5]", "[NDCG@5, ndcg@5]", "metrics must differ, got 'ndcg@5' twice"),
        ("[3, 4]", "3", "seeds must be a list with at least one entry, got 3"),
        ("label: plain", "label: HM4SR", "labels of models must differ, got 'HM4SR' twice"),
        (
            "label: plain",
            "label: 'plain, small'",
            "a label must have no comma, since --models is split there, got 'plain, small'",
        ),
        ("baseline: plain", "baseline: none", "baseline must be one of HM4SR, plain, got 'none'"),
        ("NDCG@5", "NDGC@5", "with a cut-off, as NDCG@10, got 'NDGC@5'"),
        ("{epochs: 2}", "{seed: 2}", "settings must leave the seed to seeds"),
        ("{epochs: 2}", "2", "settings must hold lines of the form name: value, got 2"),
        ("  - HM4SR", "  - [HM4SR]", "must be a name or have the key model"),
    ],
)
def test_mistakes_are_named(grid_file, old, new, message):
    grid_file.write_text(TEXT.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        read_grid(grid_file)


def test_all_mistakes_come_at_once():
    with pytest.raises(ConfigError, match=r"models must be a list.*datasets must be a list"):
        read_grid()


@pytest.mark.parametrize("path", sorted((properties_dir() / "compare").glob("*.yaml")))
def test_the_grids_that_travel_with_the_package_are_right(path, tmp_path):
    assert find_grid(path.stem) == path
    grid = read_grid(path, {"settings": {"data_path": str(tmp_path)}})
    for dataset in grid.datasets:
        write_toy_dataset(tmp_path / dataset)
        (tmp_path / dataset / "toy.inter").rename(tmp_path / dataset / f"{dataset}.inter")
    check_grid(grid)  # every name and value of every row


def test_a_grid_of_real_data_is_not_run_on_generated_data_of_the_same_name(tmp_path):
    write_toy_dataset(tmp_path / "toy")  # its toy.yaml says that it is generated
    flags = {"datasets": ["toy"], "models": ["SASRec"], "settings": {"data_path": str(tmp_path)}}
    check_grid(read_grid(flags=flags))
    with pytest.raises(ConfigError, match=r"is for real data, but .*toy is generated; name the"):
        check_grid(read_grid(flags={**flags, "real_data": True}))
    with pytest.raises(ConfigError, match="real_data must be true or false, got 'yes'"):
        read_grid(flags={**flags, "real_data": "yes"})


def test_what_is_wrong_with_every_row_is_said_once(tmp_path):
    write_toy_dataset(tmp_path / "toy")
    settings = {"data_path": str(tmp_path), "learning_rate": -1}
    grid = read_grid(
        flags={"datasets": ["toy"], "models": ["SASRec", "GRU4Rec"], "settings": settings}
    )
    with pytest.raises(ConfigError, match="SASRec, GRU4Rec on toy: learning_rate must") as caught:
        check_grid(grid)
    assert str(caught.value).count("learning_rate") == 1


def test_an_unknown_grid_names_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"one of ablation, .*sports, .*zoo-beauty, got 'abaltion'"
    ):
        find_grid("abaltion")


def test_a_cell_is_another_when_model_settings_seed_or_data_change(toy_path):
    def fingerprint(data="d", model="SASRec", seed=1, **settings):
        settings = {"data_path": str(toy_path), **settings}
        return Cell("toy", "a label", model, settings, seed).fingerprint(data)

    first = fingerprint()
    assert fingerprint(n_layers=2) == first  # the model's own YAML says the same
    assert fingerprint(n_threads=3) == first
    others = [
        fingerprint("e"),
        fingerprint(model="GRU4Rec"),
        fingerprint(seed=2),
        fingerprint(learning_rate=0.5),
        fingerprint(tie_order="shuffle"),
    ]
    assert len({first, *others}) == 6


def test_the_hash_of_a_data_set_changes_with_any_of_its_files(tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "toy.inter").write_text("a")
    first = data_hash(folder)
    (folder / "README.md").write_text("not data")
    assert data_hash(folder) == first
    (folder / "toy.item").write_text("b")
    second = data_hash(folder)
    (folder / "toy.item").write_text("c")
    assert len({first, second, data_hash(folder)}) == 3


def test_labels_become_names_of_folders():
    assert slug("HM4SR, without time & text") == "HM4SR-without-time-text"
    assert slug("../..") == "model"
    assert slug("SASRec+") == "SASRec+"  # beside the row SASRec


def test_columns_are_spelled_as_the_metrics_are():
    flags = {"datasets": ["toy"], "models": ["A"], "columns": ["seeds", "ndcg@10", "difference"]}
    assert read_grid(flags=flags).columns == ("seeds", "NDCG@10", "difference")
    assert read_grid(flags={**flags, "columns": None}).columns == ()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["NDCG@10", "p"], r"columns must be among NDCG@10, .*, seeds, .* got 'p'"),
        (["seeds"], r"columns must hold a metric, as NDCG@10, got \['seeds'\]"),
        (["NDCG@10", "NDCG@10"], "columns must differ, got 'NDCG@10' twice"),
    ],
)
def test_columns_that_no_table_has_are_refused(columns, message):
    with pytest.raises(ConfigError, match=message):
        read_grid(flags={"datasets": ["toy"], "models": ["A"], "columns": columns})


def test_some_rows_of_a_file_need_not_have_its_baseline(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text("datasets: [toy]\nmodels: [SASRec, HM4SR, Momento]\nbaseline: HM4SR\n")
    assert read_grid(path).baseline == "HM4SR"
    assert read_grid(path, {"models": ["Momento", "HM4SR"]}).baseline == "HM4SR"
    assert read_grid(path, {"models": ["Momento", "SASRec"]}).baseline == "Momento"
    with pytest.raises(ConfigError, match="baseline must be one of Momento, got 'HM4SR'"):
        read_grid(path, {"models": ["Momento"], "baseline": "HM4SR"})
