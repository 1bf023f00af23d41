"""The base of models that sum ids and modalities late: an encoder for each, scores added.

The ids and each modality are a stream of vectors of one width. Streams have encoders of their own,
and the score of an item is the sum of the streams' inner products. A subclass says what happens to
the tokens between reading and encoding, and what its losses are.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.data.features import AlignedFeatures
from recbole_hm4sr.layers.attention import StepContext
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.blocks import SequenceEncoder, build_encoder
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.interactive_moe import InteractiveMoE
from recbole_hm4sr.layers.items import FeatureRows, FeatureTable, IdRows
from recbole_hm4sr.layers.scorers import UserRows
from recbole_hm4sr.model.capabilities import MODALITY_WEIGHTS, Probe
from recbole_hm4sr.model.packed import PackedRecommender
from recbole_hm4sr.parallel.rows import of_first_process

Array = np.ndarray[Any, Any]
# An id that was dropped is a row of zeros, which has no direction.
SHORTEST_ID = 1e-6


class LateSum(PackedRecommender):
    """RecBole recommender of streams that are summed late.

    Args:
        config: RecBole ``Config`` with the fields of ``settings_class``, a subclass of
            :class:`~recbole_hm4sr.model.packed_settings.LateSumSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Attributes:
        has_id: Which items have an id that says something: a training row has shown it. None where
            every id is read as it is. Shape ``[I]``, bool.
    """

    has_id: Tensor | None

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings, size = self.settings, self.settings.hidden_size
        if self.uses_ids:
            self.item_embedding = IdRows(self.shards, size)
        # An id that no training row has shown says nothing.
        has_id = torch.from_numpy(dataset.trained_items()) if self.hides_ids else None
        self.register_buffer("has_id", has_id, persistent=False)
        self.position_embedding = nn.Embedding(self.max_seq_length, size)
        self.projections = nn.ModuleDict(
            {name: self._make_part(dataset.modality(name)) for name in self.modalities}
        )
        self.input_norms = nn.ModuleDict(
            {name: nn.LayerNorm(size, eps=settings.layer_norm_eps) for name in self.streams}
        )
        self.dropout = Dropout(settings.hidden_dropout_prob)
        self.encoders = nn.ModuleDict(
            {name: build_encoder(**settings.encoder_options()) for name in self.streams}
        )

    @property
    def uses_ids(self) -> bool:
        """Whether the ids are a stream, the first."""
        return True

    @property
    def streams(self) -> tuple[str, ...]:
        """A name for each vector of an item's row."""
        return ("id",) * self.uses_ids + self.modalities

    def reader_options(self, config: Any, dataset: Any) -> dict[str, Any]:
        """Besides those of all models what tokens are rounded to."""
        return {
            **super().reader_options(config, dataset),
            "round_tokens": self.settings.round_tokens,
        }

    def _make_part(self, features: Any) -> FeatureRows:
        table = FeatureTable(
            self.source_of(features),
            n_items=self.n_items,
            width=features.width,
            resident=not self.samples_softmax,
            held=self.shards.own,
        )
        return FeatureRows(table, self.settings.hidden_size)

    def source_of(self, features: Any) -> Callable[[Array], Array]:
        """What gives the features of items of a modality; a model may change them on the way."""
        take: Callable[[Array], Array] = features.take
        return take

    def build_interactive_moe(self) -> None:
        """Let the streams exchange. The module keeps PyTorch's own initial values."""
        self.interactive_moe = InteractiveMoE(
            streams=self.streams,
            hidden_size=self.settings.hidden_size,
            n_experts=self.settings.n_interactive_experts,
        )

    # --- items ---------------------------------------------------------------------------------

    @property
    def hides_ids(self) -> bool:
        """Whether something is read in place of an id that says nothing."""
        settings = self.settings
        return self.ranks_new_items or bool(settings.id_dropout) or settings.missing_ids == "mean"

    def id_rows(self, items: Tensor | None) -> Tensor:
        """Vectors of the ids of some items, or of all; in training some are without theirs.

        Shape ``[K, D]``.
        """
        ids = self.item_embedding.rows(items)
        if self.has_id is None:
            return ids
        has_id = self._ids_of_step(self.has_id)
        has_id = has_id[self.shards.own] if items is None else has_id.index_select(0, items)
        if self.settings.missing_ids == "mean":
            return torch.where(has_id[:, None], ids, self._missing_id())
        return ids * has_id[:, None].to(ids.dtype)

    def _missing_id(self) -> Tensor:
        """What an item has without an id of its own. Shape ``[D]``."""
        weight = self.item_embedding.weight.detach()
        if self.settings.missing_ids == "zero":
            return torch.zeros_like(weight[0])
        assert self.has_id is not None
        return weight[self.has_id].mean(dim=0)

    def _ids_of_step(self, has_id: Tensor) -> Tensor:
        """Which items have their id in a step, the same in all processes. Shape ``[I]``, bool."""
        share = self.settings.id_dropout
        if not (self.training and share):
            return has_id
        draw = of_first_process(torch.rand(self.n_items, device=has_id.device))
        return has_id & (draw >= share)

    def item_rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:
        """Ids and projected features, without positions."""
        if items is None and not all(self._part(name).is_resident for name in self.modalities):
            items = torch.arange(self.n_items, device=self.position_embedding.weight.device)
        ids = [self.id_rows(items)] if self.uses_ids else []
        projected = [self._part(name).rows(items, on_host) for name in self.modalities]
        return torch.stack([*ids, *projected], dim=1)  # M of [K, D] to [K, M, D]

    @torch.no_grad()
    def rows_of_new(self, features: Mapping[str, AlignedFeatures]) -> Tensor:
        """Rows of items that the training does not have: of their features alone.

        Args:
            features: Of each modality, for the same K items.

        Returns:
            Shape ``[K, M, D]``.
        """
        rows = []
        for name in self.modalities:
            own, part = features[name], self._part(name)
            values = self.source_of(own)(np.arange(len(own.rows)))
            rows.append(part.forward(torch.from_numpy(values).to(part.weight)))
        ids = [self._missing_id().expand_as(rows[0])] if self.uses_ids else []
        return torch.stack([*ids, *rows], dim=1)  # M of [K, D] to [K, M, D]

    def _part(self, name: str) -> FeatureRows:
        """The item part of a modality."""
        return cast(FeatureRows, self.projections[name])

    def drop_features(self) -> None:
        """Forget the features: their projections are kept."""
        for name in self.modalities:
            self._part(name).drop_features()

    # --- users ---------------------------------------------------------------------------------

    def read_tokens(self, batch: PackedBatch, catalogue: Catalogue) -> tuple[Tensor, Tensor | None]:
        """Items and positions of a batch.

        Returns:
            Streams of the tokens. Shape ``[T, M, D]``. Rows of the distinct items, through which
            the gradient of each item is summed before it meets the tables, ``[N, M, D]``; None for
            rows of one length.
        """
        distinct = None
        if batch.distinct is None:
            tokens = catalogue.of(batch.items)
        else:
            distinct = catalogue.of(batch.distinct.items)
            tokens = F.embedding(batch.distinct.of_token, distinct.flatten(1))  # [T, M * D]
            tokens = tokens.view(-1, *distinct.shape[1:])  # [T, M, D]
        return tokens + self.position_embedding(batch.packing.position)[:, None], distinct

    def encode_streams(self, tokens: Tensor, batch: PackedBatch) -> UserRows:
        """A vector a stream and row. Shapes ``[T, M, D]`` to ``[N, M, D]``."""
        vectors = [
            self.encode_stream(name, tokens[:, stream], batch)
            for stream, name in enumerate(self.streams)
        ]
        return UserRows(torch.stack(vectors, dim=1))  # M of [N, D] to [N, M, D]

    def encode_stream(self, name: str, tokens: Tensor, batch: PackedBatch) -> Tensor:
        """One stream's user vectors. Shapes ``[T, D]`` to ``[N, D]``."""
        x = self.dropout(self.input_norms[name](tokens))
        encoder = cast(SequenceEncoder, self.encoders[name])
        context = StepContext(batch.packing)
        if batch.read_at is None:
            return encoder(x, context)
        return encoder.at_every_position(x, context).index_select(0, batch.read_at)

    # --- what it tells -------------------------------------------------------------------------

    def permuted_modality(
        self, name: str, generator: torch.Generator
    ) -> AbstractContextManager[None]:
        """A context in which the items have each other's features of a modality."""
        table = self._part(name).table
        if table is None:
            raise ValueError("the features were dropped: a modality cannot be shuffled")
        return table.permuted(generator, self._cache.forget)

    def probes(self) -> dict[str, Probe]:
        """The gates of the interactive experts, if there are any."""
        if not self.settings.use_interactive_moe:
            return {}
        moe = self.interactive_moe
        probe = Probe(moe, moe.weights, names=tuple(moe.gates), strength=moe.modality_weights)
        return {MODALITY_WEIGHTS: probe}

    @torch.no_grad()
    def serving_arrays(self) -> dict[str, Array]:
        """What every packed model keeps, and the widths that building the model asks for."""
        widths = {
            f"{name}.width": np.array(self._part(name).in_features) for name in self.modalities
        }
        return {**widths, **super().serving_arrays()}
