"""Choose again what training cannot tell: how much the dense part counts beside a memory.

Training chose it on validation, before the newest interactions came. A dense part that learns every
week is younger than that, so each step chooses anew: on the newest interactions, ranked before they
are learned from, by a memory that ends where they begin.
"""

from typing import Any

import numpy as np

from recbole_hm4sr.data.later import known_before, with_targets
from recbole_hm4sr.data.loaders import make_ranking_loader, make_train_loader
from recbole_hm4sr.data.log import InteractionLog
from recbole_hm4sr.evaluate.evaluator import Evaluator
from recbole_hm4sr.model.capabilities import views
from recbole_hm4sr.run.parts import arrange_batches
from recbole_hm4sr.run.plan import RunPlan

Array = np.ndarray[Any, Any]
# As many tell two weights apart; evenly between the first and the last.
_MOST = 4096


def leaves_a_choice(plan: RunPlan) -> bool:
    """Whether a run's model chooses on validation."""
    values = plan.values
    return values.get("memory", "none") == "events" and len(values["dense_weights"]) > 1


def newest_targets(part: Any, new: Array, *, choice: str, gap: int) -> tuple[Array, int]:
    """The new targets that are later than all that was learned before, and where they begin.

    Args:
        part: With them among its training targets.
        new: Positions in its log. Shape ``[S]``, int64.
        choice: As :func:`choose_targets` takes it.
        gap: The longest time between two interactions of one visit.

    Returns:
        Positions, rising, int64; and a moment before them.
    """
    times, old = part.log.times, np.setdiff1d(part.inter_feat.targets.numpy(), new)
    begin = int(times[old].max()) + 1 if len(old) else int(times.min())
    inside = np.zeros(len(times), dtype=bool)
    inside[new[times[new] >= begin]] = True
    found = choose_targets(part.log, inside, choice, gap=gap)
    if len(found) > _MOST:
        found = found[np.linspace(0, len(found) - 1, _MOST).astype(np.int64)]
    return found, begin


def choose_again(model: Any, config: Any, plan: RunPlan, part: Any, targets: Array) -> None:
    """Let a model choose, in each of its views, by targets that it has not learned from.

    Args:
        model: Built on the split; what it chooses is kept in it.
        config: RecBole ``Config``.
        plan: Of the run.
        part: Ends before the targets.
        targets: Positions in its log; at least one. Shape ``[S]``, int64.
    """
    loader, evaluator = ranking_of(model, config, plan, part, targets)
    evaluator.validate(loader, views(model))


def ranking_of(
    model: Any,
    config: Any,
    plan: RunPlan,
    part: Any,
    targets: Array,
    candidates: Array | None = None,
) -> tuple[Any, Evaluator]:
    """What ranks targets; see :func:`choose_again`.

    Args:
        model: As there.
        config: As there.
        plan: As there.
        part: As there.
        targets: As there.
        candidates: Which items they are ranked among, shape ``[I]``, bool; None for all.
    """
    loader = make_ranking_loader(config, with_targets(part, targets))
    arrange_batches(model, None, loader)
    train = make_train_loader(config, part, part)
    rank_history = plan.run.rank_history
    return loader, Evaluator(config, model, train, rank_history=rank_history, candidates=candidates)


def before_targets(part: Any, moment: int) -> Any:
    """A split as it is, that may be learned from, and remembered, before an earlier moment."""
    return known_before(part, None, ends_before=moment)


def choose_targets(log: InteractionLog, inside: Array, choice: str, *, gap: int) -> Array:
    """Which interactions are judged: those that have a history before them.

    Args:
        log: All interactions.
        inside: Those of the weeks. Shape ``[N]``, bool.
        choice: One of :data:`~recbole_hm4sr.later.options.CHOICES`.
        gap: The longest time between two interactions of one visit.

    Returns:
        Positions, rising. Int64.
    """
    has_history = np.arange(len(log)) > log.starts
    chosen = inside & has_history
    if choice == "visits":
        chosen &= np.diff(log.times, prepend=log.times[:1]) > gap
    return np.flatnonzero(chosen)
