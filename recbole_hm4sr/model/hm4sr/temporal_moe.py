"""The temporal mixture of experts of HM4SR, as a matrix product."""

import torch
from torch import Tensor, nn


class TemporalMoE(nn.Module):
    r"""Scales every channel of every stream by what the time says.

    The experts :math:`q_k` are diagonal, so their mixture is one product:
    :math:`x_j \odot \sum_k r_{j,k} q_k` with :math:`r_j = softmax(G \tau_j + c)`.

    Args:
        n_streams: M.
        hidden_size: D.
        time_size: Width of the time encoding.
        n_experts: E.

    Reference:
        Zhang et al., WWW 2025, arXiv:2501.14269, temporal MoE; ``Temporal_MoE_C`` in the authors'
        code.

    Differs from the authors' code:
        The experts are parameters. There they sit in a plain Python list: never trained, never
        saved, and different after a reload.
    """

    def __init__(self, *, n_streams: int, hidden_size: int, time_size: int, n_experts: int) -> None:
        super().__init__()
        self.gate = nn.Linear(time_size, n_experts)
        self.experts = nn.Parameter(torch.empty(n_experts, n_streams * hidden_size))
        nn.init.normal_(self.experts, std=0.1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Scale the tokens.

        Args:
            x: Tokens. Shape ``[T, M, D]``.
            time: Their time encoding. Shape ``[T, time_size]``.

        Returns:
            Shape ``[T, M, D]``.
        """
        return x * (self.route(time) @ self.experts).view_as(x)  # [T, M * D] to [T, M, D]

    def route(self, time: Tensor) -> Tensor:
        """How the time weighs the experts. Shapes ``[T, time_size]`` to ``[T, E]``."""
        return self.gate(time).softmax(dim=-1)
