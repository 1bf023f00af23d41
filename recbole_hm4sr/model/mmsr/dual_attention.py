"""Dual attention of MMSR: one over homogeneous, one over heterogeneous neighbours, then fused.

Homogeneous neighbours are nodes of the same type that occur side by side in the sequence;
heterogeneous neighbours are an item and its codes. The layer asks both and fuses the answers.

Reference:
    Hu et al., "Adaptive Multi-Modalities Fusion in Sequential Recommendation Systems", CIKM 2023,
    arXiv:2308.15980.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_hm4sr.config.choices import FusionType, QkvMode, SecondPhase
from recbole_hm4sr.model.mmsr.graph import N_RELATIONS, NO_EDGE, SequenceGraph
from recbole_hm4sr.model.mmsr.node_encoder import uniform_parameter


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension of the entries where ``mask`` is ``True``.

    A row without any such entry becomes uniform; callers discard it.
    """
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=-1)


class UpdateGate(nn.Module):
    r"""Mix two candidate states: :math:`w_1 u_1 + w_2 u_2`, the weights a softmax of their scores.

    A candidate's score is :math:`g(u) = w^\top \mathrm{ReLU}(W u + b)`.

    Args:
        hidden_size: D.

    Differs from the authors' code:
        The constant term of the score is left out, since it cancels in the softmax. The softmax
        of two scores is written as the sigmoid of their difference.
    """

    def __init__(self, *, hidden_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(hidden_size, hidden_size)
        self.score = nn.Linear(hidden_size, 1, bias=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Mix two tensors of shape ``[..., D]``."""
        difference = self.hidden(first).relu() - self.hidden(second).relu()
        return second + self.score(difference).sigmoid() * (first - second)


class DualAttention(nn.Module):
    r"""The graph layer of MMSR (HAN-GNN): two attentions over one graph, fused.

    With :math:`q_v = x_v W_Q^{\tau(v)}`, and :math:`k`, :math:`v` likewise, node i attends

    - to its homogeneous neighbours with
      :math:`A_{ij}(Z) = \mathrm{softmax}_j\, \mathrm{LReLU}(a_{R_{ij}}^\top (z_i \odot z_j))`,
    - to its heterogeneous neighbours with
      :math:`P_{ij}(Q, K) = \mathrm{softmax}_j\, \mathrm{LReLU}(q_i^\top k_j)`,

    each neighbourhood containing i itself. There is one head, no scaling, no residual and no
    normalisation. The fusions:

    - ``asy_mask``: both orders of the two attentions, mixed by an :class:`UpdateGate`.
      Heterogeneous first, :math:`H = P(Q, K) V`, then :math:`A(H) V`; and the other order. An
      inner result decides only the outer attention's weights; what is averaged are the original
      values V (the paper's non-invasive fusion).
    - ``gate``: :math:`A(V) V` and :math:`P(Q, K) V` mixed by a gate, the result mixed by a second
      gate with a global attention :math:`\tanh(Q K^\top) V` over all nodes.
    - ``cat``: one linear map of :math:`[A(V) V; P(Q, K) V]`.

    Args:
        hidden_size: D.
        n_node_types: The items and the modalities, 1 + M.
        fusion_type: One of the three above.
        qkv_mode: ``tied``: queries are also the keys and the values. ``separate``: three
            projections.
        second_phase: What the order "homogeneous first" of ``asy_mask`` does. ``official``: its
            first phase has no effect, the result is :math:`P(Q, K) V`. ``from_homo``:
            :math:`P(Z, Z) V` with :math:`Z = A(V) V`, the mirror image of the other order.
        leaky_slope: Slope of the leaky ReLU below zero.
        attn_dropout_prob: Dropout of attention weights, drawn anew for each use.
        hidden_dropout_prob: Dropout of the layer's output.

    Differs from the authors' code:
        Not with ``tied`` and ``official``, which are the released behaviour: there, keys and
        values are computed and then replaced by the queries. ``separate`` with ``from_homo`` is
        the layer as the paper describes it. Parameters that the chosen options do not use are
        not created.
    """

    def __init__(
        self,
        *,
        hidden_size: int,
        n_node_types: int,
        fusion_type: FusionType,
        qkv_mode: QkvMode,
        second_phase: SecondPhase,
        leaky_slope: float,
        attn_dropout_prob: float,
        hidden_dropout_prob: float,
    ) -> None:
        super().__init__()
        self.fusion_type = fusion_type
        self.second_phase = second_phase
        self.leaky_slope = leaky_slope
        self.attn_dropout = nn.Dropout(attn_dropout_prob)
        self.hidden_dropout = nn.Dropout(hidden_dropout_prob)

        def projection() -> nn.Parameter:
            return uniform_parameter(
                n_node_types, hidden_size, hidden_size, hidden_size=hidden_size
            )

        self.query_projection = projection()
        self.key_projection = projection() if qkv_mode == "separate" else None
        self.value_projection = projection() if qkv_mode == "separate" else None
        self.relation_vectors = uniform_parameter(N_RELATIONS, hidden_size, hidden_size=hidden_size)
        if fusion_type == "cat":
            self.cat_projection = nn.Linear(2 * hidden_size, hidden_size)
        else:
            self.gate = UpdateGate(hidden_size=hidden_size)
        if fusion_type == "gate":
            self.global_gate = UpdateGate(hidden_size=hidden_size)

    def forward(self, states: Tensor, graph: SequenceGraph) -> Tensor:
        """Let every node attend to its neighbours.

        Args:
            states: Node states; zero in empty slots. Shape ``[B, N, D]``.
            graph: The graphs, in the same slots.

        Returns:
            New states; zero in empty slots. Shape ``[B, N, D]``.
        """
        queries = _project(states, self.query_projection, graph)
        keys = values = queries
        if self.key_projection is not None and self.value_projection is not None:
            keys = _project(states, self.key_projection, graph)
            values = _project(states, self.value_projection, graph)
        fuse = {"asy_mask": self._asynchronous, "gate": self._gated, "cat": self._concatenated}
        fused = fuse[self.fusion_type](queries, keys, values, graph)
        return self.hidden_dropout(fused) * graph.active.unsqueeze(-1)

    def activate(self, scores: Tensor) -> Tensor:
        """The leaky ReLU between an attention's scores and its softmax."""
        return F.leaky_relu(scores, self.leaky_slope)

    def _asynchronous(
        self, queries: Tensor, keys: Tensor, values: Tensor, graph: SequenceGraph
    ) -> Tensor:
        weights = self._heterogeneous_weights(queries, keys, graph)
        hetero_first = self._homogeneous(self.attn_dropout(weights) @ values, values, graph)
        if self.second_phase == "from_homo":
            scored = self._homogeneous(values, values, graph)
            weights = self._heterogeneous_weights(scored, scored, graph)
        homo_first = self.attn_dropout(weights) @ values
        return self.gate(homo_first, hetero_first)

    def _gated(self, queries: Tensor, keys: Tensor, values: Tensor, graph: SequenceGraph) -> Tensor:
        local = self.gate(*self._neighbourhoods(queries, keys, values, graph))
        everywhere = self.attn_dropout((queries @ keys.mT).tanh()) @ values
        return self.global_gate(local, self.attn_dropout(everywhere))

    def _concatenated(
        self, queries: Tensor, keys: Tensor, values: Tensor, graph: SequenceGraph
    ) -> Tensor:
        both = self._neighbourhoods(queries, keys, values, graph)
        return self.cat_projection(torch.cat(both, dim=-1))

    def _neighbourhoods(
        self, queries: Tensor, keys: Tensor, values: Tensor, graph: SequenceGraph
    ) -> tuple[Tensor, Tensor]:
        """Both attentions side by side: ``A(V) V`` and ``P(Q, K) V``."""
        weights = self._heterogeneous_weights(queries, keys, graph)
        return self._homogeneous(values, values, graph), self.attn_dropout(weights) @ values

    def _heterogeneous_weights(self, queries: Tensor, keys: Tensor, graph: SequenceGraph) -> Tensor:
        """``P(Q, K)`` before dropout, ``[B, N, N]``."""
        return masked_softmax(self.activate(queries @ keys.mT), graph.neighbours)

    def _homogeneous(self, scored: Tensor, values: Tensor, graph: SequenceGraph) -> Tensor:
        """``A(Z) V``, block by block: no homogeneous edge leaves its block."""
        sizes = [relations.shape[-1] for relations in graph.relations]
        mixed = []
        for z, v, relations in zip(
            scored.split(sizes, dim=1), values.split(sizes, dim=1), graph.relations, strict=True
        ):
            scores = self.activate(relation_scores(z, relations, self.relation_vectors))
            weights = self.attn_dropout(masked_softmax(scores, relations != NO_EDGE))
            mixed.append(weights @ v)
        return torch.cat(mixed, dim=1)


def relation_scores(states: Tensor, relations: Tensor, vectors: Tensor) -> Tensor:
    r"""Scores :math:`a_{R_{ij}}^\top (z_i \odot z_j)` of all pairs.

    Written as one bilinear form for each relation, of which each pair keeps its own.

    Args:
        states: Shape ``[B, U, D]``.
        relations: Relation of row to column; pairs without an edge get an arbitrary score. Shape
            ``[B, U, U]``, int64.
        vectors: One vector a relation, from :data:`~recbole_hm4sr.model.mmsr.graph.SELF` on. Shape
            ``[4, D]``.

    Returns:
        Shape ``[B, U, U]``.

    Differs from the authors' code:
        There, the products of all pairs are built, two tensors of shape ``[B, U², D]``.
    """
    scaled = states.unsqueeze(1) * vectors.unsqueeze(1)  # [B, 4, U, D]
    scores = scaled.flatten(1, 2) @ states.mT
    scores = scores.unflatten(1, scaled.shape[1:3])  # [B, 4, U, U]
    chosen = (relations - 1).clamp(min=0).unsqueeze(1)
    return scores.gather(1, chosen).squeeze(1)


def _project(states: Tensor, matrices: Tensor, graph: SequenceGraph) -> Tensor:
    """Project each node by the matrix of its type, ``[B, N, D]``."""
    blocks = states.split(graph.type_sizes, dim=1)
    return torch.cat([x @ matrix for x, matrix in zip(blocks, matrices, strict=True)], dim=1)
