r"""MMSR: adaptive fusion of modalities for sequential recommendation, on a heterogeneous graph.

The features of each modality are clustered into discrete codes. A sequence becomes a graph of its
items and their codes; a graph layer with two attentions, one over nodes that follow each other and
one over nodes that belong together, fuses the modalities and the sequence in both orders.

Reference:
    Hu et al., "Adaptive Multi-Modalities Fusion in Sequential Recommendation Systems", CIKM 2023,
    arXiv:2308.15980.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_hm4sr.config.settings import read_settings
from recbole_hm4sr.layers.items import permuted_items
from recbole_hm4sr.model.mmsr.codes import (
    CodeRecipe,
    ItemCodes,
    initial_embeddings,
    load_or_build_codes,
)
from recbole_hm4sr.model.mmsr.dual_attention import DualAttention
from recbole_hm4sr.model.mmsr.graph import build_sequence_graph
from recbole_hm4sr.model.mmsr.graph_fast import last_item_graph, last_item_states
from recbole_hm4sr.model.mmsr.node_encoder import (
    NodeEncoder,
    NodeMap,
    position_weights,
    uniform_parameter,
)
from recbole_hm4sr.model.mmsr.readout import build_readout
from recbole_hm4sr.model.mmsr.settings import MMSRSettings

Array = np.ndarray[Any, Any]


class MMSR(SequentialRecommender):
    """MMSR, with the released code's behaviour as its default.

    Runs with any number of modalities: each adds a node type. With none, the graph has items only.

    Args:
        config: RecBole ``Config`` with the fields of
            :class:`~recbole_hm4sr.model.mmsr.settings.MMSRSettings`.
        dataset: A :class:`~recbole_hm4sr.data.recbole.MultiModalSequentialDataset`.
        codes: Codes of each modality; None to find them in the features.

    Raises:
        ConfigError: If a setting is missing, of the wrong type or out of range.

    Differs from the authors' code:
        The code tables are separate from the item table, sized by the clusters that exist, and
        have a row for "no code"; the position table is as long as the sequences. Parameters that
        the chosen options do not use are not created. Their unfinished ``modality_prediction``
        head, their other aggregators and their metrics are left out.
    """

    input_type = InputType.POINTWISE
    reads = frozenset({"features"})
    code_links: Tensor

    def __init__(
        self, config: Any, dataset: Any, *, codes: Sequence[ItemCodes] | None = None
    ) -> None:
        settings = read_settings(config, MMSRSettings)
        super().__init__(config, dataset)
        self.settings = settings
        self.modalities = tuple(dataset.modality_names)
        if codes is None:
            codes = [_codes_of(dataset.modality(name), settings) for name in self.modalities]
        size, n_node_types = settings.hidden_size, 1 + len(codes)

        self.item_embedding = nn.Embedding(self.n_items, size, padding_idx=0)
        self.code_embeddings = nn.ParameterList(  # row 0: no code
            uniform_parameter(1 + len(code.centroids), size, hidden_size=size) for code in codes
        )
        self._row_keys = {
            f"code_embeddings.{number}": np.array(["", *map(_digest, code.centroids)])
            for number, code in enumerate(codes)
        }
        self.register_buffer("code_links", _stack_links(codes, self.n_items))
        self.position_embedding = (
            nn.Embedding(self.max_seq_length, size) if settings.reads_positions else None
        )
        self.node_encoder = NodeEncoder(
            hidden_size=size,
            n_node_types=n_node_types,
            use_node_type=settings.use_node_type,
            use_position=settings.use_position,
        )
        self.dual_attention = DualAttention(
            hidden_size=size,
            n_node_types=n_node_types,
            fusion_type=settings.fusion_type,
            qkv_mode=settings.qkv_mode,
            second_phase=settings.asy_second_phase,
            leaky_slope=settings.leaky_slope,
            attn_dropout_prob=settings.attn_dropout_prob,
            hidden_dropout_prob=settings.hidden_dropout_prob,
        )
        self.readout = build_readout(settings.seq_pooling, hidden_size=size)
        self._initialise(codes)

    def row_keys(self) -> dict[str, Array]:
        """The rows of codes stand for their centroids: each by its digest, row 0 for no code."""
        return self._row_keys

    def serving_arrays(self) -> dict[str, Array]:
        """The number of each modality's codes; the links of the items are weights."""
        return {
            f"{name}.n_codes": np.array(len(table) - 1)
            for name, table in zip(self.modalities, self.code_embeddings, strict=True)
        }

    @classmethod
    def from_serving(cls, config: Any, dataset: Any) -> "MMSR":
        """The model built to score only, without item features.

        Args:
            config: The run's settings.
            dataset: A :class:`~recbole_hm4sr.data.serving_data.ServingDataset`.
        """
        most = read_settings(config, MMSRSettings).n_links
        codes = []
        for name in dataset.modality_names:
            n_codes = int(dataset.array(f"{name}.n_codes"))
            links = np.full((dataset.item_num, min(n_codes, most)), -1, dtype=np.int64)
            codes.append(ItemCodes(links, np.zeros((n_codes, 0), dtype=np.float32)))
        return cls(config, dataset, codes=codes)

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Encode each sequence as one vector of its user.

        Args:
            item_seq: Items, oldest first, padded on the right with anything. Shape ``[B, L]``,
                int64.
            item_seq_len: Real positions of each sequence, at least 1. Shape ``[B]``, int64.

        Returns:
            Shape ``[B, D]``.
        """
        position = torch.arange(item_seq.shape[1], device=item_seq.device)
        item_seq = item_seq.masked_fill(position >= item_seq_len.unsqueeze(1), 0)
        tables = [self.item_embedding.weight, *self.code_embeddings]
        inputs = self.node_encoder(tables, self._positions)
        if self.settings.takes_fast_path:
            graph = last_item_graph(item_seq, item_seq_len, self.code_links)
            return last_item_states(graph, inputs, self.dual_attention)
        # Neighbours in length share a chunk, so that a short sequence pays for no long one.
        order = item_seq_len.argsort()
        users = [
            self._encode_graphs(item_seq[rows], item_seq_len[rows], inputs)
            for rows in order.split(self.settings.graph_chunk)
        ]
        return torch.cat(users).index_select(0, order.argsort())

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Cross-entropy of the next item among all real items, a scalar."""
        users = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        scores = users @ self.item_embedding.weight[1:].mT  # the padding item is no candidate
        return F.cross_entropy(scores, interaction[self.POS_ITEM_ID] - 1)

    def predict(self, interaction: Any) -> Tensor:
        """Score of one item for each sequence, ``[B]``."""
        users = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return (users * self.item_embedding(interaction[self.ITEM_ID])).sum(dim=-1)

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Scores of all items for each sequence, ``[B, I]``; RecBole discards padding's column."""
        users = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return users @ self.item_embedding.weight.mT

    @contextmanager
    def permuted_modality(self, name: str, generator: torch.Generator) -> Iterator[None]:
        """A context in which the items have each other's codes of a modality."""
        links = self.code_links
        modality = self.modalities.index(name)
        self.code_links = links.clone()
        order = permuted_items(self.n_items, generator).to(links.device)
        self.code_links[:, modality] = links[order, modality]
        try:
            yield
        finally:
            self.code_links = links

    @property
    def _positions(self) -> Tensor | None:
        return None if self.position_embedding is None else self.position_embedding.weight

    def _encode_graphs(
        self, item_seq: Tensor, item_seq_len: Tensor, inputs: Sequence[NodeMap]
    ) -> Tensor:
        """Users' vectors ``[B, D]`` from the whole graphs of some sequences."""
        length = int(item_seq_len.max())
        item_seq = item_seq[:, :length]
        graph = build_sequence_graph(item_seq, self.code_links[item_seq])
        dtype = self.item_embedding.weight.dtype
        states = [
            node_map.states(slots.ids, position_weights(slots.occurrence, dtype))
            for node_map, slots in zip(inputs, graph.slots, strict=True)
        ]
        nodes = torch.cat(states, dim=1) * graph.active.unsqueeze(-1)
        for _ in range(self.settings.n_layers):
            nodes = self.dual_attention(nodes, graph)
        items = graph.slots[0]
        of_position = items.occurrence.mT.to(dtype)  # [B, L, U], one slot a real position
        item_states = of_position @ nodes[:, : items.ids.shape[1]]
        positions = None if self._positions is None else self._positions[:length]
        return self.readout(item_states, item_seq_len, positions)

    @torch.no_grad()
    def _initialise(self, codes: Sequence[ItemCodes]) -> None:
        """Draw every parameter uniformly from ±1/√D, then start the codes at their centroids."""
        size = self.settings.hidden_size
        for parameter in self.parameters():
            parameter.uniform_(-(size**-0.5), size**-0.5)
        self.item_embedding.weight[0] = 0
        for table, code in zip(self.code_embeddings, codes, strict=True):
            table[0] = 0
            rows = initial_embeddings(code.centroids, size)
            if rows is not None:
                table[1:] = torch.from_numpy(rows)


def _digest(centroid: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(centroid).tobytes()).hexdigest()[:32]


def _codes_of(features: Any, settings: MMSRSettings) -> ItemCodes:
    """The codes of one modality's aligned features."""
    recipe = CodeRecipe(
        hidden_size=settings.hidden_size,
        n_codes=settings.n_codes,
        n_links=settings.n_links,
        reduction=settings.code_reduction,
        seed=settings.code_seed,
    )
    folder = Path(settings.code_cache_dir).expanduser() if settings.code_cache_dir else None
    values = features.values
    # A row of zeros says nothing, as TF-IDF's of an item without words: no code for it.
    present = features.present & values.any(axis=1)
    return load_or_build_codes(values, present, recipe, folder=folder)


def _stack_links(codes: Sequence[ItemCodes], n_items: int) -> Tensor:
    """Links of all modalities, counted from 1 with 0 for none, ``[I, M, k]``."""
    width = max([1, *(code.links.shape[1] for code in codes)])
    links = torch.zeros(n_items, len(codes), width, dtype=torch.int64)
    for modality, code in enumerate(codes):
        links[:, modality, : code.links.shape[1]] = torch.from_numpy(code.links) + 1
    return links
