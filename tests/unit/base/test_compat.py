"""Each workaround: RecBole still has the fault, and ours does not.

A test named ``test_recbole_...`` fails as soon as RecBole, numpy, pandas or torch no longer need
the workaround: then remove both.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from datafiles import DAY, INTER, NEW_YEAR, read_config, walks, write_dataset, write_lines
from recbole.data import create_dataset
from recbole.data.dataset import SequentialDataset
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import argument_list

from recbole_hm4sr.base import compat, recbole_files
from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.recbole import MultiModalSequentialDataset

pytestmark = pytest.mark.filterwarnings(r"ignore::Warning:recbole\.data")
needs_numpy_2 = pytest.mark.skipif(
    int(np.__version__.split(".")[0]) < 2, reason="numpy 1 still has the names"
)
needs_pandas_3 = pytest.mark.skipif(
    int(pd.__version__.split(".")[0]) < 3, reason="pandas 2 changes the frame in place"
)


def in_fresh_process(script, folder):
    """What a script prints as JSON, run where no test has changed anything."""
    environment = {name: value for name, value in os.environ.items() if "CUDA" not in name}
    done = subprocess.run(
        [sys.executable, "-c", script, "--epochs=7", "--some.pytest-option"],
        cwd=folder,
        env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


RECBOLE = """
import json, os, sys
import numpy as np
import torch
import yaml

facts = {}
sys.modules["ray"] = None  # as on a machine where it does not import
try:
    import recbole.quick_start
except ImportError as error:
    facts["quick_start"] = str(error)
from recbole.config import Config
from recbole.utils import argument_list
try:
    Config.compatibility_settings(None)
except AttributeError as error:
    facts["aliases"] = str(error)

from recbole_hm4sr.base import compat
compat.restore_numpy_aliases()
facts["anomaly before"] = torch.is_anomaly_enabled()
import recbole.model.sequential_recommender.sasrec
facts["anomaly"] = torch.is_anomaly_enabled()

facts["float before"] = yaml.load("1e-3", yaml.FullLoader)
open("extra.yaml", "w").write("new_name: 1\\n")
n_names = len(argument_list.dataset_arguments)
settings = {"wandb_project": "__import__('os').getcwd()", "train_neg_sample_args": None}
for _ in range(2):
    config = Config("SASRec", "ml-100k", ["extra.yaml"], settings.copy())
facts["epochs"] = config["epochs"]
facts["evaluated"] = config["wandb_project"] == os.getcwd()
facts["unknown"] = config["hiden_size"], config["new_name"]
facts["visible"] = os.environ.get("CUDA_VISIBLE_DEVICES")
facts["names"] = len(argument_list.dataset_arguments) - n_names
facts["float"] = yaml.load("1e-3", yaml.FullLoader)
distributed = dict(local_rank=0, nproc=1, offset=0, world_size=1, ip="127.0.0.1", port=29511)
try:
    Config("SASRec", "ml-100k", config_dict={**settings, **distributed})
except Exception as error:
    facts["distributed"] = str(error)
print()
print(json.dumps(facts))
"""

OURS = """
import json, os, sys
import numpy as np
import torch
import yaml

sys.modules["ray"] = None
names_before = {name for name in ("float", "bool8", "unicode_") if hasattr(np, name)}
import recbole_hm4sr.cli, recbole_hm4sr.run.quick_start
facts = {"names on import": sorted(
    {name for name in ("float", "bool8", "unicode_") if hasattr(np, name)} - names_before
)}
from recbole.utils import argument_list
from recbole_hm4sr.base import compat
from recbole_hm4sr.config.compose import build_config
models = compat.import_recbole_models()
facts["anomaly"] = torch.is_anomaly_enabled()
before = {name: list(v) for name, v in vars(argument_list).items() if isinstance(v, list)}
environment = dict(os.environ)
config = build_config(models.SASRec, "ml-100k", overrides={
    "wandb_project": "__import__('os').mkdir('evaluated')"})
facts["epochs"] = config["epochs"]
facts["text"] = config["wandb_project"]
facts["lists"] = before == {n: v for n, v in vars(argument_list).items() if isinstance(v, list)}
facts["environment"] = environment == dict(os.environ)
facts["argv"] = sys.argv[1:]
facts["float"] = yaml.load("1e-3", yaml.FullLoader)
facts["files"] = os.listdir(".")
print()
print(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def recbole(tmp_path_factory):
    return in_fresh_process(RECBOLE, tmp_path_factory.mktemp("recbole"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return in_fresh_process(OURS, tmp_path_factory.mktemp("ours"))


# --- imports -----------------------------------------------------------------------------------


def test_recbole_s_quick_start_needs_ray(recbole):
    assert "ray" in recbole["quick_start"]


def test_our_command_line_needs_no_ray(ours):
    # It was imported, with ray made impossible.
    assert ours["argv"] == ["--epochs=7", "--some.pytest-option"]


@needs_numpy_2
def test_recbole_s_config_reads_names_that_numpy_2_lost(recbole):
    assert "np.float_" in recbole["aliases"]


def test_the_lost_names_come_back_and_the_others_keep_their_meaning():
    kept = np.bool_, np.str_, vars(np).get("bool"), vars(np).get("long")
    compat.restore_numpy_aliases()
    back = vars(np)
    assert back["float"] is back["float_"] is np.float64
    assert back["bool8"] is np.bool_
    assert back["unicode_"] is np.str_
    assert np.dtype(back["int"]) == np.dtype(np.int_)
    assert (np.bool_, np.str_) == kept[:2]
    assert kept[2] in (None, back["bool"])
    assert kept[3] in (None, back["long"])


def test_importing_this_package_changes_no_other(ours):
    assert ours["names on import"] == []


def test_recbole_s_models_switch_anomaly_detection_on(recbole):
    assert recbole["anomaly before"] is False
    assert recbole["anomaly"] is True


def test_our_import_of_recbole_s_models_leaves_anomaly_detection_as_it_was(ours):
    assert ours["anomaly"] is False
    package = compat.import_recbole_models()
    assert issubclass(package.SASRec, SequentialRecommender)


# --- configuration -----------------------------------------------------------------------------


def test_recbole_s_config_reads_the_command_line(recbole):
    assert recbole["epochs"] == 7


def test_recbole_s_config_runs_text_as_code(recbole):
    assert recbole["evaluated"] is True


def test_recbole_s_config_answers_none_for_an_unknown_name_and_takes_any(recbole):
    assert recbole["unknown"] == [None, 1]


def test_recbole_s_config_changes_the_process(recbole):
    assert recbole["visible"] == "0"
    assert recbole["names"] > 0
    assert recbole["float before"] == "1e-3"
    assert recbole["float"] == 1e-3


@pytest.mark.skipif(torch.cuda.is_available(), reason="nccl works where there is a GPU")
def test_recbole_s_config_fixes_nccl(recbole):
    assert "nccl" in recbole["distributed"].lower()


def test_our_config_neither_reads_the_command_line_nor_runs_code_nor_changes_the_process(ours):
    assert ours["epochs"] == 100  # properties/overall.yaml
    assert ours["text"] == "__import__('os').mkdir('evaluated')"
    assert ours["files"] == []
    assert ours["lists"] is True
    assert ours["environment"] is True
    assert ours["float"] == "1e-3"


def test_the_command_line_and_the_lists_come_back_after_an_error(monkeypatch):
    argv = ["hm4sr", "--x=1"]
    monkeypatch.setattr("sys.argv", argv)
    names = list(argument_list.general_arguments)

    def fail():
        with compat.isolated_config_state():
            assert sys.argv == ["hm4sr"]
            argument_list.general_arguments.append("grown")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert sys.argv is argv
    assert argument_list.general_arguments == names


@pytest.mark.parametrize(("use_gpu", "gpu_id"), [(False, "0"), (True, ""), (False, "")])
def test_the_device_is_the_cpu_where_no_gpu_may_be_used(use_gpu, gpu_id):
    assert compat.choose_device(use_gpu, gpu_id) == torch.device("cpu")


@pytest.mark.parametrize(
    ("visible", "gpu_id", "expected"), [(None, "1", 1), ("3,5", "0", 0), ("3,5", "1,0", 1)]
)
def test_a_gpu_is_chosen_among_the_visible_ones(visible, gpu_id, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert compat.choose_device(True, gpu_id) == torch.device("cuda", expected)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == visible


def test_a_gpu_that_is_not_visible_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    message = (
        r"gpu_id must be from 0 to 0, .* among the 1 that CUDA_VISIBLE_DEVICES=3 shows, got '3'"
    )
    with pytest.raises(ConfigError, match=message):
        compat.choose_device(True, "3")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_device_is_the_cpu_where_there_is_no_gpu():
    assert compat.choose_device(True, "1,2") == torch.device("cpu")


def test_recbole_carries_ml_100k_and_its_defaults():
    folder = recbole_files.bundled_dataset_folder("ml-100k")
    assert (folder / "ml-100k.inter").is_file()
    assert recbole_files.bundled_dataset_folder("no-such-set") is None
    defaults = yaml.safe_load((recbole_files.properties_folder() / "overall.yaml").read_text())
    assert defaults["seed"] == 2020


# --- data --------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    write_dataset(tmp_path / "toy", walks([4, 5]))
    rows = [("i0", 1, "a b"), ("i1", "", "a"), ("i2", 3, ""), ("i3", 5, "b")]
    header = "item_id:token\tprice:float\ttags:token_seq"
    write_lines(tmp_path / "toy" / "toy.item", header, rows)
    return tmp_path / "toy"


def config_with_items(folder, *columns):
    return read_config(folder.parent, load_col={"inter": "*", "item": ["item_id", *columns]})


@needs_pandas_3
def test_recbole_leaves_gaps_in_the_attributes_on_pandas_3(folder):
    dataset = SequentialDataset(config_with_items(folder, "price"))
    assert dataset.item_feat["price"].isna().sum() == 3  # padding, i1, and i4 without a line


def test_our_attributes_have_no_gaps(folder):
    dataset = MultiModalSequentialDataset(config_with_items(folder, "price"))
    prices = dict(zip(dataset.item_tokens, dataset.item_feat["price"], strict=True))
    mean = (1 + 3 + 5) / 3
    assert prices == {"[PAD]": mean, "i0": 1, "i1": mean, "i2": 3, "i3": 5, "i4": mean}


def test_gaps_are_filled_by_kind_in_a_new_frame():
    frame = pd.DataFrame(
        {
            "brand": [np.nan, 2.0],
            "price": [np.nan, 3.0],
            "tags": pd.Series([np.nan, np.array([1, 2])], dtype=object),
            "shape": pd.Series([np.nan, np.array([0.5])], dtype=object),
        }
    )
    kinds = {"brand": "token", "price": "float", "tags": "token_seq", "shape": "float_seq"}
    filled = compat.fill_missing_values(frame, kinds)
    assert filled["brand"].tolist() == [0, 2]
    assert filled["price"].tolist() == [3, 3]
    assert [row.tolist() for row in filled["tags"]] == [[], [1, 2]]
    assert [row.dtype for row in filled["shape"]] == [np.float64] * 2
    assert frame["price"].isna().tolist() == [True, False]


@needs_pandas_3
def test_recbole_cannot_read_sequence_columns_on_pandas_3(folder):
    rows = [(f"i{item}", 1, "a b") for item in range(4)]
    write_lines(folder / "toy.item", "item_id:token\tprice:float\ttags:token_seq", rows)
    with pytest.raises(ValueError, match="Length of values"):
        SequentialDataset(config_with_items(folder, "tags"))


def test_our_sequence_columns_keep_their_rows(folder):
    dataset = MultiModalSequentialDataset(config_with_items(folder, "tags"))
    rows = dict(zip(dataset.item_tokens, dataset.item_feat["tags"], strict=True))
    read = {item: dataset.id2token("tags", row).tolist() for item, row in rows.items()}
    expected = {"i0": ["a", "b"], "i1": ["a"], "i2": [], "i3": ["b"], "i4": [], "[PAD]": []}
    assert read == expected


def test_flat_values_are_cut_by_the_rows_they_came_from():
    column = pd.Series([np.array([7, 8]), np.array([]), np.array([9])])
    cut = compat.split_like(column, np.array([1, 2, 3]))
    assert [part.tolist() for part in cut] == [[1, 2], [], [3]]


@needs_pandas_3
def test_pandas_3_gives_arrays_that_may_not_be_written():
    assert not pd.DataFrame({"a": [1, 2]})["a"].to_numpy().flags.writeable


def test_our_columns_may_be_written():
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1]})
    columns = compat.writable_columns(frame)
    assert all(column.values.flags.writeable for column in columns.values())
    assert columns["b"].values.tolist() == [0.5, 1]


def quoted(folder):
    """The settings of a data set with a quotation mark before one title and after another."""
    titles = ["Radio", '"Best TV', "Phone", 'Lamp 24"', "Desk"]
    rows = [(f"i{number}", title) for number, title in enumerate(titles)]
    write_lines(folder / "toy.item", "item_id:token\ttitle:token", rows)
    return config_with_items(folder, "title")


def test_recbole_s_reader_swallows_rows_between_quotation_marks(folder):
    dataset = SequentialDataset(quoted(folder))
    assert "Phone" not in dataset.field2token_id["title"]


def test_our_reader_swallows_none(folder):
    dataset = MultiModalSequentialDataset(quoted(folder))
    assert set(dataset.field2token_id["title"]) == {
        "[PAD]", "Radio", '"Best TV', "Phone", 'Lamp 24"', "Desk"
    }  # fmt: skip


@pytest.fixture
def seconds(tmp_path):
    return write_dataset(tmp_path / "toy", walks([4, 5], NEW_YEAR, step=1))


def test_recbole_merges_times_of_one_minute_and_stores_padded_matrices(seconds):
    dataset = SequentialDataset(read_config(seconds))
    dataset.build()
    assert dataset.inter_feat["timestamp"].dtype == torch.float32
    assert dataset.inter_feat["timestamp"].unique().tolist() == [NEW_YEAR]
    assert dataset.inter_feat["item_id_list"].shape == (4 + 5 - 2, 50)


def test_our_times_are_whole_and_no_matrix_is_stored(seconds):
    dataset = MultiModalSequentialDataset(read_config(seconds))
    dataset.build()
    times = dataset.inter_feat["timestamp"]
    assert times.unique().tolist() == [NEW_YEAR + step for step in range(1, 5)]
    assert "item_id_list" not in dataset.inter_feat


def cached(tmp_path, dataset_class):
    """Numbers of interactions that a data set reports before and after its file has grown."""
    path = write_dataset(tmp_path / "toy", walks([4, 5]))
    config = read_config(path)
    config["checkpoint_dir"], config["save_dataset"] = str(tmp_path / "saved"), True
    before = dataset_class(config).inter_num
    write_lines(path / "toy" / "toy.inter", INTER, walks([4, 5, 6], step=DAY))
    return before, dataset_class(config).inter_num


def test_recbole_s_cache_does_not_see_that_a_file_has_changed(tmp_path):
    assert cached(tmp_path, create_dataset) == (9, 9)


def test_ours_is_read_anew(tmp_path):
    assert cached(tmp_path, MultiModalSequentialDataset) == (9, 15)
