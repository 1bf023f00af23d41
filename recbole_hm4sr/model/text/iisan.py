r"""IISAN: small adapters read the layers of frozen encoders, beside them.

Reference:
    Fu et al., "IISAN: Efficiently Adapting Multimodal Representation for Sequential Recommendation
    with Decoupled PEFT", SIGIR 2024, arXiv:2404.02059.

The hidden state after each layer of a text and an image encoder is stored once
(``hm4sr encode text --layers=0,2,4``). With X_k the stored layers, gates s and adapters A.

.. math:: c_k = A^c_k(s_k X^c_k + (1 - s_k)\, c_{k-1}), \quad A(x) = x + W' act(W x + b) + b'

.. math:: m_k = A^m_k(m_{k-1} + s^m_k X^c_k + (1 - s^m_k) X^t_k), \quad s = \sigma(\gamma / 0.1)

A tower for each modality, and a third between the two. Their ends are mapped to D and joined by one
map more: v. A score is the inner product of v and the user that MoRec's encoder makes. The loss
sets a target against the items of the other users in the batch, corrected for their popularity.

One or two modalities, of as many layers; a narrower one has a map to the width of the other. With
one the towers are one. Features without layers are one layer, where there is little left of the
idea: the run says so, and its label is ``IISAN (one layer)``.
"""

import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.layers.blocks import ACTIVATIONS
from recbole_hm4sr.model.text.iisan_settings import IISANSettings
from recbole_hm4sr.model.text.lab import LabRecommender

_log = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
_GATE_TEMPERATURE = 0.1
_ADAPTER_DEVIATION = 0.01
INTER = "inter-modal"  # the tower between two; no modality has such a name
_TEXT = "text"  # whose tower the authors train more slowly


class IISAN(LabRecommender):
    """IISAN on cached layers: gated, with all towers.

    Args:
        config: RecBole ``Config`` with the fields of :class:`IISANSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        An item without features has zeros in place of ending the run. The shares of items count one
        more of each, so that no item of a batch is impossible. Only the gated form with all towers
        is here: the others end with an error there. ``loss: ce`` is the cross-entropy over all
        items, without a correction. The learning rates keep the authors' proportions: half for the
        adapters, the first map behind the image's and its gates, a quarter for the first map behind
        the text's.
    """

    settings_class = IISANSettings
    reads = frozenset({"features"})
    settings: IISANSettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings, size = self.settings, self.settings.hidden_size
        if len(self.modalities) > 2:
            raise ConfigError(
                f"modalities must be one or two for IISAN, whose third tower is between two, got "
                f"{', '.join(self.modalities)}"
            )
        self.n_layers_of = {name: dataset.modality(name).n_layers for name in self.modalities}
        self.side_layers = self._choose_layers()
        wide = max(self._layer_width(name) for name in self.modalities)
        self.maps = nn.ModuleDict(
            {
                name: nn.Linear(self._layer_width(name), wide, bias=False)
                for name in self.modalities
                if self._layer_width(name) != wide
            }
        )
        n_adapters = len(self.side_layers) - settings.remove_first
        names = (*self.modalities, INTER) if len(self.modalities) == 2 else self.modalities
        self.towers = nn.ModuleDict({name: SideTower(wide, n_adapters, settings) for name in names})
        self.join = nn.Linear(len(names) * size, size)
        for name in self.modalities:
            if name != _TEXT:
                nn.init.xavier_normal_(self._tower(name).out.weight)
                nn.init.zeros_(self._tower(name).out.bias)
        self._learning_rate: float = config["learning_rate"]
        self.build_users()

    # --- layers --------------------------------------------------------------------------------

    def width_of(self, features: Any) -> int:
        """The numbers that an item has of a modality, in all layers."""
        return int(features.n_layers * features.width)

    def taker_of(self, features: Any) -> Any:
        """What gives the layers of items side by side."""
        return features.take_layers

    def _layer_width(self, name: str) -> int:
        return self.widths[name] // self.n_layers_of[name]

    def _choose_layers(self) -> list[int]:
        """Numbers of the layers that are read."""
        numbers = set(self.n_layers_of.values())
        if len(numbers) > 1:
            raise ConfigError(
                f"the modalities of IISAN must have as many layers each, got "
                f"{', '.join(f'{n} of {name}' for name, n in self.n_layers_of.items())}"
            )
        n_stored, settings = numbers.pop(), self.settings
        if n_stored == 1:
            _log.warning(
                "the features have one layer: IISAN runs as IISAN (one layer), which is not what "
                "the paper is about; store layers by hm4sr encode text --layers"
            )
        chosen = list(settings.side_layers or range(n_stored))
        if chosen[-1] >= n_stored:
            raise ConfigError(
                f"side_layers must be numbers of the {n_stored} stored layers, from 0, got {chosen}"
            )
        if len(chosen) <= settings.remove_first:
            raise ConfigError(f"remove_first must leave a layer to read, got {chosen}")
        return chosen

    def variant(self) -> str:
        """Which form the features allow; empty for the paper's."""
        is_alone = len(self.side_layers) == 1
        return "IISAN (one layer), since its features have no layers" if is_alone else ""

    def states(self, name: str, items: Tensor | None, on_host: Array | None) -> Tensor:
        """The layers of some items, or of all, that are read. Shape ``[R, K, F]``."""
        features = self.features(name, items, on_host)
        layers = features.unflatten(1, (self.n_layers_of[name], -1))[:, self.side_layers]
        return self.maps[name](layers) if name in self.maps else layers

    # --- items ---------------------------------------------------------------------------------

    def _tower(self, name: str) -> Any:
        return self.towers[name]

    def parts(self, items: Tensor | None, on_host: Array | None) -> list[Tensor]:
        """The ends of the towers, the modalities' first. Each of shape ``[K, D]``."""
        states = [self.states(name, items, on_host) for name in self.modalities]
        begins: list[Tensor] | list[None] = [None] * len(states)
        if self.settings.remove_first:
            begins = [layers[:, 0] for layers in states]
            states = [layers[:, 1:] for layers in states]
        found = [
            self._tower(name)(layers, begin)
            for name, layers, begin in zip(self.modalities, states, begins, strict=True)
        ]
        if INTER in self.towers:
            found.append(self._tower(INTER).between(*states))
        return found

    def vectors(self, items: Tensor | None, on_host: Array | None) -> Tensor:
        """What the towers make of some items, or of all. Shape ``[K, D]``."""
        joined: Tensor = self.join(torch.cat(self.parts(items, on_host), dim=1))
        return joined

    # --- training and serving ------------------------------------------------------------------

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Slower learning rates for the adapters and what follows them."""
        shares, groups = self._rate_shares(), []
        for group in super().parameter_groups():
            rate = group.get("lr", self._learning_rate)
            for share in (1.0, 0.5, 0.25):
                chosen = [p for p in group["params"] if shares.get(id(p), 1.0) == share]
                groups += [{**group, "params": chosen, "lr": share * rate}] * bool(chosen)
        return groups

    def _rate_shares(self) -> dict[int, float]:
        """What some parameters have of the learning rate, by their identity; the others all."""
        shares = {}
        for name, tower in self.towers.items():
            slow = ["down", "up"] if name in (INTER, _TEXT) else ["down", "up", "gates", "end"]
            for own, parameter in tower.named_parameters():
                if own.partition(".")[0] in slow:
                    shares[id(parameter)] = 0.5
                elif name == _TEXT and own.startswith("end"):
                    shares[id(parameter)] = 0.25
        return shares

    @torch.no_grad()
    def serving_arrays(self) -> dict[str, Array]:
        """What every packed model keeps, with the width of a layer and the number of them."""
        layers = {
            f"{name}.{what}": np.array(value)
            for name in self.modalities
            for what, value in (
                ("width", self._layer_width(name)),
                ("n_layers", self.n_layers_of[name]),
            )
        }
        return {**super().serving_arrays(), **layers}


class SideTower(nn.Module):
    """Adapters that read a layer each and what the one before has made.

    Args:
        width: F of the layers.
        n_adapters: K.
        settings: Of the model.
    """

    def __init__(self, width: int, n_adapters: int, settings: IISANSettings) -> None:
        super().__init__()
        inner = settings.adapter_size
        self.activation = ACTIVATIONS[settings.adapter_act]
        self.down = nn.ModuleList(nn.Linear(width, inner) for _ in range(n_adapters))
        self.up = nn.ModuleList(nn.Linear(inner, width) for _ in range(n_adapters))
        for linear in (*self.down, *self.up):
            nn.init.normal_(linear.weight, std=_ADAPTER_DEVIATION)
            nn.init.zeros_(linear.bias)
        self.gates = nn.Parameter(torch.zeros(n_adapters))
        self.end = nn.Linear(width, width)
        self.out = nn.Linear(width, settings.hidden_size)

    def _adapt(self, number: int, x: Tensor) -> Tensor:
        adapted: Tensor = x + self.up[number](self.activation(self.down[number](x)))
        return adapted

    def _shares(self) -> Tensor:
        return (self.gates / _GATE_TEMPERATURE).sigmoid()

    def _end(self, state: Tensor) -> Tensor:
        out: Tensor = self.out(self.end(state))
        return out

    def forward(self, layers: Tensor, begin: Tensor | None = None) -> Tensor:
        """The tower of one modality. Shapes ``[R, K, F]``, ``[R, F]`` to ``[R, D]``."""
        state = torch.zeros_like(layers[:, 0]) if begin is None else begin
        for number, share in enumerate(self._shares()):
            state = self._adapt(number, share * layers[:, number] + (1 - share) * state)
        return self._end(state)

    def between(self, first: Tensor, second: Tensor) -> Tensor:
        """The tower between two modalities, whose state is added whole. To ``[R, D]``."""
        state = torch.zeros_like(first[:, 0])
        for number, share in enumerate(self._shares()):
            mixed = share * first[:, number] + (1 - share) * second[:, number]
            state = self._adapt(number, state + mixed)
        return self._end(state)
