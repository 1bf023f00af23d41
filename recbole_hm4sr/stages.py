"""One run in a folder that may hold the beginnings of it; S3Rec's two stages as one run."""

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from recbole_hm4sr import quick_start
from recbole_hm4sr.config import compose_settings
from recbole_hm4sr.errors import CheckpointError
from recbole_hm4sr.quick_start import RunResult
from recbole_hm4sr.trainer import EpochRecord

_log = logging.getLogger(__name__)


def run_or_go_on(
    folder: Path,
    model: str,
    dataset: str,
    overrides: Mapping[str, Any],
    *,
    test: bool = True,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> RunResult:
    """Run in a folder, or go on there where a crash has left it.

    Args:
        folder: Folder of the run; what cannot be gone on with there is trained anew.
        model: Name of the model.
        dataset: Name of the data set.
        overrides: Settings that win over the YAML files.
        test: Whether the best epoch is tested.
        on_epoch: Called after every epoch; of S3Rec's two stages, of the second.

    Raises:
        PluginError: If settings or files are wrong.
    """
    if model == "S3Rec":
        overrides = _pretrained(folder / "pretrain", dataset, overrides, test=test)
    return _run(folder, model, dataset, overrides, test=test, on_epoch=on_epoch)


def _run(
    folder: Path,
    model: str,
    dataset: str,
    overrides: Mapping[str, Any],
    *,
    test: bool,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> RunResult:
    if (folder / "config.yaml").is_file():
        try:
            return quick_start.resume(folder, test=test, on_epoch=on_epoch)
        except CheckpointError as error:
            _log.warning("cannot go on, training anew: %s", error)
            for name in ("config.yaml", "history.jsonl", "metrics.json", "test_ranks.npz"):
                (folder / name).unlink(missing_ok=True)
            shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    return quick_start.run(
        model, dataset, overrides=overrides, run_dir=folder, test=test, on_epoch=on_epoch
    )


def _pretrained(
    folder: Path, dataset: str, overrides: Mapping[str, Any], *, test: bool
) -> dict[str, Any]:
    """Settings of S3Rec's fine-tuning, after its pre-training; validation chooses nothing there."""
    values, _ = compose_settings("S3Rec", dataset, overrides=overrides)
    if values["train_stage"] != "finetune" or values["pre_model_path"]:
        return dict(overrides)
    n_epochs = values["pretrain_epochs"]
    stage = {"train_stage": "pretrain", "epochs": n_epochs, "stopping_step": n_epochs}
    if not (folder / "metrics.json").is_file():
        _run(folder, "S3Rec", dataset, {**overrides, **stage}, test=test)
    return {**overrides, "pre_model_path": str(folder / "checkpoint" / "last.pt")}
