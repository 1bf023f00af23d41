"""Which models there are: this package's, RecBole's sequential ones, those of other packages."""

import difflib
from dataclasses import dataclass
from typing import Any

from recbole.model.abstract_recommender import SequentialRecommender

from recbole_hm4sr import compat
from recbole_hm4sr.errors import ConfigError
from recbole_hm4sr.model.hm4sr import HM4SR
from recbole_hm4sr.model.hm4sr_settings import HM4SRSettings
from recbole_hm4sr.model.mmsr import MMSR
from recbole_hm4sr.model.mmsr_settings import MMSRSettings
from recbole_hm4sr.model.sasrec_plus import SASRecPlus, SASRecPlusSettings
from recbole_hm4sr.model.trimming import trimmed_class
from recbole_hm4sr.plugins import load_plugin, plugin_names


@dataclass(frozen=True)
class ModelEntry:
    """A model and the class of its settings (None for RecBole's own, which read the config)."""

    model_class: Any
    settings_class: Any = None


MODELS = {
    "HM4SR": ModelEntry(HM4SR, HM4SRSettings),
    "SASRecPlus": ModelEntry(SASRecPlus, SASRecPlusSettings),
    "MMSR": ModelEntry(MMSR, MMSRSettings),
}


def model_names() -> list[str]:
    """Names of all models that can run, this package's first, then RecBole's."""
    return [*MODELS, *sorted(set(_recbole_models()) - set(MODELS)), *plugin_names()]


def find_model(name: str) -> ModelEntry:
    """The model of a name.

    Raises:
        ConfigError: If there is none (near misses are named), or a package brings it wrongly.
    """
    if not isinstance(name, str):
        raise ConfigError(
            f"the model must be given by its name, got {name!r}; a class of your own has one as an "
            f"entry point of its package (docs/models.md)"
        )
    if name in plugin_names():
        return _plugin(name, taken=name in MODELS or name in _recbole_models())
    if name in MODELS:  # without the second that RecBole's models take to import
        return MODELS[name]
    models = _recbole_models()
    if name in models:
        return ModelEntry(trimmed_class(models[name]))
    names = model_names()
    lower = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.5)
    hint = f"did you mean {lower[near[0]]!r}?" if near else f"choose from {', '.join(names)}"
    raise ConfigError(f"the model must be one of this package or of RecBole, got {name!r}; {hint}")


def _plugin(name: str, *, taken: bool) -> ModelEntry:
    if taken:
        raise ConfigError(
            f"the model {name} of an installed package must have a name of its own; there is one"
        )
    model_class = load_plugin(name)
    if not (isinstance(model_class, type) and issubclass(model_class, SequentialRecommender)):
        raise ConfigError(
            f"the model {name} must be a subclass of RecBole's SequentialRecommender, got "
            f"{model_class!r}"
        )
    return ModelEntry(model_class, getattr(model_class, "settings_class", None))


def _recbole_models() -> dict[str, Any]:
    package = compat.import_recbole_models()
    return {
        name: value
        for name, value in vars(package).items()
        if isinstance(value, type) and issubclass(value, SequentialRecommender)
    }
