"""What is searched: a model on a data set, over a space, with everything else fixed and checked."""

import dataclasses
import importlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.base.files import write_text
from recbole_hm4sr.config.compose import (
    check_settings,
    compose_settings,
    read_yaml,
    resolve_data_path,
)
from recbole_hm4sr.config.evaluation_rules import bigger_is_better
from recbole_hm4sr.config.fingerprint import data_hash, settings_hash
from recbole_hm4sr.config.protocol import PROTOCOL
from recbole_hm4sr.model.registry import find_model, settings_with
from recbole_hm4sr.tune.space import Space

Algorithm: TypeAlias = Literal["exhaustive", "random", "bayes"]
Engine: TypeAlias = Literal["hyperopt", "optuna"]

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
ENGINES: tuple[Engine, ...] = get_args(Engine)
# Proposals of bayes that are random, since there is nothing to learn from yet. RecBole leaves it
# to hyperopt, whose 20 are more than many searches have.
RANDOM_FIRST = 5


@dataclasses.dataclass(frozen=True)
class Search:
    """A search, as all its trials share it.

    Attributes:
        dataset: Name of the data set.
        model: Name of the model.
        space: What is searched.
        fixed: Settings of every trial that win over the YAML files; the space wins over them.
        metric: Validation metric that chooses, as ``NDCG@20``.
        bigger: Whether more of it is better.
        seed: Seed of the proposals, and of every run.
        epochs: Epochs of a run that nothing ends before.
        fingerprint: Hash of the data and of all settings that are not searched.
    """

    dataset: str
    model: str
    space: Space
    fixed: Mapping[str, Any]
    metric: str
    bigger: bool
    seed: int
    epochs: int
    fingerprint: str

    def overrides(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of a run that win over the YAML files."""
        return {**self.fixed, **settings}

    def loss(self, score: float) -> float:
        """A score as what an engine minimises."""
        return -score if self.bigger else score


def plan_search(
    dataset: str,
    model: str,
    space: Space,
    *,
    config_files: Iterable[str | Path] = (),
    overrides: Mapping[str, Any] | None = None,
) -> Search:
    """Compose and check a search before anything runs.

    Args:
        dataset: Name of the data set.
        model: Name of the model.
        space: What is searched; it wins over ``config_files``.
        config_files: YAML files of settings, later ones win.
        overrides: Settings that win over the files; none of them may be searched as well.

    Raises:
        ConfigError: If a setting is unknown, a value of the space or a fixed setting is wrong, or
            a setting is both fixed and searched; one error for all.
    """
    flags = dict(overrides or {})
    _check_names(space, flags)
    fixed: dict[str, Any] = {}
    for path in config_files:
        fixed.update(read_yaml(Path(path)))
    fixed.update(flags)
    _check(dataset, model, space, fixed)
    settings_class = find_model(model).settings_class
    values, _ = compose_settings(model, dataset, overrides=fixed, settings_class=settings_class)
    folder = resolve_data_path(dataset, fixed.get("data_path"))
    if "data_path" in fixed:
        # So that best.yaml serves from another working directory.
        fixed["data_path"] = str(folder.resolve().parent)
    rest = {name: value for name, value in values.items() if name not in space.names}
    return Search(
        dataset=dataset,
        model=model,
        space=space,
        fixed={name: value for name, value in fixed.items() if name not in space.names},
        metric=values["valid_metric"],
        bigger=bigger_is_better(values["valid_metric"]),
        seed=values["seed"],
        epochs=values["epochs"],
        fingerprint=settings_hash(
            model, dataset, data_hash(folder), rest, left_out=settings_with("machine")
        ),
    )


def _check_names(space: Space, flags: Mapping[str, Any]) -> None:
    """Refuse a setting that is fixed too, or that would make trials incomparable."""
    both = sorted(set(flags) & set(space.names))
    if both:
        raise ConfigError(
            f"a setting must be either searched or set, but {', '.join(both)} stands in "
            f"{space.path} and among the flags; remove one"
        )
    never = {*PROTOCOL, *settings_with("fixed in a search")}
    fixing = [name for name in space.names if name in never]
    if fixing:
        raise ConfigError(
            f"{space.path} must leave alone what makes trials comparable, got {', '.join(fixing)}"
        )


def _check(dataset: str, model: str, space: Space, fixed: Mapping[str, Any]) -> None:
    """Refuse unknown names, and values that no other setting of the space could make right."""
    entry = find_model(model)

    def check(overrides: Mapping[str, Any]) -> None:
        check_settings(
            model,
            dataset,
            settings_class=entry.settings_class,
            losses=entry.losses,
            overrides=overrides,
        )

    def refusal(settings: Mapping[str, Any]) -> str | None:
        try:
            check({**fixed, **settings})
        except ConfigError as error:
            return str(error)
        return None

    check({name: value for name, value in fixed.items() if name not in space.names})
    found = []
    for name, line, value in _samples(space):
        sentence = refusal({name: value})
        others = [other for other in space.names if other != name]
        if sentence and not any(re.search(rf"\b{re.escape(o)}\b", sentence) for o in others):
            found.append(f"{space.path}, line {line}: {sentence}")
    if found:
        raise ConfigError("; ".join(dict.fromkeys(found)))


def _samples(space: Space) -> Iterator[tuple[str, int, Any]]:
    for dimension in space.dimensions:
        for value in dimension.samples():
            yield dimension.name, dimension.line, value


def import_engine(name: Engine) -> Any:
    """The package of an engine.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        extra = {"hyperopt": "tune", "optuna": "optuna"}[name]
        raise ConfigError(
            f"--engine={name} must have the package {name}, which is not installed; install it "
            f"with: pip install 'recbole-hm4sr[{extra}]'"
        ) from error


def remember_search(search: Search, engine: Engine, folder: Path) -> None:
    """Write what is searched to ``search.json``, or see that the folder holds this very search.

    Raises:
        ConfigError: If the folder holds another search: its trials would not compare.
        DataError: If it cannot be written.
    """
    path = folder / "search.json"
    here = {
        "dataset": search.dataset,
        "model": search.model,
        "engine": engine,
        "metric": search.metric,
        "space": search.space.describe(),
        "fingerprint": search.fingerprint,
    }
    if not path.is_file():
        write_text(path, json.dumps(here, indent=2) + "\n")
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} must be readable JSON; use another --out") from error
    words = {"fingerprint": "fixed settings or data"}
    other = [words.get(name, name) for name, value in here.items() if there.get(name) != value]
    if other:
        raise ConfigError(
            f"{folder} must hold trials of this search only, but those there have another "
            f"{', another '.join(other)}; use another --out"
        )
