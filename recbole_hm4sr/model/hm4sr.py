"""HM4SR: hierarchical time-aware mixture of experts for multi-modal sequential recommendation.

Reference:
    Zhang, Chen, Shen, Wang, Xiong: "Hierarchical Time-Aware Mixture of Experts for Multi-Modal
    Sequential Recommendation", WWW 2025, arXiv:2501.14269.

One stream for the ids and one for each modality run side by side. The catalogue, all streams of
all items, is projected once a step; inputs, category loss and scores read from it.
"""

import logging
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_hm4sr.data.sequence_loader import TARGET_LIST
from recbole_hm4sr.distributed import join_rows
from recbole_hm4sr.layers.catalogue import Catalogue, FeatureTable, KeptCatalogue
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.encoder import SequenceEncoder, build_encoder
from recbole_hm4sr.layers.experts import InteractiveMoE, TemporalMoE
from recbole_hm4sr.layers.losses import (
    MatchedRows,
    category_prediction,
    draw_placeholders,
    info_nce,
    match_rows,
)
from recbole_hm4sr.layers.packing import Packing, build_packing
from recbole_hm4sr.layers.sampling import NegativeSampler
from recbole_hm4sr.layers.seen import seen_items
from recbole_hm4sr.layers.softmax import linear_cross_entropy, sampled_cross_entropy
from recbole_hm4sr.layers.time import TimeEncoding
from recbole_hm4sr.model.hm4sr_settings import HM4SRSettings
from recbole_hm4sr.settings import read_settings

logger = logging.getLogger(__name__)


class Encoded(NamedTuple):
    """A batch after the encoders.

    Attributes:
        users: One vector a stream and target: of each sequence, or, in training on sequences, of
            each position that has a target. Shape ``[B, M, D]``.
        places: Packed numbers of these positions; None for the last of each sequence. Shape
            ``[B]``, int64.
        tokens: Packed streams after both mixtures. Shape ``[T, M, D]``.
        time: Packed time encoding; None if no part reads it. Shape ``[T, 2D]``.
        shown: Rows of the catalogue that the batch shows, each once. Shape ``[N, M, D]``.
        shown_items: Their items. Shape ``[N]``, int64.
        shown_counts: Tokens that show each. Shape ``[N]``, int64.
        packing, catalogue: Arrangement of the tokens; the items that can be scored.
    """

    users: Tensor
    places: Tensor | None
    tokens: Tensor
    time: Tensor | None
    shown: Tensor
    shown_items: Tensor
    shown_counts: Tensor
    packing: Packing
    catalogue: Catalogue


class HM4SR(SequentialRecommender):  # type: ignore[misc, unused-ignore]
    """RecBole recommender; any number of modalities, none included.

    Args:
        config: RecBole ``Config`` with the fields of :class:`HM4SRSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        See the layers; besides, ``predict`` returns ``[B]`` (there ``[B, B]``), frozen features
        are not in the checkpoint, and category targets are 0 or 1 (there a repeated name counts
        twice).
    """

    input_type = InputType.POINTWISE
    joins_rows = True  # the losses are those of the batch of all processes

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.settings = settings = read_settings(config, HM4SRSettings)
        self.timestamps_field = config["TIME_FIELD"] + config["LIST_SUFFIX"]
        self.modalities = tuple(dataset.modality_names)
        self.streams = ("id", *self.modalities)
        self._uses_placeholders = bool(settings.placeholder_weight and self.modalities)
        self._uses_time = settings.use_temporal_moe or self._uses_placeholders

        size = settings.hidden_size
        self.item_embedding = nn.Embedding(self.n_items, size)
        self.position_embedding = nn.Embedding(self.max_seq_length, size)
        self.features = nn.ModuleDict()
        self.projections = nn.ModuleDict()
        for name in self.modalities:
            features = dataset.modality(name)
            self.features[name] = FeatureTable(
                features.take,
                n_items=self.n_items,
                width=features.width,
                resident=not settings.n_negatives,
            )
            self.projections[name] = nn.Linear(features.width, size)
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
        self._kept = KeptCatalogue()

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
        if self.settings.n_negatives:
            self.sampler = NegativeSampler(dataset.target_counts())
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

    def catalogue(self) -> Catalogue:
        """All streams of all items, without position, expert or time; kept in evaluation."""
        if torch.is_grad_enabled() or self.training:
            return Catalogue(self.rows())
        weights = [self.item_embedding.weight, *self.projections.parameters()]
        return self._kept.get(weights, self.rows, self.n_items)

    def train(self, mode: bool = True) -> "HM4SR":  # noqa: FBT001  # as in torch
        """Set training or evaluation; either begins with a catalogue of the weights of now."""
        self._kept.forget()
        return cast("HM4SR", super().train(mode))

    def rows(self, items: Tensor | None = None) -> Tensor:
        """All streams of some items, or of all. Shapes ``[N]``, int64, to ``[N, M, D]``."""
        ids = self.item_embedding.weight if items is None else self.item_embedding(items)
        projected = [
            self.projections[name](self.features[name](items).to(ids.dtype))
            for name in self.modalities
        ]
        return torch.stack([ids, *projected], dim=1)

    def forward(
        self,
        item_seq: Tensor,
        item_seq_len: Tensor,
        timestamps: Tensor,
        target_seq: Tensor | None = None,
        candidates: Tensor | None = None,
    ) -> Encoded:
        """Encode a batch.

        Args:
            item_seq: Items, oldest first, padded with 0 on the right. Shape ``[B, L]``, int64.
            item_seq_len: Items of each sequence, at least 1. Shape ``[B]``, int64.
            timestamps: Their times in seconds since the epoch. Shape ``[B, L]``, int64.
            target_seq: The item after each position, 0 where none is asked for; None asks for the
                user vector at the last position only. Shape ``[B, L]``, int64.
            candidates: Items that the catalogue must hold besides those in ``item_seq``; None for
                all. Any shape, int64.

        Returns:
            User vectors, and what the losses need besides.
        """
        if torch.is_grad_enabled():
            self._kept.forget()  # the weights will change
        packing = build_packing(item_seq_len, item_seq.shape[1])
        places = None if target_seq is None else packing.pack(target_seq).nonzero().squeeze(1)
        items, of_token, counts = torch.unique(
            packing.pack(item_seq), return_inverse=True, return_counts=True
        )
        if candidates is None:
            catalogue = self.catalogue()
        else:
            known = torch.unique(torch.cat([items, candidates.flatten()]))
            catalogue = Catalogue(self.rows(known), known)
        shown = catalogue.of(items)
        tokens = F.embedding(of_token, shown.flatten(1)).view(-1, *shown.shape[1:])
        tokens = tokens + self.position_embedding(packing.position)[:, None]
        time = None
        if self._uses_time:
            time = self.time_encoding(packing.pack(timestamps), packing.position)
        if self.settings.use_interactive_moe:
            tokens = self.interactive_moe(tokens)
        if self.settings.use_temporal_moe:
            tokens = self.temporal_moe(tokens, time)
        users = [
            self._encode_stream(name, tokens[:, stream], packing, places)
            for stream, name in enumerate(self.streams)
        ]
        return Encoded(
            users=torch.stack(users, dim=1),
            places=places,
            tokens=tokens,
            time=time,
            shown=shown,
            shown_items=items,
            shown_counts=counts,
            packing=packing,
            catalogue=catalogue,
        )

    def _encode_stream(
        self, name: str, tokens: Tensor, packing: Packing, places: Tensor | None
    ) -> Tensor:
        """One stream's user vectors. Shapes ``[T, D]`` to ``[B, D]``."""
        x = self.dropout(self.input_norms[name](tokens))
        encoder = cast(SequenceEncoder, self.encoders[name])
        if places is None:
            return encoder(x, packing)
        return encoder.at_all(x, packing).index_select(0, places)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """The training loss: the sum of :meth:`named_losses`."""
        return torch.stack(list(self.named_losses(interaction).values())).sum()

    def named_losses(self, interaction: Interaction) -> dict[str, Tensor]:
        """Every loss by name, times its weight; each a scalar."""
        settings = self.settings
        target_seq = interaction[TARGET_LIST] if settings.train_mode == "sequence" else None
        targets = (
            interaction[self.POS_ITEM_ID] if target_seq is None else target_seq[target_seq > 0]
        )
        drawn = self.sampler(settings.n_negatives) if settings.n_negatives else None
        candidates = None if drawn is None else torch.cat([targets, drawn])
        encoded = self._encode(interaction, target_seq, candidates)
        seen = None
        if settings.train_history == "exclude":
            packing = encoded.packing
            places = packing.last if encoded.places is None else encoded.places
            seen = seen_items(packing, packing.pack(interaction[self.ITEM_SEQ]), places, targets)
        rows = match_rows(targets, seen)
        losses = {"cross_entropy": self._cross_entropy(encoded, rows, drawn)}
        if settings.id_contrastive_weight:
            loss = self._id_contrastive_loss(encoded, rows)
            losses["id_contrastive"] = settings.id_contrastive_weight * loss
        if self._predicts_categories:
            loss = self._category_prediction_loss(encoded)
            losses["category_prediction"] = settings.category_prediction_weight * loss
        if self._uses_placeholders:
            nested, ratio = target_seq is not None, settings.placeholder_ratio
            chosen = draw_placeholders(encoded.packing, ratio, every_prefix=nested)
            loss = self._placeholder_contrastive_loss(encoded, rows, chosen)
            losses["placeholder_contrastive"] = settings.placeholder_weight * loss
        return losses

    def _cross_entropy(self, encoded: Encoded, rows: MatchedRows, drawn: Tensor | None) -> Tensor:
        """Softmax over all rows of the catalogue, or over a sample of it, but for the seen ones."""
        users, catalogue = encoded.users.flatten(1), encoded.catalogue
        targets, divisor = rows.targets, rows.joined.divisor
        if drawn is None:
            return linear_cross_entropy(
                users, catalogue.table(), targets, excluded=rows.seen, divisor=divisor
            )
        return sampled_cross_entropy(
            users,
            catalogue.of(targets).flatten(1),
            catalogue.of(drawn).flatten(1),
            log_expected=self.sampler.log_expected(drawn),
            excluded=rows.excluded_from(drawn),
            divisor=divisor,
        )

    def _id_contrastive_loss(self, encoded: Encoded, rows: MatchedRows) -> Tensor:
        """IDCL: the id stream's user vector against the target's embedding."""
        own = self.item_embedding(rows.targets)
        return info_nce(encoded.users[:, 0], own, rows, temperature=self.settings.id_temperature)

    def _category_prediction_loss(self, encoded: Encoded) -> Tensor:
        """CP: an item's streams must tell its categories."""
        logits = self.category_layer(encoded.shown.flatten(1))
        flags = self.categories[encoded.shown_items]
        divisor = join_rows(len(encoded.packing.sequence)).divisor
        return category_prediction(logits, flags, encoded.shown_counts, divisor=divisor)

    def _placeholder_contrastive_loss(
        self, encoded: Encoded, rows: MatchedRows, chosen: Tensor
    ) -> Tensor:
        """PCL: a user vector must survive that positions are replaced by their times alone.

        Args:
            encoded: The batch.
            rows: The rows of the batch.
            chosen: True where a token is replaced. Shape ``[T]``, bool.
        """
        assert encoded.time is not None
        places = chosen.nonzero().squeeze(1)
        time = encoded.time.index_select(0, places)
        losses = []
        for stream, name in enumerate(self.modalities, start=1):
            placeholders = self.placeholder_layers[name](time)
            tokens = encoded.tokens[:, stream].index_copy(0, places, placeholders)
            augmented = self._encode_stream(name, tokens, encoded.packing, encoded.places)
            users, temperature = encoded.users[:, stream], self.settings.placeholder_temperature
            losses.append(info_nce(users, augmented, rows, temperature=temperature))
        return torch.stack(losses).mean()

    def predict(self, interaction: Interaction) -> Tensor:
        """Score one item a sequence. Shape ``[B]``."""
        encoded = self._encode(interaction)
        items = encoded.catalogue.of(interaction[self.ITEM_ID])
        return (encoded.users * items).sum(dim=(1, 2))

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Score every item, padding included. Shape ``[B, I]``."""
        encoded = self._encode(interaction)
        return encoded.users.flatten(1) @ encoded.catalogue.table().T

    def score_parts(self, interaction: Interaction, items: Tensor) -> Tensor:
        """Each stream's part of the scores of some items; their sum is the score.

        Items are those of each sequence, shape ``[B, K]``, or the same of all, ``[K]``; int64. The
        parts are in the order of ``streams``. Shape ``[B, K, M]``.
        """
        encoded = self._encode(interaction)
        rows = encoded.catalogue.of(items.flatten()).unflatten(0, items.shape)
        product = "bmd,kmd->bkm" if items.ndim == 1 else "bmd,bkmd->bkm"
        return torch.einsum(product, encoded.users, rows)

    def permuted_modality(
        self, name: str, generator: torch.Generator
    ) -> AbstractContextManager[None]:
        """A context in which the items have each other's features of a modality."""
        return cast("FeatureTable", self.features[name]).permuted(generator, self._kept.forget)

    def _encode(
        self,
        interaction: Interaction,
        target_seq: Tensor | None = None,
        candidates: Tensor | None = None,
    ) -> Encoded:
        return self(
            interaction[self.ITEM_SEQ],
            interaction[self.ITEM_SEQ_LEN],
            interaction[self.timestamps_field],
            target_seq,
            candidates,
        )
