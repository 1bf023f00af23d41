"""One run from settings to result: config → data → model → fit → evaluate → :class:`RunResult`."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from recbole.config import Config

from recbole_hm4sr.base.errors import WriteError
from recbole_hm4sr.base.files import remove_leftovers, write_text
from recbole_hm4sr.config.compose import build_config
from recbole_hm4sr.data import vocabulary
from recbole_hm4sr.evaluate.ranks import Ranks, describe_samples
from recbole_hm4sr.model.registry import find_model
from recbole_hm4sr.parallel import processes as distributed
from recbole_hm4sr.run.folder import (
    new_run_dir,
    record_job,
    remove_results,
    run_facts,
    write_arrays,
    write_settings,
)
from recbole_hm4sr.run.parts import (
    RunParts,
    build_parts,
    closing_run,
    other_processes,
    read_run_config,
    set_threads,
)
from recbole_hm4sr.run.place import require_free_folder
from recbole_hm4sr.run.process_state import kept_process_state
from recbole_hm4sr.run.serving_file import write_serving_file
from recbole_hm4sr.train.costs import CostMeter
from recbole_hm4sr.train.step_bar import shows_bar
from recbole_hm4sr.train.trainer import EpochRecord, Trainer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Metrics of the best epoch of a run.

    Attributes:
        rank_history: Whether users' histories stay among the candidates in ``valid`` and ``test``:
            ``include`` or ``exclude``.
        valid: Validation metrics.
        test: Test metrics; these and the next are empty if the run was not to be tested.
        test_include: Test metrics with users' histories among the candidates.
        test_exclude: Test metrics without them; empty for metrics that do not follow from ranks,
            or with sampled negatives.
    """

    rank_history: str
    valid: dict[str, float]
    test: dict[str, float]
    test_include: dict[str, float]
    test_exclude: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunResult(Evaluation):
    """What a run found.

    Attributes:
        run_dir: Folder of the run.
        model: Name of the model.
        dataset: Name of the data set.
        generated: Whether the data set is generated.
        best_epoch: Epoch with the best validation score, from 1.
        best_valid_score: That score.
        history: The epochs.
    """

    run_dir: Path
    model: str
    dataset: str
    generated: bool
    best_epoch: int
    best_valid_score: float
    history: tuple[EpochRecord, ...]


@kept_process_state()
def run(  # noqa: PLR0913  # all but two are keywords only
    model: str = "HM4SR",
    dataset: str = "sports",
    *,
    config_files: Iterable[str | Path] = (),
    overrides: Mapping[str, Any] | None = None,
    run_dir: str | Path | None = None,
    test: bool = True,
    on_start: Callable[[RunParts], None] | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_finish: Callable[[RunParts], None] | None = None,
) -> RunResult:
    """Train a model, choose its best epoch on the validation part, test that epoch once.

    Processes started by ``torchrun`` train one model together. The first writes the files and makes
    the callbacks; after a restart they go on with the run they began.

    Args:
        model: Name of a model of this package, or of a sequential model of RecBole.
        dataset: Name of the data set.
        config_files: YAML files of settings, later ones win.
        overrides: Settings that win over all files.
        run_dir: Folder to write; ``runs/<dataset>-<model>-<time>`` by default. Must not hold a
            run already.
        test: Whether the best epoch is tested; without it nothing is ranked of the test part, as a
            trial of a search must not.
        on_start: Called before the first epoch.
        on_epoch: Called after every epoch.
        on_finish: Called when the run's files are written, with the model at its best epoch, if the
            run was tested; ``report.finish.report_run`` makes the report.

    Returns:
        The result, which also stands in ``metrics.json`` of the run's folder.

    Raises:
        ConfigError: If settings are wrong.
        DataError: If files are wrong.
        TrainingError: If a loss becomes non-finite.
        WriteError: If a file cannot be written; what was finished before is kept.
    """
    entry = find_model(model)
    folder = distributed.agree_on_folder(
        lambda: Path(run_dir) if run_dir is not None else new_run_dir(dataset, model)
    )
    if distributed.attempt() and (folder / "config.yaml").exists():
        return resume(folder, test=test, on_start=on_start, on_epoch=on_epoch, on_finish=on_finish)
    require_free_folder(folder)
    config = build_config(
        entry.model_class,
        dataset,
        settings_class=entry.settings_class,
        config_files=config_files,
        overrides=overrides,
        checkpoint_dir=folder / "checkpoint",
    )
    with _with_resume_hint(folder):
        return _execute(
            config,
            folder,
            entry.model_class,
            test=test,
            on_start=on_start,
            on_epoch=on_epoch,
            on_finish=on_finish,
        )


@kept_process_state()
def resume(
    run_dir: str | Path,
    *,
    machine: Mapping[str, Any] | None = None,
    test: bool = True,
    on_start: Callable[[RunParts], None] | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_finish: Callable[[RunParts], None] | None = None,
) -> RunResult:
    """Go on with a run that was interrupted; it ends as if it had not been.

    Args:
        run_dir: Folder of the run.
        machine: Settings of ``fingerprint.OF_THE_MACHINE`` that have changed, as ``data_path`` when
            the data has moved; the run's folder takes them over.
        test: Whether the best epoch is tested.
        on_start: Called before the first epoch.
        on_epoch: Called after every epoch.
        on_finish: Called when the run's files are written.

    Raises:
        DataError: If the folder holds no run, or its checkpoint or data do not fit.
    """
    folder = Path(run_dir)
    config, model_class = read_run_config(folder, machine=machine)
    with _with_resume_hint(folder):
        if machine:
            write_settings(folder, config)
        return _execute(
            config,
            folder,
            model_class,
            test=test,
            on_start=on_start,
            on_epoch=on_epoch,
            on_finish=on_finish,
        )


@kept_process_state()
def evaluate(run_dir: str | Path) -> Evaluation:
    """Test the best epoch of a finished or stopped run again.

    Args:
        run_dir: Folder of the run.

    Raises:
        DataError: If the folder holds no run, or its checkpoint or data do not fit.
    """
    with open_for_evaluation(run_dir) as session:
        return _evaluate(session)[0]


@contextlib.contextmanager
def open_for_evaluation(run_dir: str | Path) -> Iterator[RunParts]:
    """Open a finished or stopped run with its model at the best epoch.

    Args:
        run_dir: Folder of the run.

    Raises:
        DataError: If the folder holds no run, or its checkpoint or data do not fit.
    """
    folder = Path(run_dir)
    config, model_class = read_run_config(folder)
    with kept_process_state(), other_processes(config):
        set_threads(config)
        with closing_run(build_parts(config, folder, model_class)) as session:
            session.trainer.load_best()
            yield session


def _evaluate(session: RunParts) -> tuple[Evaluation, Ranks | None]:
    """Metrics of both parts by the model as it is; ranks of the test part if they say it all."""
    trainer = session.trainer
    shown = shows_bar(session.config["show_progress"])
    valid = trainer.measure(session.valid_data, show_progress=shown)
    ranks = None
    if trainer.metrics_follow_from_ranks(session.test_data):
        ranks = trainer.rank(session.test_data, show_progress=shown)
        test = {name: trainer.metrics(ranks.of(name)) for name in ("include", "exclude")}
    else:
        test = {"include": trainer.measure(session.test_data, show_progress=shown)}
    evaluation = Evaluation(
        rank_history=trainer.rank_history,
        valid=_plain(valid),
        test=_plain(test[trainer.rank_history]),
        test_include=_plain(test["include"]),
        test_exclude=_plain(test.get("exclude", {})),
    )
    return evaluation, ranks


def _validation(trainer: Trainer) -> Evaluation:
    """Metrics of the best epoch by the validation part alone, as training has found them."""
    valid = _plain(trainer.best_valid_result)
    return Evaluation(
        rank_history=trainer.rank_history, valid=valid, test={}, test_include={}, test_exclude={}
    )


def _plain(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def _execute(
    config: Config,
    folder: Path,
    model_class: Any,
    *,
    test: bool,
    on_start: Callable[[RunParts], None] | None,
    on_epoch: Callable[[EpochRecord], None] | None,
    on_finish: Callable[[RunParts], None] | None,
) -> RunResult:
    meter = CostMeter(config["device"])
    set_threads(config)
    with (
        other_processes(config),
        closing_run(build_parts(config, folder, model_class, on_epoch, meter)) as session,
    ):
        meter.opened()
        if distributed.is_first() and not (folder / "config.yaml").exists():
            record_job(folder)
            write_settings(folder, config)
        for place in (folder, folder / "checkpoint") if distributed.is_first() else ():
            remove_leftovers(place)
        trainer = session.trainer
        trainer.resume(session.train_data, session.valid_data)
        if on_start is not None and distributed.is_first():
            on_start(session)
        if not trainer.finished and distributed.is_first():
            remove_results(folder)  # of an earlier end, before more epochs were asked for
        shown = shows_bar(config["show_progress"])
        trainer.fit(session.train_data, session.valid_data, verbose=False, show_progress=shown)
        fitted = meter.costs()
        trainer.load_best()  # what is written from here on is of one epoch
        evaluation, ranks = _evaluate(session) if test else (_validation(trainer), None)
    costs = meter.costs()
    result = RunResult(
        **vars(evaluation),
        run_dir=folder,
        model=config["model"],
        dataset=config["dataset"],
        generated=config["generated"],
        best_epoch=trainer.best_epoch,
        best_valid_score=float(trainer.best_valid_score),
        history=tuple(trainer.history),
    )
    if not distributed.started_as_first():
        return result
    facts = run_facts(config, session.model, trainer.history, costs)
    facts["n_items"] = session.test_data._dataset.item_num - 1
    testing = costs.seconds - fitted.seconds
    facts["stages"] = {"opening": costs.opening_seconds, "testing": testing}
    if ranks is not None:
        write_ranks(folder / "test_ranks.npz", ranks, session)
    session.train_data._dataset.vocabulary.save(folder / vocabulary.FILE_NAME)
    write_serving_file(
        folder, session.model, session.train_data._dataset, fingerprints=trainer.fingerprints
    )
    write_text(folder / "metrics.json", json.dumps(_as_json(result) | facts, indent=2) + "\n")
    if test and on_finish is not None:
        on_finish(session)
    return result


@contextlib.contextmanager
def _with_resume_hint(folder: Path) -> Iterator[None]:
    """Complete the sentence of a full disk or of a folder that may not be written to."""
    try:
        yield
    except WriteError as error:
        if not (folder / "config.yaml").is_file():
            raise
        raise WriteError(
            f"{error}; the finished epochs are kept: make room, or let the folder be written to, "
            f"and go on with --resume {folder}"
        ) from error


def write_ranks(path: Path, ranks: Ranks, session: RunParts) -> None:
    """Keep where each test user's target ranks, for tables by group and paired tests."""
    columns = describe_samples(session.test_data._dataset, session.train_data._dataset)
    write_arrays(
        path,
        {
            **columns,
            "rank_include": ranks.include.numpy(),
            "rank_exclude": ranks.exclude.numpy(),
        },
    )


def _as_json(result: RunResult) -> dict[str, Any]:
    values = dataclasses.asdict(result)
    values.pop("history")
    values["run_dir"] = str(result.run_dir)
    return values
