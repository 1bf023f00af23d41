"""Muon for the matrices of a model's encoders, Adam for all other weights, as one optimizer."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.layers.blocks import SequenceEncoder


def encoder_matrices(model: nn.Module) -> list[Tensor]:
    """The trained weights of all linear maps inside the encoders of a model.

    Encoders are those of this package and RecBole's ``TransformerEncoder``. Tables, projections of
    features, heads, biases and norms are none.

    Args:
        model: Any model.
    """
    from recbole.model.layers import TransformerEncoder

    encoders = [m for m in model.modules() if isinstance(m, (SequenceEncoder, TransformerEncoder))]
    found = {
        id(module.weight): module.weight
        for encoder in encoders
        for module in encoder.modules()
        if isinstance(module, nn.Linear) and module.weight.requires_grad
    }
    return list(found.values())


class MuonForEncoders(torch.optim.Optimizer):
    """Two optimizers with the interface of one.

    Muon's steps have the size of Adam's (``match_rms_adamw``), so that one learning rate serves
    both.

    Args:
        model: Has the encoders.
        groups: All its trained parameters, as torch's optimizers take them.
        lr: Learning rate of groups without one.
        weight_decay: As each of the two takes it: Muon's is decoupled.

    Raises:
        ConfigError: If this torch has no Muon, or the model no matrix for it.
    """

    def __init__(
        self, model: nn.Module, groups: list[dict[str, Any]], *, lr: float, weight_decay: float
    ) -> None:
        muon: Any = getattr(torch.optim, "Muon", None)
        if muon is None:
            raise ConfigError(
                f"learner must be another one than muon with torch {torch.__version__}; torch has "
                f"it since 2.9"
            )
        matrices = {id(weight) for weight in encoder_matrices(model)}
        if not matrices:
            raise ConfigError(
                f"learner must be another one than muon for the model {type(model).__name__}, "
                f"which has no encoder of transformer blocks"
            )
        options: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay}
        self._muon = muon(_part(groups, matrices), adjust_lr_fn="match_rms_adamw", **options)
        self._adam = torch.optim.Adam(_part(groups, matrices, others=True), fused=True, **options)
        super().__init__([*self._muon.param_groups, *self._adam.param_groups], options)
        self._join()

    def _join(self) -> None:
        """Show the groups and the states of both as its own."""
        self.param_groups = [*self._muon.param_groups, *self._adam.param_groups]
        self.state.clear()
        self.state.update({**self._muon.state, **self._adam.state})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move all weights.

        Args:
            closure: None: losses are computed before.
        """
        assert closure is None
        self._muon.step()
        self._adam.step()
        self._join()

    def state_dict(self) -> dict[str, Any]:
        """The states of both."""
        return {"muon": self._muon.state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Resume from a state of :meth:`state_dict`."""
        self._muon.load_state_dict(state_dict["muon"])
        self._adam.load_state_dict(state_dict["adam"])
        self._join()


def _part(
    groups: list[dict[str, Any]], matrices: set[int], *, others: bool = False
) -> list[dict[str, Any]]:
    """The groups with the matrices alone, or with all others; groups without any are left out."""
    parts = [
        {**group, "params": [p for p in group["params"] if (id(p) in matrices) != others]}
        for group in groups
    ]
    return [part for part in parts if part["params"]]
