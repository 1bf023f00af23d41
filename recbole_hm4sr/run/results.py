"""What a run finds: of its training, of the evaluation of its best epoch, and of the whole."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_hm4sr.evaluate.ranks import Ranks
from recbole_hm4sr.run import notebook
from recbole_hm4sr.train.costs import Costs
from recbole_hm4sr.train.epochs import EpochRecord
from recbole_hm4sr.train.trainer import Ending

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, kw_only=True)
class BestOfView:
    """The best epoch of one view of a model.

    Attributes:
        best_epoch: Epoch with the best validation score, from 1.
        best_valid_score: That score.
        best_valid: All validation metrics of that epoch.
    """

    best_epoch: int
    best_valid_score: float
    best_valid: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """What training has found.

    Attributes:
        epochs: The finished epochs.
        best_epoch: Epoch with the best validation score, from 1.
        best_valid_score: That score.
        best_valid: All validation metrics of that epoch.
        costs: Of the run up to the end of its last epoch.
        ended_by: Why it has ended: ``validation`` found nothing better for a while, all ``epochs``
            were done, or the ``budget`` of processor time was spent.
        views: The best epochs of all views of a model that is measured in several, by name.
    """

    epochs: tuple[EpochRecord, ...]
    best_epoch: int
    best_valid_score: float
    best_valid: dict[str, float]
    costs: Costs
    ended_by: Ending
    views: Mapping[str, BestOfView] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewMetrics:
    """Metrics of the best epoch of one view of a model, by name, as ``ndcg@10``.

    Attributes:
        best_epoch: Epoch with the view's best validation score, from 1.
        best_valid_score: That score.
        valid: Validation metrics.
        test: Test metrics; these and the next are empty if the run was not to be tested.
        test_include: Test metrics with users' histories among the candidates.
        test_exclude: Test metrics without them.
        ranks: Name of the file with the ranks of the test targets; empty where there is none.
        lists: As :attr:`Metrics.lists`.
    """

    best_epoch: int
    best_valid_score: float
    valid: dict[str, float]
    test: dict[str, float] = dataclasses.field(default_factory=dict)
    test_include: dict[str, float] = dataclasses.field(default_factory=dict)
    test_exclude: dict[str, float] = dataclasses.field(default_factory=dict)
    ranks: str = ""
    lists: Mapping[str, dict[str, float]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metrics:
    """Metrics of the best epoch of a run, by name, as ``ndcg@10``.

    Attributes:
        rank_history: Whether users' histories stay among the candidates in ``valid`` and ``test``:
            ``include`` or ``exclude``.
        valid: Validation metrics.
        test: Test metrics; these and the next are empty if the run was not to be tested.
        test_include: Test metrics with users' histories among the candidates.
        test_exclude: Test metrics without them; empty for metrics that do not follow from ranks,
            or with sampled negatives.
        views: The same of each view of a model that is measured in several, by name, each at the
            best epoch of its own; the first one's are those above. Empty for any other model.
        lists: With ``list_metrics: true`` what the test lists are like beyond accuracy, as
            ``coverage@10``, with seen items kept (``include``) and removed (``exclude``); empty
            without, and where the metrics do not follow from ranks.
    """

    rank_history: str
    valid: dict[str, float]
    test: dict[str, float]
    test_include: dict[str, float]
    test_exclude: dict[str, float]
    views: Mapping[str, ViewMetrics] = dataclasses.field(default_factory=dict)
    lists: Mapping[str, dict[str, float]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What the evaluation of the best epoch has found.

    Attributes:
        metrics: Of the validation and the test part.
        ranks: Ranks of the test users' targets, by the name of their file; empty where the metrics
            do not follow from ranks, or if the run was not to be tested.
        besides: What else was measured, by its name in ``metrics.json``.
    """

    metrics: Metrics
    ranks: Mapping[str, Ranks]
    besides: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunResult(Metrics):
    """What a run found.

    Attributes:
        run_dir: Folder of the run.
        model: Name of the model.
        dataset: Name of the data set.
        generated: Whether the data set is generated.
        best_epoch: Epoch with the best validation score, from 1.
        best_valid_score: That score.
        epochs: The epochs.
        ended_by: Why training has ended: ``validation``, ``epochs`` or ``budget``.
    """

    run_dir: Path
    model: str
    dataset: str
    generated: bool
    best_epoch: int
    best_valid_score: float
    epochs: tuple[EpochRecord, ...]
    ended_by: Ending

    def frame(self) -> "pd.DataFrame":
        """A row an epoch: losses, validation metrics, seconds. See :mod:`.notebook`."""
        return notebook.epochs_frame(self.epochs)

    def plot(self) -> Any:
        """Losses, validation and the test by groups of users and items, by ``plotly``."""
        return notebook.figure(self)

    def _repr_html_(self) -> str:
        return notebook.as_html(self)
