"""Optuna as the engine: hopeless trials end early, and several processes share one search.

The study is a journal file in the folder of the search. Every process that is started with the same
command and sees the folder, on this machine or over a network file system on another, works at
the same study: it asks for a trial, holds the lock of that trial's folder while it runs, and tells
its score. The lock goes with the process, so a trial whose process has died is taken over.
"""

import contextlib
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.base.files import locked
from recbole_hm4sr.train.epochs import EpochRecord
from recbole_hm4sr.tune.objective import HopelessTrial, run_trial
from recbole_hm4sr.tune.search import RANDOM_FIRST, Algorithm, Search, import_engine
from recbole_hm4sr.tune.space import Dimension, Space, same_text
from recbole_hm4sr.tune.trials import Trial, TrialStore

_TRIES = 100
_BUSY = "another process runs this trial"
# Epochs that every trial may have, however bad they are.
_WARM_UP = 2


def search_with_optuna(
    store: TrialStore,
    *,
    algorithm: Algorithm,
    n_trials: int,
    early_stop: int | None = None,
    prune: bool = True,
    retry: bool = False,
    on_trial: Callable[[str, Trial], None] = lambda *_: None,
) -> None:
    """Run the trials that a search lacks, beside other processes that do the same.

    Args:
        store: The folder of the search.
        algorithm: Where proposals come from.
        n_trials: Number of all trials of all processes, those that are finished included.
        early_stop: Trials without a better score after which the search ends; None for no end.
        prune: Whether a trial ends early when its best validation score so far is worse than the
            median of the others' at the same epoch.
        retry: Whether the settings of failed trials run again.
        on_trial: Called with ``skipped``, ``started``, ``done``, ``pruned`` or ``failed`` and the
            trial.

    Raises:
        ConfigError: If Optuna is missing.
    """
    study = open_study(store, prune=prune)
    for trial in store.trials().values():
        on_trial("skipped", trial)
    worker = _Worker(store, study, algorithm, n_trials)
    if retry:
        worker.enqueue_failed()
    while not store.ends_after(early_stop):
        with contextlib.ExitStack() as stack:
            claimed = worker.claim(stack)
            if claimed is None:
                return
            settings = store.search.space.settings(claimed.params)
            number = claimed.number + 1
            on_trial("started", Trial(number=number, settings=settings, status="running"))
            trial = run_trial(
                store,
                number,
                settings,
                on_epoch=_reporter(claimed, settings.get("epochs", store.search.epochs)),
            )
            store.finish(trial)
            _tell(study, claimed.number, trial)
            on_trial(trial.status, trial)


def open_study(store: TrialStore, *, prune: bool = True) -> Any:
    """The study of a search, which all its processes share.

    Raises:
        ConfigError: If Optuna is missing.
    """
    optuna = import_engine("optuna")
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    # Its notices would stand between ours.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with locked(store.folder / ".study.lock"):
        return optuna.create_study(
            study_name="tune",
            storage=JournalStorage(JournalFileBackend(str(store.folder / "study.log"))),
            direction="maximize" if store.search.bigger else "minimize",
            pruner=optuna.pruners.MedianPruner(RANDOM_FIRST, _WARM_UP)
            if prune
            else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )


def optuna_space(space: Space) -> dict[str, Any]:
    """A space as Optuna has it; a choice is between the numbers of its options."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    def distribution(dim: Dimension) -> Any:
        if dim.kind == "choice":
            return CategoricalDistribution(list(range(len(dim.options))))
        low, high = dim.bounds
        if dim.kind == "quniform" and isinstance(low, int):
            return IntDistribution(low, int(high), step=int(dim.step))
        if dim.kind == "quniform":
            return FloatDistribution(low, high, step=dim.step)
        return FloatDistribution(low, high, log=dim.kind == "loguniform")

    return {dimension.name: distribution(dimension) for dimension in space.dimensions}


def _reporter(claimed: Any, n_epochs: int) -> Callable[[EpochRecord], None]:
    def report(record: EpochRecord) -> None:
        claimed.report(record.valid_score, record.epoch)
        if record.epoch < n_epochs and claimed.should_prune():
            raise HopelessTrial(
                f"ended after epoch {record.epoch}: worse than the median of the other trials"
            )

    return report


def _tell(study: Any, number: int, trial: Trial) -> None:
    from optuna.trial import TrialState

    state = {
        "done": TrialState.COMPLETE,
        "pruned": TrialState.PRUNED,
        "failed": TrialState.FAIL,
    }[trial.status]
    values = {"values": trial.score} if trial.status == "done" else {}
    study.tell(number, state=state, **values, skip_if_finished=True)


class _Worker:
    """Claims trials for one process: first those whose process has died, then new ones."""

    def __init__(self, store: TrialStore, study: Any, algorithm: Algorithm, n_trials: int) -> None:
        self._store, self._study, self._algorithm = store, study, algorithm
        self._n_trials = n_trials
        self._distributions = optuna_space(store.search.space)

    @property
    def _search(self) -> Search:
        return self._store.search

    def claim(self, stack: contextlib.ExitStack) -> Any:
        """A trial to run, whose lock the stack then holds; None if there is no more to do."""
        with locked(self._store.folder / ".study.lock"):
            abandoned = self._take_over(stack)
            if abandoned is not None:
                return abandoned
            if not self._in_state("WAITING"):
                settings = self._propose()
                if settings is None:
                    return None
                self._study.enqueue_trial(settings)
            claimed = self._study.ask(self._distributions)
            stack.enter_context(locked(self._lock_of(claimed.number), refusal=_BUSY))
            return claimed

    def enqueue_failed(self) -> None:
        """Put the settings of failed trials in front, unless they have a score by now."""
        with locked(self._store.folder / ".study.lock"):
            scored = {self._text(t) for t in self._in_state("COMPLETE", "PRUNED")}
            for trial in self._in_state("FAIL"):
                if self._text(trial) not in scored:
                    scored.add(self._text(trial))
                    self._study.enqueue_trial(trial.params)

    def _take_over(self, stack: contextlib.ExitStack) -> Any:
        from optuna.trial import Trial as OptunaTrial

        for running in self._in_state("RUNNING"):
            try:
                with contextlib.ExitStack() as held:
                    held.enter_context(locked(self._lock_of(running.number), refusal=_BUSY))
                    finished = self._store.trials().get(running.number + 1)
                    if finished is not None:  # died before it could tell
                        _tell(self._study, running.number, finished)
                        continue
                    stack.enter_context(held.pop_all())
            except ConfigError:
                continue
            claimed = OptunaTrial(self._study, running._trial_id)
            for name, distribution in self._distributions.items():
                # Those that its process has not come to ask for yet.
                claimed._suggest(name, distribution)
            return claimed
        return None

    def _propose(self) -> Mapping[str, Any] | None:
        """New settings, or None if there are enough trials or no more combinations.

        Settings that a trial has already are drawn again, since runs repeat exactly.
        """
        trials = self._study.get_trials(deepcopy=False)
        tried = {self._text(trial) for trial in trials}
        if len(tried) >= self._n_trials:
            return None
        if self._algorithm != "exhaustive":
            for attempt in range(_TRIES):
                settings = self._draw(len(trials), attempt)
                if same_text(self._search.space.settings(settings)) not in tried:
                    return settings
        return self._next_combination(tried) if self._search.space.size else None

    def _draw(self, number: int, attempt: int) -> dict[str, Any]:
        import optuna

        seeds = np.random.SeedSequence([self._search.seed, number, attempt])
        seed = int(seeds.generate_state(1)[0])
        samplers = optuna.samplers
        sampler = (
            samplers.RandomSampler(seed)
            if self._algorithm == "random"
            # Trials that others still run count as bad, so that nobody runs beside them.
            else samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_FIRST, constant_liar=True)
        )
        blank = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
        return {
            name: sampler.sample_independent(self._study, blank, name, distribution)
            for name, distribution in self._distributions.items()
        }

    def _next_combination(self, tried: set[str]) -> dict[str, Any] | None:
        space = self._search.space
        for values in itertools.product(*(dimension.grid or () for dimension in space.dimensions)):
            settings = dict(zip(space.names, values, strict=True))
            if same_text(settings) not in tried:
                drawn = space.drawn(settings)
                return {
                    name: distribution.to_external_repr(drawn[name])
                    for name, distribution in self._distributions.items()
                }
        return None

    def _in_state(self, *names: str) -> list[Any]:
        from optuna.trial import TrialState

        states = tuple(TrialState[name] for name in names)
        return list(self._study.get_trials(deepcopy=False, states=states))

    def _text(self, trial: Any) -> str:
        # A process that dies while it asks leaves a trial that has not taken all of them yet.
        return same_text(self._search.space.settings(trial.system_attrs["fixed_params"]))

    def _lock_of(self, number: int) -> Path:
        return self._store.run_dir(number + 1) / ".lock"
