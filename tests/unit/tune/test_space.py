"""Search spaces: RecBole's grammar without running it, what is refused, what ships."""

import math

import pytest
import yaml

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.compose import compose_settings, properties_dir
from recbole_hm4sr.model.registry import find_model
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.tune.search import plan_search
from recbole_hm4sr.tune.space import find_space, read_space

MODELS = sorted(path.stem for path in (properties_dir() / "tune").glob("*.hyper"))
SPACES = sorted((properties_dir() / "tune").rglob("*.hyper"))


def space_of(tmp_path, text):
    path = tmp_path / "space.hyper"
    path.write_text(text, encoding="utf-8")
    return read_space(path)


def test_the_four_kinds_of_recbole_are_read(tmp_path):
    space = space_of(
        tmp_path,
        "# a comment\n\n"
        "hidden_act choice ['gelu', 'relu']  # behind a line\n"
        "dropout uniform 0.1,0.5\n"
        "hidden_size quniform 32, 96, 32\n"
        "rate quniform 0,0.3,0.1\n"
        "learning_rate loguniform -8,-4\n",
    )
    act, dropout, size, rate, learning_rate = space.dimensions
    assert act.options == ("gelu", "relu")
    assert (dropout.bounds, dropout.grid) == ((0.1, 0.5), None)
    assert size.grid == (32, 64, 96)
    assert all(isinstance(value, int) for value in size.grid)
    # Not 3 * 0.1, which is 0.30000000000000004.
    assert rate.grid == (0, 0.1, 0.2, 0.3)
    assert learning_rate.bounds == (math.exp(-8), math.exp(-4))
    assert [dimension.line for dimension in space.dimensions] == [3, 4, 5, 6, 7]
    assert space.size is None


def test_what_an_engine_draws_becomes_settings_and_back(tmp_path):
    space = space_of(
        tmp_path, "a choice [True, 1, [0.1, 0.2], None]\nb quniform 8,32,8\nc uniform 0,1\n"
    )
    drawn = {"a": 1, "b": 23.9, "c": 0.25}
    settings = space.settings(drawn)
    assert settings == {"a": 1, "b": 24, "c": 0.25}
    assert settings["a"] is not True
    assert space.drawn(settings) == {"a": 1, "b": 24, "c": 0.25}
    assert space.settings({**drawn, "a": 2})["a"] == [0.1, 0.2]
    assert yaml.safe_load(yaml.safe_dump(settings)) == settings


def test_a_finite_space_counts_its_combinations(tmp_path):
    assert space_of(tmp_path, "a choice [1, 2, 3]\nb quniform 0,1,0.25\n").size == 15


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a choice", "line 2: must have the form <setting> <kind> <values>"),
        ("a chioce [1]", "line 2: the kind must be one of .*; did you mean 'choice'"),
        ("a choice [1, 2", r"line 2: the values of a must be a list"),
        ("a choice []", r"line 2: the values of a must be a list"),
        ("a choice 'gelu'", r"line 2: the values of a must be a list"),
        ("a choice [1, 1]", "line 2: the values of a must differ, got 1 twice"),
        ("a choice [{1, 2}]", r"line 2: the values of a must be a list"),
        ("a choice __import__('os').system('touch here')", r"line 2: the values of a must be a"),
        ("a choice [x for x in (1, 2)]", r"line 2: the values of a must be a list"),
        ("a uniform 0.1", "line 2: uniform of a must have the form low,high, got '0.1'"),
        ("a uniform 0,1,2", "line 2: uniform of a must have the form low,high"),
        ("a uniform one,two", "line 2: uniform of a must have the form low,high"),
        ("a uniform 0,inf", "line 2: uniform of a must have the form low,high"),
        ("a uniform 1,0", "line 2: uniform of a must go from low to high"),
        ("a quniform 0,1", "line 2: quniform of a must have the form low,high,step"),
        ("a quniform 0,1,0", "line 2: the step of a must be above 0"),
        ("a quniform 0,1,2", "line 2: the step of a must be above 0 and fit between"),
        ("a loguniform 1,1000", "line 2: loguniform of a must have natural logarithms as bounds"),
        ("b uniform 0,1", "line 2: b must stand once, but is in line 1 too"),
    ],
)
def test_a_wrong_line_is_refused_with_file_and_number(tmp_path, monkeypatch, line, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message) as caught:
        space_of(tmp_path, f"b uniform 0,1\n{line}\n")
    assert str(tmp_path / "space.hyper") in str(caught.value)
    assert not (tmp_path / "here").exists()


def test_all_wrong_lines_are_in_one_error(tmp_path):
    with pytest.raises(ConfigError, match=r"line 1: .*; .*line 3: "):
        space_of(tmp_path, "a choice\nb uniform 0,1\nc uniform 1,0\n")


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    space = space_of(tmp_path, "\ufefflearning_rate choice [0.1]\n")
    assert space.names == ["learning_rate"]


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "space.hyper"
    for content, kind in (
        ("a choice [1]\n".encode("utf-16"), "UTF-16 text: save it as UTF-8"),
        (b"PK\x03\x04\x14\x00", "a zip archive, as .xlsx and .npz files are: unpack it"),
    ):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=f"{path} must be UTF-8 text, but is {kind}"):
            read_space(path)


def test_an_empty_or_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="must hold at least one line, got none"):
        space_of(tmp_path, "# nothing\n")
    with pytest.raises(ConfigError, match="cannot read the search space"):
        read_space(tmp_path / "missing.hyper")


def test_a_space_is_found_by_path_by_name_and_by_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # outside a checkout
    known = properties_dir() / "tune" / "SASRec.hyper"
    assert find_space(None, "SASRec") == known
    assert find_space("SASRec", "HM4SR") == known
    small = known.with_name("small") / "SASRec.hyper"
    for name in ("small/SASRec", "properties/tune/small/SASRec.hyper"):
        assert find_space(name, "HM4SR") == small
    path = tmp_path / "mine.hyper"
    path.write_text("a uniform 0,1\n", encoding="utf-8")
    assert find_space(path, "SASRec") == path
    with pytest.raises(ConfigError, match=r"--params must be a .hyper file or one of BERT4Rec"):
        find_space("nowhere", "SASRec")
    with pytest.raises(ConfigError, match="since GCSAN has none of its own"):
        find_space(None, "GCSAN")


# --- a search over it ---------------------------------------------------------------------------


def plan(tmp_path, text, model="SASRec", toy_path=None, **flags):
    flags["data_path"] = str(toy_path)
    return plan_search("toy", model, space_of(tmp_path, text), overrides=flags)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hiden_size choice [16]\n", r"line 1: the setting 'hiden_size'.*did you mean 'hidden_s"),
        ("epochs choice [2]\nlearning_rate uniform -1,1\n", "line 2: learning_rate must be above"),
        ("n_layers choice ['two']\n", "line 1: n_layers must be a whole number, got 'two'"),
        ("seed choice [1, 2]\n", "must leave alone what makes trials comparable, got seed"),
        ("valid_metric choice ['MRR@10']\n", "must leave alone .*, got valid_metric"),
        ("epochs choice [2]\ntrain_batch_size choice [64]\n", "but train_batch_size stands in"),
    ],
)
def test_what_no_trial_could_run_is_refused_before(tmp_path, toy_path, text, message):
    with pytest.raises(ConfigError, match=message):
        plan(tmp_path, text, toy_path=toy_path, train_batch_size=32)


def test_a_fixed_setting_that_is_unknown_is_refused(tmp_path, toy_path):
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        plan(tmp_path, "n_layers choice [1]\n", toy_path=toy_path, epoch=3)


def test_a_value_that_another_setting_can_make_right_is_left_to_the_trials(tmp_path, toy_path):
    text = "hidden_size choice [64, 48]\nn_heads choice [2, 3]\n"
    assert plan(tmp_path, text, "HM4SR", toy_path=toy_path).space.size == 4
    with pytest.raises(ConfigError, match=r"line 1: .*n_heads"):
        plan(tmp_path, "n_heads choice [2, 3]\n", "HM4SR", toy_path=toy_path)


def test_the_space_wins_over_files_and_flags_stay_fixed(tmp_path, toy_path):
    file = tmp_path / "mine.yaml"
    file.write_text("n_layers: 3\nepochs: 7\n", encoding="utf-8")
    search = plan_search(
        "toy",
        "SASRec",
        space_of(tmp_path, "n_layers choice [1, 2]\n"),
        config_files=[file],
        overrides={"data_path": str(toy_path), "epochs": 4},
    )
    assert search.overrides({"n_layers": 2}) == {
        "epochs": 4,
        "data_path": str(toy_path),
        "n_layers": 2,
    }
    assert (search.metric, search.bigger, search.epochs) == ("NDCG@20", True, 4)


def test_every_model_has_a_space():
    assert [find_space(None, model).stem for model in MODELS] == MODELS


@pytest.mark.parametrize("path", SPACES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_space_has_values_that_its_model_takes(path):
    model, space = path.stem, read_space(path)
    search = plan_search("sports", model, space)  # refuses what it does not take
    entry = find_model(model)
    defaults, _ = compose_settings(model, "sports", settings_class=entry.settings_class)
    for dimension in space.dimensions:
        default = defaults[dimension.name]
        if dimension.kind == "choice":
            assert default in dimension.options
        else:
            low, high = dimension.bounds
            assert low <= default <= high
    for choose in (0, -1):  # the values of two corners, together
        settings = {
            dimension.name: dimension.samples()[choose] for dimension in search.space.dimensions
        }
        compose(entry, "sports", overrides=settings)
