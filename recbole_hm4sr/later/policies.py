"""What a run may do with each week that has passed: nothing, refresh, update, train again."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_hm4sr.base.errors import CheckpointError
from recbole_hm4sr.data.later import known_before
from recbole_hm4sr.later.choosing import leaves_a_choice
from recbole_hm4sr.later.learning import Known, Learner
from recbole_hm4sr.later.options import POLICIES, Recipe
from recbole_hm4sr.train.carry_over import TableRows
from recbole_hm4sr.train.checkpoint import read_checkpoint
from recbole_hm4sr.train.checkpoint_file import write_checkpoint

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Weeks:
    """The time that is played, cut into pieces.

    Attributes:
        starts: The moment at which each begins, and the end of the last. Shape ``[W + 1]``, int64.
        trained_until: The moment before which the run's training, and its memory, may look.
        dataset: All interactions, built.
    """

    starts: Array
    trained_until: int
    dataset: Any
    _kept: dict[int, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def before(self, week: int) -> Any:
        """All that is known when a week begins."""
        if week not in self._kept:  # policies share what is made of it
            moment = int(self.starts[week])
            self._kept.clear()
            self._kept[week] = known_before(self.dataset, moment, ends_before=moment)
        return self._kept[week]

    def learned_before(self, week: int, part: Any) -> Array:
        """Positions, in that split, of the targets that a step before a week is to learn.

        They are those of the week before, or of the time between the training and the first week.
        """
        begin = self.starts[week - 1] if week else self.trained_until
        targets = part.log.targets()
        return targets[part.log.times[targets] >= begin]


@dataclass
class Policy:
    """A model that is judged week after week.

    Attributes:
        name: One of :data:`~recbole_hm4sr.later.options.POLICIES`.
        learner: Builds it.
        weeks: What is played.
        known: What it knows; None for a model that is fitted once.
        advance: What it does before a week, from what it knows to what it then knows.
        reached: The last week before which it has learned; -1 for none.
        path: Where what it knows is kept from week to week; None to keep nothing.
    """

    name: str
    learner: Learner
    weeks: Weeks
    known: Known | None
    advance: Callable[[int, Known | None], Known | None]
    reached: int = -1
    path: Path | None = None

    @property
    def is_frozen(self) -> bool:
        """Whether it, and its memory, stay as training has left them."""
        return self.name == "frozen"

    def learn(self, week: int) -> float:
        """Learn what is to be learned before a week; returns the seconds.

        Raises:
            WriteError: If what it knows cannot be kept.
        """
        began = time.perf_counter()
        while self.reached < week:
            self.known = self.advance(self.reached + 1, self.known)
            self.reached += 1
        seconds = time.perf_counter() - began
        if self.path is not None and self.known is not None:
            _keep(self.path, self.known, self.reached)
        return seconds

    def take_up(self, week: int) -> None:
        """Begin again at a week, where a replay was stopped, or before if nothing was kept."""
        if self.path is None:  # what it knows does not depend on the week before
            self.reached = week - 1
            return
        if not self.path.is_file():
            return
        try:
            known, reached = _read(self.path)
        except (CheckpointError, LookupError, TypeError):  # it is learned again
            return
        if reached <= week:
            self.known, self.reached = known, reached


def make_policy(
    name: str,
    learner: Learner,
    weeks: Weeks,
    known: Known | None,
    *,
    recipe: Recipe,
    n_epochs: int,
    kept_as: Path,
) -> Policy:
    """The policy of a name.

    Args:
        name: One of :data:`~recbole_hm4sr.later.options.POLICIES`.
        learner: Builds the model.
        weeks: What is played.
        known: What the run's training has left; None for a model that is fitted once.
        recipe: How an update learns.
        n_epochs: How long a training from the start lasts.
        kept_as: Where what a model knows is kept whose next step depends on it.
    """

    def update(week: int, before: Known | None) -> Known | None:
        part = weeks.before(week)
        new = weeks.learned_before(week, part)
        return Known.of(learner.step(part, before, new, recipe=recipe, number=week), part)

    def retrain(week: int, before: Known | None) -> Known | None:
        part = weeks.before(week)
        chosen = learner.choose(part, before, weeks.learned_before(week, part))
        return Known.of(learner.train(part, n_epochs=n_epochs, chosen=chosen), part)

    def nothing(_: int, before: Known | None) -> Known | None:
        return before

    chooses = leaves_a_choice(learner.plan)
    advances = {"frozen": nothing, "refreshed": nothing, "updated": update, "retrained": retrain}
    # What is chosen before a week is chosen by the model of the week before.
    path = kept_as if name == "updated" or (name == "retrained" and chooses) else None
    return Policy(name, learner, weeks, known, advances[name], path=path)


def policies_of(learner: Learner) -> tuple[str, ...]:
    """The policies that differ for a run's model, in their order."""
    if learner.is_fitted_once:
        return ("frozen", "refreshed")
    has_memory = learner.plan.values.get("memory", "none") == "events"
    return POLICIES if has_memory else tuple(it for it in POLICIES if it != "refreshed")


def _keep(path: Path, known: Known, reached: int) -> None:
    rows = known.rows
    state = {
        "weights": dict(known.weights),
        "n_users": rows.n_users,
        "n_items": rows.n_items,
        "keys": {name: keys.tolist() for name, keys in rows.keys.items()},
        "reached": reached,
    }
    write_checkpoint(path, state)


def _read(path: Path) -> tuple[Known, int]:
    state = read_checkpoint(path)
    weights: dict[str, torch.Tensor] = state["weights"]
    keys = {name: np.array(values) for name, values in state["keys"].items()}
    return Known(weights, TableRows(state["n_users"], state["n_items"], keys)), state["reached"]
