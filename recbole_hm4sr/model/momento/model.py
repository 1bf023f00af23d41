"""Momento: modalities, a memory of who bought what next, and the moment of the request.

The model of this package. A late sum of ids and modalities, whose streams exchange by HM4SR's
interactive experts, is trained on what is left of the next visit. Its scores get what a sparse
memory knew at the moment of the request, weighed by the situation: how long the history is, how far
apart its newest items are, how late the request comes. Memory and targets are settings that every
packed model has; here they are on.

Not for data without times worth the name, or where no item follows another more often than by
chance: the memory is then empty, and HM4SR's other components may help more.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.layers.attention import StepContext
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.blocks import SequenceEncoder, build_encoder
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.items import FeatureRows, FeatureTable, IdRows
from recbole_hm4sr.layers.losses import LossRows, info_nce
from recbole_hm4sr.layers.scorers import UserRows
from recbole_hm4sr.model.capabilities import MODALITY_WEIGHTS, Probe
from recbole_hm4sr.model.hm4sr.experts import InteractiveMoE
from recbole_hm4sr.model.momento.settings import MomentoSettings
from recbole_hm4sr.model.packed import PackedRecommender
from recbole_hm4sr.parallel.rows import of_first_process

Array = np.ndarray[Any, Any]
# Features of F numbers are scaled to this times the root of F: beside ids of N(0, 0.02) neither
# drowns the other in the first steps.
_FEATURE_SCALE = 0.3
# An id that was dropped is a row of zeros, which has no direction.
_SHORTEST = 1e-6


class Encoded(NamedTuple):
    """A batch after the encoders: users' vectors, what was encoded, and what can be scored."""

    users: UserRows
    batch: PackedBatch
    catalogue: Catalogue


class Momento(PackedRecommender):
    """RecBole recommender; any number of modalities, none included.

    Args:
        config: RecBole ``Config`` with the fields of :class:`MomentoSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.
    """

    settings_class = MomentoSettings
    reads = frozenset({"times", "features"})
    settings: MomentoSettings
    has_id: Tensor

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings, size = self.settings, self.settings.hidden_size
        self.item_embedding = IdRows(self.n_items, size)
        # An id that no training row has shown says nothing.
        has_id = torch.from_numpy(dataset.trained_items())
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
        self._initialize()
        if settings.use_interactive_moe:  # it keeps PyTorch's own initial values
            self.interactive_moe = InteractiveMoE(
                streams=self.streams, hidden_size=size, n_experts=settings.n_interactive_experts
            )

    def _make_part(self, features: Any) -> FeatureRows:
        table = FeatureTable(
            scaled(features.take),
            n_items=self.n_items,
            width=features.width,
            resident=not self.settings.n_negatives,
        )
        return FeatureRows(table, self.settings.hidden_size)

    def _initialize(self) -> None:
        """Draw N(0, ``initializer_range``) for weights, zero biases and the padding row."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=self.settings.initializer_range)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.item_embedding.weight[0] = 0

    # --- items ---------------------------------------------------------------------------------

    def item_rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:
        """Ids and projected features; in training some items are without their id."""
        if items is None and self.settings.n_negatives:  # features that are not resident
            items = torch.arange(self.n_items, device=self.has_id.device)
        has_id = self._ids_of_step() if self.training else self.has_id
        if items is not None:
            has_id = has_id.index_select(0, items)
        ids = self.item_embedding.rows(items)
        ids = ids * has_id[:, None].to(ids.dtype)
        projected = [self._part(name).rows(items, on_host) for name in self.modalities]
        return torch.stack([ids, *projected], dim=1)  # M of [K, D] to [K, M, D]

    def _ids_of_step(self) -> Tensor:
        """Which items have their id in a step, the same in all processes. Shape ``[I]``, bool."""
        if not self.settings.id_dropout:
            return self.has_id
        draw = of_first_process(torch.rand(self.n_items, device=self.has_id.device))
        return self.has_id & (draw >= self.settings.id_dropout)

    def _part(self, name: str) -> FeatureRows:
        """The item part of a modality."""
        return cast(FeatureRows, self.projections[name])

    def drop_features(self) -> None:
        """Forget the features: their projections are kept."""
        for name in self.modalities:
            self._part(name).drop_features()

    # --- users ---------------------------------------------------------------------------------

    def encode(self, batch: PackedBatch, catalogue: Catalogue) -> Encoded:
        """Encode a batch: a vector a stream and row."""
        if batch.distinct is None:
            tokens = catalogue.of(batch.items)
        else:  # the gradient of each item is summed before it meets the tables
            distinct = catalogue.of(batch.distinct.items)
            tokens = F.embedding(batch.distinct.of_token, distinct.flatten(1))  # [T, M * D]
            tokens = tokens.view(-1, *distinct.shape[1:])  # [T, M, D]
        tokens = tokens + self.position_embedding(batch.packing.position)[:, None]
        if self.settings.use_interactive_moe:
            tokens = self.interactive_moe(tokens)
        vectors = [
            self._encode_stream(name, tokens[:, stream], batch)
            for stream, name in enumerate(self.streams)
        ]
        return Encoded(UserRows(torch.stack(vectors, dim=1)), batch, catalogue)  # [N, M, D]

    def _encode_stream(self, name: str, tokens: Tensor, batch: PackedBatch) -> Tensor:
        """One stream's user vectors. Shapes ``[T, D]`` to ``[N, D]``."""
        x = self.dropout(self.input_norms[name](tokens))
        encoder = cast(SequenceEncoder, self.encoders[name])
        context = StepContext(batch.packing)
        if batch.read_at is None:
            return encoder(x, context)
        return encoder.at_every_position(x, context).index_select(0, batch.read_at)

    def auxiliary_losses(self, encoded: Encoded, rows: LossRows) -> Iterator[tuple[str, Tensor]]:
        """The id stream's user vector against the next item's id, as it is in this step."""
        weight = self.settings.id_contrastive_weight
        if weight:
            own = encoded.catalogue.of(rows.targets)[:, 0]
            users = encoded.users.vectors[:, 0]
            temperature = self.settings.id_temperature
            loss = info_nce(users, own, rows, temperature=temperature, shortest=_SHORTEST)
            yield "id_contrastive", weight * loss

    # --- what it tells -------------------------------------------------------------------------

    def permuted_modality(
        self, name: str, generator: torch.Generator
    ) -> AbstractContextManager[None]:
        """A context in which the items have each other's features of a modality."""
        table = self._part(name).table
        if table is None:
            raise ValueError("the features were dropped: a modality cannot be shuffled")
        return table.permuted(generator, self._cache.forget)

    def probes(self) -> Mapping[str, Probe]:
        """The gates of the experts."""
        if not self.settings.use_interactive_moe:
            return {}
        moe = self.interactive_moe
        probe = Probe(moe, moe.weights, names=tuple(moe.gates), strength=moe.modality_weights)
        return {MODALITY_WEIGHTS: probe}

    @torch.no_grad()
    def serving_arrays(self) -> dict[str, Array]:
        """The item rows, the memory, and the widths that building the model asks for."""
        widths = {
            f"{name}.width": np.array(self._part(name).in_features) for name in self.modalities
        }
        return {**widths, **super().serving_arrays()}


def scaled(take: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Features scaled to one length; those of zeros, of an item without any, stay as they are.

    Args:
        take: Gives the features of items, shape ``[N]``, int64, as ``[N, F]``, float32.
    """

    def take_scaled(items: Array) -> Array:
        rows = take(items)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        wanted = _FEATURE_SCALE * np.sqrt(np.float32(rows.shape[1]))
        return rows * np.divide(wanted, lengths, out=np.ones_like(lengths), where=lengths > 0)

    return take_scaled
