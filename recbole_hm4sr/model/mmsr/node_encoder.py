"""The input state of a node: what it is, which type it has, where in the sequence it occurs.

Reference:
    Hu et al., "Adaptive Multi-Modalities Fusion in Sequential Recommendation Systems", CIKM 2023,
    arXiv:2308.15980.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def uniform_parameter(*shape: int, hidden_size: int) -> nn.Parameter:
    """A parameter drawn from the uniform distribution on ±1/√``hidden_size``."""
    bound = hidden_size**-0.5
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def position_weights(occurrence: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights that turn a table of position embeddings into each node's mean position.

    Args:
        occurrence: ``True`` where a node occurs. Shape ``[..., L]``, bool.
        dtype: Floating-point type of the result.

    Returns:
        Each row sums to 1, or is zero for a node that never occurs. Shape ``[..., L]``.
    """
    weights = occurrence.to(dtype)
    return weights / (weights.sum(dim=-1, keepdim=True) + 1e-9)


@dataclass(frozen=True)
class NodeMap:
    r"""The states of all nodes of one type, as a map that is affine in their embeddings.

    The state of a node with embedding :math:`e` and position weights :math:`w` is
    :math:`e A + c + w P`. A projection that follows folds into the three small matrices, so that
    no state needs to be computed twice: :math:`(e A + c + w P) W = e (A W) + c W + w (P W)`.

    Attributes:
        table: Embeddings of the nodes; row 0 is padding. Shape ``[rows, D]``.
        weight: :math:`A`; None for the identity. Shape ``[D, D]``.
        offset: :math:`c`; None for zero. Shape ``[D]``.
        positions: :math:`P`; None for zero. Shape ``[L, D]``.
    """

    table: Tensor
    weight: Tensor | None = None
    offset: Tensor | None = None
    positions: Tensor | None = None

    def then(self, projection: Tensor) -> "NodeMap":
        """This map followed by a projection of shape ``[D, D]``."""
        return NodeMap(
            table=self.table,
            weight=projection if self.weight is None else self.weight @ projection,
            offset=None if self.offset is None else self.offset @ projection,
            positions=None if self.positions is None else self.positions @ projection,
        )

    def states(self, ids: Tensor, weights: Tensor) -> Tensor:
        """States of some nodes.

        Args:
            ids: Rows of the table. The state of row 0 has no meaning, and sends no gradient to
                the table. Shape ``[...]``, int64.
            weights: From :func:`position_weights`. Shape ``[..., L]``.

        Returns:
            Shape ``[..., D]``.
        """
        if len(self.table) < ids.numel():  # project whichever is smaller
            rows = F.embedding(ids, self._project(self.table), padding_idx=0)
        else:
            rows = self._project(F.embedding(ids, self.table, padding_idx=0))
        if self.positions is None:
            return rows
        return rows + weights @ self.positions[: weights.shape[-1]]

    def _project(self, rows: Tensor) -> Tensor:
        if self.weight is None:
            return rows
        return F.linear(rows, self.weight.mT, self.offset)


class NodeEncoder(nn.Module):
    r"""Input states :math:`x_v = [E_v; T_{\tau(v)}; p_v] W_{in}`: node, type and mean position.

    The concatenation is never built: :math:`W_{in}` is cut into one square block for each of the
    three parts, which makes the state the affine map of :class:`NodeMap`.

    Args:
        hidden_size: D.
        n_node_types: The items and the modalities, 1 + M.
        use_node_type: Whether the state holds the type's embedding.
        use_position: Whether the state holds the mean position. With neither, the state is the
            node's embedding itself and there is no :math:`W_{in}`.

    Differs from the authors' code:
        The type table has no row for padding, which is never read there.
    """

    def __init__(
        self, *, hidden_size: int, n_node_types: int, use_node_type: bool, use_position: bool
    ) -> None:
        super().__init__()
        n_blocks = 1 + use_node_type + use_position
        self.use_position = use_position
        self.type_embedding = (
            uniform_parameter(n_node_types, hidden_size, hidden_size=hidden_size)
            if use_node_type
            else None
        )
        self.input_projection = (
            uniform_parameter(n_blocks * hidden_size, hidden_size, hidden_size=hidden_size)
            if n_blocks > 1
            else None
        )

    def forward(self, tables: Sequence[Tensor], positions: Tensor | None) -> tuple[NodeMap, ...]:
        """The input states of each node type.

        Args:
            tables: Embeddings of each node type. Shape ``[rows, D]`` each.
            positions: Position embeddings; read only with ``use_position``. Shape ``[L, D]``.

        Returns:
            One map a node type.
        """
        if self.input_projection is None:
            return tuple(NodeMap(table) for table in tables)
        node_block, *blocks = self.input_projection.split(self.input_projection.shape[1])
        offsets: Sequence[Tensor | None] = [None] * len(tables)
        if self.type_embedding is not None:
            offsets = (self.type_embedding @ blocks.pop(0)).unbind()
        projected = None
        if self.use_position and positions is not None:
            projected = positions @ blocks.pop(0)
        return tuple(
            NodeMap(table, weight=node_block, offset=offset, positions=projected)
            for table, offset in zip(tables, offsets, strict=True)
        )
