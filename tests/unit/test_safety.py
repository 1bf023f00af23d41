"""Nothing that a user can be sent is run as code, and nothing is written outside its folder."""

import ast
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from datafiles import read_config, walks, write_dataset

import recbole_hm4sr
from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.compare.cells import slug
from recbole_hm4sr.config.compose import parse_value, read_yaml, resolve_data_path
from recbole_hm4sr.data.features import load_features
from recbole_hm4sr.prepare.images.folder import file_stem
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.train.checkpoint import read_checkpoint
from recbole_hm4sr.train.checkpoint_file import write_checkpoint

PACKAGE = Path(recbole_hm4sr.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
# Called without these they read plain values; with them, or without it, code.
FORBIDDEN = {"eval", "exec", "compile", "__import__", "execfile"}
FORBIDDEN_METHODS = {
    ("pickle", "load"), ("pickle", "loads"), ("pickle", "Unpickler"), ("marshal", "loads"),
    ("marshal", "load"), ("shelve", "open"), ("dill", "load"), ("joblib", "load"),
    ("cloudpickle", "load"), ("pd", "read_pickle"), ("os", "system"), ("os", "popen"),
    ("yaml", "unsafe_load"), ("yaml", "full_load"), ("yaml", "unsafe_load_all"),
    ("yaml", "full_load_all"), ("shutil", "unpack_archive"), ("archive", "extractall"),
    ("archive", "extract"),
}  # fmt: skip
NEEDED = {
    ("torch", "load"): ("weights_only", True),
    ("np", "load"): ("allow_pickle", False),
    ("format", "read_array"): ("allow_pickle", False),
}


def calls(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node


def owner(node):
    """``a.b(...)`` as ("a", "b"), ``x.a.b(...)`` too; ``b(...)`` as ("", "b")."""
    function = node.func
    if isinstance(function, ast.Name):
        return "", function.id
    if isinstance(function, ast.Attribute):
        value = function.value
        name = value.id if isinstance(value, ast.Name) else getattr(value, "attr", "?")
        return name, function.attr
    return "", ""


def faults(path):
    for node in calls(path):
        name = owner(node)
        keywords = {word.arg: word.value for word in node.keywords}
        if name[0] == "" and name[1] in FORBIDDEN:
            yield f"{name[1]} in line {node.lineno}"
        if name in FORBIDDEN_METHODS or name[1] == "extractall":
            yield f"{'.'.join(name)} in line {node.lineno}"
        if name == ("yaml", "load"):
            yield f"yaml.load in line {node.lineno}"
        if name in NEEDED:
            word, value = NEEDED[name]
            given = keywords.get(word)
            if not (isinstance(given, ast.Constant) and given.value is value):
                yield f"{'.'.join(name)} without {word}={value} in line {node.lineno}"
        if "shell" in keywords:
            yield f"shell in line {node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_runs_what_it_reads(path):
    assert list(faults(path)) == []


@pytest.mark.parametrize(
    "line",
    [
        "eval(x)",
        "pickle.load(f)",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "np.load(p)",
        "yaml.load(t, Loader=L)",
        "archive.extractall(p)",
        "subprocess.run(c, shell=True)",
    ],
)
def test_the_scan_finds_what_it_looks_for(tmp_path, line):
    path = tmp_path / "module.py"
    path.write_text(line + "\n")
    assert len(list(faults(path))) == 1


def test_settings_are_read_by_a_loader_that_makes_plain_values_only():
    from recbole_hm4sr.config.yaml_limits import Loader

    assert issubclass(Loader, yaml.SafeLoader)
    assert set(Loader.yaml_constructors) == set(yaml.SafeLoader.yaml_constructors)
    assert Loader.yaml_multi_constructors == {}


# --- values that are code -------------------------------------------------------------------------

CODE = "__import__('pathlib').Path('sprung').touch()"


@pytest.fixture
def data_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_dataset(tmp_path / "toy", walks([5, 4]))


@pytest.mark.parametrize("name", ["state", "wandb_project"])
def test_a_text_that_is_code_stays_a_text(data_path, tmp_path, name):
    # RecBole's Config evaluates every text of its settings: Config._convert_config_dict.
    config = read_config(data_path, **{name: parse_value(f'"{CODE}"')})
    assert config[name] == CODE
    file = tmp_path / "mine.yaml"
    file.write_text(f'{name}: "{CODE}"\n')
    overrides = {"data_path": str(data_path)}
    again = compose("HM4SR", "toy", config_files=[file], overrides=overrides).to_recbole()
    assert again[name] == CODE
    assert not (tmp_path / "sprung").exists()


def test_a_number_that_is_code_is_refused(data_path, tmp_path):
    with pytest.raises(ConfigError, match="learning_rate must be a number"):
        read_config(data_path, learning_rate=CODE)
    with pytest.raises(ConfigError, match="topk must be whole numbers"):
        read_config(data_path, topk=[CODE])
    with pytest.raises(ConfigError, match="user_inter_num_interval must be intervals"):
        read_config(data_path, user_inter_num_interval=f"[{CODE},inf)")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("tag", ["object/apply:os.system [touch sprung]", "name:os.system ''",
                                 "module:os ''", "object/new:pathlib.Path [x]"])  # fmt: skip
def test_tags_of_python_are_refused(tmp_path, monkeypatch, tag):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(f"state: !!python/{tag}\n")
    with pytest.raises(ConfigError, match="could not determine a constructor"):
        read_yaml(Path("mine.yaml"))
    assert not Path("sprung").exists()


class Trap:
    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


def test_objects_in_features_and_checkpoints_are_not_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objects = np.array([Trap()], dtype=object)
    np.savez("toy.text.npz", tokens=objects, values=objects, encoder="e", revision="r")
    with pytest.raises(DataError, match=r"must be an \.npz file of plain arrays"):
        load_features(Path("toy.text.npz"))
    write_checkpoint(Path("best.pt"), {"trap": Trap()})  # with a good check sum
    with pytest.raises(DataError, match="Weights only load failed"):
        read_checkpoint(Path("best.pt"))
    torch.save({"format": Trap()}, "other.pt")
    Path("last.pt").write_bytes(pickle.dumps(Trap()))
    for name in ("other.pt", "last.pt"):
        with pytest.raises(DataError, match="with its check sum at the end"):
            read_checkpoint(Path(name))
    assert not Path("sprung").exists()


# --- names that leave their folder ----------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../toy", "/etc", "a/b", "..", ".", "", "toy\0", "a\\b", "~root", "toy\n", ".hidden"]
)
def test_a_data_set_is_a_name_not_a_path(tmp_path, name):
    with pytest.raises(ConfigError, match="must be the name of a folder"):
        resolve_data_path(name, tmp_path)


@pytest.mark.parametrize("label", ["../../x", "/etc/passwd", "..", ".", "a/../../b", "\0", ""])
def test_the_folder_of_a_row_stays_below_the_comparison(label):
    assert slug(label) not in ("", ".", "..")
    assert not set("/\\\0") & set(slug(label))


@pytest.mark.parametrize(
    "token", ["../../x", "/etc/passwd", "..", ".", "a/b", "a\\b", "\0", "é" * 99]
)
def test_the_file_of_an_image_stays_in_its_folder(token):
    stem = file_stem(token)
    assert not set("/\\\0") & set(stem)
    assert not stem.startswith(".")
    assert len(f"{stem}.jpg".encode()) <= 255


def test_members_that_leave_the_folder_are_never_written(tmp_path, monkeypatch):
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    content = io.BytesIO()
    np.save(content, np.eye(2, dtype=np.float32))
    with zipfile.ZipFile("toy.text.npz", "w") as archive:
        for name in ("../values.npy", "../../values.npy", str(tmp_path / "values.npy")):
            archive.writestr(name, content.getvalue())
    with pytest.raises(DataError, match="must hold 'tokens'"):
        load_features(Path("toy.text.npz"))
    Path("best.pt").write_bytes(Path("toy.text.npz").read_bytes())
    with pytest.raises(DataError, match="with its check sum at the end"):
        read_checkpoint(Path("best.pt"))
    found = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(found) == ["inside/best.pt", "inside/toy.text.npz"]


def test_a_modality_is_a_name_not_a_path(data_path):
    with pytest.raises(ConfigError, match="a modality's name must be"):
        read_config(data_path, modalities={"../../x": "npz"})


@pytest.mark.parametrize("name", ["checkpoint_dir", "dataset_save_path", "dataloaders_save_path"])
def test_settings_that_name_places_to_write_or_unpickle_are_refused(data_path, name):
    with pytest.raises(ConfigError, match=f"{name} .*is not supported here"):
        read_config(data_path, **{name: "../../elsewhere"})


def test_a_folder_of_caches_is_the_user_s_word_not_a_file_s(data_path, tmp_path):
    def build(files=(), **overrides):
        overrides = {"data_path": str(data_path), **overrides}
        return compose("MMSR", "toy", config_files=files, overrides=overrides).values

    elsewhere = str(tmp_path / "elsewhere")
    assert build(code_cache_dir=elsewhere)["code_cache_dir"] == elsewhere
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"code_cache_dir: {elsewhere}\n")
    with pytest.raises(
        ConfigError, match=r"code_cache_dir \(.*mine\.yaml\) must be given as a flag"
    ):
        build([mine])
    (data_path / "toy" / "toy.yaml").write_text(f"code_cache_dir: {elsewhere}\n")
    with pytest.raises(
        ConfigError, match=r"code_cache_dir \(.*toy\.yaml\) must be given as a flag"
    ):
        build()
