"""One toy data set for all tests, and a process that behaves the same every time."""

import random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from servedruns import train_toy

from recbole_hm4sr.testing.toydata import write_toy_dataset

# The same examples every time, and no clock: a loaded machine fails no test.
settings.register_profile(
    "same",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def _same_every_time(monkeypatch):
    """Fixed seeds, no command line for RecBole to read, deterministic algorithms."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    monkeypatch.setattr("sys.argv", ["pytest"])
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """The tests' tensors are tiny: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def toy_path(tmp_path_factory):
    """The folder above the toy data set, for ``data_path``."""
    path = tmp_path_factory.mktemp("atomic")
    write_toy_dataset(path / "toy")
    return path


@pytest.fixture(scope="session")
def hm4sr_run(toy_path, tmp_path_factory):
    """The folder of a finished run of HM4SR on the toy data set."""
    return train_toy("HM4SR", toy_path, tmp_path_factory.mktemp("runs") / "hm4sr")


@pytest.fixture(scope="session")
def sasrec_run(toy_path, tmp_path_factory):
    """The folder of a finished run of RecBole's SASRec on the toy data set."""
    return train_toy("SASRec", toy_path, tmp_path_factory.mktemp("runs") / "sasrec")
