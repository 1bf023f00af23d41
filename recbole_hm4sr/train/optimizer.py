"""The optimizer of a run, by RecBole's settings."""

import logging
from typing import Any

import torch
from torch import nn

from recbole_hm4sr.base.errors import ConfigError

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
        config: RecBole ``Config``: ``learner``, ``learning_rate``, ``weight_decay``.
        model: Its method ``parameter_groups()``, if it has one, returns dictionaries as torch's
            optimizers take them: ``params``, and what differs from the settings in that group, as
            ``lr`` or ``weight_decay``. Without it all parameters are one group.

    Raises:
        ConfigError: If the groups do not hold every trained parameter once.
    """
    name, decay = config["learner"].lower(), config["weight_decay"]
    if decay and config["reg_weight"]:
        _log.warning("weight_decay and reg_weight are both above 0: weights are pulled to 0 twice")
    options: dict[str, Any] = {"lr": config["learning_rate"], "weight_decay": decay}
    if name in _FUSED:
        options["fused"] = True
    optimizer: torch.optim.Optimizer = _LEARNERS[name](_groups(model), **options)
    return optimizer


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
