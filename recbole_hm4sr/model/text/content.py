"""The base of models whose item vectors are made of frozen features: one vector an item.

A subclass says how an item's vector is made (:meth:`ContentRecommender.vectors`); it is read by the
inputs and by the scores alike.
"""

from contextlib import AbstractContextManager
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.layers.attention import StepContext
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.blocks import SequenceEncoder
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.items import FeatureTable
from recbole_hm4sr.layers.positions import window_positions
from recbole_hm4sr.layers.scorers import UserRows
from recbole_hm4sr.layers.similarity import ItemDirections, directions
from recbole_hm4sr.model.packed import Encoded, EncodedBatch, PackedRecommender

Array = np.ndarray[Any, Any]


class ContentRecommender(PackedRecommender):
    """RecBole recommender whose items have one vector each, made of features, ids or both.

    Args:
        config: RecBole ``Config`` with the fields of ``settings_class``.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Attributes:
        needs_features: Whether there must be a modality.
        temperature: Of a cosine; None where the score is an inner product.
        widths: Width of each modality's features.
        has_features: Which items have features of each modality. Shape ``[I, M]``, bool.
    """

    has_features: Tensor
    needs_features: ClassVar[bool] = True

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        if self.needs_features_now and not self.modalities:
            raise ConfigError(
                f"modalities must name at least one, since {type(self).__name__} makes its items "
                f"of features with these settings; got none"
            )
        if not self.reads_features_now:
            self.modalities = ()
        found = {name: dataset.modality(name) for name in self.modalities}
        self.widths = {name: self.width_of(features) for name, features in found.items()}
        self.tables = nn.ModuleDict(
            {name: self._make_table(features) for name, features in found.items()}
        )
        present = [torch.from_numpy(features.present) for features in found.values()]
        has_features = (
            torch.stack(present, dim=1) if present else torch.zeros(self.n_items, 0).bool()
        )
        self.register_buffer("has_features", has_features, persistent=False)
        if self.temperature is not None:
            self.similarity = ItemDirections()

    # --- what a model says ---------------------------------------------------------------------

    def vectors(self, items: Tensor | None, on_host: Array | None) -> Tensor:
        """The vectors of some items, ``[K]``, int64, or of all. Shape ``[K, D]``."""
        raise NotImplementedError

    @property
    def needs_features_now(self) -> bool:
        """Whether the settings leave an item nothing but its features."""
        return self.needs_features

    @property
    def reads_features_now(self) -> bool:
        """Whether vectors are made of features after the model is made."""
        return True

    @property
    def temperature(self) -> float | None:
        """Temperature of the cosine; None for an inner product."""
        return self.settings.temperature

    @property
    def counts_from(self) -> Any:
        """The end of a window that positions are counted from."""
        return "oldest"

    # --- features ------------------------------------------------------------------------------

    def width_of(self, features: Any) -> int:
        """F, the numbers that an item has of a modality."""
        return int(features.width)

    def taker_of(self, features: Any) -> Any:
        """What gives the features of items, ``[N]``, int64, as ``[N, F]``, float32."""
        return features.take

    def _make_table(self, features: Any) -> FeatureTable:
        return FeatureTable(
            self.taker_of(features),
            n_items=self.n_items,
            width=self.width_of(features),
            resident=not self.samples_softmax,
        )

    def features(self, name: str, items: Tensor | None, on_host: Array | None = None) -> Tensor:
        """Features of some items of a modality, or of all, as wide as the model computes.

        Raises:
            ValueError: If the features were dropped.
        """
        dtype = next(self.parameters()).dtype
        features: Tensor = self._table(name)(items, on_host)
        return features.to(dtype)

    def present(self, name: str, items: Tensor | None) -> Tensor:
        """Which of some items, or of all, have features of a modality. Shape ``[K]``, bool."""
        present = self.has_features[:, self.modalities.index(name)]
        return present if items is None else present.index_select(0, items)

    def _table(self, name: str) -> FeatureTable:
        if name not in self.tables:
            raise ValueError("the features were dropped: the rows that are kept must be read")
        return cast(FeatureTable, self.tables[name])

    def drop_features(self) -> None:
        """Forget the features: the rows that are made of them are kept."""
        self.tables.clear()

    def permuted_modality(
        self, name: str, generator: torch.Generator
    ) -> AbstractContextManager[None]:
        """A context in which the items have each other's features of a modality."""
        return self._table(name).permuted(generator, self._cache.forget)

    # --- items ---------------------------------------------------------------------------------

    @property
    def streams(self) -> tuple[str, ...]:
        """The one vector of an item."""
        return ("item",)

    def item_rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:
        """The items' vectors, the one modality. Shape ``[K, 1, D]``."""
        if items is None and self.samples_softmax:  # features that are not resident
            items = torch.arange(self.n_items, device=next(self.parameters()).device)
        return self.vectors(items, on_host)[:, None]  # [K, D] to [K, 1, D]

    def catalogue_of(self, rows: Tensor) -> Catalogue:
        """The catalogue of all items; the padding is no candidate of the loss.

        It has the content of nothing, which is not zero, or in a cosine no direction: then its
        gradient would be enormous.
        """
        return Catalogue(rows, similarity=self.similarity, scorer=self.scorer, n_padding=1)

    # --- users ---------------------------------------------------------------------------------

    def build_inputs(self) -> None:
        """Positions, and the norm and dropout of the tokens."""
        settings, size = self.settings, self.settings.hidden_size
        self.position_embedding = nn.Embedding(self.max_seq_length, size)
        self.input_norm = nn.LayerNorm(size, eps=settings.layer_norm_eps)
        self.dropout = Dropout(settings.hidden_dropout_prob)

    def tokens(self, batch: PackedBatch, catalogue: Catalogue) -> Tensor:
        """The vectors of the tokens' items. Shape ``[T, D]``."""
        if batch.distinct is None:
            return catalogue.of(batch.items)[:, 0]  # [T, 1, D] to [T, D]
        # The gradient of each item is summed before it meets what its vector is made of.
        distinct = catalogue.of(batch.distinct.items)[:, 0]  # [N, 1, D] to [N, D]
        return F.embedding(batch.distinct.of_token, distinct)  # [T, D]

    def inputs(self, tokens: Tensor, batch: PackedBatch) -> Tensor:
        """Tokens with their positions, normalised. Shapes ``[T, D]`` to ``[T, D]``."""
        positions = window_positions(batch.packing, self.max_seq_length, self.counts_from)
        x: Tensor = self.dropout(self.input_norm(tokens + self.position_embedding(positions)))
        return x

    def encode(self, batch: PackedBatch, catalogue: Catalogue) -> Encoded:
        """Embed, normalise, encode, and read the positions that are asked for."""
        x, context = self.inputs(self.tokens(batch, catalogue), batch), StepContext(batch.packing)
        encoder = cast(SequenceEncoder, self.encoder)
        if batch.read_at is None:
            users = encoder(x, context)
        else:
            users = encoder.at_every_position(x, context).index_select(0, batch.read_at)
        return EncodedBatch(self.user_rows(users), batch, catalogue)

    def user_rows(self, users: Tensor) -> UserRows:
        """Encoded users as they are scored. Shapes ``[N, D]`` to ``[N, 1, D]``."""
        if self.temperature is not None:
            users = directions(users) / self.temperature
        return UserRows(users[:, None])

    # --- serving -------------------------------------------------------------------------------

    @torch.no_grad()
    def serving_arrays(self) -> dict[str, Array]:
        """What every packed model keeps, and the widths that building the model asks for."""
        widths = {f"{name}.width": np.array(width) for name, width in self.widths.items()}
        return {**widths, **super().serving_arrays()}
