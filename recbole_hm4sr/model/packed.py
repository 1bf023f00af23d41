"""The base of models that work on packed tokens: the protocol of a step, and no layer.

A subclass says what its item rows are (:meth:`PackedRecommender.item_rows`), how a batch becomes
user vectors (:meth:`PackedRecommender.encode`) and what its losses are besides the cross-entropy
(:meth:`PackedRecommender.auxiliary_losses`). It gets RecBole's methods, both training modes, the
exact and the sampled softmax, batches arranged by the loader, serving without the data set, and a
user tower that can be exported.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_hm4sr.config.settings import read_settings
from recbole_hm4sr.data.loaders import TARGET_LIST
from recbole_hm4sr.data.packed import PackedInteraction
from recbole_hm4sr.data.seen import FIRST_POSITION, SeenItems
from recbole_hm4sr.data.times import whole_seconds
from recbole_hm4sr.layers.batch import DistinctItems, PackedBatch
from recbole_hm4sr.layers.catalogue import (
    Catalogue,
    CatalogueCache,
    SampledCatalogue,
    UserRows,
)
from recbole_hm4sr.layers.losses import LossRows, loss_rows
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.padded_rows import PaddedRows
from recbole_hm4sr.layers.sampling import NegativeSampler
from recbole_hm4sr.layers.seen import pairs_of_rows
from recbole_hm4sr.layers.transfer import send

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


@dataclass(frozen=True)
class BatchReader:
    """Arranges a batch of RecBole, on the CPU, where a loader's workers do it.

    Attributes:
        item_list: Name of the items' column.
        length: Name of the lengths' column.
        time_list: Name of the times' column.
        target: Name of the targets' column.
        every_position: Whether training reads the column ``target_list`` in its place: a target a
            position, 0 where none is trained.
        timestamp_unit: Unit of the times: ``s`` or ``ms``.
        seen_items: The items that each user took before a target, where those are no candidates of
            it; else None.
    """

    item_list: str
    length: str
    time_list: str
    target: str
    every_position: bool
    timestamp_unit: str
    seen_items: SeenItems | None

    def __call__(self, interaction: Interaction, *, train: bool) -> PackedBatch:
        """Arrange a batch, which may be on any device; the result is on the CPU.

        Args:
            interaction: A batch of RecBole.
            train: Whether its targets are read.
        """
        items = interaction[self.item_list].cpu()
        packing = build_packing(interaction[self.length].cpu(), items.shape[1])
        tokens = packing.pack(items)
        batch = PackedBatch(
            items=tokens,
            times=packing.pack(
                whole_seconds(interaction[self.time_list].cpu(), self.timestamp_unit)
            ),
            packing=packing,
            distinct=DistinctItems(*torch.unique(tokens, return_inverse=True, return_counts=True)),
        )
        return self._with_targets(batch, interaction) if train else batch

    def _with_targets(self, batch: PackedBatch, interaction: Interaction) -> PackedBatch:
        packing, read_at, seen = batch.packing, None, None
        if self.every_position:
            following = packing.pack(interaction[TARGET_LIST].cpu())
            read_at = following.nonzero().squeeze(1)
            targets = following.index_select(0, read_at)
        else:
            targets = interaction[self.target].cpu()
        if self.seen_items is not None:
            places = packing.last if read_at is None else read_at
            firsts = interaction[FIRST_POSITION].cpu()[packing.sequence[places]]
            rows, items = self.seen_items.before(firsts + packing.position[places] + 1)
            seen = pairs_of_rows(torch.stack([rows, items], dim=1), len(places))
        distinct = cast(DistinctItems, batch.distinct).items
        return batch.replace(
            read_at=read_at,
            targets=targets,
            seen=seen,
            wanted=np.union1d(distinct.numpy(), targets.numpy()),
        )


class PackedRecommender(SequentialRecommender):  # type: ignore[misc, unused-ignore]
    """RecBole recommender on packed tokens.

    Args:
        config: RecBole ``Config`` with the fields of ``settings_class``.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Attributes:
        settings_class: Class of the model's settings; a subclass of
            :class:`~recbole_hm4sr.model.packed_settings.PackedTraining`.
        reads: What the model reads besides items: of ``times``, ``features``, ``categories``.
        modalities: Names of the modalities that it reads.
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
        self.arrange = self.make_reader(config, dataset)
        if self.settings.n_negatives:
            self.sampler = NegativeSampler(dataset.target_counts())
        self.register_buffer("served_rows", None, persistent=False)
        self._cache = CatalogueCache()

    # --- what a model says ---------------------------------------------------------------------

    @property
    def streams(self) -> tuple[str, ...]:
        """A name for each vector of an item's row: what a score is the sum of."""
        return ("id", *self.modalities)

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

    def auxiliary_losses(self, encoded: Any, rows: LossRows) -> Iterator[tuple[str, Tensor]]:
        """The losses besides the cross-entropy, each times its weight.

        Args:
            encoded: Of :meth:`encode`.
            rows: The targets, and which rows are no negatives of each other.
        """
        del encoded, rows
        return iter(())

    def make_reader(self, config: Any, dataset: Any) -> BatchReader:
        """What arranges a batch; a model that needs more of it returns a subclass."""
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
        }

    def forward(self, batch: PackedBatch, catalogue: Catalogue | None = None) -> Encoded:
        """Encode a batch, with the catalogue of all items where none is given."""
        return self.encode(batch, self.catalogue() if catalogue is None else catalogue)

    # --- what it gets --------------------------------------------------------------------------

    def catalogue(self) -> Catalogue:
        """The rows of all items. Kept in evaluation, so that features are projected once."""
        if self.served_rows is not None:
            return Catalogue(self.served_rows)
        if torch.is_grad_enabled() or self.training:
            self._cache.forget()  # the weights will change
            return Catalogue(self.item_rows())
        return self._cache.get(list(self.parameters()), self.item_rows, self.n_items)

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
        catalogue = self._sampled(batch) if self.settings.n_negatives else self.catalogue()
        encoded = self(batch, catalogue)
        rows = loss_rows(cast(Tensor, batch.targets), batch.seen)
        losses = {"cross_entropy": catalogue.loss(encoded.users, rows)}
        losses.update(self.auxiliary_losses(encoded, rows))
        return losses

    def _sampled(self, batch: PackedBatch) -> SampledCatalogue:
        """The rows of a sample of items and of those of the batch."""
        self._cache.forget()
        drawn = self.sampler(self.settings.n_negatives)
        known = np.union1d(cast(Array, batch.wanted), drawn.numpy())
        device = next(self.parameters()).device
        items, drawn = send((torch.from_numpy(known), drawn), device)
        rows = self.item_rows(items, known)
        return SampledCatalogue(
            rows=rows, items=items, drawn=drawn, log_expected=self.sampler.log_expected(drawn)
        )

    def _encoded(self, interaction: Interaction) -> Encoded:
        return self(self.read(interaction, train=False))

    def predict(self, interaction: Interaction) -> Tensor:
        """Score one item a sequence. Shape ``[B]``."""
        encoded = self._encoded(interaction)
        return encoded.catalogue.scores(encoded.users, interaction[self.ITEM_ID])

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Score every item, padding included. Shape ``[B, I]``."""
        encoded = self._encoded(interaction)
        return encoded.catalogue.scores(encoded.users)

    def score_parts(self, interaction: Interaction, items: Tensor) -> Tensor:
        """Each stream's part of the scores of some items; their sum is the score.

        Args:
            interaction: A batch.
            items: Items of each sequence, shape ``[B, K]``, or the same of all, ``[K]``; int64.

        Returns:
            In the order of ``streams``. Shape ``[B, K, M]``.
        """
        encoded = self._encoded(interaction)
        return encoded.catalogue.parts(encoded.users, items)

    # --- capabilities --------------------------------------------------------------------------

    @torch.no_grad()
    def item_vectors(self) -> Tensor:
        """Vectors of all items whose inner products with a user's are scores. ``[I, M·D]``."""
        return self.catalogue().table()

    @torch.no_grad()
    def serving_arrays(self) -> dict[str, Array]:
        """What the model needs to score besides its checkpoint: its item rows."""
        return {"catalogue": self.catalogue().rows.cpu().numpy()}

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

    def user_tower(self) -> "UserTower":
        """Users' vectors from padded rows, in operations that can be exported."""
        return UserTower(self)


class UserTower(nn.Module):
    """From padded histories to user vectors: a model's own ``encode`` on rows of one length.

    Args:
        model: At its best epoch.
    """

    rows: Tensor

    def __init__(self, model: PackedRecommender) -> None:
        super().__init__()
        self.model = model
        with torch.no_grad():
            self.register_buffer("rows", model.catalogue().rows.clone())

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, timestamps: Tensor) -> Tensor:
        """Encode histories.

        Args:
            item_seq: Items, oldest first, padded with 0 on the right. Shape ``[B, L]``, int64.
            item_seq_len: Items of each history, at least 1. Shape ``[B]``, int64.
            timestamps: Their times in the run's unit since the epoch, 0 in the padding; not read
                by a model that has no use for times. Shape ``[B, L]``, int64.

        Returns:
            Shape ``[B, M * D]``.
        """
        batch = PackedBatch(
            items=item_seq.flatten(),
            times=whole_seconds(timestamps.flatten(), self.model.timestamp_unit),
            packing=PaddedRows(item_seq_len, item_seq.shape[1]),
        )
        users = self.model.encode(batch, Catalogue(self.rows)).users
        return users.vectors.flatten(1)
