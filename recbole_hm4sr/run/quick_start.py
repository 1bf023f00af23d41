"""Run, resume, evaluate: plan, parts, training, test, files, and the caller's last step."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from recbole_hm4sr.base.errors import WriteError
from recbole_hm4sr.model.registry import DEFAULT_MODEL
from recbole_hm4sr.parallel import processes
from recbole_hm4sr.run import parts as stages
from recbole_hm4sr.run.beginning import refuse_beginning
from recbole_hm4sr.run.folder import RunFolder, new_run_dir
from recbole_hm4sr.run.lines import RunLines
from recbole_hm4sr.run.parts import RunParts, build_parts, closing_run, set_threads
from recbole_hm4sr.run.place import find_dataset, require_free_folder
from recbole_hm4sr.run.plan import RunPlan, compose, read_plan
from recbole_hm4sr.run.process_state import kept_process_state
from recbole_hm4sr.run.results import Metrics, RunResult
from recbole_hm4sr.train.costs import CostMeter
from recbole_hm4sr.train.epochs import EpochRecord

_Told = TypeVar("_Told")


@dataclass(frozen=True)
class _Calls:
    """What is done at the stages of a run; in the first process alone.

    Attributes:
        on_start, on_epoch, on_finish: What the caller does.
        show_progress: Whether lines are printed.
        on_result: What is printed at the end.
    """

    on_start: Callable[[RunParts], None] | None
    on_epoch: Callable[[EpochRecord], None] | None
    on_finish: Callable[[RunParts], None] | None
    show_progress: bool = False
    on_result: Callable[[RunResult], None] | None = None

    def with_lines(self, plan: RunPlan) -> "_Calls":
        """The same, and lines before what the caller does, unless they are not wanted."""
        if not self.show_progress or plan.values["show_progress"] is False:
            return self
        lines = RunLines(functools.partial(print, flush=True))
        return replace(
            self,
            on_start=_both(lines.start, self.on_start),
            on_epoch=_both(lines.epoch, self.on_epoch),
            on_result=lines.finished,
        )


def _both(
    first: Callable[[_Told], None], second: Callable[[_Told], None] | None
) -> Callable[[_Told], None]:
    """Both calls, one after the other."""

    def call(told: _Told) -> None:
        first(told)
        if second is not None:
            second(told)

    return call


@kept_process_state()
def run(  # noqa: PLR0913  # all but two are keywords only
    model: str = DEFAULT_MODEL,
    dataset: "str | os.PathLike[str]" = "sports",
    *,
    config_files: Iterable[str | Path] = (),
    overrides: Mapping[str, Any] | None = None,
    run_dir: str | Path | None = None,
    test: bool = True,
    show_progress: bool = True,
    on_start: Callable[[RunParts], None] | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_finish: Callable[[RunParts], None] | None = None,
) -> RunResult:
    """Train a model, choose its best epoch on the validation part, test that epoch once.

    Processes started by ``torchrun`` train one model together. The first writes the files and makes
    the callbacks; after a restart they resume the run they began.

    Args:
        model: Name of a model of this package, or of a sequential model of RecBole.
        dataset: Name of the data set; or its folder, as what :func:`recbole_hm4sr.prepare` returns.
        config_files: YAML files of settings, later ones win.
        overrides: Settings that win over all files.
        run_dir: Folder to write; ``runs/<dataset>-<model>-<time>`` by default. Must not hold a
            run already.
        test: Whether the best epoch is tested; without it nothing is ranked of the test part, as a
            trial of a search must not.
        show_progress: Whether to print a line at the start, after every epoch and for the result;
            nor does it where the setting ``show_progress``, of the bar over steps, is false.
        on_start: Called before the first epoch.
        on_epoch: Called after every epoch.
        on_finish: Called when the run's files are written, with the model at its best epoch, if the
            run was tested; ``report.finish.report_run`` makes the report.

    Returns:
        The result, which is also in ``metrics.json`` of the run's folder. Its ``test`` has the
        metrics by the setting ``rank_history``, which its attribute of that name says: ``include``
        keeps the items that a user has seen among the candidates, as papers do, ``exclude`` removes
        them, as a shop does. ``test_include`` and ``test_exclude`` are of either.

    Raises:
        ConfigError: If settings are wrong.
        DataError: If files are wrong.
        TrainingError: If a loss becomes non-finite.
        WriteError: If a file cannot be written; what was finished before is kept.
    """
    calls = _Calls(on_start, on_epoch, on_finish, show_progress)
    name, overrides = find_dataset(dataset, overrides)
    path = processes.agree_on_folder(
        lambda: Path(run_dir) if run_dir is not None else new_run_dir(name, model)
    )
    if processes.attempt() and (path / "config.yaml").exists():
        return _execute(read_plan(path), RunFolder(path), calls, test=test)
    require_free_folder(path)
    plan = compose(model, name, config_files=config_files, overrides=overrides)
    refuse_beginning(plan)
    return _execute(plan, RunFolder(path), calls, test=test)


@kept_process_state()
def resume(
    run_dir: str | Path,
    *,
    machine: Mapping[str, Any] | None = None,
    test: bool = True,
    show_progress: bool = True,
    on_start: Callable[[RunParts], None] | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_finish: Callable[[RunParts], None] | None = None,
) -> RunResult:
    """Resume a run that was interrupted; it ends as if it had not been.

    Args:
        run_dir: Folder of the run.
        machine: Settings of the role ``machine`` that have changed, as ``data_path`` when
            the data has moved; the run's folder takes them over.
        test: Whether the best epoch is tested.
        show_progress: Whether to print a line at the start, after every epoch and for the result;
            nor does it where the setting ``show_progress``, of the bar over steps, is false.
        on_start: Called before the first epoch.
        on_epoch: Called after every epoch.
        on_finish: Called when the run's files are written.

    Raises:
        DataError: If the folder holds no run, or its checkpoint or data do not fit.
    """
    folder = RunFolder(Path(run_dir))
    plan = read_plan(folder.path, machine=machine)
    if machine:
        with _with_resume_hint(folder.path):
            folder.write_settings(plan)
    return _execute(plan, folder, _Calls(on_start, on_epoch, on_finish, show_progress), test=test)


@kept_process_state()
def evaluate(run_dir: str | Path) -> Metrics:
    """Test the best epoch of a finished or stopped run again.

    Args:
        run_dir: Folder of the run.

    Raises:
        DataError: If the folder holds no run, or its checkpoint or data do not fit.
    """
    with open_for_evaluation(run_dir) as parts:
        return stages.test(parts).metrics


@contextlib.contextmanager
def open_for_evaluation(run_dir: str | Path) -> Iterator[RunParts]:
    """Open a finished or stopped run with its model at the best epoch.

    Args:
        run_dir: Folder of the run.

    Raises:
        DataError: If the folder holds no run, or its checkpoint or data do not fit.
    """
    folder = Path(run_dir)
    plan = read_plan(folder)
    with kept_process_state(), _other_processes(plan):
        set_threads(plan)
        with closing_run(build_parts(plan, folder)) as parts:
            parts.trainer.load_best()
            yield parts


def _execute(plan: RunPlan, folder: RunFolder, calls: _Calls, *, test: bool) -> RunResult:
    """Train from the last finished epoch on, evaluate the best one, write the results."""
    calls = calls.with_lines(plan)
    with _with_resume_hint(folder.path):
        meter = CostMeter(plan.device(), max_cpu_minutes=plan.run.max_cpu_minutes)
        set_threads(plan)
        with (
            _other_processes(plan),
            closing_run(
                build_parts(plan, folder.path, on_epoch=calls.on_epoch, meter=meter)
            ) as parts,
        ):
            meter.opened()
            _begin(parts, folder, calls)
            trained = stages.train(parts)
            if test:
                evaluation = stages.measure_besides(parts, stages.test(parts))
                events = parts.trainer.files.events
                events.tested(evaluation.metrics.test, trained.best_epoch)
            else:
                evaluation = stages.validation_alone(parts, trained)
        if processes.started_as_first():
            parts.trainer.make_whole()
            folder.finish(trained, evaluation, parts)
            if test and calls.on_finish is not None:
                calls.on_finish(parts)
        result = folder.result(trained, evaluation, plan)
        if processes.started_as_first() and calls.on_result is not None:
            calls.on_result(result)
        return result


def _begin(parts: RunParts, folder: RunFolder, calls: _Calls) -> None:
    """Begin or resume: the folder is there, the trainer at the last finished epoch."""
    with processes.failing_together():
        if processes.is_first():
            folder.begin(parts.plan)
    parts.trainer.resume(parts.train_data, parts.valid_data)
    is_finished = parts.trainer.finished  # the processes agree on it: all must ask
    if not processes.is_first():
        return
    if calls.on_start is not None:
        calls.on_start(parts)
    if not is_finished:
        folder.remove_results()  # of an earlier end, before more epochs were asked for


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
            f"and resume by --resume {folder}"
        ) from error


def _other_processes(plan: RunPlan) -> contextlib.AbstractContextManager[None]:
    """Meet the other processes of ``torchrun``, if there are any, and part from them."""
    return processes.processes(plan.device(), timeout_seconds=plan.run.process_timeout)
