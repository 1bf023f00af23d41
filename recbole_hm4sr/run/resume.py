"""Run in a folder that may hold an interrupted run; pre-training and fine-tuning as one run."""

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.errors import CheckpointError
from recbole_hm4sr.base.files import write_text, write_whole
from recbole_hm4sr.config.compose import compose_settings
from recbole_hm4sr.model.registry import find_model, settings_with
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.folder import RunFolder
from recbole_hm4sr.run.parts import RunParts
from recbole_hm4sr.run.place import TRAINED_BY
from recbole_hm4sr.run.results import RunResult
from recbole_hm4sr.train.checkpoint_folder import best_file
from recbole_hm4sr.train.epochs import EpochRecord

_log = logging.getLogger(__name__)

_FACTS_OF_TRAINING = ("git_revision", "versions", "device", "machine")


def run_or_resume(
    folder: Path,
    model: str,
    dataset: str,
    overrides: Mapping[str, Any],
    *,
    test: bool = True,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_finish: Callable[[RunParts], None] | None = None,
    trained: Path | None = None,
) -> RunResult:
    """Run in a folder, or resume there where a crash has left it.

    Args:
        folder: Folder of the run; what cannot be resumed there is trained from the start.
        model: Name of the model.
        dataset: Name of the data set.
        overrides: Settings that win over the YAML files.
        test: Whether the best epoch is tested.
        on_epoch: Called after every epoch, but not of a pre-training.
        on_finish: Called when the run's files are written.
        trained: Folder of a run of the same settings that has trained already: this one begins with
            its checkpoints. Without them it trains.

    Raises:
        UserError: If settings or files are wrong.
    """
    before = None if trained is None else trained / "pretrain"
    overrides = _pretrained(folder / "pretrain", model, dataset, overrides, trained=before)
    return _run(
        folder,
        model,
        dataset,
        overrides,
        test=test,
        on_epoch=on_epoch,
        on_finish=on_finish,
        trained=trained,
    )


def _run(
    folder: Path,
    model: str,
    dataset: str,
    overrides: Mapping[str, Any],
    *,
    test: bool,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_finish: Callable[[RunParts], None] | None = None,
    trained: Path | None = None,
) -> RunResult:
    how: dict[str, Any] = {"test": test, "on_epoch": on_epoch, "on_finish": on_finish}
    how["show_progress"] = False  # a comparison and a search have lines of their own

    def run_here() -> RunResult:
        return quick_start.run(model, dataset, overrides=overrides, run_dir=folder, **how)

    try:
        if (folder / "config.yaml").is_file():
            machine = _of_this_machine(model, dataset, overrides)
            return quick_start.resume(folder, machine=machine, **how)
        if trained is not None:
            _take_over(trained, folder)
            return run_here()
    except CheckpointError as error:
        _log.warning("cannot resume, training from the start: %s", error)
        RunFolder(folder).remove_results()
        for name in ("config.yaml", "history.jsonl", TRAINED_BY):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    return run_here()


def _of_this_machine(model: str, dataset: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Settings no result depends on, which may have changed since a run was begun."""
    values, _ = compose_settings(
        model, dataset, overrides=overrides, settings_class=find_model(model).settings_class
    )
    values["data_path"] = str(Path(values["data_path"]).resolve().parent)
    return {
        name: values[name]
        for name in sorted(settings_with("machine"))
        if name in values and name != "checkpoint_dir"  # the run's folder has its own
    }


def _take_over(trained: Path, folder: Path) -> None:
    """Begin a run with the checkpoints of another.

    Raises:
        CheckpointError: If that run has none.
        WriteError: If they cannot be written.
    """
    try:
        metrics = json.loads((trained / "metrics.json").read_text(encoding="utf-8"))
        facts = {name: metrics[name] for name in _FACTS_OF_TRAINING}
        of_views = sorted((trained / "checkpoint").glob(best_file("*")))
        for name in ("best.pt", *(path.name for path in of_views), "last.pt"):
            with (trained / "checkpoint" / name).open("rb") as source:
                copy = partial(shutil.copyfileobj, source)
                write_whole(folder / "checkpoint" / name, copy)
    except (FileNotFoundError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{trained} must hold a trained run: {error}") from error
    write_text(folder / TRAINED_BY, json.dumps({"run_dir": str(trained), **facts}) + "\n")


def _pretrained(
    folder: Path,
    model: str,
    dataset: str,
    overrides: Mapping[str, Any],
    *,
    trained: Path | None,
) -> dict[str, Any]:
    """Settings of a run, after its pre-training if the model has one.

    Validation chooses nothing there, and nothing is tested before the fine-tuning has ended.
    """
    entry = find_model(model)
    if not entry.has_pretraining:
        return dict(overrides)
    values, _ = compose_settings(
        model, dataset, overrides=overrides, settings_class=entry.settings_class
    )
    if values["train_stage"] != "finetune" or values["pre_model_path"]:
        return dict(overrides)
    n_epochs = values["pretrain_epochs"]
    stage = {"train_stage": "pretrain", "epochs": n_epochs, "stopping_step": n_epochs}
    if not (folder / "metrics.json").is_file():
        _run(folder, model, dataset, {**overrides, **stage}, test=False, trained=trained)
    return {**overrides, "pre_model_path": str(folder / "checkpoint" / "last.pt")}
