"""From the states of a sequence's items to one vector of the user: four read-outs.

Every read-out takes the states of the items in the order of the sequence, zero at padding.

Reference:
    Hu et al., "Adaptive Multi-Modalities Fusion in Sequential Recommendation Systems", CIKM 2023,
    arXiv:2308.15980.
"""

import torch
from torch import Tensor, nn

from recbole_hm4sr.config.choices import SeqPooling
from recbole_hm4sr.model.mmsr.dual_attention import UpdateGate
from recbole_hm4sr.model.mmsr.node_encoder import uniform_parameter


class LastReadout(nn.Module):
    """The state of the last item."""

    def forward(self, states: Tensor, item_seq_len: Tensor, positions: Tensor | None) -> Tensor:  # noqa: ARG002
        """Read out one vector a sequence.

        Args:
            states: Zero at padding. Shape ``[B, L, D]``.
            item_seq_len: Real positions of each sequence, at least 1. Shape ``[B]``, int64.
            positions: Position embeddings; only the attentive read-outs need them. Shape
                ``[L, D]``.

        Returns:
            Shape ``[B, D]``.
        """
        return _at(states, item_seq_len - 1)


class MeanReadout(nn.Module):
    """The mean state of the items; an item that was taken twice counts twice."""

    def forward(self, states: Tensor, item_seq_len: Tensor, positions: Tensor | None) -> Tensor:  # noqa: ARG002
        """As in :class:`LastReadout`."""
        return states.sum(dim=1) / item_seq_len.unsqueeze(1)


class PositionAware(nn.Module):
    r"""States that know their position: :math:`m_l = \tanh([P_l; h_l] W_1)`.

    Args:
        hidden_size: D.
    """

    def __init__(self, *, hidden_size: int) -> None:
        super().__init__()
        self.projection = uniform_parameter(2 * hidden_size, hidden_size, hidden_size=hidden_size)

    def forward(self, states: Tensor, positions: Tensor) -> Tensor:
        """States ``[B, L, D]`` and position embeddings ``[L, D]`` to ``[B, L, D]``."""
        position_block, state_block = self.projection.chunk(2)
        return (positions @ position_block + states @ state_block).tanh()


class AttentionReadout(nn.Module):
    r"""A sum weighted by additive attention, :math:`u = \sum_l \beta_l h_l`.

    The weights :math:`\beta_l = w^\top \sigma(G_1 m_l + b_1 + G_2 \bar h)` compare a state with the
    mean state; they are not normalised.

    Args:
        hidden_size: D.
    """

    def __init__(self, *, hidden_size: int) -> None:
        super().__init__()
        self.position_aware = PositionAware(hidden_size=hidden_size)
        self.local = nn.Linear(hidden_size, hidden_size)
        self.context = nn.Linear(hidden_size, hidden_size, bias=False)
        self.score = nn.Linear(hidden_size, 1, bias=False)

    def forward(self, states: Tensor, item_seq_len: Tensor, positions: Tensor) -> Tensor:
        """As in :class:`LastReadout`."""
        mean = states.sum(dim=1, keepdim=True) / item_seq_len[:, None, None]
        aware = self.position_aware(states, positions)
        weights = self.score((self.local(aware) + self.context(mean)).sigmoid())  # [B, L, 1]
        return (weights * states).sum(dim=1)


class LastAttentionReadout(nn.Module):
    r"""The last three states, each mixed with the mean state by a gate, summed.

    A sequence shorter than three counts its first state more than once, as the authors' code does.

    Args:
        hidden_size: D.
    """

    n_last = 3

    def __init__(self, *, hidden_size: int) -> None:
        super().__init__()
        self.position_aware = PositionAware(hidden_size=hidden_size)
        self.gate = UpdateGate(hidden_size=hidden_size)

    def forward(self, states: Tensor, item_seq_len: Tensor, positions: Tensor) -> Tensor:
        """As in :class:`LastReadout`."""
        mean = states.sum(dim=1) / item_seq_len.unsqueeze(1)
        aware = self.position_aware(states, positions)
        last = [(item_seq_len - 1 - back).clamp(min=0) for back in range(self.n_last)]
        return torch.stack([self.gate(_at(aware, position), mean) for position in last]).sum(dim=0)


def build_readout(seq_pooling: SeqPooling, *, hidden_size: int) -> nn.Module:
    """The read-out of that name, with only the parameters it uses."""
    if seq_pooling == "attention":
        return AttentionReadout(hidden_size=hidden_size)
    if seq_pooling == "last_attention":
        return LastAttentionReadout(hidden_size=hidden_size)
    return LastReadout() if seq_pooling == "last" else MeanReadout()


def _at(states: Tensor, position: Tensor) -> Tensor:
    """The state at one position of each sequence, ``[B, D]``."""
    index = position[:, None, None].expand(-1, 1, states.shape[-1])
    return states.gather(1, index).squeeze(1)
