"""Judge a run on interactions that came after it, as it would have been asked."""

import dataclasses
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from recbole_hm4sr.base.errors import DataError, UserError
from recbole_hm4sr.data.later import known_before, with_targets
from recbole_hm4sr.data.loaders import make_ranking_loader
from recbole_hm4sr.data.packed import send_batch
from recbole_hm4sr.data.seen import mark_seen
from recbole_hm4sr.data.times import grain_of
from recbole_hm4sr.data.vocabulary import Vocabulary
from recbole_hm4sr.evaluate.ranks import Ranks
from recbole_hm4sr.later.drift import Drift, measure_drift
from recbole_hm4sr.later.judging import Judged, choose_targets, judge
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
from recbole_hm4sr.layers.seen import pairs_of_rows
from recbole_hm4sr.layers.transfer import send
from recbole_hm4sr.model.registry import find_baselines
from recbole_hm4sr.run.beginning import served_vocabulary
from recbole_hm4sr.run.parts import arrange_batches, set_threads
from recbole_hm4sr.run.process_state import kept_process_state
from recbole_hm4sr.run.serving_file import read_serving_file, served_checkpoint

_log = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
_LISTS = 5000  # whose items are counted for the coverage, evenly among all


@dataclass(frozen=True)
class LaterMetrics:
    """What a run's lists were worth before each new interaction.

    Attributes:
        n_interactions: New ones; those that the run has are not counted.
        n_targets: Those that were judged: with a history before them.
        unknown_users: Share of the new interactions whose user the run does not know.
        unknown_items: Share of those whose item it does not know: it can be in no list.
        metrics: Of all targets, by name.
        own_test: Of the run's own test.
        baselines: Of models that are fitted once to what the run knows, by their name.
        groups: Number of targets and metrics, by group.
        coverage: Share of the run's items that are in a list.
        list_length: How long these lists are.
        drift: What has changed in the interactions.
    """

    n_interactions: int
    n_targets: int
    unknown_users: float
    unknown_items: float
    metrics: dict[str, float]
    own_test: dict[str, float]
    baselines: dict[str, dict[str, float]]
    groups: dict[str, dict[str, Any]]
    coverage: float
    list_length: int
    drift: tuple[Drift, ...]

    def to_plain(self) -> dict[str, Any]:
        """As numbers, texts and mappings."""
        return dataclasses.asdict(self)


@kept_process_state()
def evaluate_later(
    run_dir: str | Path, interactions: str | Path, *, targets: str = "all"
) -> LaterMetrics:
    """Judge a run, as it is served now, on new interactions; nothing is learned or written.

    Every target has as history all that its user did before; a memory knows what it knows now.

    Args:
        run_dir: Folder of a finished run, whose data set is there.
        interactions: CSV, Parquet or ``.inter`` file, columns named as the run's.
        targets: ``all``, or ``visits``: the first of every visit.

    Raises:
        ConfigError: If the choice of targets is none.
        DataError: If the file cannot be read, or brings nothing that can be judged.
    """
    require_choice("--targets", targets, CHOICES)
    folder = Path(run_dir)
    asked = _open(folder, Path(interactions))
    learner, part, log = asked.learner, asked.part, asked.part.log
    chosen = choose_targets(log, asked.is_new, targets, gap=visit_gap(learner.plan))
    if not len(chosen):
        raise DataError(
            f"{interactions} must bring an interaction that is new to the run and has one of its "
            f"user before it, got none"
        )
    model = learner.open(part, asked.known)
    is_unknown = log.items >= asked.n_items
    judged = judge(learner, model, part, chosen, cut=part.ends_before)
    judged = _missing(judged, is_unknown[chosen])
    list_length = min(max(learner.config["topk"]), 10)
    return LaterMetrics(
        n_interactions=int(asked.is_new.sum()),
        n_targets=len(chosen),
        unknown_users=float((log.users[asked.is_new] >= asked.n_users).mean()),
        unknown_items=float(is_unknown[asked.is_new].mean()),
        metrics=judged.metrics(),
        own_test=_own_test(folder),
        baselines=_baselines(learner, part, chosen, is_unknown[chosen]),
        groups=judged.by_group(),
        coverage=_coverage(learner, model, part, chosen, list_length, asked.n_items),
        list_length=list_length,
        drift=measure_drift(part, asked.is_new),
    )


class _Opened(NamedTuple):
    """A run, and new interactions behind what it knows.

    Attributes:
        learner: Builds its model.
        part: Ends with what the run knows; its log has all.
        is_new: Which interactions are new. Shape ``[N]``, bool.
        known: What its model knows; None for one that is fitted once.
        n_users, n_items: That have a row in the run, padding included.
    """

    learner: Learner
    part: Any
    is_new: Array
    known: Known | None
    n_users: int
    n_items: int


def _open(folder: Path, interactions: Path) -> _Opened:
    plan, content = plan_of_later(folder), read_serving_file(folder)
    if content is None:
        raise DataError(f"{folder} must have a serving.npz, as every run that ended has")
    set_threads(plan)
    vocabulary = Vocabulary.load(served_vocabulary(folder))
    learner = Learner(plan, plan.to_recbole())
    before, came = read_added(folder, content), read_later(interactions, plan, vocabulary)
    added = read_added(folder, content, ("", came.where(~came.among(before.rows))))
    dataset = open_longer(plan, learner.config, vocabulary, added.rows)
    # The entry behind the last is that of the interactions of the files, whose number is -1.
    is_new = np.append(added.file == len(before.hashes), False)[dataset.later_rows]
    times = dataset.log.times
    cut = int(times[~is_new].max()) + grain_of(times, plan.data.timestamp_unit)
    known = None
    if not learner.is_fitted_once:
        known = Known.read(served_checkpoint(folder), vocabulary, views=views_of(folder), view="")
    part = known_before(dataset, None, ends_before=cut)
    return _Opened(learner, part, is_new, known, len(vocabulary.users), len(vocabulary.items))


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


def _baselines(
    learner: Learner, part: Any, targets: Array, is_unknown: Array
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    if learner.is_fitted_once:
        return found
    for entry in find_baselines(learner.plan.run.baselines):
        try:
            model = entry.model_class(learner.config, part)
            model.fit(part)
            judged = judge(learner, model, part, targets, cut=part.ends_before)
        except UserError as error:
            _log.warning("%s is not measured beside the run: %s", entry.name, error)
            continue
        found[entry.name] = _missing(judged, is_unknown).metrics()
    return found


@torch.no_grad()
def _coverage(
    learner: Learner, model: Any, part: Any, targets: Array, k: int, n_items: int
) -> float:
    """Share of the known items that are among the first k of some lists."""
    some = targets[np.unique(np.linspace(0, len(targets) - 1, _LISTS).astype(np.int64))]
    shown = with_targets(part, some)
    loader = make_ranking_loader(learner.config, shown)
    arrange_batches(model, None, loader)
    seen, device = mark_seen(shown.inter_feat.histories, part.iid_field), learner.config["device"]
    removes_seen, listed, done = learner.plan.run.rank_history == "exclude", set(), 0
    for batch in loader:
        n_rows = len(batch[0])
        pairs = torch.stack(seen.before(shown.inter_feat.targets[done : done + n_rows]), dim=1)
        pairs, done = pairs if removes_seen else pairs[:0], done + n_rows
        asked = send_batch(batch[0], device)
        if hasattr(model, "top_items"):
            _, items = model.top_items(asked, k, send(pairs_of_rows(pairs, n_rows), device))
        else:
            scores = model.full_sort_predict(asked).view(n_rows, -1).clone()
            scores[:, 0] = -torch.inf
            scores[pairs[:, 0], pairs[:, 1]] = -torch.inf
            items = scores.topk(min(k, scores.shape[1])).indices
        listed.update(items.flatten().tolist())
    return len({it for it in listed if 0 < it < n_items}) / max(1, n_items - 1)
