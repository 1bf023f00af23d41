"""Trains one model: its epochs, named losses, exact resumption, checkpoints that hold no code.

RecBole's ``early_stopping`` says which epoch is the best and when training ends. A model that is
measured in several views (``model/capabilities.py``) is validated in each, each has a best epoch of
its own, and training ends when none gets better any more. An epoch leaves:

* ``checkpoint/``: the best epochs, and what the run can resume from (``checkpoint_folder.py``);
* ``history.jsonl``: one line per epoch;
* ``tensorboard/``: curves (``event_log.py``).

Frozen features are in no checkpoint; their fingerprint is.
"""

import contextlib
import dataclasses
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import torch

from recbole_hm4sr.base.errors import CheckpointError, WriteError
from recbole_hm4sr.config.settings import RunSettings, read_settings
from recbole_hm4sr.evaluate.evaluator import Evaluator
from recbole_hm4sr.evaluate.step_bar import StepBar
from recbole_hm4sr.model.capabilities import View, views
from recbole_hm4sr.parallel import processes
from recbole_hm4sr.parallel.shards import shards_of
from recbole_hm4sr.train.best_epochs import BestEpochs
from recbole_hm4sr.train.checkpoint import random_states, set_random_states, set_weights
from recbole_hm4sr.train.checkpoint_file import refusing_damage
from recbole_hm4sr.train.costs import CostMeter, Costs
from recbole_hm4sr.train.epoch_trainer import EpochTrainer
from recbole_hm4sr.train.epochs import EpochRecord, Validation, write_epochs
from recbole_hm4sr.train.files import TrainingFiles
from recbole_hm4sr.train.row_files import RowReader, without_rows, write_rows
from recbole_hm4sr.train.schedule import LearningRates
from recbole_hm4sr.train.weight_average import WeightAverage

# Why training has ended.
Ending: TypeAlias = Literal["validation", "epochs", "budget"]


class Trainer(EpochTrainer):
    """Trains one model and keeps what a run needs to resume or to be tested another day.

    Args:
        config: RecBole ``Config``.
        model: Any RecBole recommender. Methods that it may have: ``named_losses(interaction)``,
            whose losses are trained and recorded by those names; ``begin_epoch(epoch, data)``,
            called before the first step of each epoch, counted from 1, with the training split;
            ``parameter_groups()`` (:func:`~recbole_hm4sr.train.optimizer.build_optimizer`);
            ``views()`` (:func:`~recbole_hm4sr.model.capabilities.views`).
        evaluator: Of the same model.
        files: What is written; by the first process alone.
        amp_dtype: What ``enable_amp`` computes in.
        step_bar: Counts the steps of an epoch.
        on_epoch: Called in the first process after every epoch.
        meter: Measures what the run costs, and ends it when its budget is spent; its costs are
            resumed with the run.

    Attributes:
        epochs: The finished epochs that were validated.
        max_epochs: How many epochs are trained at most.
        start_epoch: How many epochs were finished when the run was resumed.
        views: What the model is measured in; the first one's best epoch is the run's.
        bests: The best epoch of each so far.
        average: The moving average of the weights that is measured and kept (``ema_decay``); None
            where the weights themselves are.
    """

    def __init__(
        self,
        config: Any,
        model: Any,
        evaluator: Evaluator,
        *,
        files: TrainingFiles,
        amp_dtype: Any = "bfloat16",
        step_bar: StepBar | None = None,
        on_epoch: Callable[[EpochRecord], None] | None = None,
        meter: CostMeter | None = None,
    ) -> None:
        self.max_epochs: int = config["epochs"]
        self.average: WeightAverage | None = None
        self._last_epoch_of_rates: int | None = None
        self._settings = read_settings(config, RunSettings)
        super().__init__(config, model, amp_dtype=amp_dtype, step_bar=step_bar)
        self.evaluator = evaluator
        self.files = files
        self.start_epoch = self._n_finished = 0
        self.epochs: list[EpochRecord] = []
        self.views = views(model)
        self.bests = BestEpochs(config, [view.name for view in self.views])
        self._on_epoch = on_epoch
        self._meter = meter

    def _prepare_steps(self, amp_dtype: Any) -> None:
        """Besides optimizer and precision the schedule of the rates and the average."""
        super()._prepare_steps(amp_dtype)
        self._learning_rates = LearningRates(self.optimizer, self._settings)
        self._last_epoch_of_rates = self._learning_rates.last_epoch
        self.max_epochs = min(self.max_epochs, self._last_epoch_of_rates or self.max_epochs)
        if self._settings.ema_decay:
            self.average = WeightAverage(self.model, self._settings.ema_decay)

    def _begin_step(self, number: int, n_steps: int) -> None:
        self._learning_rates.set(number, n_steps)

    def _end_step(self) -> None:
        if self.average is not None:
            self.average.update()

    def _measured_weights(self) -> contextlib.AbstractContextManager[None]:
        """A context in which the model has the weights that are measured and kept."""
        return contextlib.nullcontext() if self.average is None else self.average.in_model()

    @property
    def finished(self) -> bool:
        """Whether training has ended: see :attr:`ended_by`."""
        return self.ended_by is not None

    @property
    def ended_by(self) -> Ending | None:
        """Why no further epoch is trained: none is better, all are done, or no time is left."""
        if self.bests.are_over:
            return "validation"
        if self._n_finished >= self.max_epochs:
            return "epochs"
        is_spent = self._meter is not None and self._meter.is_spent
        return "budget" if processes.broadcast_object(is_spent) else None

    def best_epoch(self, view: View | None = None) -> int:
        """Number of the best epoch so far of a view, from 1; 0 before the first.

        Args:
            view: One of :attr:`views`; None for the first.
        """
        return max(
            (record.epoch for record in self.epochs if self._found_in(record, view).is_best),
            default=0,
        )

    def _found_in(self, record: EpochRecord, view: View | None) -> EpochRecord | Validation:
        """What an epoch's validation has found in a view."""
        return record if self._file_of(view) == "" else record.views[self._file_of(view)]

    def _file_of(self, view: View | None) -> str:
        """What tells the files of a view from the run's, which are those of the first."""
        return "" if view is None or view.name == self.views[0].name else view.name

    def costs(self) -> Costs:
        """What the run has cost up to now; nothing without a meter."""
        return Costs() if self._meter is None else self._meter.costs()

    def fit(self, train_data: Any, valid_data: Any) -> None:
        """Train until the last epoch or until validation has not improved for ``stopping_step``.

        A resumed run continues after its last finished epoch.

        Args:
            train_data: The training loader.
            valid_data: The validation loader; read every ``eval_step`` epochs from ``eval_from``
                on, and after the last epoch of a schedule that falls.

        Raises:
            TrainingError: If a loss becomes non-finite.
            WriteError: If a file cannot be written.
        """
        if self.start_epoch and self.finished:
            return
        try:
            self._train_epochs(train_data, valid_data)
        except OSError as error:  # of TensorBoard's writer
            where = error.filename or self.files.epochs.parent
            raise WriteError(f"cannot write {where}: {error.strerror or error}") from error

    def _train_epochs(self, train_data: Any, valid_data: Any) -> None:
        if (self.config["train_neg_sample_args"] or {}).get("dynamic", False):
            train_data.get_model(self.model)  # RecBole's loader asks it for hard negatives
        for epoch in range(self.start_epoch, self.max_epochs):
            began = time.perf_counter()
            losses = self.train_epoch(train_data, epoch)
            train_seconds = time.perf_counter() - began
            self._n_finished = epoch + 1
            log, rates = self.files.events, self._rates()
            log.trained(epoch + 1, losses, train_seconds, rates=rates, costs=self.costs())
            if not self._is_validated(epoch + 1):
                continue
            with self._measured_weights():
                record = self._validate(valid_data, epoch, losses, train_seconds)
                log.validated(record)
                self._end_epoch(record, (train_data, valid_data))
            if self.finished:
                break

    def _is_validated(self, epoch: int) -> bool:
        step = min(self.config["eval_step"], self.max_epochs)
        first = min(self._settings.eval_from or step, self.max_epochs)
        is_next = epoch >= first and (epoch - first) % step == 0
        return is_next or epoch == self._last_epoch_of_rates

    def _validate(
        self, valid_data: Any, epoch: int, losses: dict[str, float], train_seconds: float
    ) -> EpochRecord:
        """Measure and judge an epoch in every view."""
        began = time.perf_counter()
        found = {
            name: self.bests[name].judge(metrics)
            for name, metrics in self.evaluator.validate(valid_data, self.views).items()
        }
        first = found.pop(self.views[0].name)
        costs = self.costs()
        return EpochRecord(
            epoch=epoch + 1,
            loss=sum(losses.values()),
            losses=losses,
            **vars(first),
            train_seconds=train_seconds,
            valid_seconds=time.perf_counter() - began,
            views=found,
            run_seconds=costs.seconds,
            cpu_seconds=costs.cpu_seconds,
        )

    def _end_epoch(self, record: EpochRecord, loaders: tuple[Any, Any]) -> None:
        """Keep an epoch, and tell of it."""
        self.epochs.append(record)
        state = {**self.scoring_state(record.epoch - 1), **self._state_to_resume(loaders)}
        reader = self._row_reader()
        if reader is not None:
            token = processes.broadcast_object(f"{record.epoch}-{secrets.token_hex(4)}")
            with processes.failing_together():
                write_rows(self.files.checkpoints.folder, state, reader, token)
            state = without_rows(state, reader, token)
        with processes.failing_together():
            if processes.is_first():
                self._keep(record, state)
        if processes.is_first() and self._on_epoch is not None:
            self._on_epoch(record)

    def _keep(self, record: EpochRecord, state: Mapping[str, Any]) -> None:
        """Write what an epoch leaves, in an order that a kill at any moment leaves usable."""
        checkpoints = self.files.checkpoints
        checkpoints.write_last(state)
        for view in self.views:
            if self._found_in(record, view).is_best:
                checkpoints.write_best(state, self._file_of(view))
        write_epochs(self.files.epochs, self.epochs)
        checkpoints.remove_rows()

    def _row_reader(self) -> RowReader | None:
        """Which rows of a checkpoint this process wants; None for all."""
        is_split = shards_of(self.model) is not None
        return RowReader.of(self.model, self.optimizer) if is_split else None

    def scoring_state(self, epoch: int) -> dict[str, Any]:
        """Everything that changes the scores, as ``best.pt`` holds it.

        Args:
            epoch: From 0.
        """
        # Some models of RecBole (FDSA) name a layer here, whose weights are in the state already.
        others = {
            name: value
            for name, value in (self.model.other_parameter() or {}).items()
            if not isinstance(value, torch.nn.Module)
        }
        return {
            "epoch": epoch,
            "state_dict": self.model.state_dict(),
            "other_parameter": others,
        }

    def _state_to_resume(self, loaders: tuple[Any, Any]) -> dict[str, Any]:
        """Everything besides the weights that the next epoch depends on."""
        return {
            **self._state_of_steps(),
            **self.bests.state(),
            "history": [record.to_plain() for record in self.epochs],
            "costs": None if self._meter is None else dataclasses.asdict(self.costs()),
            "random_states": random_states(),
            "loader_states": [loader.generator.get_state() for loader in loaders],
        }

    def _state_of_steps(self) -> dict[str, Any]:
        """What the next step depends on besides the weights."""
        average = {} if self.average is None else {"average": self.average.state_dict()}
        return {
            "optimizer": self.optimizer.state_dict(),
            "precision": self.precision.state_dict(),
            **average,
        }

    def _rates(self) -> list[float]:
        """The learning rate of each group of weights."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def _set_state_of_steps(self, state: Mapping[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.precision.load_state_dict(state.get("precision", {}))
        if self.average is not None:
            self.average.load_state_dict(state["average"])

    def resume(self, train_data: Any, valid_data: Any) -> bool:
        """Go back to the end of the last finished epoch.

        Args:
            train_data: The training loader; the order of its batches is resumed as well.
            valid_data: The validation loader; its random numbers are resumed as well.

        Returns:
            False if there is no checkpoint yet.

        Raises:
            CheckpointError: If no checkpoint is good to resume from, with the reasons.
            WriteError: If a file that the end of the run has cut cannot be written again.
        """
        checkpoints = self.files.checkpoints
        # The first process may replace a damaged file, which the others then read.
        with processes.first_process_first("checkpoints"):
            state = checkpoints.read_last(self.device, self._row_reader())
        if state is None:
            return False
        set_weights(self.model, state, checkpoints.last)
        with refusing_damage(checkpoints.last):
            self._set_state(state, (train_data, valid_data))
        if processes.is_first():
            for view in self.views:
                best = self.best_epoch(view) - 1
                checkpoints.mend_best(state["epoch"], best, self._file_of(view))
            write_epochs(self.files.epochs, self.epochs)
        return True

    def _set_state(self, state: dict[str, Any], loaders: tuple[Any, Any]) -> None:
        self._set_state_of_steps(state)
        self.start_epoch = self._n_finished = state["epoch"] + 1
        self.bests.set_state(state)
        self.epochs = [EpochRecord.of_plain(record) for record in state["history"]]
        if self._meter is not None:
            self._meter.resume_from(state.get("costs"), self.epochs)
        for loader, loader_state in zip(loaders, state["loader_states"], strict=True):
            loader.generator.set_state(loader_state.cpu())
        if processes.world_size() == 1:  # several processes draw theirs for each epoch
            set_random_states(state["random_states"])

    def load_best(self, view: View | None = None) -> int:
        """Set the model to the best epoch so far of a view.

        Args:
            view: One of :attr:`views`; None for the first.

        Returns:
            The epoch's number, from 1.

        Raises:
            CheckpointError: If ``best.pt`` is damaged, of another run, or of another epoch.
        """
        processes.barrier()  # until the first process has written it
        path = self.files.checkpoints.best_of(self._file_of(view))
        state = self.files.checkpoints.read(path, self.device, self._row_reader())
        set_weights(self.model, state, path)
        epoch, best_epoch = int(state["epoch"]) + 1, self.best_epoch(view)
        if self.epochs and epoch != best_epoch:
            raise CheckpointError(
                f"the checkpoint {path} must be of the best epoch, {best_epoch}, got epoch "
                f"{epoch}; train anew"
            )
        return epoch

    def make_whole(self) -> None:
        """Let this process, the last one of several that shared the items, hold all of them.

        The model is at its best epoch, to score; the checkpoints are those of one process.

        Raises:
            CheckpointError: If a checkpoint cannot be read.
            WriteError: If one cannot be written.
        """
        if shards_of(self.model) is None:
            return
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()
        self.model.make_whole()
        self.files.checkpoints.make_whole()
        self.load_best()

    def close(self) -> None:
        """Remove the bar of a loop that has ended early, and end what the curves go to."""
        self._step_bar.close()
        self.files.events.close()
