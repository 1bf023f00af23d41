"""Scores over seeds and by group of users, and tests against the baseline."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recbole_hm4sr.compare.grid import Grid
from recbole_hm4sr.compare.notes import notes_of
from recbole_hm4sr.compare.results import Outcome
from recbole_hm4sr.compare.rows import baseline_row, left_out, row_labels, split_by_view
from recbole_hm4sr.evaluate.groups import GROUP_NAMES, group_masks, is_small
from recbole_hm4sr.evaluate.rank_file import read_ranks
from recbole_hm4sr.evaluate.statistics import PairedTest, holm, paired_test, user_metric
from recbole_hm4sr.tune.search_result import SearchResult

HISTORIES = ("include", "exclude")
ALL = "all users"

_Ranks = Mapping[str, "np.ndarray[Any, Any]"]
_Run = tuple[Outcome, _Ranks]


@dataclasses.dataclass(frozen=True)
class Score:
    """A metric over seeds.

    Attributes:
        mean: Mean; NaN if no user belongs to the group.
        deviation: Standard deviation (of a sample); NaN for fewer than two seeds.
    """

    mean: float
    deviation: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A model on a data set.

    Attributes:
        label: Its name.
        seeds: Those of its runs that have a result.
        wanted_seeds: Those that it is to have.
        shared_seeds: Those of them that the baseline has too.
        reason: Why runs have no result, in one sentence; empty if all have.
        n_trials: Trials of the search that has found its settings; 0 without a search.
        searched_on: Data set of that search; empty without one.
        scores: By group (``all users`` among them) and metric, over its seeds.
        relative: By metric, the difference of the means to the baseline's, as a share of it, both
            over the shared seeds.
        tests: By metric, the paired test against the baseline over the shared seeds, and its p
            after Holm's correction.
        seconds_per_epoch: Mean over the seeds of the training time per epoch.
        n_parameters: Trained parameters.
        zero_score_share: Of a model that is fitted once, the share of test targets of which it
            knows nothing, mean over the seeds; NaN for others.
        peak_memory_mb: Largest of the seeds, in MiB; NaN if it is known of none.
        lists: What its lists are like beyond accuracy, by metric; empty where no run says.
    """

    label: str
    seeds: tuple[int, ...]
    wanted_seeds: tuple[int, ...]
    shared_seeds: tuple[int, ...]
    reason: str
    n_trials: int = 0
    searched_on: str = ""
    scores: dict[tuple[str, str], Score]
    relative: dict[str, float]
    tests: dict[str, tuple[PairedTest, float]]
    seconds_per_epoch: float
    n_parameters: int
    zero_score_share: float = math.nan
    peak_memory_mb: float
    lists: dict[str, Score] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """All models on one data set, with seen items kept among the candidates or removed.

    Attributes:
        dataset: Name of the data set.
        rank_history: ``include`` or ``exclude``.
        chosen_by: ``rank_history`` of the validation that chose the best epochs.
        tie_order: ``file`` or ``shuffle``.
        generated: Whether the data set is generated.
        baseline: Label of the baseline.
        metrics: Metrics of the tables.
        columns: Columns of the main table of a paper; empty for the metrics.
        seeds: Seeds of the grid; a row may have others.
        n_items: Items of every ranking; None if runs of an older version do not tell.
        without_history: In a split by one moment, interactions of the test part that are the first
            of their user, and no targets; None in another split.
        group_sizes: Test targets by group (in the first run); empty without a run.
        small_groups: Groups of so few users that their means say little.
        rows: The models.
        notes: What a reader must know besides, one sentence each.
    """

    dataset: str
    rank_history: str
    chosen_by: str
    tie_order: str
    generated: bool
    baseline: str
    metrics: tuple[str, ...]
    columns: tuple[str, ...]
    seeds: tuple[int, ...]
    n_items: int | None
    without_history: int | None = None
    group_sizes: dict[str, int]
    small_groups: frozenset[str]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every row has a result with every seed."""
        return all(set(row.seeds) == set(row.wanted_seeds) for row in self.rows)


def summarize(grid: Grid, outcomes: Sequence[Outcome]) -> list[Summary]:
    """The numbers of every table: for each data set, seen items kept and removed.

    Args:
        grid: What was compared.
        outcomes: What is known of its cells.

    Raises:
        DataError: If a run's ranks cannot be read.
    """
    summaries = []
    for dataset in grid.datasets:
        here = split_by_view([one for one in outcomes if one.cell.dataset == dataset])
        read = [(one, read_ranks(one.folder, one.ranks)) for one in here if one.done]
        strange = _tested_otherwise(baseline_row(grid, row_labels(grid, here)), read)
        runs = [run for run in read if _key(run[0]) not in strange]
        here = [strange.get(_key(outcome), outcome) for outcome in here]
        summaries += [_summarize(grid, dataset, here, runs, history) for history in HISTORIES]
    return summaries


def _key(outcome: Outcome) -> tuple[str, int]:
    """What names a run in the tables of a data set: row and seed."""
    return outcome.row, outcome.cell.seed


def _tested_otherwise(baseline: str, runs: Sequence[_Run]) -> dict[tuple[str, int], Outcome]:
    """The runs whose users, targets or candidates are not those of the baseline, as failed ones."""
    strange = {}
    for seed in sorted({outcome.cell.seed for outcome, _ in runs}):
        of_seed = [run for run in runs if run[0].cell.seed == seed]
        # Of each seed, since with shuffled ties every seed has its own targets.
        of_seed.sort(key=lambda run: run[0].row != baseline)
        for outcome, ranks in of_seed[1:]:
            first, expected = of_seed[0]
            same = (
                np.array_equal(ranks["user"], expected["user"])
                and np.array_equal(ranks["target"], expected["target"])
                and _n_items(outcome) == _n_items(first)
            )
            if not same:
                reason = (
                    f"it was tested on other users, targets or items than {first.row}; "
                    f"delete the older of {first.folder} and {outcome.folder} and start again"
                )
                record = {"status": "failed", "reason": reason}
                strange[_key(outcome)] = dataclasses.replace(outcome, record=record)
    return strange


def _n_items(outcome: Outcome) -> int | None:
    return (outcome.record or {}).get("n_items")


def _summarize(
    grid: Grid,
    dataset: str,
    outcomes: Sequence[Outcome],
    runs: Sequence[_Run],
    history: str,
) -> Summary:
    first = (runs[0][0].record or {}) if runs else {}
    labels = row_labels(grid, outcomes)
    sizes, small = _group_sizes(runs[0][1]) if runs else ({ALL: 0}, frozenset())
    return Summary(
        dataset=dataset,
        rank_history=history,
        chosen_by=first.get("rank_history", "include"),
        tie_order=first.get("tie_order", "file"),
        generated=bool(first.get("generated")),
        baseline=baseline_row(grid, labels),
        metrics=grid.metrics,
        columns=grid.columns,
        seeds=grid.seeds,
        n_items=first.get("n_items"),
        without_history=(first.get("one_moment") or {}).get("test_without_history"),
        group_sizes=sizes,
        small_groups=small,
        rows=_rows(grid, labels, outcomes, runs, history),
        notes=(
            *(f"{spec.label}: {spec.note}." for spec in grid.models if spec.note),
            *(
                f"{label} is left out: no test target is an item of its user's history."
                for label in left_out(grid, outcomes)
            ),
            *notes_of(grid, [outcome for outcome, _ in runs]),
        ),
    )


def _group_sizes(ranks: _Ranks) -> tuple[dict[str, int], frozenset[str]]:
    """Test targets of each group, and the groups of few users."""
    masks = {ALL: np.ones(len(ranks["user"]), dtype=bool), **group_masks(ranks)}
    sizes = {name: int(mask.sum()) for name, mask in masks.items()}
    return sizes, frozenset(name for name, mask in masks.items() if is_small(ranks, mask))


def _rows(
    grid: Grid,
    labels: Mapping[str, str],
    outcomes: Sequence[Outcome],
    runs: Sequence[_Run],
    history: str,
) -> tuple[Row, ...]:
    by_label = {row: [run for run in runs if run[0].row == row] for row in labels}
    first = baseline_row(grid, dict(labels))
    pairs = {
        label: _of_the_same_seeds(own, by_label[first])
        for label, own in by_label.items()
        if label != first
    }
    tests = _tests(grid, pairs, history)
    rows = []
    for label, own in by_label.items():
        here = [outcome for outcome in outcomes if outcome.row == label]
        compared = _compared(grid, label, pairs[label], tests, history) if label in pairs else {}
        scores = _scores(own, history, grid.metrics)
        row = _row(label, own, _reasons(here), grid.tuned(labels[label]))
        wanted = grid.seeds_of(labels[label])
        row = dataclasses.replace(row, lists=_lists(own, history))
        rows.append(dataclasses.replace(row, scores=scores, wanted_seeds=wanted, **compared))
    return tuple(rows)


def _compared(
    grid: Grid,
    label: str,
    pair: tuple[Sequence[_Run], Sequence[_Run]],
    tests: Mapping[tuple[str, str], tuple[PairedTest, float]],
    history: str,
) -> dict[str, Any]:
    """What a row says of its difference to the baseline."""
    return {
        "shared_seeds": _seeds(pair[0]),
        "relative": _relative(grid, pair, history),
        "tests": {metric: test for (name, metric), test in tests.items() if name == label},
    }


def _seeds(runs: Sequence[_Run]) -> tuple[int, ...]:
    return tuple(outcome.cell.seed for outcome, _ in runs)


def _of_the_same_seeds(
    runs: Sequence[_Run], baseline: Sequence[_Run]
) -> tuple[list[_Run], list[_Run]]:
    """The runs of two rows that can be compared; other seeds may have other targets."""
    shared = set(_seeds(runs)) & set(_seeds(baseline))
    own, base = ([run for run in row if run[0].cell.seed in shared] for row in (runs, baseline))
    return own, base


def _row(label: str, runs: Sequence[_Run], reason: str, found: SearchResult | None) -> Row:
    """What the records of a row's runs and its search say, without scores."""
    records = [outcome.record or {} for outcome, _ in runs]
    seconds = [record["train_seconds_per_epoch"] for record in records]
    peaks = [r["peak_memory_mb"] for r in records if r["peak_memory_mb"] is not None]
    return Row(
        label=label,
        seeds=_seeds(runs),
        wanted_seeds=_seeds(runs),
        shared_seeds=_seeds(runs),
        reason=reason,
        n_trials=found.n_trials if found else 0,
        searched_on=found.dataset if found else "",
        scores={},
        relative={},
        tests={},
        seconds_per_epoch=_mean(seconds),
        n_parameters=records[0]["n_parameters"] if records else 0,
        zero_score_share=_mean([r["zero_score_share"] for r in records if "zero_score_share" in r]),
        peak_memory_mb=max(peaks, default=math.nan),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _scores(
    runs: Sequence[_Run], history: str, metrics: Sequence[str]
) -> dict[tuple[str, str], Score]:
    """Mean and deviation over seeds, by group and metric."""
    scores = {}
    masks = [group_masks(ranks) for _, ranks in runs]
    for metric in metrics:
        values = [user_metric(ranks[f"rank_{history}"], metric) for _, ranks in runs]
        scores[ALL, metric] = _score([one.mean() for one in values])
        for group in GROUP_NAMES:
            pairs = [(one, chosen[group]) for one, chosen in zip(values, masks, strict=True)]
            scores[group, metric] = _score(
                [v[chosen].mean() for v, chosen in pairs if chosen.any()]
            )
    return scores


def _lists(runs: Sequence[_Run], history: str) -> dict[str, Score]:
    """What the lists of a row's runs are like, mean and deviation over seeds."""
    found = [((outcome.record or {}).get("lists") or {}).get(history, {}) for outcome, _ in runs]
    names = [name for name in (found[0] if found else {}) if all(name in one for one in found)]
    return {name: _score([one[name] for one in found]) for name in names}


def _score(values: Sequence[float]) -> Score:
    mean = float(np.mean(values)) if values else math.nan
    return Score(mean, float(np.std(values, ddof=1)) if len(values) > 1 else math.nan)


def _user_means(runs: Sequence[_Run], history: str, metric: str) -> "np.ndarray[Any, Any]":
    """A user's metric, mean over the seeds (and over the user's targets, where there are more)."""
    values = np.mean([user_metric(ranks[f"rank_{history}"], metric) for _, ranks in runs], axis=0)
    users = runs[0][1]["user"]
    _, number, counts = np.unique(users, return_inverse=True, return_counts=True)
    return np.bincount(number, weights=values) / counts


def _tests(
    grid: Grid, pairs: Mapping[str, tuple[Sequence[_Run], Sequence[_Run]]], history: str
) -> dict[tuple[str, str], tuple[PairedTest, float]]:
    """Tests against the baseline, and their p after Holm's correction over the whole table."""
    tests = {
        (label, metric): paired_test(
            _user_means(own, history, metric), _user_means(base, history, metric)
        )
        for label, (own, base) in pairs.items()
        for metric in grid.metrics
        if own
    }
    adjusted = holm([test.p for test in tests.values()])
    return {key: (test, p) for (key, test), p in zip(tests.items(), adjusted, strict=True)}


def _relative(
    grid: Grid, pair: tuple[Sequence[_Run], Sequence[_Run]], history: str
) -> dict[str, float]:
    own, base = (_scores(runs, history, grid.metrics) for runs in pair)
    shares = {}
    for metric in grid.metrics if pair[0] else ():
        value, reference = own[ALL, metric].mean, base[ALL, metric].mean
        shares[metric] = (value - reference) / reference if reference else math.nan
    return shares


def _reasons(outcomes: Sequence[Outcome]) -> str:
    """Why runs have no result: the reason once, with the seeds it holds for."""
    seeds: dict[str, list[int]] = {}
    for outcome in outcomes:
        if not outcome.done:
            reason = outcome.record["reason"] if outcome.record else "not run yet"
            seeds.setdefault(reason, []).append(outcome.cell.seed)
    if len(seeds) == 1 and sum(map(len, seeds.values())) == len(outcomes):
        return next(iter(seeds))
    return "; ".join(f"seed {', '.join(map(str, own))}: {why}" for why, own in seeds.items())
