"""The optimizer of a run, by RecBole's settings."""

import logging
import math
from typing import Any

import torch
from torch import nn

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.settings import RunSettings, read_settings
from recbole_hm4sr.train.muon import MuonForEncoders

_log = logging.getLogger(__name__)

_LEARNERS: dict[str, Any] = {
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
# One kernel over all parameters: unfused, starting a thousand small ones takes longer.
_FUSED = frozenset({"adam", "adamw"})


def build_optimizer(config: Any, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer that the settings name, over the parameter groups of a model.

    Args:
        config: RecBole ``Config``: ``learner``, ``learning_rate``, ``weight_decay``,
            ``train_batch_size``, ``lr_batch_size``.
        model: Its method ``parameter_groups()``, if it has one, returns dictionaries as torch's
            optimizers take them: ``params``, and what differs from the settings in that group, as
            ``lr`` or ``weight_decay``. Without it all parameters are one group.

    Raises:
        ConfigError: If the groups do not hold every trained parameter once, or the learner is
            muon, and torch or the model has nothing for it.
    """
    name, decay = config["learner"].lower(), config["weight_decay"]
    if decay and config["reg_weight"]:
        _log.warning("weight_decay and reg_weight are both above 0: weights are pulled to 0 twice")
    options: dict[str, Any] = {"lr": config["learning_rate"], "weight_decay": decay}
    if name in _FUSED:
        options["fused"] = True
    optimizer: torch.optim.Optimizer
    if name == "muon":
        optimizer = MuonForEncoders(model, _groups(model), **options)
    else:
        optimizer = _LEARNERS[name](_groups(model), **options)
    factor = _factor_for_batch(config)
    for group in optimizer.param_groups:
        group["lr"] *= factor
    return optimizer


def _factor_for_batch(config: Any) -> float:
    """What a batch of another size than the one that the rate was found with does to the rate."""
    known = read_settings(config, RunSettings).lr_batch_size
    if not known:
        return 1.0
    factor: float = config["train_batch_size"] / known
    return factor if config["learner"].lower() == "sgd" else math.sqrt(factor)


def _groups(model: nn.Module) -> list[dict[str, Any]]:
    own_groups: Any = getattr(model, "parameter_groups", None)
    if own_groups is None:
        return [{"params": list(model.parameters())}]
    groups = [{**group, "params": list(group["params"])} for group in own_groups()]
    held = [id(parameter) for group in groups for parameter in group["params"]]
    wrong = [
        name
        for name, parameter in model.named_parameters()
        if held.count(id(parameter)) != 1
        if parameter.requires_grad or id(parameter) in held
    ]
    if wrong:
        raise ConfigError(
            f"parameter_groups() of the model {type(model).__name__} must hold every trained "
            f"parameter once, but not so: {', '.join(wrong[:3])}"
        )
    return groups
