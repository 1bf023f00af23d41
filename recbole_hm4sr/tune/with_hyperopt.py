"""RecBole's ``HyperTuning`` as the engine: one process, and exactly resumable.

Its history lives in hyperopt's ``Trials``, which it begins empty each time. A search that goes on
therefore proposes what its finished trials had, in their order, and answers with their scores
without running them: hyperopt then knows what it knew. What a proposal draws depends on the
search's seed and the trial's number alone, so that a search which was cut ends as one that was not.
"""

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from recbole_hm4sr.tune.hyper_tuning import make_hyper_tuning, run_hyper_tuning
from recbole_hm4sr.tune.objective import run_trial
from recbole_hm4sr.tune.search import RANDOM_FIRST, Algorithm, Search, import_engine
from recbole_hm4sr.tune.space import Dimension, Space, same_text
from recbole_hm4sr.tune.trials import Trial, TrialStore

_TRIES = 100
# hyperopt's early stopping computes with the losses, which infinity turns into no number.
_WORST = float(np.finfo(np.float64).max)


def search_with_hyperopt(
    store: TrialStore,
    *,
    algorithm: Algorithm,
    n_trials: int,
    early_stop: int | None = None,
    retry: bool = False,
    on_trial: Callable[[str, Trial], None] = lambda *_: None,
) -> None:
    """Run the trials that a search lacks.

    Args:
        store: The folder of the search; no other process may write to it.
        algorithm: Where proposals come from.
        n_trials: Number of all trials, those that are finished included.
        early_stop: Trials without a better score after which the search ends; None for no end.
        retry: Whether failed trials run again.
        on_trial: Called with ``skipped``, ``started``, ``done``, ``pruned`` or ``failed`` and the
            trial.

    Raises:
        ConfigError: If hyperopt is missing.
        DataError: If the folder cannot be written.
    """
    import_engine("hyperopt")
    worker = _Worker(store, algorithm, early_stop=early_stop, retry=retry, on_trial=on_trial)
    tuning = make_hyper_tuning(
        worker.evaluate,
        space=hyperopt_space(store.search.space),
        algo=worker.propose,
        max_evals=n_trials,
        early_stop=n_trials + 1,  # the worker ends the search, as it does for every engine
    )
    run_hyper_tuning(tuning)


def hyperopt_space(space: Space) -> dict[str, Any]:
    """A space as hyperopt has it; a choice is between the numbers of its options."""
    from hyperopt import hp

    def node(dim: Dimension) -> Any:
        if dim.kind == "choice":
            return hp.choice(dim.name, list(range(len(dim.options))))
        if dim.kind == "quniform":
            return hp.quniform(dim.name, dim.low, dim.high, dim.step)
        return {"uniform": hp.uniform, "loguniform": hp.loguniform}[dim.kind](
            dim.name, dim.low, dim.high
        )

    return {dimension.name: node(dimension) for dimension in space.dimensions}


class _Worker:
    """Proposes a trial when hyperopt asks for one, then gives its result."""

    def __init__(
        self,
        store: TrialStore,
        algorithm: Algorithm,
        *,
        early_stop: int | None,
        retry: bool,
        on_trial: Callable[[str, Trial], None],
    ) -> None:
        self._store, self._algorithm = store, algorithm
        self._early_stop, self._retry, self._on_trial = early_stop, retry, on_trial
        self._finished = store.trials()
        self._tried: dict[str, int] = {}
        self._number = 0
        self._settings: dict[str, Any] = {}

    @property
    def _search(self) -> Search:
        return self._store.search

    def propose(self, new_ids: list[int], domain: Any, trials: Any, seed: int) -> list[Any]:  # noqa: ARG002
        """The next trial for hyperopt: a finished or begun one's settings, else new ones."""
        self._number = new_ids[0] + 1
        finished = self._finished.get(self._number)
        known = finished.settings if finished else self._store.begun(self._number)
        if known is not None:
            drawn: dict[str, Any] | None = self._search.space.drawn(known)
        elif self._store.ends_after(self._early_stop):
            drawn = None
        elif self._algorithm == "exhaustive":
            drawn = self._next_combination()
        else:
            drawn = self._draw(new_ids, domain, trials)
        if drawn is None:  # all combinations have been tried, or nothing better comes
            return []
        self._settings = self._search.space.settings(drawn)
        self._tried[same_text(self._settings)] = self._number
        return _as_documents(new_ids, domain, trials, drawn)

    def _next_combination(self) -> dict[str, Any] | None:
        grids = [dimension.grid or () for dimension in self._search.space.dimensions]
        for values in itertools.product(*grids):
            settings = dict(zip(self._search.space.names, values, strict=True))
            if same_text(settings) not in self._tried:
                return self._search.space.drawn(settings)
        return None

    def _draw(self, new_ids: list[int], domain: Any, trials: Any) -> dict[str, Any] | None:
        """New settings by hyperopt; drawn again if they were tried, since runs repeat exactly."""
        from hyperopt import rand, tpe

        suggest = (
            rand.suggest
            if self._algorithm == "random"
            else partial(tpe.suggest, n_startup_jobs=RANDOM_FIRST, verbose=False)
        )
        for attempt in range(_TRIES):
            seeds = np.random.SeedSequence([self._search.seed, self._number, attempt])
            (document,) = suggest(new_ids, domain, trials, int(seeds.generate_state(1)[0]))
            drawn = {name: values[0] for name, values in document["misc"]["vals"].items()}
            if same_text(self._search.space.settings(drawn)) not in self._tried:
                return drawn
        return self._next_combination() if self._search.space.size else None

    def evaluate(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """What came of the proposed trial, as ``HyperTuning`` reads it."""
        trial = self._finished.get(self._number)
        if trial is not None and not (trial.status == "failed" and self._retry):
            self._on_trial("skipped", trial)
        else:
            if trial is not None:
                self._store.forget(self._number)
            trial = self._run()
        loss = _WORST if trial.score is None else self._search.loss(trial.score)
        return {
            "model": self._search.model,
            "best_valid_score": self._search.loss(loss),
            "valid_score_bigger": self._search.bigger,
            "best_valid_result": trial.valid,
            "test_result": {},
        }

    def _run(self) -> Trial:
        begun = Trial(number=self._number, settings=self._settings, status="running")
        self._on_trial("started", begun)
        trial = run_trial(self._store, self._number, self._settings)
        self._store.finish(trial)
        self._on_trial(trial.status, trial)
        return trial


def _as_documents(
    new_ids: list[int], domain: Any, trials: Any, drawn: Mapping[str, Any]
) -> list[Any]:
    """A trial as hyperopt's own algorithms hand it over."""
    from hyperopt.base import miscs_update_idxs_vals

    misc = {"tid": new_ids[0], "cmd": domain.cmd, "workdir": domain.workdir}
    idxs = {name: [new_ids[0]] for name in drawn}
    miscs_update_idxs_vals([misc], idxs, {name: [value] for name, value in drawn.items()})
    return list(trials.new_trial_docs(new_ids[:1], [None], [domain.new_result()], [misc]))
