"""A mixture of experts by which the streams of ids and modalities exchange, as matrix products."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class InteractiveMoE(nn.Module):
    r"""Lets every stream take from all streams what helps it.

    With :math:`z` the streams side by side and :math:`F_k(z) = A_k z + b_k` the experts, stream
    :math:`m` becomes

    .. math:: e^m + w_m \sum_k g^m_k [F_k(z)]_m, \qquad g^m = softmax(G_m e^m + c_m),

    where :math:`[\cdot]_m` is stream m's part. All experts are one linear map.

    Args:
        streams: Names, in the order of the stream axis; that of the ids is ``id``.
        hidden_size: D.
        n_experts: E.

    Reference:
        Zhang et al., WWW 2025, arXiv:2501.14269, interactive MoE; ``Align_MoE`` in the authors'
        code.
    """

    def __init__(self, *, streams: Sequence[str], hidden_size: int, n_experts: int) -> None:
        super().__init__()
        width = len(streams) * hidden_size
        self.n_experts = n_experts
        self.experts = nn.Linear(width, n_experts * width)
        self.gates = nn.ModuleDict({name: nn.Linear(hidden_size, n_experts) for name in streams})
        # The id starts without the others, the modalities start with them.
        self.modality_weights = nn.Parameter(
            torch.tensor([float(name != "id") for name in streams])
        )

    def forward(self, x: Tensor) -> Tensor:
        """Mix the streams of each token. Shapes ``[T, M, D]`` to ``[T, M, D]``."""
        return x + self.modality_weights[:, None] * self._mix(x, self.weights(x))

    def weights(self, x: Tensor) -> Tensor:
        """How each stream weighs the experts. Shapes ``[T, M, D]`` to ``[T, M, E]``."""
        gates = [gate(x[:, stream]) for stream, gate in enumerate(self.gates.values())]
        return torch.stack(gates, dim=1).softmax(dim=-1)

    def _mix(self, x: Tensor, weights: Tensor) -> Tensor:
        experts = self.experts(x.flatten(1))  # [T, M * D] to [T, E * M * D]
        experts = experts.view(x.shape[0], self.n_experts, *x.shape[1:])  # [T, E, M, D]
        # An expert at a time: one product of all would be the largest tensor of a step.
        pairs = zip(weights.unbind(dim=2), experts.unbind(dim=1), strict=True)
        first, *others = (weight[..., None] * expert for weight, expert in pairs)
        return sum(others, start=first)
