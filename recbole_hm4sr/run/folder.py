"""The folder of a run: the names of its files, and the one writer of them.

The trainer writes checkpoints, curves and ``history.jsonl`` while it trains, where this says.
"""

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

import yaml

from recbole_hm4sr.base.errors import WriteError
from recbole_hm4sr.base.files import remove_leftovers, write_npz, write_text
from recbole_hm4sr.data import vocabulary
from recbole_hm4sr.evaluate.rank_file import RANK_FILE, rank_file
from recbole_hm4sr.evaluate.ranks import Ranks, describe_samples
from recbole_hm4sr.model.capabilities import row_keys
from recbole_hm4sr.parallel.processes import attempt, job_name
from recbole_hm4sr.run.beginning import keep_beginning
from recbole_hm4sr.run.facts import run_facts
from recbole_hm4sr.run.parts import RunParts
from recbole_hm4sr.run.plan import RunPlan
from recbole_hm4sr.run.results import Evaluation, RunResult, Trained
from recbole_hm4sr.run.serving_file import write_serving_file

_JOB = "torchrun.txt"
# What the end of a run leaves, all of its best epoch.
_RESULTS = (
    "metrics.json",
    "serving.npz",
    "*.encoder.npz",
    "vocabulary.npz",
    "features/*",
    "features",
    RANK_FILE,
    rank_file("*"),
    "report.json",
    "report.html",
)


class RunFolder:
    """Writes what a run leaves.

    Args:
        path: The folder; need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = path / "config.yaml"
        self.metrics = path / "metrics.json"

    def begin(self, plan: RunPlan) -> None:
        """Make the folder, and keep the settings of a run that begins here.

        What an earlier process has left half written is removed.

        Raises:
            WriteError: If it cannot be written.
        """
        checkpoints = self.path / "checkpoint"
        try:
            checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"cannot write {self.path}: {error.strerror}") from error
        if not self.settings.exists():
            name = job_name()
            if name is not None:
                write_text(self.path / _JOB, name)
            self.write_settings(plan)
        keep_beginning(plan, self.path)
        for folder in (self.path, checkpoints):
            remove_leftovers(folder)

    def write_settings(self, plan: RunPlan) -> None:
        """Keep the settings of a run, with which it can be resumed or repeated.

        Raises:
            WriteError: If they cannot be written.
        """
        write_text(self.settings, yaml.safe_dump(plan.to_plain(), sort_keys=False))

    def remove_results(self) -> None:
        """Remove what the end of a run has left, where more epochs are to be trained.

        Raises:
            WriteError: If that is not possible.
        """
        for path in [path for name in _RESULTS for path in self.path.glob(name)]:
            try:
                if path.is_dir():  # its files stand before it
                    path.rmdir()
                else:
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise WriteError(f"cannot remove {path}: {error.strerror}") from error

    def finish(self, trained: Trained, evaluation: Evaluation, parts: RunParts) -> None:
        """Write ranks, serving file and metrics of a run.

        Args:
            trained: Its training.
            evaluation: Of its best epoch.
            parts: With the model at its best epoch.

        Raises:
            WriteError: If a file cannot be written.
        """
        facts = run_facts(parts, trained, parts.trainer.costs())
        facts |= evaluation.besides
        for name, ranks in evaluation.ranks.items():
            self._write_ranks(name, ranks, parts)
        train = parts.train_data._dataset
        keys = row_keys(parts.model)
        known = dataclasses.replace(train.vocabulary, origin=train.first_time(), row_keys=keys)
        known.save(self.path / vocabulary.FILE_NAME)
        write_serving_file(self.path, parts.model, train, fingerprints=parts.fingerprints)
        values = dataclasses.asdict(self.result(trained, evaluation, parts.plan))
        values.pop("epochs")
        for optional in ("views", "lists"):
            if not values[optional]:
                values.pop(optional)
        values["run_dir"] = str(self.path)
        write_text(self.metrics, json.dumps(values | facts, indent=2) + "\n")

    def result(self, trained: Trained, evaluation: Evaluation, plan: RunPlan) -> RunResult:
        """What the run in this folder found."""
        return RunResult(
            **vars(evaluation.metrics),
            run_dir=self.path,
            model=plan.entry.name,
            dataset=plan.dataset,
            generated=plan.data.generated,
            best_epoch=trained.best_epoch,
            best_valid_score=trained.best_valid_score,
            epochs=trained.epochs,
            ended_by=trained.ended_by,
        )

    def _write_ranks(self, name: str, ranks: Ranks, parts: RunParts) -> None:
        """Keep the ranks of the test users' targets, for tables by group and paired tests."""
        arrays: dict[str, Any] = {
            **describe_samples(parts.test_data._dataset, parts.train_data._dataset),
            "rank_include": ranks.include.numpy(),
            "rank_exclude": ranks.exclude.numpy(),
        }
        write_npz(self.path / name, arrays, compress=True)


def new_run_dir(dataset: str, model: str) -> Path:
    """A folder that does not exist yet: ``runs/<dataset>-<model>-<time>``.

    After a restart by ``torchrun``, the folder that the processes before have begun.
    """
    if attempt():
        for path in Path("runs").glob(f"{dataset}-{model}-*/{_JOB}"):
            if path.read_text(encoding="utf-8") == job_name():
                return path.parent
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = Path("runs") / f"{dataset}-{model}-{now}"
    number = 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{dataset}-{model}-{now}-{number}"
    return folder
