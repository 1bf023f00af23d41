"""RecBole's ``Config`` over settings that are composed and checked already."""

from collections.abc import Mapping
from typing import Any

import torch
import yaml
from recbole.config import Config

from recbole_hm4sr.base import compat
from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.yaml_limits import Loader
from recbole_hm4sr.parallel.processes import own_device


def make_config(model_class: Any, dataset: str, values: Mapping[str, Any]) -> Config:
    """A ``Config`` that every RecBole class can be built from.

    Args:
        model_class: RecBole model class, of this package or of RecBole.
        dataset: Name of the data set.
        values: All settings; not changed.

    Raises:
        ConfigError: If RecBole refuses them.
    """
    compat.restore_numpy_aliases()
    with compat.isolated_config_state():
        try:
            return _PluginConfig(model=model_class, dataset=dataset, config_dict=dict(values))
        except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
            raise ConfigError(f"RecBole refuses the settings: {error}") from error


def run_device(values: Mapping[str, Any]) -> torch.device:
    """Where this process trains and evaluates.

    Args:
        values: The settings ``use_gpu`` and ``gpu_id``.

    Raises:
        ConfigError: If there is no such GPU, or there are more processes than GPUs.
    """
    return own_device(compat.choose_device(values["use_gpu"], values["gpu_id"]))


class _PluginConfig(Config):  # type: ignore[misc, unused-ignore]
    """It reads no command line, evaluates no text as code, and changes nothing in the process."""

    def compatibility_settings(self) -> None:
        compat.restore_numpy_aliases()

    def _build_yaml_loader(self) -> type[yaml.SafeLoader]:
        return Loader

    def _convert_config_dict(self, config_dict: dict[str, Any]) -> dict[str, Any]:
        return config_dict

    def _load_internal_config_dict(self, model: str, model_class: Any, dataset: str) -> None:  # noqa: ARG002
        self.internal_config_dict = {"MODEL_TYPE": model_class.type}

    def _set_default_parameters(self) -> None:
        folder = self.final_config_dict["data_path"]
        super()._set_default_parameters()
        self.final_config_dict["data_path"] = folder

    def _init_device(self) -> None:
        device = run_device(self.final_config_dict)
        self.final_config_dict.update(device=device, single_spec=True, local_rank=0)
        reads = getattr(self.model_class, "reads_first_position", False)
        self.final_config_dict["reads_first_position"] = reads
