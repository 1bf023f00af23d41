"""The way of a search: from what the user says to the best settings."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.base.files import locked
from recbole_hm4sr.model.registry import DEFAULT_MODEL
from recbole_hm4sr.tune.search import (
    ALGORITHMS,
    ENGINES,
    Algorithm,
    Engine,
    Search,
    import_engine,
    plan_search,
    remember_search,
)
from recbole_hm4sr.tune.space import Dimension, Space, find_space, read_space
from recbole_hm4sr.tune.trials import Trial, TrialStore, best_trial, ranked

if TYPE_CHECKING:
    import pandas as pd

N_TRIALS = 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How to search.

    Attributes:
        engine: ``hyperopt`` (RecBole's ``HyperTuning``) or ``optuna``.
        algorithm: ``exhaustive``, ``random`` or ``bayes``.
        n_trials: Number of all trials; None for all combinations, or 30 where they are infinite.
        early_stop: Trials without a better score after which the search ends; None for no end.
        prune: Whether hopeless trials end early; None where the engine can.
        retry: Whether failed trials run again.
    """

    engine: Engine = "hyperopt"
    algorithm: Algorithm = "bayes"
    n_trials: int | None = None
    early_stop: int | None = None
    prune: bool | None = None
    retry: bool = False


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What a search has found.

    Attributes:
        search: What was searched.
        folder: Its folder.
        trials: All finished trials, best first.
        best: The best of them; None if none has a score.
        best_file: Its settings as YAML.
    """

    search: Search
    folder: Path
    trials: tuple[Trial, ...]
    best: Trial | None
    best_file: Path

    def frame(self) -> "pd.DataFrame":
        """A row a trial, best first: its settings, score, best epoch, seconds and status.

        Indexed by the trial's number.
        """
        import pandas as pd

        rows = [
            {
                "trial": trial.number,
                **trial.settings,
                "score": trial.score,
                "best_epoch": trial.best_epoch,
                "epochs": trial.epochs,
                "seconds": trial.seconds,
                "status": trial.status,
                "reason": trial.reason,
            }
            for trial in self.trials
        ]
        return pd.DataFrame.from_records(rows, index="trial" if rows else None)

    def _repr_html_(self) -> str:
        return str(self.frame().to_html())


def tune_model(
    model: str = DEFAULT_MODEL,
    dataset: str = "sports",
    *,
    params: str | Path | None = None,
    config_files: Iterable[str | Path] = (),
    overrides: Mapping[str, Any] | None = None,
    plan: Plan | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Tuned:
    """Search for settings, on the validation part alone; begun before, it goes on.

    Args:
        model: Name of the model.
        dataset: Name of the data set.
        params: File of the space, or its name in ``properties/tune``; by default the model's.
        config_files: YAML files of settings; the space wins over them.
        overrides: Settings that win over the files; none may be searched as well.
        plan: How to search.
        out: Folder of the search; ``runs/tune-<dataset>-<model>`` by default, so that the same
            command goes on in the same folder.
        say: Takes each line of progress.

    Returns:
        The trials and the best of them.

    Raises:
        ConfigError: If the space, the settings or the plan are wrong, before anything runs; or if
            the folder holds another search.
        DataError: If files cannot be read or written.
    """
    plan = plan or Plan()
    space = read_space(find_space(params, model))
    n_trials = _check_plan(plan, space)
    search = plan_search(dataset, model, space, config_files=config_files, overrides=overrides)
    store = TrialStore(search, out or Path("runs") / f"tune-{dataset}-{model}")
    import_engine(plan.engine)
    say(f"{plan.algorithm} search of {n_trials} trials; folder: {store.folder}")
    for dimension in space.dimensions:
        say(f"  {dimension.name}: {_in_words(dimension)}")
    _search(store, plan, n_trials, say)
    trials = store.trials().values()
    return Tuned(
        search,
        store.folder,
        tuple(ranked(trials, bigger=search.bigger)),
        best_trial(trials, bigger=search.bigger),
        store.best_file,
    )


def _search(store: TrialStore, plan: Plan, n_trials: int, say: Callable[[str], None]) -> None:
    def on_trial(event: str, trial: Trial) -> None:
        say(f"[{trial.number}/{n_trials}] {_what_happened(event, trial, store.search.metric)}")

    shared: dict[str, Any] = {
        "algorithm": plan.algorithm,
        "n_trials": n_trials,
        "early_stop": plan.early_stop,
        "retry": plan.retry,
        "on_trial": on_trial,
    }
    if plan.engine == "optuna":
        remember_search(store.search, plan.engine, store.folder)
        store.write_best()
        # The engines run trials: they take torch's seconds to import, and a wrong flag must not.
        from recbole_hm4sr.tune.with_optuna import search_with_optuna

        search_with_optuna(store, **shared, prune=plan.prune is not False)
        return
    refusal = (
        f"{store.folder} must be used by one search at a time, but another is running there; "
        f"--engine=optuna lets several work at one"
    )
    with locked(store.folder / ".lock", refusal=refusal):
        remember_search(store.search, plan.engine, store.folder)
        store.write_best()
        from recbole_hm4sr.tune.with_hyperopt import search_with_hyperopt

        search_with_hyperopt(store, **shared)


def _check_plan(plan: Plan, space: Space) -> int:
    """The number of trials, if the plan and the space fit together."""
    _check_words(plan)
    endless = [f"{dim.name} (line {dim.line})" for dim in space.dimensions if dim.grid is None]
    if plan.algorithm == "exhaustive" and endless:
        raise ConfigError(
            f"an exhaustive search must have choice and quniform only, got {', '.join(endless)} in "
            f"{space.path}; use --algo=random or bayes"
        )
    if space.size is None:
        return plan.n_trials or N_TRIALS
    default = space.size if plan.algorithm == "exhaustive" else N_TRIALS
    return min(plan.n_trials or default, space.size)


def _check_words(plan: Plan) -> None:
    """Refuse a plan that no space could fit."""
    for name, value, known in (
        ("algo", plan.algorithm, ALGORITHMS),
        ("engine", plan.engine, ENGINES),
    ):
        if value not in known:
            raise ConfigError(f"--{name} must be one of {', '.join(known)}, got {value!r}")
    for name, number in (("trials", plan.n_trials), ("early_stop", plan.early_stop)):
        if number is not None and number < 1:
            raise ConfigError(f"--{name} must be 1 or more, got {number}")
    if plan.prune and plan.engine != "optuna":
        raise ConfigError(
            "--prune must go with --engine=optuna; hyperopt sees finished trials only"
        )


def _in_words(dimension: Dimension) -> str:
    if dimension.kind == "choice":
        return ", ".join(map(repr, dimension.options))
    low, high = dimension.bounds
    how = {"quniform": f", step {dimension.step:g}", "loguniform": ", logarithmic"}
    return f"{low:.6g} to {high:.6g}{how.get(dimension.kind, '')}"


def _what_happened(event: str, trial: Trial, metric: str) -> str:
    settings = ", ".join(f"{name}={_short(value)}" for name, value in trial.settings.items())
    if event == "started":
        return f"{settings}: started"
    if trial.status == "failed":
        return f"{settings}: failed{' before' if event == 'skipped' else ''}: {trial.reason}"
    score = f"validation {metric} {trial.score:.4f} in epoch {trial.best_epoch} of {trial.epochs}"
    what = {"skipped": "finished before", "pruned": "hopeless"}.get(event, "done")
    return f"{settings}: {what}, {score}, {trial.seconds:.1f} s"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table_of(tuned: Tuned) -> tuple[list[str], list[list[str]]]:
    """The trials as a table, best first: titles of the columns, and the rows."""
    names = tuned.search.space.names
    titles = ["trial", f"valid {tuned.search.metric}", "best epoch", "epochs", "seconds"]
    rows = [
        [
            str(trial.number),
            trial.status if trial.score is None else f"{trial.score:.4f}",
            f"{trial.best_epoch}" if trial.status == "done" else trial.status,
            str(trial.epochs),
            f"{trial.seconds:.1f}",
            *(_short(trial.settings[name]) for name in names),
        ]
        for trial in tuned.trials
    ]
    return [*titles, *names], rows


def summary_of(tuned: Tuned) -> list[str]:
    """What came of all trials, and what to do with the best of them."""
    counts = [
        f"{sum(trial.status == status for trial in tuned.trials)} {status}"
        for status in ("done", "pruned", "failed")
    ]
    seconds = sum(trial.seconds for trial in tuned.trials)
    lines = [f"{len(tuned.trials)} trials: {', '.join(counts)}; {seconds:.0f} s of runs"]
    lines += [
        f"trial {trial.number} failed: {trial.reason}"
        for trial in tuned.trials
        if trial.status == "failed"
    ]
    best, search = tuned.best, tuned.search
    if best is None:
        return [*lines, "no trial has a score; --retry tries the failed ones again"]
    return [
        *lines,
        f"best: trial {best.number}, chosen by validation {search.metric} {best.score:.4f}; its "
        f"settings: {tuned.best_file}",
        f"nothing has been tested; test it once: hm4sr train --model={search.model} "
        f"--dataset={search.dataset} --config_files={tuned.best_file}",
    ]
