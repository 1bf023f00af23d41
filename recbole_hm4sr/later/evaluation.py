"""Judge a run on interactions that came after it, as it would have been asked."""

import dataclasses
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from recbole_hm4sr.base.errors import DataError, UserError
from recbole_hm4sr.data.added_items import AddedItems
from recbole_hm4sr.data.later import known_before, with_targets
from recbole_hm4sr.data.loaders import make_ranking_loader
from recbole_hm4sr.data.times import grain_of
from recbole_hm4sr.data.vocabulary import Vocabulary
from recbole_hm4sr.evaluate.lists import feature_directions, list_metrics, top_lists
from recbole_hm4sr.evaluate.ranks import Ranks
from recbole_hm4sr.later.choosing import choose_targets
from recbole_hm4sr.later.drift import Drift, measure_drift
from recbole_hm4sr.later.judging import Judged, judge
from recbole_hm4sr.later.learning import Known, Learner
from recbole_hm4sr.later.options import CHOICES, require_choice
from recbole_hm4sr.later.reading import (
    open_longer,
    plan_of_later,
    read_later,
    views_of,
    visit_gap,
)
from recbole_hm4sr.later.update import read_added
from recbole_hm4sr.model.registry import find_baselines
from recbole_hm4sr.run.beginning import served_vocabulary
from recbole_hm4sr.run.parts import arrange_batches, set_threads
from recbole_hm4sr.run.process_state import kept_process_state
from recbole_hm4sr.run.serving_file import read_serving_file, served_checkpoint

_log = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
_LISTS = 5000  # that are looked at beyond accuracy, evenly among all
_LONGEST = 10
# The group of targets that the run was not trained on and serves by their features.
ADDED = "added after training"


@dataclass(frozen=True)
class LaterMetrics:
    """What a run's lists were worth before each new interaction.

    Attributes:
        n_interactions: New ones; those that the run has are not counted.
        n_targets: Those that were judged: with a history before them.
        unknown_users: Share of the new interactions whose user the run does not know.
        unknown_items: Share of those whose item it does not know: it can be in no list.
        added_items: Share of those whose item was added after training: it is ranked by its
            features, as it is served.
        metrics: Of all targets, by name.
        own_test: Of the run's own test.
        baselines: Of models that are fitted once to what the run knows, by their name.
        groups: Number of targets and metrics, by group.
        lists: What the lists are like beyond accuracy, as ``coverage@10``; see
            :mod:`recbole_hm4sr.evaluate.lists`.
        drift: What has changed in the interactions.
    """

    n_interactions: int
    n_targets: int
    unknown_users: float
    unknown_items: float
    added_items: float
    metrics: dict[str, float]
    own_test: dict[str, float]
    baselines: dict[str, dict[str, float]]
    groups: dict[str, dict[str, Any]]
    lists: dict[str, float]
    drift: tuple[Drift, ...]

    def to_plain(self) -> dict[str, Any]:
        """As numbers, texts and mappings."""
        return dataclasses.asdict(self)


@kept_process_state()
def evaluate_later(
    run_dir: str | Path,
    interactions: str | Path,
    *,
    targets: str = "all",
    skip_bad: bool = False,
) -> LaterMetrics:
    """Judge a run, as it is served now, on new interactions; nothing is learned or written.

    Every target has as history all that its user did before; a memory knows what it knows now.

    Args:
        run_dir: Folder of a finished run, whose data set is there.
        interactions: CSV, Parquet or ``.inter`` file, columns named as the run's.
        targets: ``all``, or ``visits``: the first of every visit.
        skip_bad: Leave wrong rows out; the log says how many, and why.

    Raises:
        ConfigError: If the choice of targets is none.
        DataError: If the file cannot be read, or brings nothing that can be judged.
    """
    require_choice("--targets", targets, CHOICES)
    folder = Path(run_dir)
    asked = _open(folder, Path(interactions), skip_bad=skip_bad)
    learner, part, log = asked.learner, asked.part, asked.part.log
    chosen = choose_targets(log, asked.is_new, targets, gap=visit_gap(learner.plan))
    if not len(chosen):
        raise DataError(
            f"{interactions} must bring an interaction that is new to the run and has one of its "
            f"user before it, got none"
        )
    model = learner.open(part, asked.known)
    is_unknown, is_added = ~asked.is_served[log.items], asked.is_added[log.items]
    judged = judge(learner, model, part, chosen, cut=part.ends_before, candidates=asked.is_served)
    judged = _missing(judged, is_unknown[chosen])
    return LaterMetrics(
        n_interactions=int(asked.is_new.sum()),
        n_targets=len(chosen),
        unknown_users=float((log.users[asked.is_new] >= asked.n_users).mean()),
        unknown_items=float(is_unknown[asked.is_new].mean()),
        added_items=float(is_added[asked.is_new].mean()),
        metrics=judged.metrics(),
        own_test=_own_test(folder),
        baselines=_baselines(asked, chosen, is_unknown[chosen]),
        groups=_groups(judged, is_added[chosen]),
        lists=_lists(learner, model, part, chosen, asked.is_served),
        drift=measure_drift(part, asked.is_new),
    )


class _Opened(NamedTuple):
    """A run, and new interactions behind what it knows.

    Attributes:
        learner: Builds its model.
        part: Ends with what the run knows; its log has all.
        is_new: Which interactions are new. Shape ``[N]``, bool.
        known: What its model knows; None for one that is fitted once.
        n_users: That have a row in the run, padding included.
        is_served: Which items the run ranks: those of its training, and those that were added.
            Shape ``[I]``, bool; the padding too.
        is_added: Which of them were added. Shape ``[I]``, bool.
    """

    learner: Learner
    part: Any
    is_new: Array
    known: Known | None
    n_users: int
    is_served: Array
    is_added: Array


def _open(folder: Path, interactions: Path, *, skip_bad: bool) -> _Opened:
    content = read_serving_file(folder)
    if content is None:
        raise DataError(f"{folder} must have a serving.npz, as every run that ended has")
    items = AddedItems.load(folder, content.added) if content.added else None
    # Ids of added items say nothing: their rows are those of their features, as they are served.
    plan = plan_of_later(folder, **({} if items is None else {"catalogue": "all"}))
    set_threads(plan)
    vocabulary = Vocabulary.load(served_vocabulary(folder))
    learner = Learner(plan, plan.to_recbole())
    before = read_added(folder, content)
    came = read_later(interactions, plan, vocabulary, skip_bad=skip_bad)
    added = read_added(folder, content, ("", came.where(~came.among(before.rows))))
    dataset = open_longer(
        plan, learner.config, vocabulary, added.rows, items, ranks_added=items is not None
    )
    # The entry behind the last is that of the interactions of the files, whose number is -1.
    is_new = np.append(added.file == len(before.hashes), False)[dataset.later_rows]
    times = dataset.log.times
    cut = int(times[~is_new].max()) + grain_of(times, plan.data.timestamp_unit)
    known = None
    if not learner.is_fitted_once:
        known = Known.read(served_checkpoint(folder), vocabulary, views=views_of(folder), view="")
    part = known_before(dataset, None, ends_before=cut)
    is_known = np.arange(part.item_num) < len(vocabulary.items)
    tokens = part.item_tokens.astype(np.str_)
    is_added = ~is_known & np.isin(tokens, () if items is None else items.tokens)
    n_users = len(vocabulary.users)
    return _Opened(learner, part, is_new, known, n_users, is_known | is_added, is_added)


def _groups(judged: Judged, is_added: Array) -> dict[str, dict[str, Any]]:
    groups = judged.by_group()
    if is_added.any():
        groups[ADDED] = {"n": int(is_added.sum()), "metrics": judged.metrics(is_added)}
    return groups


def _missing(judged: Judged, is_unknown: Array) -> Judged:
    """What a run does not know is in no list of its, wherever a fresh row would stand."""
    never = torch.from_numpy(is_unknown)
    last = torch.iinfo(torch.int32).max
    ranks = Ranks(*(rank.masked_fill(never, last) for rank in vars(judged.ranks).values()))
    return dataclasses.replace(judged, ranks=ranks)


def _own_test(folder: Path) -> dict[str, float]:
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        return {name: float(value) for name, value in metrics["test"].items()}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{folder} must be a run that has ended: {error}") from error


def _baselines(asked: _Opened, targets: Array, is_unknown: Array) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    learner, part = asked.learner, asked.part
    if learner.is_fitted_once:
        return found
    for entry in find_baselines(learner.plan.run.baselines):
        try:
            model = entry.model_class(learner.config, part)
            model.fit(part)
            judged = judge(
                learner, model, part, targets, cut=part.ends_before, candidates=asked.is_served
            )
        except UserError as error:
            _log.warning("%s is not measured beside the run: %s", entry.name, error)
            continue
        found[entry.name] = _missing(judged, is_unknown).metrics()
    return found


def _lists(
    learner: Learner, model: Any, part: Any, targets: Array, is_served: Array
) -> dict[str, float]:
    """What the lists before some of the targets are like, of the items that the run ranks."""
    some = targets[np.unique(np.linspace(0, len(targets) - 1, _LISTS).astype(np.int64))]
    config = learner.config
    loader = make_ranking_loader(config, with_targets(part, some))
    arrange_batches(model, None, loader)
    length = min(max(config["topk"]), _LONGEST)
    removes_seen = learner.plan.run.rank_history == "exclude"
    lists = _best_served(
        lambda k: top_lists(model, config, loader, k, removes_seen=removes_seen), length, is_served
    )
    directions = feature_directions(part)
    # Numbers among those items alone.
    numbers = np.where(is_served, np.cumsum(is_served) - 1, 0)
    return list_metrics(
        numbers[lists],
        [length],
        counts=part.interaction_counts().numpy()[is_served],
        directions=None if directions is None else directions[is_served],
        config=config,
    )


def _best_served(best: Callable[[int], Array], length: int, is_served: Array) -> Array:
    """The best items that a run ranks, of lists that are asked for until enough of them are.

    Args:
        best: From a length to lists of as many items, 0 where none is left. Shape ``[S, k]``.
        length: Of the lists.
        is_served: Which items the run ranks. Shape ``[I]``, bool.

    Returns:
        0 where no item is left. Shape ``[S, length]``, int64.
    """
    k = length
    while True:
        lists = best(k)
        found = (lists > 0) & is_served[lists]
        if k >= len(is_served) or (found.sum(axis=1) >= length).all():
            break
        k *= 2
    first = np.argsort(~found, axis=1, kind="stable")[:, :length]
    served: Array = np.take_along_axis(np.where(found, lists, 0), first, axis=1)
    return served
