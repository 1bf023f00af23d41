"""Workarounds in training, as in ``test_compat.py``: RecBole still has the fault, ours does not."""

import inspect
import pickle

import pytest
import torch
from datafiles import NEW_YEAR, read_config, walks, write_dataset
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.trainer import Trainer as RecBoleTrainer
from recbole.utils import InputType

from recbole_hm4sr.base import compat
from recbole_hm4sr.data.recbole import MultiModalSequentialDataset
from recbole_hm4sr.train.checkpoint import read_checkpoint
from recbole_hm4sr.train.checkpoint_file import write_checkpoint

pytestmark = pytest.mark.filterwarnings(r"ignore::Warning:recbole\.data")


@pytest.fixture
def seconds(tmp_path):
    return write_dataset(tmp_path / "toy", walks([4, 5], NEW_YEAR, step=1))


class Tiny(SequentialRecommender):
    input_type = InputType.POINTWISE

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.weight = torch.nn.Parameter(torch.ones(1))


@pytest.fixture
def recbole_trainer(seconds, tmp_path, monkeypatch):
    """RecBole's own trainer, made in an empty working directory."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    config = read_config(seconds)
    config["checkpoint_dir"] = str(tmp_path / "saved")
    return RecBoleTrainer(config, Tiny(config, MultiModalSequentialDataset(config)))


def test_recbole_cannot_load_its_own_checkpoints(recbole_trainer):
    recbole_trainer.eval_collector.data_struct = None
    recbole_trainer._save_checkpoint(0, verbose=False)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        torch.load(recbole_trainer.saved_model_file)


def test_our_checkpoints_hold_no_code(tmp_path):
    write_checkpoint(tmp_path / "best.pt", {"state_dict": {"weight": torch.ones(1)}})
    assert read_checkpoint(tmp_path / "best.pt")["state_dict"]["weight"].tolist() == [1]


def test_recbole_s_trainer_writes_to_the_working_directory(recbole_trainer, tmp_path):
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["log_tensorboard"]


def test_torch_knows_the_argument_that_leaves_buffers_alone():
    known = inspect.signature(torch.nn.parallel.DistributedDataParallel).parameters
    assert "init_sync_buffers" not in known  # its announcement: then take this one
    with compat.ddp_without_buffer_sync() as options:
        assert set(options) <= set(known)


def test_torch_has_no_argument_that_leaves_parameters_alone():
    ddp = torch.nn.parallel.DistributedDataParallel
    assert not [name for name in inspect.signature(ddp).parameters if "ignore" in name]
    module = torch.nn.Linear(2, 2)
    compat.leave_out_of_ddp(module, ["weight"])
    assert list(module._ddp_params_and_buffers_to_ignore) == ["weight"]


def collected(collector):
    """What a collector holds after the training data, given to the evaluator."""
    collector.data_struct.set("data.num_items", 7)
    collector.data_struct.set("rec.topk", torch.ones(2, 3))
    return collector.get_data_struct()


def test_recbole_s_collector_takes_numbers_for_tensors(recbole_trainer):
    with pytest.raises(AttributeError, match="'int' object has no attribute 'cpu'"):
        collected(recbole_trainer.eval_collector)


def test_our_collector_keeps_numbers_and_hands_tensors_over(seconds):
    collector = compat.make_collector(read_config(seconds))
    for _ in range(2):  # a collector serves one evaluation after another
        struct = collected(collector)
        assert struct.get("data.num_items") == 7
        assert struct.get("rec.topk").tolist() == [[1, 1, 1], [1, 1, 1]]
    assert collector.data_struct.get("data.num_items") == 7
