"""RecBole's ``Trainer`` with named losses, exact resumption and checkpoints that hold no code.

``fit`` is RecBole's, with its early stopping, and its evaluator computes every metric. Replaced are
the loop over the batches of an epoch, the ranking (``evaluation.py``), and what an epoch leaves:

* ``checkpoint/best.pt``: what changes the scores of the best epoch so far;
* ``checkpoint/last.pt``: everything needed to go on as if nothing had happened;
* ``history.jsonl``: a line an epoch.

Frozen features are in neither checkpoint; their fingerprint is.
"""

import copy
import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.trainer import Trainer as RecBoleTrainer
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from recbole_hm4sr import compat
from recbole_hm4sr.checkpoint import (
    random_states,
    read_checkpoint,
    set_random_states,
    write_checkpoint,
)
from recbole_hm4sr.errors import DataError, TrainingError
from recbole_hm4sr.evaluation import Ranks, rank_samples, top_hits
from recbole_hm4sr.files import write_text
from recbole_hm4sr.settings import RunSettings, read_settings


@dataclasses.dataclass(frozen=True)
class EpochRecord:
    """One finished epoch.

    Attributes:
        epoch: Counted from 1.
        loss: Sum of the named losses, mean over the steps.
        losses: Each named loss, mean over the steps.
        valid_score: Value of the metric that chooses the best epoch.
        valid: All validation metrics.
        is_best: Whether this epoch is the best so far.
        train_seconds: Time of the training steps.
        valid_seconds: Time of the validation.
    """

    epoch: int
    loss: float
    losses: dict[str, float]
    valid_score: float
    valid: dict[str, float]
    is_best: bool
    train_seconds: float
    valid_seconds: float


class Trainer(RecBoleTrainer):  # type: ignore[misc, unused-ignore]
    """Trains one model and keeps what a run needs to go on or to be tested another day.

    Args:
        config: RecBole ``Config``; ``checkpoint_dir`` is the folder of the checkpoints.
        model: Any RecBole recommender. If it has a method ``named_losses(interaction)``, the
            losses are trained and recorded by those names.
        fingerprints: Hashes of the data and of the frozen features: a checkpoint is refused where
            they differ.
        on_epoch: Called after every epoch.
    """

    def __init__(
        self,
        config: Any,
        model: Any,
        *,
        fingerprints: Mapping[str, str] | None = None,
        on_epoch: Callable[[EpochRecord], None] | None = None,
    ) -> None:
        folder = Path(config["checkpoint_dir"])
        with compat.tensorboard_folder(folder.parent / "tensorboard"):
            super().__init__(config, model)
        self.eval_collector = compat.make_collector(config)
        self.saved_model_file = str(folder / "best.pt")
        self.last_file = folder / "last.pt"
        self.history_file = folder.parent / "history.jsonl"
        self.rank_history = read_settings(config, RunSettings).rank_history
        self.fingerprints = dict(fingerprints or {})
        self.on_epoch = on_epoch
        self.history: list[EpochRecord] = []
        self._losses: dict[str, float] = {}
        self._valid_result: dict[str, float] = {}
        self._seconds = {"train": 0.0, "valid": 0.0}
        self._train_data: Any = None
        self._user_callback: Callable[[int, float], None] | None = None

    @property
    def finished(self) -> bool:
        """Whether training has ended: all epochs done, or stopped early."""
        return self.start_epoch >= self.epochs or self.cur_step > self.stopping_step

    @property
    def best_epoch(self) -> int:
        """Number of the best epoch so far, from 1; 0 before the first."""
        return max((record.epoch for record in self.history if record.is_best), default=0)

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], None] | None = None,
    ) -> Any:
        """RecBole's ``fit``; a resumed run goes on after its last finished epoch.

        Returns:
            Best validation score and result, as RecBole returns them.
        """
        self._train_data, self._user_callback = train_data, callback_fn
        if self.start_epoch and self.finished:
            return self.best_valid_score, self.best_valid_result
        return super().fit(train_data, valid_data, verbose, saved, show_progress, self._after_epoch)

    def close(self) -> None:
        """End the thread and close the file of the TensorBoard writer, which RecBole leaves open."""
        self.tensorboard.close()

    def _train_epoch(
        self,
        train_data: Any,
        epoch_idx: int,
        loss_func: Callable[[Any], Any] | None = None,
        show_progress: bool = False,  # noqa: ARG002
    ) -> float:
        """Train one epoch; returns the sum of the losses over the steps, as RecBole does."""
        began = time.perf_counter()
        self.model.train()
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.enable_scaler)
        totals: dict[str, Tensor] = {}
        steps = 0
        for steps, interaction in enumerate(train_data, start=1):
            batch = interaction.to(self.device)
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device_type=self.device.type, enabled=self.enable_amp):
                losses = self._named_losses(batch, loss_func)
                loss = torch.stack(list(losses.values())).sum()
            self._check_finite(losses, epoch_idx, steps)
            scaler.scale(loss).backward()
            if self.clip_grad_norm:
                scaler.unscale_(self.optimizer)
                clip_grad_norm_(self.model.parameters(), **self.clip_grad_norm)
            scaler.step(self.optimizer)
            scaler.update()
            for name, value in losses.items():
                totals[name] = totals.get(name, 0) + value.detach()
        self._losses = {name: float(total) / max(steps, 1) for name, total in totals.items()}
        self._seconds["train"] = time.perf_counter() - began
        return float(sum(totals.values()))

    def _named_losses(
        self, batch: Any, loss_func: Callable[[Any], Any] | None
    ) -> dict[str, Tensor]:
        if loss_func is None and hasattr(self.model, "named_losses"):
            return dict(self.model.named_losses(batch))
        losses = (loss_func or self.model.calculate_loss)(batch)
        if isinstance(losses, tuple):
            return {f"loss_{number}": value for number, value in enumerate(losses, start=1)}
        return {"loss": losses}

    def _check_finite(self, losses: dict[str, Tensor], epoch_idx: int, step: int) -> None:
        bad = [name for name, value in losses.items() if not torch.isfinite(value)]
        if bad:
            raise TrainingError(
                f"every loss must be finite, but {', '.join(bad)} is "
                f"{', '.join(str(float(losses[name])) for name in bad)} in epoch {epoch_idx + 1}, "
                f"step {step}; lower learning_rate or set clip_grad_norm: {{max_norm: 1}}"
            )

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> Any:
        began = time.perf_counter()
        score, result = super()._valid_epoch(valid_data, show_progress)
        self._seconds["valid"] = time.perf_counter() - began
        self._valid_result = {name: float(value) for name, value in result.items()}
        return score, result

    def _after_epoch(self, epoch_idx: int, valid_score: float) -> None:
        record = EpochRecord(
            epoch=epoch_idx + 1,
            loss=sum(self._losses.values()),
            losses=self._losses,
            valid_score=float(valid_score),
            valid=self._valid_result,
            is_best=self.cur_step == 0,
            train_seconds=self._seconds["train"],
            valid_seconds=self._seconds["valid"],
        )
        self.history.append(record)
        self._save_last(epoch_idx)
        write_history(self.history_file, self.history)
        if self.on_epoch is not None:
            self.on_epoch(record)
        if self._user_callback is not None:
            self._user_callback(epoch_idx, valid_score)

    def _scoring_state(self, epoch_idx: int) -> dict[str, Any]:
        """Everything that changes the scores."""
        # Some models of RecBole (FDSA) name a layer here, whose weights are in the state already.
        others = {
            name: value
            for name, value in (self.model.other_parameter() or {}).items()
            if not isinstance(value, torch.nn.Module)
        }
        return {
            "model": self.config["model"],
            "epoch": epoch_idx,
            "state_dict": self.model.state_dict(),
            "other_parameter": others,
            "fingerprints": self.fingerprints,
        }

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:  # noqa: ARG002
        """Keep the best epoch: RecBole calls this when the validation score has improved."""
        write_checkpoint(Path(self.saved_model_file), self._scoring_state(epoch))

    def _save_last(self, epoch_idx: int) -> None:
        best = self.best_valid_result or {}
        write_checkpoint(
            self.last_file,
            {
                **self._scoring_state(epoch_idx),
                "optimizer": self.optimizer.state_dict(),
                "cur_step": self.cur_step,
                "best_valid_score": float(self.best_valid_score),
                "best_valid_result": {name: float(value) for name, value in best.items()},
                "history": [dataclasses.asdict(record) for record in self.history],
                "random_states": random_states(),
                "loader_state": self._train_data.generator.get_state(),
            },
        )

    def resume(self, train_data: Any) -> bool:
        """Go back to the end of the last finished epoch.

        Args:
            train_data: The training loader; the order of its batches goes on as well.

        Returns:
            False if there is no checkpoint yet.

        Raises:
            DataError: If the checkpoint is damaged or belongs to another model or other data.
        """
        if not self.last_file.is_file():
            return False
        state = self._load(self.last_file)
        self.optimizer.load_state_dict(state["optimizer"])
        self.start_epoch = state["epoch"] + 1
        self.cur_step = state["cur_step"]
        self.best_valid_score = state["best_valid_score"]
        self.best_valid_result = state["best_valid_result"]
        self.history = [EpochRecord(**record) for record in state["history"]]
        self.train_loss_dict = {record.epoch - 1: record.loss for record in self.history}
        train_data.generator.set_state(state["loader_state"].cpu())
        set_random_states(state["random_states"])
        return True

    def _load(self, path: Path) -> dict[str, Any]:
        """Read a checkpoint, refuse a foreign one, and set the model to it."""
        state = read_checkpoint(path, self.device)
        if state["model"] != self.config["model"]:
            raise DataError(
                f"the checkpoint {path} must be of the model {self.config['model']}, got "
                f"{state['model']}"
            )
        for name, value in self.fingerprints.items():
            if state["fingerprints"].get(name) != value:
                raise DataError(
                    f"the checkpoint {path} must meet the {name} it was trained on, but they have "
                    f"changed since; train anew, or put the old files back"
                )
        try:
            self.model.load_state_dict(state["state_dict"])
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise DataError(f"the checkpoint {path} does not fit the model: {reason}") from error
        self.model.load_other_parameter(state["other_parameter"])
        return state

    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> Any:
        """Metrics of a split; RecBole's evaluator computes them from the targets' ranks.

        Metrics that need more than ranks take RecBole's own way.

        Returns:
            Metric name to value.
        """
        if load_best_model:
            self._load(Path(model_file or self.saved_model_file))
        if not self.needs_ranks_only(eval_data):
            return super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)
        return self.metrics(self.rank(eval_data).of(self.rank_history))

    def needs_ranks_only(self, eval_data: Any) -> bool:
        """Whether the metrics of a split follow from the targets' ranks.

        Not so if negatives are sampled, or for metrics such as ``ItemCoverage``.
        """
        more = ("rec.items", "rec.meanrank", "rec.score", "data.label")
        return isinstance(eval_data, FullSortEvalDataLoader) and not any(
            self.eval_collector.register.need(name) for name in more
        )

    def load_best(self) -> None:
        """Set the model to the best epoch so far."""
        self._load(Path(self.saved_model_file))

    @torch.no_grad()
    def rank(self, eval_data: Any) -> Ranks:
        """Rank the targets of a split by the model as it is.

        Args:
            eval_data: RecBole's full-sort loader of the split.
        """
        self.model.eval()
        dataset = eval_data._dataset
        self.tot_item_num = dataset.item_num
        if self.item_tensor is None:  # for models that can only score pairs
            self.item_tensor: Any = dataset.get_item_feature().to(self.device)
        return rank_samples(
            self._full_sort_batch_eval, eval_data, dataset.inter_feat, item_field=dataset.iid_field
        )

    def metrics(self, ranks: Tensor) -> dict[str, float]:
        """Metrics of ranks, by RecBole's evaluator.

        Args:
            ranks: From 1. Shape ``[S]``, int64.
        """
        struct = copy.copy(self.eval_collector.data_struct)
        struct.set("rec.topk", top_hits(ranks, max(self.config["topk"])))
        return dict(self.evaluator.evaluate(struct))


def write_history(path: Path, history: list[EpochRecord]) -> None:
    """Write one JSON line an epoch, whole or not at all."""
    lines = [json.dumps(dataclasses.asdict(record)) + "\n" for record in history]
    write_text(path, "".join(lines))
