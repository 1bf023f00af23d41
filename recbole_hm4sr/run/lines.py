"""What a run says while it runs and at its end, as lines of text."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from recbole_hm4sr.evaluate.candidates import CANDIDATES
from recbole_hm4sr.model.registry import display_name
from recbole_hm4sr.train.epochs import EpochRecord

if TYPE_CHECKING:
    from recbole_hm4sr.run.parts import RunParts
    from recbole_hm4sr.run.results import RunResult

_CUT = "@10"


class RunLines:
    """Says what a run does, a line an epoch.

    Args:
        say: Takes each line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._parts: RunParts | None = None
        self._seconds: list[float] = []

    def start(self, parts: "RunParts") -> None:
        """Before the first epoch: what runs on what, and where."""
        self._parts = parts
        dataset = parts.train_data._dataset
        parameters = sum(p.numel() for p in parts.model.parameters() if p.requires_grad)
        self._say(
            f"{display_name(parts.config['model'])} on {parts.config['dataset']}: "
            f"{dataset.user_num - 1:,} users, {dataset.item_num - 1:,} items, "
            f"{len(dataset.inter_feat.histories):,} interactions, {parameters:,} parameters"
        )
        if parts.config["generated"]:
            self._say(
                "note: this data set is GENERATED; its numbers say nothing of real shops "
                f"(see README.md in {parts.config['data_path']})"
            )
        self._say(f"run folder: {parts.run_dir}")
        if parts.trainer.start_epoch:
            self._say(f"resuming after epoch {parts.trainer.start_epoch}")

    def epoch(self, record: EpochRecord) -> None:
        """After each epoch: losses, validation, seconds, and the time left."""
        assert self._parts is not None
        trainer = self._parts.trainer
        self._seconds.append(record.train_seconds + record.valid_seconds)
        left = (trainer.max_epochs - record.epoch) * sum(self._seconds) / len(self._seconds)
        losses = f"loss {record.loss:.4f}" if record.losses else "fitted"
        if len(record.losses) > 1:
            named = ", ".join(f"{name} {value:.3f}" for name, value in record.losses.items())
            losses += f" ({named})"
        self._say(
            f"epoch {record.epoch:>3}/{trainer.max_epochs}  {losses}  "
            f"valid {self._parts.config['valid_metric']} {record.valid_score:.4f}"
            f"{' best' if record.is_best else '     '}  {self._seconds[-1]:.1f} s"
            f"  at most {_duration(left)} left"
        )

    def interrupted(self) -> None:
        """After Ctrl-C: what is kept and how to resume."""
        if self._parts is None or not self._parts.trainer.files.checkpoints.last.is_file():
            self._say("\ninterrupted before the first epoch ended: nothing to resume")
            return
        folder = self._parts.run_dir
        self._say(
            f"\ninterrupted; the last finished epoch is kept. Resume by: "
            f"hm4sr train --resume {folder}\n"
            f"or test the best epoch so far with: hm4sr evaluate --run {folder}"
        )

    def finished(self, result: "RunResult") -> None:
        """At the end: the best epoch, and its test in each protocol that was measured."""
        self._say(result_sentence(result))
        for history, words in CANDIDATES.items():
            metrics = getattr(result, f"test_{history}")
            if metrics:
                self._say(f"test, {words}: {_listed(metrics)}")


def result_sentence(result: "RunResult") -> str:
    """Which epoch of a run is the best."""
    generated = ", GENERATED data" if result.generated else ""
    budget = "; ended by max_cpu_minutes" if result.ended_by == "budget" else ""
    return (
        f"{display_name(result.model)} on {result.dataset}{generated}: "
        f"best epoch {result.best_epoch} of {len(result.epochs)}, chosen on validation{budget}"
    )


def _listed(metrics: dict[str, float]) -> str:
    """Metrics of the first ten; all where there are none."""
    names = [name for name in metrics if name.endswith(_CUT)] or list(metrics)
    return ", ".join(f"{name.upper()} {metrics[name]:.4f}" for name in names)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
