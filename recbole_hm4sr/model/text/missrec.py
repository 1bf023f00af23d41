r"""MISSRec: a history's items attend to its interests, clusters of text and image vectors.

Reference:
    Wang et al., "MISSRec: Pre-training and Transferring Multi-modal Interest-aware Sequence
    Representation for Recommendation", ACM Multimedia 2023, arXiv:2308.11175.

Trained from scratch: the pre-training is left out. With x the features of an item in modality m and
e its id, which ``use_ids: false`` leaves out.

.. math:: T_m = W_m x_m + b_m, \quad X_j = LN(\sum_m T_m(i_j) + e_{i_j} + p_j)

Before an epoch the vectors of all items and modalities are clustered; the interests of a history
are the clusters of its items, each once. They pass through an encoder, and the items through a
decoder that attends to them.

.. math:: Y = Enc(Z_S), \quad u = unit(Dec(X, Y)_n), \quad l_m = u \cdot unit(T_m), \quad
    a = \sum_m softmax_m(f\, l_m)\, l_m, \quad s = (u \cdot unit(e) + 2 a) / 3

Without ids s is a. The loss is the cross-entropy of s over ``temperature`` among all items, and a
small weight on the size of the interests. Any number of modalities; with one alone an item is the
sum of its vector and id. An item without features of a modality has that modality's bias. The
interests of an item that comes after the training are the clusters nearest to its vectors.

With ``item_fusion: static`` the weights are alike and the score is an inner product, which can be
exported. With ``shared`` and ``per_item`` it is none: ``hm4sr recommend`` and ``serve`` know it.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.features import AlignedFeatures
from recbole_hm4sr.layers.attention import StepContext
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.blocks import PostNormBlock
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.initialize import draw_normal
from recbole_hm4sr.layers.items import IdRows
from recbole_hm4sr.layers.kmeans import kmeans
from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.padded_rows import Arrangement
from recbole_hm4sr.layers.scorers import Scorer, UserRows
from recbole_hm4sr.layers.similarity import directions
from recbole_hm4sr.model.text.described import DescribedItems
from recbole_hm4sr.model.text.missrec_parts import (
    CrossRowsOf,
    FusedModalities,
    Interests,
    build_stacks,
    hidden_keys,
    interests_of,
    nearest_interests,
    stack_modalities,
)
from recbole_hm4sr.model.text.missrec_settings import MISSRecSettings

Array = np.ndarray[Any, Any]
_ITEMS_AT_A_TIME = 65_536


class EncodedHistories(NamedTuple):
    """A batch after the decoder, and its interests after theirs.

    Attributes:
        users: A row a history.
        batch: What was encoded.
        catalogue: The items that can be scored.
        interests: Of the histories.
        outputs: What the encoder makes of each interest. Shape ``[S, D]``.
    """

    users: UserRows
    batch: PackedBatch
    catalogue: Catalogue
    interests: Interests
    outputs: Tensor


class MISSRec(DescribedItems):
    """MISSRec from scratch, in the form that its paper describes.

    Args:
        config: RecBole ``Config`` with the fields of :class:`MISSRecSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        Its k-means loses the signs of the vectors and stops after one step from random rows: most
        clusters stay empty. Here it is plain, seeded, of 10 rounds, and the interests are there
        before the first epoch. A tenth as many interests as vectors, not half. The regulariser is
        the mean over the histories (``regulariser: official`` sums, with the padding, and depends
        on the other rows of the batch). The padding item is no candidate: its gradient would be
        1e9. ``attn_dropout_prob`` is read; there attention weights have ``hidden_dropout_prob``.
        Do not expect the published numbers, which come from the broken clusters.

        Attention is bidirectional, so it trains on prefixes alone. The clusters change between
        epochs while the optimiser goes on, as there; they are seeded by the epoch and kept in the
        checkpoint.
    """

    settings_class = MISSRecSettings
    reads = frozenset({"features"})
    settings: MISSRecSettings
    interest_centres: Tensor
    interest_of: Tensor
    served_interests: Tensor | None

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings, size = self.settings, self.settings.hidden_size
        if settings.seq_fusion == "stack" and len(self.modalities) < 2:
            raise ConfigError(
                f"seq_fusion: stack must go with two modalities or more, got "
                f"{len(self.modalities)}; use seq_fusion: add"
            )
        if settings.use_ids:
            self.item_embedding = IdRows(self.n_items, size)
        self.build_inputs()
        self.encoder, self.decoder = build_stacks(settings)
        self.interest_norm = nn.LayerNorm(size, eps=settings.layer_norm_eps)
        self.history_norm = nn.LayerNorm(size, eps=settings.layer_norm_eps)
        draw_normal(self, settings.initializer_range)
        self._draw_attention()
        # These keep PyTorch's initial values: features lead at first, ids correct them.
        self.projections = nn.ModuleDict(
            {name: nn.Linear(width, size) for name, width in self.widths.items()}
        )
        self._seed = config["seed"]
        n_vectors = len(self.modalities) * (self.n_items - 1)
        n_interests = math.ceil(settings.interest_ratio * n_vectors)
        self.register_buffer("interest_centres", torch.zeros(n_interests + 1, size))
        owned = torch.zeros(self.n_items, len(self.modalities), dtype=torch.int64)
        self.register_buffer("interest_of", owned)
        self.register_buffer("served_interests", None, persistent=False)
        if self.has_features.any():
            self.find_interests(0)  # else a checkpoint brings them

    @torch.no_grad()
    def _draw_attention(self) -> None:
        """Maps of queries, keys and values uniformly, as rows of one matrix of 3 D by D."""
        bound = math.sqrt(6 / (4 * self.settings.hidden_size))
        for name, parameter in self.named_parameters():
            if name.endswith((".query.weight", ".key.weight", ".value.weight")):
                parameter.uniform_(-bound, bound)

    # --- interests -----------------------------------------------------------------------------

    def begin_epoch(self, epoch: int, data: Any) -> None:  # noqa: ARG002
        """Find the interests of the weights of now, every ``interest_every`` epochs."""
        if (epoch - 1) % self.settings.interest_every == 0:
            self.find_interests(epoch)

    @torch.no_grad()
    def find_interests(self, epoch: int) -> None:
        """Cluster the vectors of all items and modalities.

        Args:
            epoch: Decides with the run's seed which vectors the clusters begin at.
        """
        device, n_items = self.interest_of.device, self.n_items - 1
        some = torch.arange(1, self.n_items, device=device).split(_ITEMS_AT_A_TIME)
        vectors = torch.cat(
            [self.project(name, items, None) for name in self.modalities for items in some]
        )
        generator = torch.Generator().manual_seed(self._seed * 100_003 + epoch)
        start = torch.randperm(len(vectors), generator=generator)
        start = start[: len(self.interest_centres) - 1].to(device)
        centres, nearest = kmeans(vectors, start)
        self.interest_centres[1:] = centres
        self.interest_of[1:] = 1 + nearest.view(len(self.modalities), n_items).T

    def row_keys(self) -> dict[str, Array]:
        """Interests by number: more items have room for more, which repeat the last until found."""
        numbers = {"interest_centres": np.arange(len(self.interest_centres))}
        return {**super().row_keys(), **numbers}

    def learned_buffers(self) -> tuple[str, ...]:
        """The interests, and those of each item."""
        return "interest_centres", "interest_of"

    @torch.no_grad()
    def assign_new(self, first: int) -> None:
        """Give items from a number on the interests that are nearest to their vectors."""
        items = torch.arange(first, self.n_items, device=self.interest_of.device)
        for some in items.split(_ITEMS_AT_A_TIME):
            self.interest_of[some] = self._nearest_interests(some)

    def _nearest_interests(self, items: Tensor) -> Tensor:
        """The interests nearest to the vectors of some items. Shape ``[K, M]``, int64."""
        vectors = [self.project(name, items, None) for name in self.modalities]
        return torch.stack([nearest_interests(it, self.interest_centres) for it in vectors], dim=1)

    def interests(self, packing: Arrangement, items: Tensor) -> tuple[Interests, Tensor]:
        """The interests of histories, and what the encoder makes of them, ``[S, D]``."""
        of_items = self.interest_of if self.served_interests is None else self.served_interests
        n_interests = len(self.interest_centres) - 1
        found = interests_of(of_items.index_select(0, items), packing, n_interests)
        x = self.interest_centres.index_select(0, found.numbers)
        x = x.to(self.position_embedding.weight.dtype)
        outputs = self.encoder.at_every_position(x, StepContext(found.packing))
        return found, self.interest_norm(outputs)

    # --- items ---------------------------------------------------------------------------------

    @property
    def is_single(self) -> bool:
        """Whether there is one modality, so that an item is one vector."""
        return len(self.modalities) == 1

    @property
    def streams(self) -> tuple[str, ...]:
        """A name for each vector of an item's row."""
        if self.is_single:
            return ("item",)
        return ("id",) * self.settings.use_ids + self.modalities

    def project(self, name: str, items: Tensor | None, on_host: Array | None) -> Tensor:
        """Vectors of a modality of some items, or of all. Shape ``[K, D]``."""
        projected: Tensor = self.projections[name](self.features(name, items, on_host))
        return projected

    def item_rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:
        """Ids and modalities, or with one modality their sum. Shape ``[K, streams, D]``."""
        if items is None and self.samples_softmax:  # features that are not resident
            items = torch.arange(self.n_items, device=self.interest_of.device)
        parts = [self.id_rows(items)] if self.settings.use_ids else []
        parts += [self.project(name, items, on_host) for name in self.modalities]
        rows = torch.stack(parts, dim=1)
        return rows.sum(dim=1, keepdim=True) if self.is_single else rows

    def make_scorer(self, dataset: Any) -> Scorer:
        """Inner products; where modalities are weighed by their cosines, these."""
        fusion = self.settings.item_fusion
        if fusion == "static" or self.is_single or not self.modalities:
            return super().make_scorer(dataset)
        n_items = self.n_items if fusion == "per_item" else None
        return FusedModalities(len(self.modalities), self.stream_shares()[-1], n_items)

    def stream_shares(self) -> list[float]:
        """What the product of each stream is of its cosine; ids count a third."""
        n = 0 if self.is_single else len(self.modalities)
        if not n:
            shares = [1.0]
        elif self.settings.use_ids:
            shares = [1 / 3, *[2 / 3 / n] * n]
        else:
            shares = [1 / n] * n
        return [share / self.settings.temperature for share in shares]

    def item_vectors(self) -> Tensor:
        """As of any packed model; empty where items have a number of their own besides."""
        return torch.empty(0, 0) if self._has_factors else super().item_vectors()

    @property
    def _has_factors(self) -> bool:
        return isinstance(self.scorer, FusedModalities) and self.scorer.factor.ndim > 0

    # --- users ---------------------------------------------------------------------------------

    def encode(self, batch: PackedBatch, catalogue: Catalogue) -> EncodedHistories:
        """Find the interests, encode them, and decode the items that attend to them."""
        found, outputs = self.interests(batch.packing, batch.items)
        rows = self._rows_of_tokens(batch, catalogue)  # [T, streams, D]
        decode = self._decode_stacked if self.settings.seq_fusion == "stack" else self._decode
        users = directions(self.history_norm(decode(rows, batch, CrossRowsOf(found, outputs))))
        shares = users.new_tensor(self.stream_shares())
        return EncodedHistories(
            UserRows(users[:, None] * shares[:, None]), batch, catalogue, found, outputs
        )

    def _rows_of_tokens(self, batch: PackedBatch, catalogue: Catalogue) -> Tensor:
        if batch.distinct is None:
            return catalogue.of(batch.items)
        distinct = catalogue.of(batch.distinct.items)
        rows = F.embedding(batch.distinct.of_token, distinct.flatten(1))
        return rows.view(-1, *distinct.shape[1:])

    def _decode(self, rows: Tensor, batch: PackedBatch, interests: CrossRowsOf) -> Tensor:
        """One token an item. Shapes ``[T, streams, D]`` to ``[B, D]``."""
        x = self.inputs(rows.sum(dim=1), batch)
        context = StepContext(batch.packing, cross_rows=interests.rows(batch.packing))
        return self.decoder(x, context)

    def _decode_stacked(self, rows: Tensor, batch: PackedBatch, interests: CrossRowsOf) -> Tensor:
        """One token a modality and item, read at the newest item's first."""
        stacked = stack_modalities(batch.packing, len(self.modalities))
        if self.settings.use_ids:
            rows = rows[:, 1:] + rows[:, :1]
        of_stacked = stacked.source * len(self.modalities) + stacked.modality
        tokens = rows.flatten(0, 1).index_select(0, of_stacked)
        positions = batch.packing.position.index_select(0, stacked.source)
        x = self.dropout(self.input_norm(tokens + self.position_embedding(positions)))
        is_there = self.has_features.index_select(0, batch.items)
        hidden = ~is_there.flatten().index_select(0, of_stacked)
        context = StepContext(
            stacked.packing,
            hidden_keys(hidden, stacked.packing),
            cross_rows=interests.rows(stacked.packing),
        )
        return self.decoder.at_every_position(x, context).index_select(0, stacked.newest)

    # --- losses --------------------------------------------------------------------------------

    def auxiliary_losses(
        self, encoded: EncodedHistories, rows: LossRows
    ) -> Iterator[tuple[str, Tensor]]:
        """The size of the interests' outputs."""
        if self.settings.interest_weight:
            if self.settings.regulariser == "mean":
                each = self._mean_sizes(encoded)
                size = each.sum() / rows.joined.divisor
            else:
                n_processes = sum(rows.joined.counts) / rows.joined.divisor
                size = self._official_sizes(encoded).sum() * n_processes
            yield "interest", self.settings.interest_weight * size

    def _mean_sizes(self, encoded: EncodedHistories) -> Tensor:
        """The square of the mean output of each history over D. Shape ``[B]``."""
        packing, outputs = encoded.interests.packing, encoded.outputs
        sums = _sum_by(outputs, packing.sequence, len(packing.lengths))
        means = sums / packing.lengths[:, None].to(sums.dtype)
        return means.square().mean(dim=1)

    def _official_sizes(self, encoded: EncodedHistories) -> Tensor:
        """As the authors' code: sums, with what tokens of zeros become, as many as are padding."""
        packing, outputs = encoded.interests.packing, encoded.outputs
        n_own = packing.lengths
        is_padded = encoded.batch.packing.lengths < self.max_seq_length
        width = (n_own + is_padded).max()
        n_zeros = (width - n_own)[:, None].to(outputs.dtype)
        sums = _sum_by(outputs, packing.sequence, len(n_own))
        total = sums + n_zeros * self._output_of_zeros(encoded.interests)
        # In the model's own precision: theirs is float32 whatever it computes in.
        share = n_own[:, None].to(outputs.dtype) / width.to(outputs.dtype)
        return (share * total).square().mean(dim=1)

    def _output_of_zeros(self, interests: Interests) -> Tensor:
        """What a token of zeros becomes that attends to the interests alone. Shape ``[B, D]``."""
        context = StepContext(interests.packing)
        x = self.interest_centres.index_select(0, interests.numbers)
        x = x.to(self.position_embedding.weight.dtype)
        y = x.new_zeros(len(interests.packing.lengths), x.shape[1])
        for layer in self.encoder.layers:
            block = cast(PostNormBlock, layer)
            mixed = block.attention.at_last(y, x, context)
            y = block.feed_forward(block.attention_norm(y + block.dropout(mixed)))
            x = block(x, context)
        normed: Tensor = self.interest_norm(y)
        return normed

    # --- serving -------------------------------------------------------------------------------

    @torch.no_grad()
    def serving_arrays(self) -> dict[str, Array]:
        """What every packed model keeps, and the items' interests, and which have features."""
        of_items = {"has_features": self.has_features, "interests": self.interest_of}
        return {
            **{name: values.cpu().numpy() for name, values in of_items.items()},
            **super().serving_arrays(),
        }

    @torch.no_grad()
    def arrays_of_new(self, features: Mapping[str, AlignedFeatures]) -> dict[str, Array]:
        """Interests of items that the training does not have, and which have features.

        Args:
            features: Of each modality, for the same K items.

        Returns:
            By the names of :meth:`serving_arrays`. Shape ``[K, M]`` each.
        """
        with self.describing(features) as items:
            of_items = {
                "has_features": self.has_features,
                "interests": self._nearest_interests(items),
            }
        return {name: values.cpu().numpy() for name, values in of_items.items()}

    @classmethod
    def from_serving(cls, config: Any, dataset: Any) -> "MISSRec":
        """The model built to score only, with kept rows in place of item features."""
        model = cast(MISSRec, super().from_serving(config, dataset))
        model.has_features = torch.from_numpy(dataset.array("has_features"))
        # A run of an earlier release has the interests of its checkpoint alone.
        if "interests" in dataset.data.arrays:
            model.served_interests = torch.from_numpy(dataset.array("interests"))
        return model


def _sum_by(rows: Tensor, sequence: Tensor, n: int) -> Tensor:
    """The sum of the rows of each sequence. Shapes ``[S, D]``, ``[S]`` to ``[n, D]``."""
    return rows.new_zeros(n, rows.shape[1]).index_add(0, sequence, rows)
