"""The parts of a run, built from its settings: data, model and trainer, ready to train or test."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.utils import init_seed

from recbole_hm4sr.base import compat
from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.compose import build_config
from recbole_hm4sr.config.evaluation_rules import (
    no_three_parts,
    refuse_long_lists,
    require_three_parts,
)
from recbole_hm4sr.config.settings import DataSettings, RunSettings, read_settings
from recbole_hm4sr.data.loaders import make_loaders
from recbole_hm4sr.data.packed import ArrangingCollate
from recbole_hm4sr.data.recbole import MultiModalSequentialDataset
from recbole_hm4sr.model.registry import find_model
from recbole_hm4sr.parallel import processes as distributed
from recbole_hm4sr.parallel.training import share_batches
from recbole_hm4sr.prepare.encode.tfidf import make_missing_text_features
from recbole_hm4sr.run.folder import plain_settings
from recbole_hm4sr.run.place import read_run_settings
from recbole_hm4sr.train.checkpoint import read_checkpoint
from recbole_hm4sr.train.costs import CostMeter
from recbole_hm4sr.train.trainer import EpochRecord, Trainer


@dataclasses.dataclass(frozen=True)
class RunParts:
    """The parts of a run, built from its settings and ready to train or to be tested."""

    config: Config
    run_dir: Path
    train_data: Any
    valid_data: Any
    test_data: Any
    model: Any
    trainer: Trainer


def read_run_config(
    run_dir: Path, *, machine: Mapping[str, Any] | None = None, needs_data: bool = True
) -> tuple[Config, Any]:
    """The settings that a run was started with, and the class of its model.

    Args:
        run_dir: Folder of the run.
        machine: Settings that this machine has otherwise.
        needs_data: False if its data set may be elsewhere.
    """
    model, dataset, values = read_run_settings(run_dir)
    entry = find_model(model)
    config = build_config(
        entry.model_class,
        dataset,
        settings_class=entry.settings_class,
        overrides={**values, **(machine or {})},
        checkpoint_dir=run_dir / "checkpoint",
        needs_data=needs_data,
    )
    return config, entry.model_class


def build_parts(
    config: Config,
    run_dir: Path,
    model_class: Any,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    meter: CostMeter | None = None,
) -> RunParts:
    """Read the data and build model and trainer, with the run's seed."""
    require_three_parts(config["eval_args"])
    if config["train_stage"] == "finetune":
        _check_pretraining(config["pre_model_path"])
    init_seed(config["seed"], config["reproducibility"])
    with distributed.first_process_first("text features"):
        make_missing_text_features(
            Path(config["data_path"]),
            config["dataset"],
            read_settings(config, DataSettings),
            item_field=config["ITEM_ID_FIELD"],
        )
    with compat.recbole_errors_as_config_errors():
        dataset = MultiModalSequentialDataset(config)
        parts = dataset.build()
        _refuse_what_cannot_run(config, parts)
        train_data, valid_data, test_data = make_loaders(config, dataset, parts)
    share_batches(train_data)
    # The model's weights depend on the seed alone, not on what the data drew before.
    init_seed(config["seed"], config["reproducibility"])
    with compat.recbole_errors_as_config_errors():
        model = model_class(config, train_data._dataset).to(config["device"])
    _arrange_batches(model, train_data, valid_data, test_data)
    fingerprints = dataset.fingerprints()
    distributed.barrier_without_timeout("data")
    # Each machine may keep the data where it likes.
    settings = {**plain_settings(config), "data_path": None}
    distributed.require_same(repr((settings, fingerprints)), "settings and data")
    trainer = Trainer(config, model, fingerprints=fingerprints, on_epoch=on_epoch, meter=meter)
    trainer.eval_collector.data_collect(train_data)
    return RunParts(config, run_dir, train_data, valid_data, test_data, model, trainer)


def _arrange_batches(model: Any, train_data: Any, *eval_data: Any) -> None:
    """Let the loaders arrange their batches for a model that says how."""
    arrange = getattr(model, "arrange", None)
    if arrange is None:
        return
    train_data.collate_fn = ArrangingCollate(train_data.collate_fn, partial(arrange, train=True))
    for loader in eval_data:
        if isinstance(loader, FullSortEvalDataLoader):
            loader.collate_fn = ArrangingCollate(loader.collate_fn, partial(arrange, train=False))


def _check_pretraining(path: str | None) -> None:
    """S3Rec reads its pre-training by itself, and would run code in it on torch before 2.6."""
    if not path:
        raise ConfigError(
            f"pre_model_path must be the checkpoint/last.pt of a run with train_stage: pretrain, "
            f"got {path!r}"
        )
    read_checkpoint(Path(path))


def _refuse_what_cannot_run(config: Config, parts: Sequence[Any]) -> None:
    if any(len(part) == 0 for part in parts):
        raise no_three_parts(config["eval_args"]["split"])
    refuse_long_lists(config, parts[0].item_num - 1)


@contextlib.contextmanager
def closing_run(session: RunParts) -> Iterator[RunParts]:
    """A session that leaves no thread and no open file behind."""
    try:
        yield session
    finally:
        session.trainer.close()


def set_threads(config: Config) -> None:
    """Give torch the number of threads that the settings ask for, if they do."""
    n_threads = read_settings(config, RunSettings).n_threads
    if n_threads:
        torch.set_num_threads(n_threads)


def other_processes(config: Config) -> contextlib.AbstractContextManager[None]:
    """Meet the other processes of ``torchrun``, if there are any, and part from them."""
    seconds = read_settings(config, RunSettings).process_timeout
    return distributed.processes(config["device"], timeout_seconds=seconds)
