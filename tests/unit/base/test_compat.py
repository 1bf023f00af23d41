"""Each workaround: RecBole still has the fault, and ours does not.

A test named ``test_recbole_...`` fails as soon as RecBole, numpy, pandas or torch no longer need
the workaround: then remove both.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import argument_list

from recbole_hm4sr.base import compat, recbole_files
from recbole_hm4sr.base.errors import ConfigError

pytestmark = pytest.mark.filterwarnings(r"ignore::Warning:recbole\.data")
needs_numpy_2 = pytest.mark.skipif(
    int(np.__version__.split(".")[0]) < 2, reason="numpy 1 still has the names"
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
from recbole_hm4sr.run.plan import compose
models = compat.import_recbole_models()
facts["anomaly"] = torch.is_anomaly_enabled()
before = {name: list(v) for name, v in vars(argument_list).items() if isinstance(v, list)}
environment = dict(os.environ)
config = compose("SASRec", "ml-100k", overrides={
    "wandb_project": "__import__('os').mkdir('evaluated')"}).to_recbole()
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
