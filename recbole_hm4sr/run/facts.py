"""What one must know to judge or repeat a run: machine, versions, commit, costs."""

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from recbole_hm4sr.base.plugins import plugin_version
from recbole_hm4sr.base.shown_paths import command_line
from recbole_hm4sr.parallel.processes import started_processes
from recbole_hm4sr.run.parts import RunParts
from recbole_hm4sr.run.results import Trained
from recbole_hm4sr.train.costs import Costs


def run_facts(parts: RunParts, trained: Trained, costs: Costs) -> dict[str, Any]:
    """The facts of a run, as ``metrics.json`` has them beside the metrics.

    Args:
        parts: Of the run.
        trained: Its training.
        costs: Of the whole run.
    """
    values, epochs = parts.plan.values, trained.epochs
    parameters = [weight for weight in parts.model.parameters() if weight.requires_grad]
    return {
        "seed": values["seed"],
        "tie_order": values["tie_order"],
        "epochs": len(epochs),
        "n_parameters": sum(weight.numel() for weight in parameters),
        "seconds": round(costs.seconds, 3),
        "cpu_seconds": round(costs.cpu_seconds, 3),
        "train_seconds_per_epoch": _median([record.train_seconds for record in epochs]),
        "valid_seconds_per_epoch": _median([record.valid_seconds for record in epochs]),
        "peak_memory_mb": round(costs.peak_memory_bytes / 2**20),
        "peak_memory_of": "run" if costs.peak_is_own else "process",
        "measured_whole_run": costs.complete,
        "device": _device_name(parts.config["device"]),
        "processes": started_processes(),
        "machine": f"{_processor()}, {torch.get_num_threads()} threads",
        "git_revision": _git_revision(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("recbole", "torch", "numpy", "pandas")},
            **plugin_version(parts.plan.entry.name),
        },
        "command": command_line(sys.argv),
        "n_items": parts.test_data._dataset.item_num - 1,
        **_of_one_moment(parts),
        **_variant(parts.model),
        "stages": {
            "opening": costs.opening_seconds,
            "testing": costs.seconds - trained.costs.seconds,
        },
    }


def _of_one_moment(parts: RunParts) -> dict[str, Any]:
    """What a table must say of a split by one moment; nothing of another split."""
    ends_before = parts.train_data._dataset.ends_before
    if ends_before is None:
        return {}
    first = parts.test_data._dataset.n_without_history
    return {"one_moment": {"training_ends": ends_before, "test_without_history": first}}


def _variant(model: Any) -> dict[str, str]:
    """Which form of a model its data has made of it; nothing where that is the usual one."""
    own = getattr(model, "variant", None)
    text = "" if own is None else own()
    return {"variant": text} if text else {}


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
