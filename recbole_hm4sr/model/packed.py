"""The base of models that work on packed tokens: the protocol of a step, and no layer.

A subclass says what its item rows are (:meth:`PackedRecommender.item_rows`), how a batch becomes
user vectors (:meth:`PackedRecommender.encode`), what trains its scores if not the cross-entropy
(:meth:`PackedRecommender.main_loss`) and what its losses are besides
(:meth:`PackedRecommender.auxiliary_losses`). It gets RecBole's methods, both training modes, the
exact and the sampled softmax, batches arranged by the loader, serving without the data set, and a
user tower that can be exported.
"""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple, Protocol, cast

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.utils import InputType
from torch import Tensor

from recbole_hm4sr.config.settings import read_settings
from recbole_hm4sr.data.packed import PackedInteraction
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.catalogue_cache import CatalogueCache
from recbole_hm4sr.layers.losses import LossRows, loss_rows
from recbole_hm4sr.layers.memory_scorer import MemoryScorer
from recbole_hm4sr.layers.sampled_catalogue import SampledCatalogue
from recbole_hm4sr.layers.sampling import NegativeSampler
from recbole_hm4sr.layers.scorers import HasParts, InnerProducts, Scorer, UserRows
from recbole_hm4sr.layers.similarity import Dot, Similarity
from recbole_hm4sr.layers.transfer import send
from recbole_hm4sr.model.batch_reader import BatchReader
from recbole_hm4sr.model.capabilities import View
from recbole_hm4sr.model.dense_weight import DenseWeight
from recbole_hm4sr.model.memory import (
    arrays_to_keep,
    build_memory_scorer,
    gap_in_ticks,
    make_request_reader,
    make_visit_reader,
    memory_arrays,
)
from recbole_hm4sr.model.refresh import refreshes
from recbole_hm4sr.model.scored_by_catalogue import ScoredByCatalogue
from recbole_hm4sr.model.user_tower import UserTower

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


class PackedRecommender(ScoredByCatalogue):
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
    """

    input_type = InputType.POINTWISE
    has_global_rows = True  # the losses are those of the batch of all processes
    settings_class: ClassVar[Any]
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.settings: Any = read_settings(config, self.settings_class)
        self.modalities = tuple(dataset.modality_names) if "features" in self.reads else ()
        self.timestamp_unit: str = dataset.timestamp_unit
        self._memory_arrays: dict[str, Array] = {}
        if self.settings.memory == "events":
            self._learning_rate: float = config["learning_rate"]
            self._memory_arrays = memory_arrays(dataset, self.settings, self.modalities)
            self.dense_weight = DenseWeight(
                self.settings.dense_weights,
                len(refreshes(self.settings.memory_refresh)),
                bigger=config["valid_metric_bigger"],
            )
        self.arrange = self.make_reader(config, dataset)
        if self.samples_softmax:
            self.sampler = NegativeSampler(dataset.target_counts())
        self.register_buffer("served_rows", None, persistent=False)
        self.similarity: Similarity = Dot()
        self.scorer: Scorer = self._make_scorer(dataset)
        self._cache = CatalogueCache()

    def _make_scorer(self, dataset: Any) -> Scorer:
        if not self._memory_arrays:
            return InnerProducts()
        return build_memory_scorer(
            self._memory_arrays,
            self.settings,
            modalities=self.modalities,
            unit=self.timestamp_unit,
            gap=gap_in_ticks(dataset),
        )

    # --- what a model says ---------------------------------------------------------------------

    @property
    def streams(self) -> tuple[str, ...]:
        """A name for each vector of an item's row."""
        return ("id", *self.modalities)

    @property
    def part_names(self) -> tuple[str, ...]:
        """A name for each part of a score, whose sum it is."""
        if isinstance(self.scorer, InnerProducts):
            return self.streams
        more = self.scorer.names if isinstance(self.scorer, HasParts) else (self.scorer.part,)
        return (*self.streams, *more)

    @property
    def reads_request_time(self) -> bool:
        """Whether a score depends on when it is asked for: on a row's own time."""
        return self.settings.memory == "events" and self.settings.request_time == "target"

    def views(self) -> tuple[View, ...]:
        """With a memory, one for each value of ``memory_refresh`` where there are several."""
        requests, several = self.arrange.requests, refreshes(self.settings.memory_refresh)
        return () if requests is None or len(several) < 2 else requests.views(several)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The weights of a memory learn ten times as fast as all others."""
        scorer = self.scorer
        fast = list(scorer.parameters()) if isinstance(scorer, MemoryScorer) else []
        if not fast:
            return [{"params": list(self.parameters())}]
        known = set(map(id, fast))
        rest = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return [{"params": rest}, {"params": fast, "lr": 10 * self._learning_rate}]

    def item_rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:
        """The rows of some items, or of all.

        Args:
            items: Shape ``[K]``, int64; None for all.
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
        """Whether the catalogue of a training step holds the items of the step and a sample."""
        return bool(self.settings.n_negatives)

    def main_loss(self, encoded: Any, rows: LossRows) -> tuple[str, Tensor]:
        """The loss that trains the scores, and its name: the cross-entropy unless overridden.

        Args:
            encoded: Of :meth:`encode`.
            rows: The targets, the items seen before them, and ``rows.joined.divisor``: what a sum
                over the own rows is divided by, so that it is right with several processes too.
        """
        return "cross_entropy", encoded.catalogue.loss(self.rows_to_score(encoded), rows)

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
            "requests": make_request_reader(self._memory_arrays, self.settings, config, dataset),
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
        return self._cache.get(
            list(self.parameters()), self.item_rows, self.n_items, self.catalogue_of
        )

    def catalogue_of(self, rows: Tensor) -> Catalogue:
        """The catalogue of the rows of all items, ``[I, M, D]``, scored as this model scores."""
        return Catalogue(rows, similarity=self.similarity, scorer=self.scorer)

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
        encoded = self(batch, self._sampled(batch) if self.samples_softmax else self.catalogue())
        rows = loss_rows(cast(Tensor, batch.targets), batch.seen, batch.shares)
        return dict([self.main_loss(encoded, rows), *self.auxiliary_losses(encoded, rows)])

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

    def rows_to_score(self, encoded: Encoded) -> UserRows:
        """The rows of a batch as the scorer reads them.

        In training some are without their dense part (``dense_dropout``): the weights of the memory
        then learn to rank by themselves. In evaluation the dense part has the weight that
        validation chose.

        Args:
            encoded: Of :meth:`encode`.
        """
        users, requests = encoded.users, encoded.batch.requests
        if requests is None:
            return users
        users = users.with_side(**requests._asdict())
        share, vectors = self.settings.dense_dropout, users.vectors
        if not self.training:
            weight = self.dense_weight.values[self._view()]
            return users._replace(vectors=vectors * weight.to(vectors.dtype))
        if not share:
            return users
        draw = torch.rand(len(vectors), 1, 1, device=vectors.device)
        return users._replace(vectors=vectors * (draw >= share).to(vectors.dtype))

    def _view(self) -> int:
        """Number of the view in which it is measured; served is the first."""
        several, requests = refreshes(self.settings.memory_refresh), self.arrange.requests
        assert requests is not None
        return several.index(requests.refresh) if requests.refresh in several else 0

    def calibrate(self, measure: Callable[[], float]) -> None:
        """Choose what training cannot tell: how much the dense part counts beside a memory.

        Args:
            measure: The validation score of the model as it is, of some rows.
        """
        if self.arrange.requests is not None:
            self.dense_weight.choose(self._view(), measure)

    def _encoded(self, interaction: Interaction) -> Encoded:
        return self(self.read(interaction, train=False))

    def ask(self, interaction: Interaction) -> tuple[UserRows, Catalogue]:
        """The encoded rows of a batch, and the whole catalogue."""
        encoded = self._encoded(interaction)
        return self.rows_to_score(encoded), encoded.catalogue

    def score_parts(self, interaction: Interaction, items: Tensor) -> Tensor:
        """The parts of the scores of some items; their sum is the score.

        Args:
            interaction: A batch.
            items: Items of each sequence, shape ``[B, K]``, or the same of all, ``[K]``; int64.

        Returns:
            In the order of ``part_names``. Shape ``[B, K, parts]``.
        """
        users, catalogue = self.ask(interaction)
        return catalogue.parts(users, items)

    # --- capabilities --------------------------------------------------------------------------

    @torch.no_grad()
    def item_vectors(self) -> Tensor:
        """Vectors of all items whose inner products with a user's are scores. ``[I, M·D]``.

        Empty with a memory, where they are not all that tells two items apart.
        """
        if isinstance(self.scorer, MemoryScorer):
            return torch.empty(0, 0)
        return self.catalogue().table()

    @torch.no_grad()
    def serving_arrays(self) -> dict[str, Array]:
        """What the model needs to score besides its checkpoint: its item rows and its memory."""
        kept = arrays_to_keep(self._memory_arrays)
        return {"catalogue": self.catalogue().rows.cpu().numpy(), **kept}

    @classmethod
    def from_serving(cls, config: Any, dataset: Any) -> "PackedRecommender":
        """The model built to score only, with kept rows in place of item features.

        Args:
            config: The run's settings.
            dataset: A :class:`~recbole_hm4sr.data.serving_data.ServingDataset`.
        """
        model = cls(config, dataset)
        model.drop_features()
        model.served_rows = torch.from_numpy(dataset.array("catalogue"))
        return model

    def drop_features(self) -> None:
        """Forget what only :meth:`item_rows` reads; called when the rows themselves are kept."""

    def user_tower(self) -> UserTower | None:
        """Users' vectors from padded rows, in operations that can be exported.

        None where the scores are not inner products of them with :meth:`item_vectors`.
        """
        return UserTower(self) if isinstance(self.scorer, InnerProducts) else None
