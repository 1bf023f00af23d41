"""The base of models that work on packed tokens: the protocol of a step, and no layer.

A subclass says what its item rows are (:meth:`PackedRecommender.item_rows`), how a batch becomes
user vectors (:meth:`PackedRecommender.encode`), what trains its scores if not the cross-entropy
(:meth:`PackedRecommender.main_loss`) and what its losses are besides
(:meth:`PackedRecommender.auxiliary_losses`). It gets RecBole's methods, both training modes, the
exact and the sampled softmax, batches arranged by the loader, serving without the data set, and a
user tower that can be exported.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple, Protocol, cast

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.utils import InputType
from torch import Tensor

from recbole_hm4sr.config.settings import DataSettings, read_settings
from recbole_hm4sr.data.packed import PackedInteraction
from recbole_hm4sr.data.serving_data import ROWS
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.bce import gbce_beta
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.drawn_losses import drawn_loss
from recbole_hm4sr.layers.losses import LossRows, loss_rows
from recbole_hm4sr.layers.memory_scorer import MemoryScorer
from recbole_hm4sr.layers.sampled_catalogue import SampledCatalogue
from recbole_hm4sr.layers.sampling import NegativeSampler, draw_uniformly
from recbole_hm4sr.layers.scorers import InnerProducts, Scorer, UserRows
from recbole_hm4sr.layers.sharded_catalogue import ShardedCatalogue
from recbole_hm4sr.layers.similarity import Dot, Similarity
from recbole_hm4sr.layers.transfer import send
from recbole_hm4sr.model.batch_reader import BatchReader
from recbole_hm4sr.model.holds_items import HoldsItems
from recbole_hm4sr.model.memory import (
    arrays_to_keep,
    make_request_reader,
    make_visit_reader,
)
from recbole_hm4sr.model.user_tower import MemoryTower, UserTower

Array = np.ndarray[Any, Any]


class Encoded(Protocol):
    """A batch after a model's encoder. A model may keep more in it for its losses."""

    @property
    def users(self) -> UserRows:
        """A row for each position that is read."""

    @property
    def batch(self) -> PackedBatch:
        """What was encoded."""

    @property
    def catalogue(self) -> Catalogue:
        """The items that can be scored."""


class EncodedBatch(NamedTuple):
    """The :class:`Encoded` of a model whose losses need no more."""

    users: UserRows
    batch: PackedBatch
    catalogue: Catalogue


class PackedRecommender(HoldsItems):
    """RecBole recommender on packed tokens.

    Args:
        config: RecBole ``Config`` with the fields of ``settings_class``.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Attributes:
        settings_class: Class of the model's settings; a subclass of
            :class:`~recbole_hm4sr.model.packed_settings.PackedTraining`.
        reads: What the model reads besides items: of ``times``, ``features``, ``categories``.
        modalities: Names of the modalities that it reads.
        similarity: Maps users and items before their products; a model may set another.
        scorer: Makes scores of them; a model may set another, and a scorer with parameters is an
            ``nn.Module``.
        ranks_new_items: Whether items that no training row shows are candidates.
        left_out: Items that no training row shows, which are no negatives in training; None where
            all are. Shape ``[X]``, int64.
        shards: Which items this process holds.
    """

    input_type = InputType.POINTWISE
    has_global_rows = True  # the losses are those of the batch of all processes
    reads_first_position = True  # batches say where their windows stand in the histories
    settings_class: ClassVar[Any]
    reads: ClassVar[frozenset[str]] = frozenset()
    left_out: Tensor | None

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.settings: Any = read_settings(config, self.settings_class)
        self.modalities = self.modalities_of(dataset)
        self.timestamp_unit: str = dataset.timestamp_unit
        self.share_items(config)
        self.read_memory(config, dataset)
        self.arrange = self.make_reader(config, dataset)
        self.ranks_new_items = read_settings(config, DataSettings).catalogue == "all"
        left_out = _new_items(dataset) if self.ranks_new_items else None
        self.register_buffer("left_out", left_out, persistent=False)
        if self.samples_softmax:
            self.sampler = NegativeSampler(dataset.target_counts(), self.left_out)
        self.register_buffer("served_rows", None, persistent=False)
        self.similarity: Similarity = Dot()
        self.scorer: Scorer = self.make_scorer(dataset)
        self._kept: tuple[Interaction, Encoded] | None = None

    # --- what a model says ---------------------------------------------------------------------

    def modalities_of(self, dataset: Any) -> tuple[str, ...]:
        """Names of the modalities that it reads: all, if it reads features."""
        return tuple(dataset.modality_names) if "features" in self.reads else ()

    @property
    def streams(self) -> tuple[str, ...]:
        """A name for each vector of an item's row."""
        return ("id", *self.modalities)

    def item_rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:
        """The rows of some items, or of all.

        Args:
            items: Shape ``[K]``, int64; None for all that this process holds.
            on_host: The same on the CPU, if they are known there.

        Returns:
            Shape ``[K, M, D]``.
        """
        raise NotImplementedError

    def encode(self, batch: PackedBatch, catalogue: Catalogue) -> Encoded:
        """Encode a batch, packed or in rows of one length.

        Args:
            batch: The tokens, and which of their outputs are read.
            catalogue: Holds the items of the batch.
        """
        raise NotImplementedError

    @property
    def samples_softmax(self) -> bool:
        """Whether the catalogue of a training step holds the items of the step and a sample.

        Other losses than the cross-entropy look their negatives up in the whole catalogue.
        """
        return bool(self.settings.n_negatives) and self.settings.loss == "ce"

    def main_loss(self, encoded: Any, rows: LossRows) -> tuple[str, Tensor]:
        """The loss that trains the scores, and its name: what the setting ``loss`` names.

        Args:
            encoded: Of :meth:`encode`.
            rows: The targets, the items seen before them, and ``rows.joined.divisor``: what a sum
                over the own rows is divided by, so that it is right with several processes too.
        """
        users, kind = self.rows_to_score(encoded), self.settings.loss
        if kind == "ce":
            return "cross_entropy", encoded.catalogue.loss(users, rows)
        drawn = send(self.draw_negatives(len(rows.targets)), rows.targets.device)
        beta = gbce_beta(drawn.shape[-1], self.n_items - 1, t=self.settings.gbce_t)
        return kind, drawn_loss(kind, encoded.catalogue, users, rows, drawn, beta=beta)

    def draw_negatives(self, n_rows: int) -> Tensor:
        """Items to set against the targets; a target may be among its own, as in the papers.

        Args:
            n_rows: N, targets of the step.

        Returns:
            On the CPU. Shape ``[N, K]``, or ``[K]`` with ``share_negatives``; int64.
        """
        n_negatives = self.settings.n_negatives
        shape = (n_negatives,) if self.settings.share_negatives else (n_rows, n_negatives)
        return draw_uniformly(self.n_items, *shape)

    def auxiliary_losses(self, encoded: Any, rows: LossRows) -> Iterator[tuple[str, Tensor]]:
        """The losses besides the main one, each times its weight.

        Args:
            encoded: Of :meth:`encode`.
            rows: The targets, and which rows are no negatives of each other.
        """
        del encoded, rows
        return iter(())

    def make_reader(self, config: Any, dataset: Any) -> BatchReader:
        """The reader of batches; a model that needs more of a batch returns a subclass."""
        return BatchReader(**self.reader_options(config, dataset))

    def reader_options(self, config: Any, dataset: Any) -> dict[str, Any]:
        """The arguments of :class:`BatchReader`."""
        excludes_seen = self.settings.train_history == "exclude"
        return {
            "item_list": self.ITEM_SEQ,
            "length": self.ITEM_SEQ_LEN,
            "time_list": config["TIME_FIELD"] + config["LIST_SUFFIX"],
            "target": self.POS_ITEM_ID,
            "every_position": self.settings.train_mode == "sequence",
            "timestamp_unit": self.timestamp_unit,
            "seen_items": dataset.seen_items() if excludes_seen else None,
            "time": config["TIME_FIELD"],
            "requests": make_request_reader(self.memory_arrays, self.settings, config, dataset),
            "visits": make_visit_reader(self.settings, dataset),
        }

    def forward(self, batch: PackedBatch, catalogue: Catalogue | None = None) -> Encoded:
        """Encode a batch, with the catalogue of all items where none is given."""
        return self.encode(batch, self.catalogue() if catalogue is None else catalogue)

    # --- what it gets --------------------------------------------------------------------------

    def catalogue(self) -> Catalogue:
        """The rows of all items. Kept in evaluation, so that features are projected once."""
        if self.served_rows is not None:
            return self.catalogue_of(self.served_rows)
        if torch.is_grad_enabled() or self.training:
            self._cache.forget()  # the weights will change
            return self.catalogue_of(self.item_rows())
        return self._cache.get(list(self.parameters()), self._all_rows, self.catalogue_of)

    def catalogue_of(self, rows: Tensor) -> Catalogue:
        """The catalogue of the rows of all items, ``[I, M, D]``, scored as this model scores.

        Where several processes share the items, it is that of the own rows, ``[I_own, M, D]``.
        """
        how: dict[str, Any] = {
            "similarity": self.similarity,
            "scorer": self.scorer,
            "left_out": self.left_out,
        }
        if self.shards.is_split:
            return ShardedCatalogue(rows, first=self.shards.own.start, shards=self.shards, **how)
        return Catalogue(rows, **how)

    def train(self, mode: bool = True) -> "PackedRecommender":  # noqa: FBT001  # as in torch
        """Set training or evaluation; either begins with a catalogue of the current weights."""
        self._cache.forget()
        return cast("PackedRecommender", super().train(mode))

    def read(self, interaction: Interaction, *, train: bool) -> PackedBatch:
        """A batch as the model reads it, on its device.

        Args:
            interaction: A batch of RecBole; where the loader has arranged it, nothing is waited
                for.
            train: Whether its targets are read.
        """
        batch = interaction.arranged if isinstance(interaction, PackedInteraction) else None
        if batch is None or (batch.targets is not None) != train:
            batch = self.arrange(interaction, train=train)
        return send(batch, next(self.parameters()).device)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """The training loss: the sum of :meth:`named_losses`."""
        return torch.stack(list(self.named_losses(interaction).values())).sum()

    def named_losses(self, interaction: Interaction) -> dict[str, Tensor]:
        """Every loss by name, times its weight; each a scalar."""
        batch = self.read(interaction, train=True)
        encoded = self(batch, self.training_catalogue(batch))
        rows = loss_rows(cast(Tensor, batch.targets), batch.seen, batch.shares)
        return dict([self.main_loss(encoded, rows), *self.auxiliary_losses(encoded, rows)])

    def training_catalogue(self, batch: PackedBatch) -> Catalogue:
        """The items of a training step: all, or those of the batch and a sample."""
        return self._sampled(batch) if self.samples_softmax else self.catalogue()

    def _sampled(self, batch: PackedBatch) -> SampledCatalogue:
        """The rows of a sample of items and of those of the batch."""
        self._cache.forget()
        drawn = self.sampler(self.settings.n_negatives)
        known = np.union1d(cast(Array, batch.wanted), drawn.numpy())
        device = next(self.parameters()).device
        items, drawn = send((torch.from_numpy(known), drawn), device)
        rows = self.item_rows(items, known)
        return SampledCatalogue(
            rows=rows,
            items=items,
            similarity=self.similarity,
            scorer=self.scorer,
            drawn=drawn,
            log_expected=self.sampler.log_expected(drawn),
        )

    @contextlib.contextmanager
    def encoded_once(self, interaction: Interaction) -> Iterator[None]:
        """A context in which this batch is encoded once, in whatever view it is asked for.

        Args:
            interaction: Of an evaluation; the same object as :meth:`ask` will take.
        """
        self._kept = interaction, self._encoded(interaction)
        try:
            yield
        finally:
            self._kept = None

    def _encoded(self, interaction: Interaction) -> Encoded:
        if self._kept is not None and self._kept[0] is interaction:
            return self._kept[1]
        return self(self.read(interaction, train=False))

    def ask(self, interaction: Interaction) -> tuple[UserRows, Catalogue]:
        """The encoded rows of a batch, and the whole catalogue."""
        encoded = self._encoded(interaction)
        return self.rows_to_score(encoded), encoded.catalogue

    # --- capabilities --------------------------------------------------------------------------

    @torch.no_grad()
    def item_vectors(self) -> Tensor:
        """Vectors of all items whose inner products with a user's are scores. ``[I, M·D]``.

        With a memory, :meth:`item_marks` tells what else the scores read of an item.
        """
        return self.catalogue().table()

    def item_marks(self, items: Tensor) -> Tensor | None:
        """Numbers that are equal where the memory knows the same of two items.

        Args:
            items: Each once. Shape ``[K]``, int64.

        Returns:
            Shape ``[K]``, int64; None without a memory.
        """
        scorer = self.scorer
        return scorer.memory.marks(items) if isinstance(scorer, MemoryScorer) else None

    @torch.no_grad()
    def serving_arrays(self) -> dict[str, Array]:
        """What the model needs to score besides its checkpoint: its item rows and its memory."""
        kept = arrays_to_keep(self.memory_arrays)
        return {ROWS: self.catalogue().rows.cpu().numpy(), **kept}

    @classmethod
    def from_serving(cls, config: Any, dataset: Any) -> "PackedRecommender":
        """The model built to score only, with kept rows in place of item features.

        Args:
            config: The run's settings.
            dataset: A :class:`~recbole_hm4sr.data.serving_data.ServingDataset`.
        """
        model = cls(config, dataset)
        model.drop_features()
        model.served_rows = torch.from_numpy(dataset.array(ROWS))
        return model

    def drop_features(self) -> None:
        """Forget what only :meth:`item_rows` reads; called when the rows themselves are kept."""

    def user_tower(self) -> UserTower | None:
        """Users' vectors from padded rows, in operations that can be exported.

        With a memory, what each of its relations counts for as well. None where the scores are
        neither inner products of them with :meth:`item_vectors` nor these and a memory.
        """
        if isinstance(self.scorer, MemoryScorer):
            return MemoryTower(self)
        return UserTower(self) if isinstance(self.scorer, InnerProducts) else None


def _new_items(dataset: Any) -> Tensor:
    """The items that no training row shows. Shape ``[X]``, int64."""
    is_new = ~dataset.trained_items()
    is_new[0] = False
    return torch.from_numpy(np.flatnonzero(is_new))
