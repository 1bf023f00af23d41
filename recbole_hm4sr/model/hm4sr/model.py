"""HM4SR: hierarchical time-aware mixture of experts for multi-modal sequential recommendation.

Reference:
    Zhang, Chen, Shen, Wang, Xiong: "Hierarchical Time-Aware Mixture of Experts for Multi-Modal
    Sequential Recommendation", WWW 2025, arXiv:2501.14269.

One stream for the ids and one for each modality run side by side. The catalogue, all streams of
all items, is projected once a step; inputs, category loss and scores read from it.
"""

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.initialize import draw_normal
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
from recbole_hm4sr.model.capabilities import TIME_ROUTES, Probe
from recbole_hm4sr.model.hm4sr.batch import HM4SRBatch, HM4SRReader
from recbole_hm4sr.model.hm4sr.settings import HM4SRSettings
from recbole_hm4sr.model.hm4sr.temporal_moe import TemporalMoE
from recbole_hm4sr.model.late_sum import SHORTEST_ID, LateSum
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


class HM4SR(LateSum):
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
        self._build_temporal_parts(dataset)
        draw_normal(self, self.settings.initializer_range)
        if self._uses_time:
            nn.init.normal_(self.time_encoding.frequency, std=self.settings.initializer_range)
        # The authors make these parts after initialising: they keep PyTorch's own initial values.
        if self.settings.use_interactive_moe:
            self.build_interactive_moe()
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

    def _build_loss_heads(self, dataset: Any) -> None:
        size = self.settings.hidden_size
        self._predicts_categories = False
        if self.settings.category_prediction_weight:
            flags, names = dataset.categories()
            self._predicts_categories = bool(names)
            self._category_names = np.array(names, dtype=np.str_)
            if names:
                held = torch.from_numpy(flags[self.shards.own])
                self.register_buffer("categories", held, persistent=False)
                self.category_layer = nn.Linear(len(self.streams) * size, len(names))
            else:
                logger.warning("no category_field: HM4SR trains without its category loss")
        if self._uses_placeholders:
            self.placeholder_layers = nn.ModuleDict(
                {name: nn.Linear(2 * size, size) for name in self.modalities}
            )

    def row_keys(self) -> dict[str, Array]:
        """Besides those of a memory the names of the categories."""
        names = self._category_names if self._predicts_categories else None
        of_categories = ("category_layer.weight", "category_layer.bias")
        return {
            **super().row_keys(),
            **({} if names is None else dict.fromkeys(of_categories, names)),
        }

    def encode(self, batch: PackedBatch, catalogue: Catalogue) -> Encoded:
        """Encode a batch: its users' vectors, and what the losses need besides."""
        tokens, distinct = self.read_tokens(batch, catalogue)
        uses_time, position = self._uses_time, batch.packing.position
        time = self.time_encoding(batch.times, position) if uses_time else None
        if self.settings.use_interactive_moe:
            tokens = self.interactive_moe(tokens)
        if self.settings.use_temporal_moe:
            tokens = self.temporal_moe(tokens, time)
        users = self.encode_streams(tokens, batch)
        return Encoded(users, tokens, time, distinct, batch, catalogue)

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
        users, temperature = encoded.users.vectors[:, 0], self.settings.id_temperature
        if self.has_id is None:
            own = self.item_embedding(rows.targets)
            return info_nce(users, own, rows, temperature=temperature)
        own = encoded.catalogue.of(rows.targets)[:, 0]  # as it is in this step
        return info_nce(users, own, rows, temperature=temperature, shortest=SHORTEST_ID)

    def _category_prediction_loss(self, encoded: Encoded) -> Tensor:
        """CP: an item's streams must tell its categories."""
        assert encoded.distinct is not None
        assert encoded.batch.distinct is not None
        items, of_token, counts = encoded.batch.distinct
        logits = self.category_layer(encoded.distinct.flatten(1))  # [N, M * D] to [N, C]
        flags = self.shards.look_up(self.categories, items)
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
            augmented = self.encode_stream(name, tokens, encoded.batch)
            users = encoded.users.vectors[:, stream]
            losses.append(info_nce(users, augmented, rows, temperature=temperature))
        return torch.stack(losses).mean()

    def probes(self) -> dict[str, Probe]:
        """The gates of both mixtures."""
        found = super().probes()
        if self.settings.use_temporal_moe:
            routes = self.temporal_moe.route
            found[TIME_ROUTES] = Probe(self.temporal_moe, lambda _tokens, time: routes(time))
        return found

    @torch.no_grad()
    def serving_arrays(self) -> dict[str, Array]:
        """What its base keeps, and the number of categories, which building the model asks for."""
        head = getattr(self, "category_layer", None)
        n_categories = np.array(0 if head is None else head.out_features)
        return {"n_categories": n_categories, **super().serving_arrays()}
