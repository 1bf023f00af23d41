"""One step of learning: a model, a log, and which of its interactions are new.

Everything that learns after training comes through :meth:`Learner.step`: an update of a served run,
and each week of a replay.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from recbole_hm4sr.data.later import with_targets
from recbole_hm4sr.data.loaders import make_train_loader
from recbole_hm4sr.data.times import PER_SECOND
from recbole_hm4sr.data.vocabulary import Vocabulary
from recbole_hm4sr.later.choosing import (
    before_targets,
    choose_again,
    leaves_a_choice,
    newest_targets,
)
from recbole_hm4sr.later.options import Recipe
from recbole_hm4sr.model.capabilities import row_keys
from recbole_hm4sr.run.parts import arrange_batches, build_model
from recbole_hm4sr.run.plan import RunPlan
from recbole_hm4sr.train.carry_over import TableRows, carry_over
from recbole_hm4sr.train.checkpoint import read_checkpoint, renamed
from recbole_hm4sr.train.epoch_trainer import EpochTrainer
from recbole_hm4sr.train.new_item_rows import NewItemRows

_log = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
_OF_VIEWS = ("dense_weight.values", "dense_weight.is_chosen")


@dataclass(frozen=True)
class Known:
    """What a model knows, apart from its data.

    Attributes:
        weights: By name, on the CPU.
        rows: What the rows of its tables stand for.
    """

    weights: Mapping[str, Tensor]
    rows: TableRows

    @classmethod
    def of(cls, model: Any, part: Any) -> "Known":
        """What a model that was built on a split knows now."""
        weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        return cls(weights, TableRows.of(model, part))

    @classmethod
    def read(
        cls,
        checkpoint: Path,
        vocabulary: Vocabulary,
        *,
        views: Sequence[str] = (),
        view: str | None = None,
        label: str = "none",
    ) -> "Known":
        """What a run knows.

        Args:
            checkpoint: Of the run.
            vocabulary: Of the run.
            views: In which the run was measured; empty for a model that has none.
            view: The one view whose weight of the dense part is taken; empty for the first, None
                for all as they are.
            label: What the model that takes it calls its one view.

        Raises:
            CheckpointError: If it cannot be read.
        """
        keys = dict(vocabulary.row_keys)
        if views and view is not None:
            wanted = view if view in views else views[0]
            relabelled = np.array([label if name == wanted else f"not {name}" for name in views])
            keys |= dict.fromkeys(_OF_VIEWS, relabelled)
        rows = TableRows(len(vocabulary.users), len(vocabulary.items), keys)
        return cls(renamed(read_checkpoint(checkpoint)["state_dict"]), rows)

    def with_choice_of(self, model: Any) -> "Known":
        """The same, with what a model has chosen."""
        own, keys = model.state_dict(), row_keys(model)
        weights = {name: own[name].detach().cpu().clone() for name in _OF_VIEWS}
        kept = {**self.rows.keys, **{name: keys[name] for name in _OF_VIEWS}}
        return Known({**self.weights, **weights}, replace(self.rows, keys=kept))

    def give_choice_to(self, model: Any) -> None:
        """Give a model what was chosen, where there is a choice, by the names of its views."""
        own, views = model.state_dict(), row_keys(model)
        for name in set(_OF_VIEWS) & own.keys() & self.weights.keys():
            known = self.rows.keys.get(name, views[name]).tolist()
            for number, view in enumerate(views[name].tolist()):
                if view in known:
                    own[name][number] = self.weights[name][known.index(view)]


class Learner:
    """Builds the model of a run on data of any moment, and lets it learn.

    Args:
        plan: Of :func:`~recbole_hm4sr.later.reading.plan_of_later`.
        config: The same for RecBole.
    """

    def __init__(self, plan: RunPlan, config: Any) -> None:
        self.plan, self.config = plan, config
        self.is_fitted_once = plan.entry.is_fitted_once
        self._named: set[str] = set()

    def open(self, part: Any, known: Known | None, *, begins: bool = False) -> Any:
        """The model on a split, with what is known; one that is fitted once is fitted to it.

        Args:
            part: Of :func:`~recbole_hm4sr.data.later.known_before`.
            known: Weights that it takes over; None for initial ones.
            begins: Whether it is to learn, so that rows of new items begin where it helps.
        """
        model = build_model(self.plan, self.config, part)
        if self.is_fitted_once:
            model.fit(part)
        elif known is not None:
            begin = NewItemRows.of(model, part, known.rows.n_items) if begins else None
            now = TableRows.of(model, part)
            fresh = carry_over(model, known.weights, known.rows, now, begin=begin)
            for name in sorted(set(fresh) - self._named):
                _log.warning("%s has no partner in what the run knows and starts fresh", name)
            self._named |= set(fresh)
        model.eval()
        return model

    def step(
        self,
        part: Any,
        known: Known | None,
        new: Array,
        *,
        recipe: Recipe,
        number: int,
        chooses: bool = True,
    ) -> Any:
        """Let the model learn new interactions, mixed with old ones; returns it.

        The state of the optimizer begins fresh. What validation chose is chosen again first.

        Args:
            part: Of :func:`~recbole_hm4sr.data.later.known_before`: all that may be known.
            known: What is known before.
            new: Positions of the new targets in the log. Shape ``[S]``, int64, rising.
            recipe: How it learns.
            number: Of the step: each draws old interactions and dropout of its own.
            chooses: Whether what validation chose is chosen again; not by what it was chosen by.
        """
        known = self.choose(part, known, new) if chooses else known
        model = self.open(part, known, begins=True)
        if len(new) and not self.is_fitted_once:
            trainer = self._trainer(model)
            for turn in range(recipe.passes):
                seed = [self.config["seed"], number, turn]
                mixed = mix(part, new, share=recipe.replay, seed=seed)
                self._pass(trainer, part, mixed, number * recipe.passes + turn)
        model.eval()
        return model

    def choose(self, part: Any, known: Known | None, new: Array) -> Known | None:
        """What is known, with what validation leaves to be chosen chosen by the newest targets.

        It is ranked by what is known, with a memory that ends where they begin. Where none is later
        than all that was learned, or nothing is left to be chosen, it is known as it was.

        Args:
            part: As :meth:`step` takes it.
            known: What is known before.
            new: As :meth:`step` takes it.
        """
        if known is None or not (len(new) and leaves_a_choice(self.plan)):
            return known
        arguments, data = self.plan.values["eval_args"], self.plan.data
        choice = "visits" if arguments.get("targets") == "visits" else "all"
        gap = int(data.same_visit_gap * PER_SECOND[data.timestamp_unit])
        targets, begin = newest_targets(part, new, choice=choice, gap=gap)
        if not len(targets):
            return known
        earlier = before_targets(part, begin)
        model = self.open(earlier, known)
        choose_again(model, self.config, self.plan, earlier, targets)
        return known.with_choice_of(model)

    def train(self, part: Any, *, n_epochs: int, chosen: Known | None = None) -> Any:
        """Train a model from the start on all that may be known; returns it.

        Args:
            part: As :meth:`step` takes it.
            n_epochs: How many epochs; nothing is validated.
            chosen: Of :meth:`choose`: it takes what was chosen, and nothing else.
        """
        model = self.open(part, None)
        if chosen is not None:
            chosen.give_choice_to(model)
        if not self.is_fitted_once:
            trainer, targets = self._trainer(model), part.inter_feat.targets.numpy()
            for epoch in range(n_epochs):
                self._pass(trainer, part, targets, epoch)
        model.eval()
        return model

    def _trainer(self, model: Any) -> EpochTrainer:
        return EpochTrainer(self.config, model, amp_dtype=self.plan.run.amp_dtype)

    def _pass(self, trainer: EpochTrainer, part: Any, targets: Array, number: int) -> None:
        loader = make_train_loader(self.config, part, with_targets(part, targets))
        loader.generator.manual_seed(self.config["seed"] + number)
        arrange_batches(trainer.model, loader)
        trainer.train_epoch(loader, number)


def mix(part: Any, new: Array, *, share: float, seed: list[int]) -> Array:
    """New targets and as many old ones as a share says, drawn without repeats.

    Args:
        part: Its training targets are the old ones, but for the new.
        new: Positions of the new targets. Shape ``[S]``, int64.
        share: Old targets for each new one.
        seed: Of the draw.

    Returns:
        Positions, rising. Int64.
    """
    old = np.setdiff1d(part.inter_feat.targets.numpy(), new, assume_unique=True)
    n_drawn = min(len(old), round(share * len(new)))
    drawn = np.random.default_rng(seed).choice(old, n_drawn, replace=False)
    return np.sort(np.concatenate([new, drawn]))
