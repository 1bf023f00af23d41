"""HM4SR: hierarchical time-aware mixture of experts for multi-modal sequential recommendation.

Reference:
    Zhang, Chen, Shen, Wang, Xiong: "Hierarchical Time-Aware Mixture of Experts for Multi-Modal
    Sequential Recommendation", WWW 2025, arXiv:2501.14269.

One stream for the ids and one for each modality run side by side. The catalogue, all streams of
all items, is projected once a step; inputs, category loss and scores read from it.
"""

import logging
from collections.abc import Iterator, Mapping
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
from recbole_hm4sr.layers.losses import (
    LossRows,
    PlaceholderPlan,
    category_prediction,
    draw_placeholders,
    info_nce,
)
from recbole_hm4sr.layers.scorers import UserRows
from recbole_hm4sr.layers.time import TimeEncoding
from recbole_hm4sr.model.batch_reader import BatchReader
from recbole_hm4sr.model.capabilities import MODALITY_WEIGHTS, TIME_ROUTES, Probe
from recbole_hm4sr.model.hm4sr.batch import HM4SRBatch, HM4SRReader
from recbole_hm4sr.model.hm4sr.experts import InteractiveMoE, TemporalMoE
from recbole_hm4sr.model.hm4sr.settings import HM4SRSettings
from recbole_hm4sr.model.packed import PackedRecommender
from recbole_hm4sr.parallel.rows import global_rows

logger = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]


class Encoded(NamedTuple):
    """A batch after the encoders.

    Attributes:
        users: One vector a stream and target: of each sequence, or, in training on sequences, of
            each position that has a target.
        tokens: Packed streams after both mixtures. Shape ``[T, M, D]``.
        time: Packed time encoding; None if no part reads it. Shape ``[T, 2D]``.
        distinct: Rows of the items of the tokens, each once; None for rows of one length. Shape
            ``[N, M, D]``.
        batch, catalogue: What was encoded; the items that can be scored.
    """

    users: UserRows
    tokens: Tensor
    time: Tensor | None
    distinct: Tensor | None
    batch: PackedBatch
    catalogue: Catalogue


class HM4SR(PackedRecommender):
    """RecBole recommender; any number of modalities, none included.

    Args:
        config: RecBole ``Config`` with the fields of :class:`HM4SRSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        See the layers; besides, ``predict`` returns ``[B]`` (there ``[B, B]``), frozen features
        are not in the checkpoint, and category targets are 0 or 1 (there a repeated name counts
        twice).
    """

    settings_class = HM4SRSettings
    reads = frozenset({"times", "features", "categories"})
    settings: HM4SRSettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings, size = self.settings, self.settings.hidden_size
        self.item_embedding = IdRows(self.n_items, size)
        self.position_embedding = nn.Embedding(self.max_seq_length, size)
        self.projections = nn.ModuleDict()
        for name in self.modalities:
            features = dataset.modality(name)
            table = FeatureTable(
                features.take,
                n_items=self.n_items,
                width=features.width,
                resident=not settings.n_negatives,
            )
            self.projections[name] = FeatureRows(table, size)
        self.input_norms = nn.ModuleDict(
            {name: nn.LayerNorm(size, eps=settings.layer_norm_eps) for name in self.streams}
        )
        self.dropout = Dropout(settings.hidden_dropout_prob)
        self.encoders = nn.ModuleDict(
            {name: build_encoder(**settings.encoder_options()) for name in self.streams}
        )
        self._build_temporal_parts(dataset)
        self._initialize()
        # The authors make these parts after initialising: they keep PyTorch's own initial values.
        self._build_interactive_moe()
        self._build_loss_heads(dataset)

    @property
    def _uses_placeholders(self) -> bool:
        return bool(self.settings.placeholder_weight and self.modalities)

    @property
    def _uses_time(self) -> bool:
        return self.settings.use_temporal_moe or self._uses_placeholders

    def make_reader(self, config: Any, dataset: Any) -> BatchReader:
        """Batches know besides which tokens may become placeholders."""
        ratio = self.settings.placeholder_ratio if self._uses_placeholders else None
        return HM4SRReader(**self.reader_options(config, dataset), placeholder_ratio=ratio)

    def _build_temporal_parts(self, dataset: Any) -> None:
        settings = self.settings
        if self._uses_time:
            self.time_encoding = TimeEncoding(
                hidden_size=settings.hidden_size,
                longest_gap=dataset.longest_gap(),
                buckets_per_doubling=settings.buckets_per_doubling,
                origin=dataset.first_time() if settings.time_origin == "dataset" else 0,
                scale=settings.time_scale,
            )
        if settings.use_temporal_moe:
            self.temporal_moe = TemporalMoE(
                n_streams=len(self.streams),
                hidden_size=settings.hidden_size,
                time_size=2 * settings.hidden_size,
                n_experts=settings.n_temporal_experts,
            )
            self.temporal_moe.experts.requires_grad_(settings.train_temporal_experts)

    def _build_interactive_moe(self) -> None:
        if self.settings.use_interactive_moe:
            self.interactive_moe = InteractiveMoE(
                streams=self.streams,
                hidden_size=self.settings.hidden_size,
                n_experts=self.settings.n_interactive_experts,
            )

    def _build_loss_heads(self, dataset: Any) -> None:
        size = self.settings.hidden_size
        self._predicts_categories = False
        if self.settings.category_prediction_weight:
            flags, names = dataset.categories()
            self._predicts_categories = bool(names)
            if names:
                self.register_buffer("categories", torch.from_numpy(flags), persistent=False)
                self.category_layer = nn.Linear(len(self.streams) * size, len(names))
            else:
                logger.warning("no category_field: HM4SR trains without its category loss")
        if self._uses_placeholders:
            self.placeholder_layers = nn.ModuleDict(
                {name: nn.Linear(2 * size, size) for name in self.modalities}
            )

    def _initialize(self) -> None:
        """Draw N(0, ``initializer_range``) for weights, zero biases and the padding row."""
        deviation = self.settings.initializer_range
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=deviation)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        if self._uses_time:
            nn.init.normal_(self.time_encoding.frequency, std=deviation)
        with torch.no_grad():
            self.item_embedding.weight[0] = 0

    def item_rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:
        """Ids and projected features, no position, expert or time."""
        if items is None and self.settings.n_negatives:  # features that are not resident
            items = torch.arange(self.n_items, device=self.item_embedding.weight.device)
        ids = self.item_embedding.rows(items)
        projected = [self._part(name).rows(items, on_host) for name in self.modalities]
        return torch.stack([ids, *projected], dim=1)  # M of [K, D] to [K, M, D]

    def _part(self, name: str) -> FeatureRows:
        """The item part of a modality."""
        return cast(FeatureRows, self.projections[name])

    def drop_features(self) -> None:
        """Forget the features: their projections are kept."""
        for name in self.modalities:
            self._part(name).drop_features()

    def encode(self, batch: PackedBatch, catalogue: Catalogue) -> Encoded:
        """Encode a batch: its users' vectors, and what the losses need besides."""
        packing, distinct = batch.packing, None
        if batch.distinct is None:
            tokens = catalogue.of(batch.items)
        else:
            distinct = catalogue.of(batch.distinct.items)
            tokens = F.embedding(batch.distinct.of_token, distinct.flatten(1))  # [T, M * D]
            tokens = tokens.view(-1, *distinct.shape[1:])  # [T, M, D]
        tokens = tokens + self.position_embedding(packing.position)[:, None]  # [T, M, D]
        time = self.time_encoding(batch.times, packing.position) if self._uses_time else None
        if self.settings.use_interactive_moe:
            tokens = self.interactive_moe(tokens)
        if self.settings.use_temporal_moe:
            tokens = self.temporal_moe(tokens, time)
        vectors = [
            self._encode_stream(name, tokens[:, stream], batch)
            for stream, name in enumerate(self.streams)
        ]
        users = UserRows(torch.stack(vectors, dim=1))  # M of [N, D] to [N, M, D]
        return Encoded(users, tokens, time, distinct, batch, catalogue)

    def _encode_stream(self, name: str, tokens: Tensor, batch: PackedBatch) -> Tensor:
        """One stream's user vectors. Shapes ``[T, D]`` to ``[N, D]``."""
        x = self.dropout(self.input_norms[name](tokens))
        encoder = cast(SequenceEncoder, self.encoders[name])
        context = StepContext(batch.packing)
        if batch.read_at is None:
            return encoder(x, context)
        return encoder.at_every_position(x, context).index_select(0, batch.read_at)

    def auxiliary_losses(self, encoded: Encoded, rows: LossRows) -> Iterator[tuple[str, Tensor]]:
        """IDCL, CP and PCL."""
        settings = self.settings
        if settings.id_contrastive_weight:
            loss = self._id_contrastive_loss(encoded, rows)
            yield "id_contrastive", settings.id_contrastive_weight * loss
        if self._predicts_categories:
            loss = self._category_prediction_loss(encoded)
            yield "category_prediction", settings.category_prediction_weight * loss
        plan = cast(HM4SRBatch, encoded.batch).placeholders
        if plan is not None:
            loss = self._placeholder_contrastive_loss(encoded, rows, plan)
            yield "placeholder_contrastive", settings.placeholder_weight * loss

    def _id_contrastive_loss(self, encoded: Encoded, rows: LossRows) -> Tensor:
        """IDCL: the id stream's user vector against the target's embedding."""
        own = self.item_embedding(rows.targets)
        users, temperature = encoded.users.vectors[:, 0], self.settings.id_temperature
        return info_nce(users, own, rows, temperature=temperature)

    def _category_prediction_loss(self, encoded: Encoded) -> Tensor:
        """CP: an item's streams must tell its categories."""
        assert encoded.distinct is not None
        assert encoded.batch.distinct is not None
        items, of_token, counts = encoded.batch.distinct
        logits = self.category_layer(encoded.distinct.flatten(1))  # [N, M * D] to [N, C]
        flags = self.categories.index_select(0, items)
        divisor = global_rows(len(of_token)).divisor
        return category_prediction(logits, flags, counts, divisor=divisor)

    def _placeholder_contrastive_loss(
        self, encoded: Encoded, rows: LossRows, plan: PlaceholderPlan
    ) -> Tensor:
        """PCL: a user vector must survive that positions are replaced by their times alone."""
        assert encoded.time is not None
        replaced = draw_placeholders(plan)  # [K]
        time = encoded.time.index_select(0, replaced)  # [K, 2D]
        losses, temperature = [], self.settings.placeholder_temperature
        for stream, name in enumerate(self.modalities, start=1):
            tokens = encoded.tokens[:, stream]
            # Under autocast the layer gives a lower precision, which CUDA does not mix.
            placeholders = self.placeholder_layers[name](time).to(tokens.dtype)
            tokens = tokens.index_copy(0, replaced, placeholders)
            augmented = self._encode_stream(name, tokens, encoded.batch)
            users = encoded.users.vectors[:, stream]
            losses.append(info_nce(users, augmented, rows, temperature=temperature))
        return torch.stack(losses).mean()

    def permuted_modality(
        self, name: str, generator: torch.Generator
    ) -> AbstractContextManager[None]:
        """A context in which the items have each other's features of a modality."""
        table = self._part(name).table
        if table is None:
            raise ValueError("the features were dropped: a modality cannot be shuffled")
        return table.permuted(generator, self._cache.forget)

    def probes(self) -> Mapping[str, Probe]:
        """The gates of both mixtures."""
        found = {}
        if self.settings.use_temporal_moe:
            routes = self.temporal_moe.route
            found[TIME_ROUTES] = Probe(self.temporal_moe, lambda _tokens, time: routes(time))
        if self.settings.use_interactive_moe:
            moe = self.interactive_moe
            found[MODALITY_WEIGHTS] = Probe(
                moe, moe.weights, names=tuple(moe.gates), strength=moe.modality_weights
            )
        return found

    @torch.no_grad()
    def serving_arrays(self) -> dict[str, Array]:
        """The item rows, and the widths that building the model asks for."""
        head = getattr(self, "category_layer", None)
        widths = {
            f"{name}.width": np.array(self._part(name).in_features) for name in self.modalities
        }
        n_categories = np.array(0 if head is None else head.out_features)
        return {**widths, "n_categories": n_categories, **super().serving_arrays()}
