"""RecBole's ``Trainer`` with named losses, exact resumption and checkpoints that hold no code.

``fit`` is RecBole's, with its early stopping, and its evaluator computes every metric. Replaced are
the loop over the batches of an epoch, the ranking (``ranking_trainer.py``), and what an epoch
leaves:

* ``checkpoint/``: the best epoch, and what the run can go on from (``checkpoint_folder.py``);
* ``history.jsonl``: a line an epoch.

Frozen features are in neither checkpoint; their fingerprint is.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recbole_hm4sr.base import compat
from recbole_hm4sr.base.errors import CheckpointError, WriteError
from recbole_hm4sr.config.settings import RunSettings, read_settings
from recbole_hm4sr.data.packed import send_batch
from recbole_hm4sr.parallel import processes as distributed
from recbole_hm4sr.parallel.training import rows_of_step, seed_epoch
from recbole_hm4sr.train.checkpoint import (
    random_states,
    refusing_damage,
    set_random_states,
    set_weights,
)
from recbole_hm4sr.train.checkpoint_folder import CheckpointFolder, settings_to_meet
from recbole_hm4sr.train.costs import CostMeter
from recbole_hm4sr.train.diagnose import refuse_state
from recbole_hm4sr.train.epochs import EpochRecord, write_history
from recbole_hm4sr.train.precision import Precision
from recbole_hm4sr.train.ranking_trainer import RankingTrainer
from recbole_hm4sr.train.step import TrainStep

_log = logging.getLogger(__name__)


class Trainer(RankingTrainer):
    """Trains one model and keeps what a run needs to go on or to be tested another day.

    Args:
        config: RecBole ``Config``; ``checkpoint_dir`` is the folder of the checkpoints.
        model: Any RecBole recommender. If it has a method ``named_losses(interaction)``, the
            losses are trained and recorded by those names.
        fingerprints: Hashes of the data and of the frozen features: a checkpoint is refused where
            they differ.
        on_epoch: Called after every epoch.
        meter: Measures what the run costs; its costs go on with the run.
    """

    optimizer: Any

    def __init__(
        self,
        config: Any,
        model: Any,
        *,
        fingerprints: Mapping[str, str] | None = None,
        on_epoch: Callable[[EpochRecord], None] | None = None,
        meter: CostMeter | None = None,
    ) -> None:
        self.optimizer: Any  # RecBole's constructor makes it
        folder = Path(config["checkpoint_dir"])
        is_first = distributed.is_first()
        try:
            if is_first:
                folder.mkdir(parents=True, exist_ok=True)
            distributed.barrier()  # RecBole would make the folder too, in all of them at once
            with compat.tensorboard_folder(folder.parent / "tensorboard", silent=not is_first):
                super().__init__(config, model)
        except OSError as error:
            raise WriteError(f"cannot write {folder.parent}: {error.strerror}") from error
        # One kernel over all parameters: unfused, starting a thousand small ones takes longer.
        if isinstance(self.optimizer, torch.optim.Adam):
            groups = [{**group, "fused": True} for group in self.optimizer.param_groups]
            self.optimizer = type(self.optimizer)(groups, fused=True)
        run_settings = read_settings(config, RunSettings)
        self.precision = Precision(
            self.device, enabled=self.enable_amp, dtype=run_settings.amp_dtype
        )
        self._step = TrainStep(
            model,
            self.optimizer,
            self.precision,
            self._named_losses,
            clip_grad_norm=self.clip_grad_norm,
        )
        self.fingerprints = dict(fingerprints or {})
        self.checkpoints = CheckpointFolder(
            folder,
            model=config["model"],
            fingerprints=self.fingerprints,
            settings=settings_to_meet(config.variable_config_dict),
        )
        self.saved_model_file = str(self.checkpoints.best)
        self.last_file = self.checkpoints.last
        self.history_file = folder.parent / "history.jsonl"
        self.on_epoch = on_epoch
        self._meter = meter
        self.history: list[EpochRecord] = []
        self._losses: dict[str, float] = {}
        self._valid_result: dict[str, float] = {}
        self._seconds = {"train": 0.0, "valid": 0.0}
        self._is_new_best = False
        self._loaders: list[Any] = []
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

        Raises:
            TrainingError: If a loss becomes non-finite.
            WriteError: If a file cannot be written.
        """
        self._loaders, self._user_callback = [train_data, valid_data], callback_fn
        if self.start_epoch and self.finished:
            write_history(self.history_file, self.history)
            return self.best_valid_score, self.best_valid_result
        try:
            return super().fit(
                train_data, valid_data, verbose, saved, show_progress, self._after_epoch
            )
        except OSError as error:  # of TensorBoard's writer
            where = error.filename or self.history_file.parent
            raise WriteError(f"cannot write {where}: {error.strerror or error}") from error

    def close(self) -> None:
        """Remove the bar, and end the TensorBoard writer, which RecBole leaves open."""
        self.step_bar.close()
        try:
            self.tensorboard.close()
        except OSError as error:
            _log.warning("TensorBoard's file is not complete: %s", error)

    def _train_epoch(
        self,
        train_data: Any,
        epoch_idx: int,
        loss_func: Callable[[Any], Any] | None = None,
        show_progress: bool = False,
    ) -> float:
        """Train one epoch; returns the sum of the losses over the steps, as RecBole does."""
        began = time.perf_counter()
        seed_epoch(self.config["seed"], epoch_idx)
        self.model.train()
        totals: dict[str, Tensor] = {}
        steps = 0
        batches = self.step_bar.over(train_data, f"epoch {epoch_idx + 1}", shown=show_progress)
        for steps, interaction in enumerate(batches, start=1):
            batch = send_batch(interaction, self.device)
            n_rows = rows_of_step(train_data, steps)
            losses, finite = self._step.find_gradients(batch, loss_func, n_rows)
            if not finite:
                moment = f"epoch {epoch_idx + 1}, step {steps}"
                self._step.refuse(losses, moment, batch, loss_func, train_data._dataset)
            self._step.move_weights()
            for name, value in losses.items():
                totals[name] = totals.get(name, 0) + value.detach()
        refuse_state(self.model, self.optimizer, f"epoch {epoch_idx + 1}")
        totals = {name: distributed.mean_over_processes(total) for name, total in totals.items()}
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
        with distributed.failing_together():
            if distributed.is_first():
                self._keep(epoch_idx)
        if distributed.is_first() and self.on_epoch is not None:
            self.on_epoch(record)
        self._is_new_best = False
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
            "epoch": epoch_idx,
            "state_dict": self.model.state_dict(),
            "other_parameter": others,
        }

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:  # noqa: ARG002
        """Called by RecBole for a new best epoch; ``_keep`` writes it, after ``last.pt``."""
        if self._loaders[1] is None and distributed.is_first():  # then every epoch is the best
            self.checkpoints.write_best(self._scoring_state(epoch))
        self._is_new_best = True

    def _keep(self, epoch_idx: int) -> None:
        """Write what an epoch leaves, in an order that a kill at any moment leaves usable."""
        scoring = self._scoring_state(epoch_idx)
        self.checkpoints.write_last({**scoring, **self._state_to_go_on()})
        if self._is_new_best:
            self.checkpoints.write_best(scoring)
        write_history(self.history_file, self.history)

    def _state_to_go_on(self) -> dict[str, Any]:
        """Everything besides the weights that the next epoch depends on."""
        best = self.best_valid_result or {}
        return {
            "optimizer": self.optimizer.state_dict(),
            "precision": self.precision.state_dict(),
            "cur_step": self.cur_step,
            "best_valid_score": float(self.best_valid_score),
            "best_valid_result": {name: float(value) for name, value in best.items()},
            "history": [dataclasses.asdict(record) for record in self.history],
            "costs": None if self._meter is None else dataclasses.asdict(self._meter.costs()),
            "random_states": random_states(),
            "loader_states": [loader.generator.get_state() for loader in self._loaders],
        }

    def resume(self, train_data: Any, valid_data: Any) -> bool:
        """Go back to the end of the last finished epoch.

        Args:
            train_data: The training loader; the order of its batches goes on as well.
            valid_data: The validation loader; its random numbers go on as well.

        Returns:
            False if there is no checkpoint yet.

        Raises:
            CheckpointError: If no checkpoint is good to go on from, with the reasons.
            WriteError: If a file that the end of the run has cut cannot be written again.
        """
        with distributed.first_process_first(
            "checkpoints"
        ):  # it may put one in the place of another
            state = self.checkpoints.read_last(self.device)
        if state is None:
            return False
        set_weights(self.model, state, self.last_file)
        with refusing_damage(self.last_file):
            self.optimizer.load_state_dict(state["optimizer"])
            self.precision.load_state_dict(state.get("precision", {}))
            self.start_epoch = state["epoch"] + 1
            self.cur_step = state["cur_step"]
            self.best_valid_score = state["best_valid_score"]
            self.best_valid_result = state["best_valid_result"]
            self.history = [EpochRecord(**record) for record in state["history"]]
            if self._meter is not None:
                self._meter.go_on_from(state.get("costs"), self.history)
            self.train_loss_dict = {record.epoch - 1: record.loss for record in self.history}
            loaders = zip((train_data, valid_data), state["loader_states"], strict=True)
            for loader, loader_state in loaders:
                loader.generator.set_state(loader_state.cpu())
            if distributed.world_size() == 1:  # several processes draw theirs for each epoch
                set_random_states(state["random_states"])
        if distributed.is_first():
            self.checkpoints.mend_best(state, self.best_epoch - 1)
            write_history(self.history_file, self.history)
        return True

    def _load(self, path: Path) -> dict[str, Any]:
        """Read a checkpoint, refuse a foreign one, and set the model to it."""
        state = self.checkpoints.read(path, self.device)
        set_weights(self.model, state, path)
        return state

    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> Any:
        """Metrics of a split by name, as :meth:`RankingTrainer.measure` gives them."""
        if load_best_model:
            self._load(Path(model_file or self.saved_model_file))
        return self.measure(eval_data, show_progress=show_progress)

    def load_best(self) -> None:
        """Set the model to the best epoch so far.

        Raises:
            CheckpointError: If ``best.pt`` is damaged, of another run, or of another epoch.
        """
        distributed.barrier()  # until the first process has written it
        state = self._load(self.checkpoints.best)
        if self.history and state["epoch"] + 1 != self.best_epoch:
            raise CheckpointError(
                f"the checkpoint {self.checkpoints.best} must be of the best epoch, "
                f"{self.best_epoch}, got epoch {state['epoch'] + 1}; train anew"
            )
