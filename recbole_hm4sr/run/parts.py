"""The parts of a run, built from its plan: data, model and trainer; training and testing them."""

import contextlib
import dataclasses
import logging
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
from recbole_hm4sr.config.evaluation_rules import (
    no_three_parts,
    refuse_long_lists,
    require_three_parts,
)
from recbole_hm4sr.data.loaders import make_loaders
from recbole_hm4sr.data.packed import ArrangingCollate
from recbole_hm4sr.data.recbole import MultiModalSequentialDataset
from recbole_hm4sr.data.vocabulary import Vocabulary
from recbole_hm4sr.evaluate.evaluator import Evaluator
from recbole_hm4sr.evaluate.lists import measure_lists
from recbole_hm4sr.evaluate.rank_file import RANK_FILE, rank_file
from recbole_hm4sr.evaluate.ranks import Ranks
from recbole_hm4sr.evaluate.step_bar import StepBar, shows_bar
from recbole_hm4sr.model.capabilities import View, is_fitted_once
from recbole_hm4sr.parallel import processes
from recbole_hm4sr.parallel.training import share_batches
from recbole_hm4sr.prepare.encode.tfidf import make_missing_text_features
from recbole_hm4sr.run.beginning import earlier_run
from recbole_hm4sr.run.plan import RunPlan
from recbole_hm4sr.run.results import BestOfView, Evaluation, Metrics, Trained, ViewMetrics
from recbole_hm4sr.train.checkpoint import read_checkpoint
from recbole_hm4sr.train.checkpoint_folder import CheckpointFolder, settings_to_meet
from recbole_hm4sr.train.costs import CostMeter
from recbole_hm4sr.train.epochs import EpochRecord
from recbole_hm4sr.train.event_log import EventLog
from recbole_hm4sr.train.files import TrainingFiles
from recbole_hm4sr.train.fitting import FittingTrainer
from recbole_hm4sr.train.trainer import Trainer

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RunParts:
    """The parts of a run, built from its plan and ready to train or to be tested.

    Attributes:
        plan: Its settings.
        config: The same as RecBole's ``Config``, which data, model and trainer were built from.
        run_dir: Its folder.
        train_data: RecBole's loaders of the three splits, this and the next two.
        valid_data: Its targets choose the best epoch.
        test_data: Its targets are ranked once.
        model: The model.
        trainer: Trains it, and has its evaluator.
        fingerprints: Hashes of the data set and the frozen features.
    """

    plan: RunPlan
    config: Config
    run_dir: Path
    train_data: Any
    valid_data: Any
    test_data: Any
    model: Any
    trainer: Trainer
    fingerprints: Mapping[str, str]


def build_parts(
    plan: RunPlan,
    run_dir: Path,
    *,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    meter: CostMeter | None = None,
) -> RunParts:
    """Read the data and build model and trainer, with the run's seed.

    Nothing is written in the run's folder; text features that are missing are made, in the user's
    cache.

    Args:
        plan: The settings.
        run_dir: Folder of the run, where the trainer reads and writes checkpoints.
        on_epoch: Called after every epoch.
        meter: Measures what the run costs.

    Raises:
        ConfigError: If settings do not fit the data or the model.
        DataError: If files are wrong.
    """
    _refuse_plan(plan)
    config = plan.to_recbole()
    init_seed(config["seed"], config["reproducibility"])
    earlier = earlier_run(plan, run_dir)
    dataset, loaders = _read_data(plan, config, None if earlier is None else earlier.vocabulary)
    model = build_model(plan, config, loaders[0]._dataset)
    # Once an epoch has ended, the run resumes from its own checkpoints.
    if earlier is not None and not (run_dir / "checkpoint" / "last.pt").exists():
        earlier.give_weights(model, loaders[0]._dataset)
    arrange_batches(model, *loaders)
    fingerprints = dataset.fingerprints()
    processes.barrier_without_timeout("data")
    # Each machine may keep the data where it likes.
    settings = {**plan.to_plain(), "data_path": None}
    processes.require_same(repr((settings, fingerprints)), "settings and data")
    bar = StepBar(shown=shows_bar(config["show_progress"]))
    trainer_class = FittingTrainer if is_fitted_once(model) else Trainer
    trainer = trainer_class(
        config,
        model,
        Evaluator(
            config,
            model,
            loaders[0],
            rank_history=plan.run.rank_history,
            candidate_items=plan.run.candidate_items,
            step_bar=bar,
        ),
        files=_training_files(plan, config, run_dir, fingerprints),
        amp_dtype=plan.run.amp_dtype,
        step_bar=bar,
        on_epoch=on_epoch,
        meter=meter,
    )
    return RunParts(plan, config, run_dir, *loaders, model, trainer, fingerprints)


def build_model(plan: RunPlan, config: Config, part: Any) -> Any:
    """The model of a run, with its initial weights.

    They depend on the seed alone, not on what the data drew before.

    Args:
        plan: The settings.
        config: The same for RecBole.
        part: Training split.
    """
    init_seed(config["seed"], config["reproducibility"])
    with compat.recbole_errors_as_config_errors():
        return plan.entry.model_class(config, part).to(config["device"])


def _refuse_plan(plan: RunPlan) -> None:
    require_three_parts(plan.protocol["eval_args"])
    if plan.values.get("train_stage") == "finetune":
        # RecBole reads the file by itself, and would run code in it on torch before 2.6.
        path = plan.values["pre_model_path"]
        if not path:
            raise ConfigError(
                f"pre_model_path must be the checkpoint/last.pt of a run with train_stage: "
                f"pretrain, got {path!r}"
            )
        read_checkpoint(Path(path))


def _read_data(
    plan: RunPlan, config: Config, vocabulary: Vocabulary | None
) -> tuple[MultiModalSequentialDataset, tuple[Any, Any, Any]]:
    """The data set, and the loaders of its three splits."""
    with processes.first_process_first("text features"):
        make_missing_text_features(
            Path(config["data_path"]),
            plan.dataset,
            plan.data,
            item_field=config["ITEM_ID_FIELD"],
        )
    with compat.recbole_errors_as_config_errors():
        dataset = MultiModalSequentialDataset(config, vocabulary)
        parts = dataset.build()
        _refuse_what_cannot_run(config, parts)
        train_data, valid_data, test_data = make_loaders(config, dataset, parts)
    share_batches(train_data)
    return dataset, (train_data, valid_data, test_data)


def arrange_batches(model: Any, train_data: Any | None, *eval_data: Any) -> None:
    """Let the loaders arrange their batches for a model that says how.

    Args:
        model: The model.
        train_data: A training loader, if there is one.
        *eval_data: Loaders of parts to rank.
    """
    arrange = getattr(model, "arrange", None)
    if arrange is None:
        return
    if train_data is not None:
        arranged = ArrangingCollate(train_data.collate_fn, partial(arrange, train=True))
        train_data.collate_fn = arranged
    for loader in eval_data:
        if isinstance(loader, FullSortEvalDataLoader):
            loader.collate_fn = ArrangingCollate(loader.collate_fn, partial(arrange, train=False))


def _training_files(
    plan: RunPlan, config: Config, run_dir: Path, fingerprints: Mapping[str, str]
) -> TrainingFiles:
    checkpoints = CheckpointFolder(
        run_dir / "checkpoint",
        model=plan.entry.name,
        fingerprints=fingerprints,
        settings=settings_to_meet(plan.values),
    )
    events = EventLog(config, run_dir, silent=not processes.is_first())
    return TrainingFiles(checkpoints, run_dir / "history.jsonl", events)


def train(parts: RunParts) -> Trained:
    """Train the model, from its last finished epoch on; set it to its best epoch.

    Args:
        parts: Of the run.

    Raises:
        TrainingError: If a loss becomes non-finite.
        WriteError: If a file cannot be written; what was finished before is kept.
    """
    trainer = parts.trainer
    trainer.fit(parts.train_data, parts.valid_data)
    costs = trainer.costs()
    trainer.load_best()  # what is written from here on is of one epoch
    return Trained(
        epochs=tuple(trainer.epochs),
        **vars(_best_of(trainer, trainer.views[0])),
        costs=costs,
        ended_by=trainer.ended_by or "epochs",
        views={view.name: _best_of(trainer, view) for view in trainer.views if view.name},
    )


def _best_of(trainer: Trainer, view: View) -> BestOfView:
    best = trainer.bests[view.name]
    return BestOfView(
        best_epoch=trainer.best_epoch(view),
        best_valid_score=float(best.score),
        best_valid=dict(best.valid or {}),
    )


def test(parts: RunParts) -> Evaluation:
    """Metrics of the validation and the test part, of each view at the best epoch of its own.

    Args:
        parts: Of the run, with the model at its best epoch, where it is afterwards too.

    Raises:
        CheckpointError: If the best epoch of a view cannot be read.
        TrainingError: If a score is not finite.
    """
    trainer = parts.trainer
    first, *others = trainer.views
    if not others:
        metrics, ranks = _measure(parts)
        by_file = {} if ranks is None else {RANK_FILE: ranks}
        return Evaluation(metrics, by_file)
    views, by_file = {}, {}
    for view in (*others, first):  # the first last: the model stays at its best epoch
        epoch, name = trainer.load_best(view), rank_file("" if view is first else view.name)
        with view.entered():
            metrics, ranks = _measure(parts)
        if ranks is not None:
            by_file[name] = ranks
        views[view.name] = ViewMetrics(
            best_epoch=epoch,
            best_valid_score=metrics.valid[parts.config["valid_metric"].lower()],
            valid=metrics.valid,
            test=metrics.test,
            test_include=metrics.test_include,
            test_exclude=metrics.test_exclude,
            ranks=name if name in by_file else "",
            lists=metrics.lists,
        )
    in_order = {view.name: views[view.name] for view in trainer.views}
    return Evaluation(dataclasses.replace(metrics, views=in_order), by_file)


def _measure(parts: RunParts) -> tuple[Metrics, Ranks | None]:
    """Metrics of both parts by the model as it is, and the ranks of the test part if it has any."""
    evaluator = parts.trainer.evaluator
    valid = evaluator.measure(parts.valid_data)
    ranks = None
    if evaluator.metrics_follow_from_ranks(parts.test_data):
        ranks = evaluator.rank(parts.test_data)
        by_protocol = {
            name: _plain(evaluator.metrics(ranks.under(name))) for name in ("include", "exclude")
        }
    else:
        by_protocol = {"include": _plain(evaluator.measure(parts.test_data))}
    metrics = Metrics(
        rank_history=evaluator.rank_history,
        valid=_plain(valid),
        test=by_protocol[evaluator.rank_history],
        test_include=by_protocol["include"],
        test_exclude=by_protocol.get("exclude", {}),
        lists={} if ranks is None else _lists(parts),
    )
    return metrics, ranks


def _lists(parts: RunParts) -> dict[str, dict[str, float]]:
    """What the test lists of the model as it is are like; empty where it is not asked for."""
    if not parts.plan.run.list_metrics:
        return {}
    train, loader, cuts = parts.train_data._dataset, parts.test_data, parts.config["topk"]
    return {
        name: measure_lists(
            parts.model, parts.config, train, loader, cuts, removes_seen=name == "exclude"
        )
        for name in ("include", "exclude")
    }


def measure_besides(parts: RunParts, evaluation: Evaluation) -> Evaluation:
    """What else is measured of a run.

    Of a model that is fitted once ``zero_score_share``: the share of test targets of which the
    model knows nothing: their score is 0, and they are ranked by popularity among all others of
    that score. ``valid_as_fitted``: validation metrics of all that was fitted, where the model
    keeps less of it.

    Args:
        parts: Of a run, with the model at its best epoch.
        evaluation: Of :func:`test`.
    """
    if not (is_fitted_once(parts.model) and evaluation.ranks):
        return evaluation
    return dataclasses.replace(evaluation, besides=_besides_fitted(parts, evaluation))


def _besides_fitted(parts: RunParts, evaluation: Evaluation) -> dict[str, Any]:
    scores = parts.trainer.evaluator.target_scores(parts.test_data)
    besides: dict[str, Any] = {"zero_score_share": float((scores == 0).double().mean())}
    as_fitted = getattr(parts.model, "as_fitted", None)
    if as_fitted is not None:
        with as_fitted(parts.train_data._dataset):
            valid = _plain(parts.trainer.evaluator.measure(parts.valid_data))
        besides["valid_as_fitted"] = valid
        name = parts.config["valid_metric"]
        _log.info(
            "%s has a validation %s of %.4f, and of %.4f with all that was fitted",
            parts.plan.entry.name,
            name,
            evaluation.metrics.valid[name.lower()],
            valid[name.lower()],
        )
    return besides


def validation_alone(parts: RunParts, trained: Trained) -> Evaluation:
    """Metrics of the best epoch as training has found them; nothing of the test part is ranked."""
    metrics = Metrics(
        rank_history=parts.plan.run.rank_history,
        valid=trained.best_valid,
        test={},
        test_include={},
        test_exclude={},
        views={
            name: ViewMetrics(
                best_epoch=best.best_epoch,
                best_valid_score=best.best_valid_score,
                valid=best.best_valid,
            )
            for name, best in trained.views.items()
        },
    )
    return Evaluation(metrics, {})


def _plain(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def _refuse_what_cannot_run(config: Config, parts: Sequence[Any]) -> None:
    if any(len(part) == 0 for part in parts):
        raise no_three_parts(config["eval_args"]["split"])
    refuse_long_lists(config, parts[0].item_num - 1)


@contextlib.contextmanager
def closing_run(parts: RunParts) -> Iterator[RunParts]:
    """The parts of a run, which leave no thread and no open file behind."""
    try:
        yield parts
    finally:
        parts.trainer.close()


def set_threads(plan: RunPlan) -> None:
    """Give torch the number of threads that the settings ask for, if they do."""
    if plan.run.n_threads:
        torch.set_num_threads(plan.run.n_threads)
