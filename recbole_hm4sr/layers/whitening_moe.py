"""UniSRec's adaptor: a mixture of experts that whiten and project frozen features."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.layers.dropout import Dropout

_LEAST_NOISE = 0.01  # standard deviation that is added to the gates' learned one


class WhiteningMoE(nn.Module):
    r"""Experts that shift and project features, weighed by a gate that reads them.

    .. math:: A(x) = \sum_k g_k W_k (drop(x) - b_k), \quad g = softmax(x G)

    The gate reads x without dropout. In training its logits may be noisy: ``softplus(x N) + 0.01``
    times a standard normal number each, drawn outside.

    Args:
        in_width: F, width of the features.
        width: D, width of the result.
        n_experts: K.
        dropout_prob: Dropout of the features.
        own_masks: Whether each expert drops other features: K products in place of one.
        gate_noise: Whether there are noisy logits.
        n_positions: If given, each position has shifts of its own, ``[P, K, F]``.
        deviation: Standard deviation of the initial projections; gates and shifts begin at 0.

    Reference:
        Hou et al., "Towards Universal Sequence Representation Learning for Recommender Systems",
        KDD 2022, arXiv:2206.05941.
    """

    def __init__(
        self,
        *,
        in_width: int,
        width: int,
        n_experts: int,
        dropout_prob: float,
        own_masks: bool = False,
        gate_noise: bool = True,
        n_positions: int | None = None,
        deviation: float = 0.02,
    ) -> None:
        super().__init__()
        self.n_experts, self.own_masks = n_experts, own_masks
        self.gate = nn.Parameter(torch.zeros(in_width, n_experts))
        self.noise = nn.Parameter(torch.zeros(in_width, n_experts)) if gate_noise else None
        self.projection = nn.Parameter(torch.empty(n_experts, width, in_width))
        positions = () if n_positions is None else (n_positions,)
        self.shift = nn.Parameter(torch.zeros(*positions, n_experts, in_width))
        self.dropout = Dropout(dropout_prob)
        nn.init.normal_(self.projection, std=deviation)

    def gates(self, x: Tensor, drawn: Tensor | None = None) -> Tensor:
        """Weights of the experts. Shapes ``[R, F]``, and ``[R, K]`` of the noise, to ``[R, K]``."""
        logits = x @ self.gate
        if drawn is not None and self.noise is not None:
            logits = logits + drawn * (F.softplus(x @ self.noise) + _LEAST_NOISE)
        return logits.softmax(dim=-1)

    def mix(self, x: Tensor, gates: Tensor) -> Tensor:
        """The weighed projections without shifts. Shapes ``[R, F]``, ``[R, K]`` to ``[R, D]``."""
        if self.own_masks and self.training:
            parts = [F.linear(self.dropout(x), weight) for weight in self.projection]
            projected = torch.stack(parts, dim=1)  # [R, K, D]
        else:
            projected = F.linear(self.dropout(x), self.projection.flatten(0, 1))
            projected = projected.unflatten(1, (self.n_experts, -1))  # [R, K, D]
        return (gates[:, None] @ projected)[:, 0]

    def shifts(self, gates: Tensor, positions: Tensor | None = None) -> Tensor:
        """The weighed projections of the shifts.

        Args:
            gates: Shape ``[R, K]``.
            positions: Of each row, where positions have shifts of their own. Shape ``[R]``, int64.

        Returns:
            Shape ``[R, D]``.
        """
        # One product for all rows: exact, since a shift does not depend on the features.
        projected = (self.projection @ self.shift[..., None])[..., 0]  # [K, D] or [P, K, D]
        if positions is None:
            return gates @ projected
        own = F.embedding(positions, projected.flatten(1)).view(len(gates), *projected.shape[1:])
        return (gates[:, None] @ own)[:, 0]

    def forward(self, x: Tensor, drawn: Tensor | None = None) -> Tensor:
        """Adapt features.

        Args:
            x: Shape ``[R, F]``.
            drawn: Standard normal numbers for the gates; None for gates without noise. Shape
                ``[R, K]``.

        Returns:
            Shape ``[R, D]``.
        """
        gates = self.gates(x, drawn)
        return self.mix(x, gates) - self.shifts(gates)

    def draw_noise(self, n_rows: int) -> Tensor | None:
        """Numbers for the gates of a step, ``[R, K]``; None where there is no noise."""
        if not self.training or self.noise is None:
            return None
        return torch.randn(n_rows, self.n_experts, dtype=self.gate.dtype, device=self.gate.device)
