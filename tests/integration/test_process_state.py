"""What a run changes in the process around it is put back, whether it ends well or not."""

import gc
import logging
import os
import random
import signal
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import yaml
from recbole.data.dataloader import abstract_dataloader
from recbole.trainer import trainer as recbole_trainer
from recbole.utils import argument_list, init_seed

from recbole_hm4sr.base.compat import NUMPY_ALIASES
from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.report.finish import report_run
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.process_state import kept_process_state
from recbole_hm4sr.testing.toydata import QUICK, QUICK_HM4SR

pytestmark = pytest.mark.integration


def generators():
    """The states of the global generators."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return random.getstate(), (name, keys.tobytes(), *rest), torch.get_rng_state().tolist()


def process():
    """All that a library could leave changed, by name."""
    root = logging.getLogger()
    lists = {k: list(v) for k, v in vars(argument_list).items() if isinstance(v, list)}
    resolvers = yaml.FullLoader.yaml_implicit_resolvers
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return {
        "generators": generators(),
        "cuDNN": (cudnn.benchmark, cudnn.deterministic, cudnn.enabled, cudnn.allow_tf32),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": (torch.get_float32_matmul_precision(), matmul.allow_tf32),
        "dtype, device": (torch.get_default_dtype(), torch.get_default_device()),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "anomalies": (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        "threads of torch": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "threads": threading.active_count(),
        "numpy's names": [name for name in NUMPY_ALIASES if name in vars(np)],
        "numpy's errors": np.geterr(),
        "argument lists": lists,
        "resolvers": {k: [tag for tag, _ in v] for k, v in resolvers.items()},
        "command line": list(sys.argv),
        "environment": {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"},
        "path": list(sys.path),
        "root logger": (root.level, list(root.handlers), list(root.filters), root.manager.disable),
        "last resort": logging.raiseExceptions,
        "warnings": list(warnings.filters),
        "streams": (sys.stdout, sys.stderr, sys.excepthook),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "working directory": Path.cwd(),
        "iteration": abstract_dataloader.start_iter,
        "tensorboard": recbole_trainer.get_tensorboard,
        "descriptors": psutil.Process().num_fds(),
        "children": psutil.Process().children(),
    }


def run(toy_path, run_dir, model, **kwargs):
    settings = {**(QUICK_HM4SR if model == "HM4SR" else QUICK), "data_path": str(toy_path)}
    settings |= {"use_gpu": False, "n_threads": 1, "reproducibility": False, "epochs": 1}
    quick_start.run(
        model, "toy", overrides=settings, run_dir=run_dir, on_finish=report_run, **kwargs
    )


@pytest.fixture
def before(toy_path, tmp_path):
    """The process after a first run: what is imported on first use has been imported."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(3)  # a run takes one, and must give three back
    run(toy_path, tmp_path / "first", "SASRec")
    yield process()
    torch.set_num_threads(n_threads)


@pytest.mark.parametrize("model", ["HM4SR", "SASRec", "SINE"])
def test_a_run_leaves_the_process_as_it_was(toy_path, tmp_path, before, model):
    run(toy_path, tmp_path / "run", model)
    assert process() == before


def test_testing_and_going_on_leave_the_process_as_it_was(toy_path, tmp_path, before):
    quick_start.evaluate(tmp_path / "first")
    assert process() == before
    quick_start.resume(tmp_path / "first")
    assert process() == before


def test_a_run_that_fails_leaves_the_process_as_it_was(toy_path, tmp_path, before):
    def stop(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(toy_path, tmp_path / "stopped", "SASRec", on_epoch=stop)
    with pytest.raises(ConfigError, match="must not hold a run already"):
        run(toy_path, tmp_path / "first", "SASRec")
    assert process() == before


def test_a_run_s_generators_are_seeded_all_the_same(toy_path, tmp_path):
    """They are put back, and do not leak into the run either."""
    losses = []
    for number in range(2):
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002
        torch.manual_seed(number)
        run_dir = tmp_path / str(number)
        run(toy_path, run_dir, "SASRec", on_epoch=lambda record: losses.append(record.loss))
    assert losses[0] == losses[1]


def change_generators():
    init_seed(5, reproducibility=True)


def change_cudnn():
    init_seed(5, reproducibility=not torch.backends.cudnn.deterministic)


def change_anomalies():
    torch.autograd.set_detect_anomaly(not torch.is_anomaly_enabled(), check_nan=False)


def change_threads():
    torch.set_num_threads(torch.get_num_threads() + 1)


def change_numpy():
    for name in NUMPY_ALIASES:
        if name not in vars(np):
            setattr(np, name, object)


def change_iteration():
    abstract_dataloader.start_iter = True


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (change_generators, "generators"),
        (change_cudnn, "cuDNN"),
        (change_anomalies, "anomalies"),
        (change_threads, "threads of torch"),
        (change_numpy, "numpy's names"),
        (change_iteration, "iteration"),
    ],
)
@pytest.mark.parametrize("error", [None, ValueError], ids=["well", "in an error"])
def test_each_change_is_put_back(change, part, error, monkeypatch):
    # Another test may have brought them back already; the names of today's NumPy stay.
    for name in ("unicode", "bool8"):
        monkeypatch.delattr(np, name, raising=False)
    before = process()
    try:
        with kept_process_state():
            change()
            assert process()[part] != before[part]
            if error is not None:
                raise error
    except ValueError:
        pass
    assert process() == before


def test_recbole_s_seeding_changes_the_generators_and_cudnn():
    before = process()
    with kept_process_state():
        init_seed(11, reproducibility=False)
        after = process()
    assert {name for name in before if before[name] != after[name]} >= {"generators", "cuDNN"}


def test_a_loader_that_cannot_begin_leaves_recbole_s_flag_on():
    """Which ``kept_process_state`` is for: every later loader would answer with other data."""

    class Broken(abstract_dataloader.AbstractDataLoader):
        def __init__(self):
            pass

    with kept_process_state():
        with pytest.raises(AttributeError, match="Broken"):
            iter(Broken())
        assert abstract_dataloader.start_iter
    assert not abstract_dataloader.start_iter


@pytest.mark.slow
def test_run_after_run_holds_no_more_objects(toy_path, tmp_path):
    """Memory itself is for ``benchmarks/soak.py``: the C library keeps some of what is freed."""
    counts = []
    for number in range(8):
        for model in ("HM4SR", "SASRec"):
            run(toy_path, tmp_path / f"{model}-{number}", model)
        gc.collect()
        counts.append(len(gc.get_objects()))
    # 12 runs lie between; what is imported on first use may add some hundreds once.
    assert counts[-1] - counts[1] < 12 * 100
