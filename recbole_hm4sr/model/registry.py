"""Which models there are: this package's, RecBole's sequential ones, those of other packages.

Names are known without importing what they name: torch and RecBole take seconds.
"""

import difflib
import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbole_hm4sr.base import recbole_files
from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.base.plugins import load_plugin, plugin_names
from recbole_hm4sr.config.fields import Role
from recbole_hm4sr.config.loss_rules import LossFacts
from recbole_hm4sr.config.recbole_settings import RecBoleSettings
from recbole_hm4sr.config.settings import DataSettings, RunSettings, Settings
from recbole_hm4sr.model.recbole.losses import loss_facts


@dataclass(frozen=True)
class ModelEntry:
    """A model, imported where it is asked for.

    Attributes:
        name: Its name.
        load: Gives its class.
        load_settings: Gives the class of its settings, or None: RecBole's own read the config.
        module: Where its class is, to be read without importing it; empty if not known.
        losses: What is known of its loss; None where nothing is.
        is_fitted_once: Whether it has no parameters, and may be a baseline of other runs.
        label: How tables and prose name it; empty where that is its name.
    """

    name: str
    load: Callable[[], Any]
    load_settings: Callable[[], type[Settings] | None]
    module: str = ""
    losses: LossFacts | None = None
    is_fitted_once: bool = False
    label: str = ""

    @functools.cached_property
    def model_class(self) -> Any:
        """The model."""
        return self.load()

    @functools.cached_property
    def settings_class(self) -> type[Settings] | None:
        """The class of its settings; None for RecBole's own, which read the config.

        Of a model of this package it is there without torch.
        """
        return self.load_settings()

    @property
    def has_pretraining(self) -> bool:
        """Whether it is trained in two stages, of which the first is a run of its own."""
        cls = self.settings_class
        return cls is not None and {"train_stage", "pretrain_epochs"} <= set(cls.names())


def _load(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"recbole_hm4sr.model.{module}"), name)


def _own(
    name: str, module: str, settings: str, *, is_fitted_once: bool = False, label: str = ""
) -> ModelEntry:
    return ModelEntry(
        name,
        functools.partial(_load, module, name),
        functools.partial(_load, settings, f"{name}Settings"),
        f"recbole_hm4sr.model.{module}",
        LossFacts(),
        is_fitted_once,
        label,
    )


_fitted_once = functools.partial(_own, settings="trivial.settings", is_fitted_once=True)


MODELS = {
    entry.name: entry
    for entry in (
        _own("HM4SR", "hm4sr.model", "hm4sr.settings"),
        _own("SASRecPlus", "ids.sasrec_plus", "ids.sasrec_plus_settings", label="SASRec+"),
        _own("gSASRec", "ids.gsasrec", "ids.gsasrec_settings"),
        _own("BSARec", "ids.bsarec", "ids.bsarec_settings"),
        _own("FMLPRec", "ids.fmlprec", "ids.fmlprec_settings"),
        _own("eSASRec", "ids.esasrec", "ids.esasrec_settings"),
        _own("KERec", "ids.kerec", "ids.kerec_settings"),
        _own("DuoRec", "ids.duorec", "ids.duorec_settings"),
        _own("DIFSR", "side.side_information", "side.settings"),
        _own("NOVA", "side.side_information", "side.settings"),
        _own("TiSASRec", "timed.tisasrec", "timed.settings"),
        _own("MEANTIME", "timed.meantime", "timed.settings"),
        _own("MOJITO", "timed.mojito", "timed.settings"),
        _own("TiCoSeRec", "timed.ticoserec", "timed.settings"),
        _own("Momento", "momento.model", "momento.settings"),
        _own("MMSR", "mmsr.model", "mmsr.settings"),
        _own("UniSRec", "text.unisrec", "text.unisrec_settings"),
        _own("PixelRec", "text.pixelrec", "text.pixelrec_settings"),
        _own("WhitenRec", "text.whitenrec", "text.whitenrec_settings"),
        _own("MoRec", "text.morec", "text.morec_settings"),
        _own("TedRec", "text.tedrec", "text.tedrec_settings"),
        _own("MISSRec", "text.missrec", "text.missrec_settings"),
        _own("IISAN", "text.iisan", "text.iisan_settings"),
        _fitted_once("Popular", "trivial.popular"),
        _fitted_once("RecentPopular", "trivial.recent_popular"),
        _fitted_once("RepeatLast", "trivial.repeat_last"),
        _fitted_once("ItemKNN", "trivial.item_knn"),
        _fitted_once("EASE", "trivial.ease"),
    )
}
DEFAULT_MODEL = "HM4SR"
# Models of RecBole of which more is known than RecBole's YAML says.
_SETTINGS_OF_RECBOLE = {"S3Rec": "recbole.s3rec_settings"}


def model_names() -> list[str]:
    """Names of all models that can run, this package's first, then RecBole's."""
    of_recbole = sorted(set(recbole_files.sequential_models()) - set(MODELS))
    return [*MODELS, *of_recbole, *plugin_names()]


def display_name(name: str) -> str:
    """How tables and prose name a model.

    Args:
        name: Of any model; one that has no label, or is not installed here, keeps it.
    """
    entry = MODELS.get(name)
    return entry.label or name if entry is not None else name


def find_model(name: str) -> ModelEntry:
    """The model of a name. Only a model of another package is imported.

    Raises:
        ConfigError: If there is none (near misses are named), or a package brings it wrongly.
    """
    if not isinstance(name, str):
        raise ConfigError(
            f"the model must be given by its name, got {name!r}; a class of your own has one as an "
            f"entry point of its package (docs/models.md)"
        )
    if name in plugin_names():
        return _plugin(name, taken=name in MODELS or name in recbole_files.sequential_models())
    if name in MODELS:
        return MODELS[name]
    if name in recbole_files.sequential_models():
        return _of_recbole(name)
    names = model_names()
    lower = {text.lower(): known for known in names for text in (known, display_name(known))}
    near = difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.5)
    hint = f"did you mean {lower[near[0]]!r}?" if near else f"choose from {', '.join(names)}"
    raise ConfigError(f"the model must be one of this package or of RecBole, got {name!r}; {hint}")


def find_baselines(names: Sequence[str]) -> list[ModelEntry]:
    """The models of the setting ``baselines``.

    Raises:
        ConfigError: If one is not fitted once.
    """
    known = {name: entry for name, entry in MODELS.items() if entry.is_fitted_once}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(
            f"baselines must be models that are fitted once ({', '.join(sorted(known))}), got "
            f"{', '.join(map(repr, unknown))}"
        )
    return [known[name] for name in names]


def variant_of(name: str, settings: Mapping[str, Any]) -> str:
    """Which of the forms that go by a model's name its settings choose.

    Args:
        name: Name of the model.
        settings: All settings of a run.

    Returns:
        Words for a note below a table. Empty for a model with one form, and for one that is not
        installed here: tables are made where the runs' models need not be.
    """
    own = _of_settings(name, "variant")
    return "" if own is None else str(own(settings))


def _of_settings(name: str, what: str) -> Any:
    """What the class of a model's settings says by a method; None if it, or the model, has none."""
    try:
        return getattr(find_model(name).settings_class, what, None)
    except ConfigError:
        return None


def view_labels(name: str, settings: Mapping[str, Any]) -> Mapping[str, str]:
    """What a table adds to a model's name for each view in which the model is measured.

    Args:
        name: Name of the model.
        settings: All settings of a run.

    Returns:
        By the name of the view, the first one first; empty for a model that is measured as it is,
        and for one that is not installed here: tables are made where the runs' models need not be.
    """
    own = _of_settings(name, "view_labels")
    return {} if own is None else own(settings)


def reads_moment(name: str, settings: Mapping[str, Any]) -> bool:
    """Whether a model's scores depend on the moment of the request: its ``request_time``.

    Args:
        name: Name of the model.
        settings: All settings of a run.
    """
    own = _of_settings(name, "reads_moment")
    return own is not None and bool(own(settings))


@functools.cache
def settings_with(role: Role) -> frozenset[str]:
    """Names of all settings that have a role: RecBole's, this package's, those of its models."""
    of_models = [entry.settings_class for entry in MODELS.values()]
    of_models += [_of_recbole(name).settings_class for name in _SETTINGS_OF_RECBOLE]
    classes: list[type[Settings]] = [
        RecBoleSettings,
        DataSettings,
        RunSettings,
        *filter(None, of_models),
    ]
    return frozenset(name for cls in classes for name in cls.names_with(role))


def _of_recbole(name: str) -> ModelEntry:
    module = _SETTINGS_OF_RECBOLE.get(name)
    return ModelEntry(
        name,
        functools.partial(_load_recbole, name),
        functools.partial(_load, module, f"{name}Settings") if module else lambda: None,
        recbole_files.sequential_models()[name],
        loss_facts(name),
    )


def _load_recbole(name: str) -> Any:
    from recbole_hm4sr.base import compat
    from recbole_hm4sr.model.recbole.trimming import trimmed_class

    return trimmed_class(getattr(compat.import_recbole_models(), name))


def _plugin(name: str, *, taken: bool) -> ModelEntry:
    if taken:
        raise ConfigError(
            f"the model {name} of an installed package must have a name of its own; there is one"
        )
    model_class = load_plugin(name)
    from recbole.model.abstract_recommender import SequentialRecommender

    if not (isinstance(model_class, type) and issubclass(model_class, SequentialRecommender)):
        raise ConfigError(
            f"the model {name} must be a subclass of RecBole's SequentialRecommender, got "
            f"{model_class!r}"
        )
    settings_class = getattr(model_class, "settings_class", None)
    if settings_class is not None and not (
        isinstance(settings_class, type) and issubclass(settings_class, Settings)
    ):
        raise ConfigError(
            f"settings_class of the model {name} must be a subclass of "
            f"recbole_hm4sr.config.settings.Settings (docs/models.md), got {settings_class!r}"
        )
    return ModelEntry(
        name, lambda: model_class, lambda: settings_class, model_class.__module__, losses=None
    )
