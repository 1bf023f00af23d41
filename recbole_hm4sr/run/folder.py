"""What a run leaves in its folder besides checkpoints: settings, metrics, facts to repeat it."""

import copy
import datetime
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from recbole.config import Config

from recbole_hm4sr.base.errors import WriteError
from recbole_hm4sr.base.files import write_text, write_whole
from recbole_hm4sr.base.plugins import plugin_version
from recbole_hm4sr.config.compose import UNSUPPORTED
from recbole_hm4sr.parallel.processes import attempt, job_name, started_processes
from recbole_hm4sr.train.costs import Costs
from recbole_hm4sr.train.trainer import EpochRecord

_SIGNATURE = "torchrun.txt"
# What a run writes at its end, all of its best epoch; of its end speaks the first.
_RESULTS = (
    "metrics.json",
    "serving.npz",
    "vocabulary.npz",
    "test_ranks.npz",
    "report.json",
    "report.html",
)


def new_run_dir(dataset: str, model: str) -> Path:
    """A folder that does not exist yet: ``runs/<dataset>-<model>-<time>``.

    After a restart by ``torchrun``, the folder that the processes before have begun.
    """
    if attempt():
        for path in Path("runs").glob(f"{dataset}-{model}-*/{_SIGNATURE}"):
            if path.read_text(encoding="utf-8") == job_name():
                return path.parent
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = Path("runs") / f"{dataset}-{model}-{now}"
    number = 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{dataset}-{model}-{now}-{number}"
    return folder


def record_job(folder: Path) -> None:
    """Note which job of ``torchrun`` has begun a run; nothing without one.

    Raises:
        DataError: If it cannot be written.
    """
    name = job_name()
    if name is not None:
        write_text(folder / _SIGNATURE, name)


def remove_results(folder: Path) -> None:
    """Remove what the end of a run has left, where the run goes on or begins anew.

    Raises:
        WriteError: If that is not possible.
    """
    for name in _RESULTS:
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise WriteError(f"cannot remove {folder / name}: {error.strerror}") from error


def write_settings(folder: Path, config: Config) -> None:
    """Keep the settings of a run, with which it can be continued or repeated.

    Raises:
        WriteError: If they cannot be written.
    """
    text = yaml.safe_dump(plain_settings(config), sort_keys=False)
    write_text(folder / "config.yaml", text)


def plain_settings(config: Config) -> dict[str, Any]:
    """The composed settings, as they can be given back to ``build_config``."""
    values = copy.deepcopy(config.variable_config_dict)
    values = {name: value for name, value in values.items() if name not in UNSUPPORTED}
    # Absolute, so that the run can be continued from another working directory.
    values["data_path"] = str(Path(values["data_path"]).resolve().parent)
    return {"model": config["model"], "dataset": config["dataset"], **values}


def run_facts(
    config: Config, model: Any, history: Sequence[EpochRecord], costs: Costs
) -> dict[str, Any]:
    """What one must know to judge or repeat a run.

    Args:
        config: Its settings.
        model: Its model.
        history: Its epochs.
        costs: Of the whole run.
    """
    device = config["device"]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return {
        "seed": config["seed"],
        "tie_order": config["tie_order"],
        "epochs": len(history),
        "n_parameters": sum(parameter.numel() for parameter in trained),
        "seconds": round(costs.seconds, 3),
        "train_seconds_per_epoch": _median([record.train_seconds for record in history]),
        "valid_seconds_per_epoch": _median([record.valid_seconds for record in history]),
        "peak_memory_mb": round(costs.peak_memory_bytes / 2**20),
        "peak_memory_of": "run" if costs.peak_is_own else "process",
        "measured_whole_run": costs.complete,
        "device": _device_name(device),
        "processes": started_processes(),
        "machine": f"{_processor()}, {torch.get_num_threads()} threads",
        "git_revision": _git_revision(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("recbole", "torch", "numpy", "pandas")},
            **plugin_version(config["model"]),
        },
        "command": " ".join(["python", *sys.argv]),
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    return str(device)


def _processor() -> str:
    """Name of the processor; its architecture where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, [*names[:1], platform.processor()]), platform.machine())


def _median(values: list[float]) -> float:
    return round(sorted(values)[len(values) // 2], 4) if values else 0.0


def _git_revision() -> str | None:
    """Commit of the checkout this package runs from; with ``+`` if it has uncommitted changes."""
    here = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != here.parent:
            return None
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def write_arrays(path: Path, arrays: Mapping[str, "np.ndarray[Any, Any]"]) -> None:
    """Write an ``.npz`` file whole or not at all.

    Raises:
        DataError: If it cannot be written.
    """
    write_whole(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))
