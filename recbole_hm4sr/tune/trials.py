"""Trials on the disk: a line each in ``trials.jsonl``, a folder each, and the best one's settings.

``trials.jsonl`` is what a search knows: a trial with a line is finished, and is not run again. The
folder of a trial holds its run, and ``trial.json`` from the moment it is begun, so that one which a
crash has cut goes on with the same settings. Several processes may write to one folder.
"""

import dataclasses
import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import append_line, locked, read_lines, write_text
from recbole_hm4sr.tune.search import Search

_log = logging.getLogger(__name__)

Status: TypeAlias = Literal["running", "done", "pruned", "failed"]
_STARTS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial; when it is finished, what its line of ``trials.jsonl`` has.

    Attributes:
        number: Its number, from 1.
        settings: The searched settings and its values of them.
        status: ``done``, ``pruned`` (ended early as hopeless) or ``failed``; ``running`` before.
        score: Best value of the validation metric; None if there is none.
        best_epoch: The epoch of that score, from 1; 0 if there is none.
        epochs: Finished epochs.
        seconds: Time of training and validation over all attempts.
        reason: Why it has failed, or was stopped; else empty.
        valid: All validation metrics of the best epoch.
    """

    number: int
    settings: Mapping[str, Any]
    status: Status
    score: float | None = None
    best_epoch: int = 0
    epochs: int = 0
    seconds: float = 0.0
    reason: str = ""
    valid: Mapping[str, float] = dataclasses.field(default_factory=dict)


class TrialStore:
    """The folder of a search.

    Args:
        search: What is searched.
        folder: The folder.
    """

    def __init__(self, search: Search, folder: Path) -> None:
        self.search = search
        self.folder = folder

    @property
    def best_file(self) -> Path:
        """The best settings so far, as ``--config_files`` takes them."""
        return self.folder / "best.yaml"

    def run_dir(self, number: int) -> Path:
        """Folder of a trial."""
        return run_dir(self.folder, number)

    def trials(self) -> dict[int, Trial]:
        """The finished trials by number; of a trial with several lines the last counts.

        Raises:
            DataError: If the file cannot be read.
        """
        return read_trials(self.folder, self.search.space.names)

    def ends_after(self, early_stop: int | None) -> bool:
        """Whether so many trials have finished without a better score; never if None."""
        trials = self.trials().values()
        since = trials_since_best(trials, bigger=self.search.bigger)
        return early_stop is not None and since >= early_stop

    def begun(self, number: int) -> dict[str, Any] | None:
        """Settings of a trial that was begun; None if it was not."""
        record = self._trial_file(number)
        return None if record is None else dict(record["settings"])

    def begin(self, number: int, settings: Mapping[str, Any]) -> str | None:
        """Note that a trial is about to run.

        Returns:
            None, or why it must not run again: it has ended its process too often.

        Raises:
            DataError: If it cannot be written.
        """
        record = self._trial_file(number) or {}
        starts = [*record.get("starts", []), len(self.epochs(number))]
        if len(starts) > _STARTS and len(set(starts[-_STARTS - 1 :])) == 1:
            return f"its process has ended {_STARTS} times in epoch {starts[-1] + 1}"
        self._write(number, settings, starts)
        return None

    def interrupted(self, number: int) -> None:
        """Note that the user, and not the trial, has ended the process."""
        record = self._trial_file(number)
        if record is not None:
            self._write(number, record["settings"], record["starts"][:-1])

    def forget(self, number: int) -> None:
        """Remove what a failed trial has left, so that it begins anew."""
        shutil.rmtree(self.run_dir(number), ignore_errors=True)

    def finish(self, trial: Trial) -> bool:
        """Add the line of a trial, and write ``best.yaml`` anew; only the best keeps checkpoints.

        Returns:
            Whether it is the best so far.

        Raises:
            DataError: If files cannot be written.
        """
        with locked(self.folder / ".trials.lock"):
            before = best_trial(self.trials().values(), bigger=self.search.bigger)
            append_line(self.folder / "trials.jsonl", dataclasses.asdict(trial))
            best = self._write_best()
        for old in (before, trial):
            if old is not None and (best is None or old.number != best.number):
                for folder in (self.run_dir(old.number), self.run_dir(old.number) / "pretrain"):
                    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        return best is not None and best.number == trial.number

    def write_best(self) -> None:
        """Write ``best.yaml`` anew, which the end of a process may have kept from being written.

        Raises:
            DataError: If it cannot be written.
        """
        with locked(self.folder / ".trials.lock"):
            self._write_best()

    def _write_best(self) -> Trial | None:
        best = best_trial(self.trials().values(), bigger=self.search.bigger)
        if best is not None:
            write_text(self.best_file, self._best_text(best))
        return best

    def epochs(self, number: int) -> list[dict[str, Any]]:
        """The finished epochs of a trial, over all its attempts."""
        path = self.run_dir(number) / "history.jsonl"
        return [record for _, record in read_lines(path) if record is not None]

    def _best_text(self, best: Trial) -> str:
        search = self.search
        head = (
            f"# The best settings of {search.model} on {search.dataset} so far: trial "
            f"{best.number}, validation {search.metric} {best.score:.6f}.\n"
            f"# Chosen on the validation part only. Test them once:\n"
            f"# hm4sr train --model={search.model} --dataset={search.dataset} "
            f"--config_files={self.best_file}\n"
        )
        return head + yaml.safe_dump(search.overrides(best.settings), sort_keys=False)

    def _write(self, number: int, settings: Mapping[str, Any], starts: list[int]) -> None:
        record = {"number": number, "settings": dict(settings), "starts": starts}
        write_text(self.run_dir(number) / "trial.json", json.dumps(record) + "\n")

    def _trial_file(self, number: int) -> dict[str, Any] | None:
        path = self.run_dir(number) / "trial.json"
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} must be readable JSON; remove {path.parent} to begin the trial anew"
            ) from error
        return dict(record)


def run_dir(folder: Path, number: int) -> Path:
    """Folder of a trial of the search in a folder."""
    return folder / f"trial-{number:04d}"


def read_trials(folder: Path, names: Iterable[str]) -> dict[int, Trial]:
    """The finished trials of a search by number; of a trial with several lines the last counts.

    Args:
        folder: Folder of the search.
        names: The searched settings; a line without just these is torn.

    Raises:
        DataError: If the file cannot be read.
    """
    path, names = folder / "trials.jsonl", set(names)
    trials = {}
    for line, record in read_lines(path):
        trial = _read_trial(record, names)
        if trial is None:
            _log.warning("%s, line %d is torn and left out; its trial goes on", path, line)
        else:
            trials[trial.number] = trial
    return dict(sorted(trials.items()))


def _read_trial(record: Mapping[str, Any] | None, names: set[str]) -> Trial | None:
    try:
        trial = Trial(**(record or {}))
    except TypeError:
        return None
    return trial if set(trial.settings) == names else None


def best_trial(trials: Iterable[Trial], *, bigger: bool) -> Trial | None:
    """The trial with the best validation score; of equal ones the first.

    Args:
        trials: Finished trials; those that were pruned or have failed are never the best.
        bigger: Whether more is better.
    """
    return next(iter(ranked(trials, bigger=bigger, statuses=("done",))), None)


def ranked(
    trials: Iterable[Trial],
    *,
    bigger: bool,
    statuses: tuple[Status, ...] = ("done", "pruned", "failed"),
) -> list[Trial]:
    """Trials best first: those that are done, then the pruned, then the failed."""

    def key(trial: Trial) -> tuple[int, float, int]:
        score = trial.score if trial.score is not None else 0.0
        return statuses.index(trial.status), -score if bigger else score, trial.number

    return sorted((trial for trial in trials if trial.status in statuses), key=key)


def trials_since_best(trials: Iterable[Trial], *, bigger: bool) -> int:
    """How many trials have finished, by number, since the best of them."""
    trials = list(trials)
    best = best_trial(trials, bigger=bigger)
    return sum(1 for trial in trials if best is None or trial.number > best.number)
