r"""WhitenRec: items are whitened features; and ids that begin as features (LLMInit, LLM2SASRec).

Reference:
    Zhang et al., "Are ID Embeddings Necessary? Whitening Pre-trained Text Embeddings for Effective
    Sequential Recommendation", ICDE 2024, arXiv:2402.10602.

Text encoders put all items into one narrow cone. Whitening makes the features uncorrelated with one
variance, closed form, once. With Z the whitened features.

.. math:: Z = (X - \mu)\, U S^{-1/2} U^T, \quad U S U^T = (X - \mu)^T (X - \mu) / N, \quad
    v = gelu(W z + b)

``whitening: pca`` leaves out the last turn. ``item_rows: id`` trains a vector for each item
instead, which ``id_init`` begins as columns of the features: ``pca`` is LLMInit's and
LLM2SASRec's, ``uniform_columns`` and ``top_variance`` are LLMInit's selections. The rest is SASRec.

Any number of modalities, whitened each by itself and mapped together. Items without features have
zeros after the whitening, which is the mean item; their own vectors begin at random.
"""

import logging
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.data.features import AlignedFeatures
from recbole_hm4sr.layers.blocks import build_encoder
from recbole_hm4sr.layers.initialize import draw_normal
from recbole_hm4sr.layers.items import IdRows
from recbole_hm4sr.layers.whitening import find_whitening
from recbole_hm4sr.model.text.described import DescribedItems
from recbole_hm4sr.model.text.whitenrec_settings import WhitenRecSettings

_log = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
_POPULAR_SHARE = 0.2  # of the items, over which top_variance measures columns


class WhitenRec(DescribedItems):
    """SASRec on whitened features, or on ids that begin as features.

    Args:
        config: RecBole ``Config`` with the fields of :class:`WhitenRecSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        None of WhitenRec's own was found; the whitening is that of DWSRec, by the same first
        author, and the rest follows the harness of AlphaFuse. The padding row is in no statistic,
        and as there no candidate.
        A direction of less than 1e-5 of the largest variance is dropped, not blown up. Vectors that
        begin as features have the standard deviation of other ids (``init_scale``), not 1. Training
        and ranking use the same score; the harness trains cosines and ranks inner products. The
        encoder is SASRec's. The statistics are those of all items, later ones too: they read
        features alone. They are kept with the run.
    """

    settings_class = WhitenRecSettings
    reads = frozenset({"features"})
    settings: WhitenRecSettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings, size = self.settings, self.settings.hidden_size
        if self.has_ids:
            self.item_embedding = IdRows(self.n_items, size)
        if self.has_text:
            self._find_whitening(dataset)
            self.text_map = nn.Linear(sum(self.widths.values()), size)
        self.build_inputs()
        self.encoder = build_encoder(**settings.encoder_options())
        draw_normal(self, settings.initializer_range)
        if settings.id_init != "normal":
            self._begin_ids_as_features(dataset)

    @property
    def has_ids(self) -> bool:
        """Whether an item has a vector of its own."""
        return "id" in self.settings.item_rows

    @property
    def has_text(self) -> bool:
        """Whether an item's vector reads whitened features."""
        return "text" in self.settings.item_rows

    @property
    def needs_features_now(self) -> bool:
        """Whether anything is made of features."""
        return self.has_text or self.settings.id_init != "normal"

    @property
    def reads_features_now(self) -> bool:
        """Whether they are read after the start."""
        return self.has_text

    @property
    def temperature(self) -> float | None:
        """Temperature of the cosine; None for the inner product."""
        return self.settings.temperature if self.settings.score == "cosine" else None

    def _find_whitening(self, dataset: Any) -> None:
        """Whiten each modality by the rows that there are; the maps are kept in the checkpoint."""
        settings = self.settings
        for name, width in self.widths.items():
            features: AlignedFeatures = dataset.modality(name)
            if width % settings.whiten_groups:
                raise ConfigError(
                    f"whiten_groups must divide the width of each modality, got "
                    f"{settings.whiten_groups} and {width} of {name}"
                )
            rows = features.values[features.present]
            kind = settings.whitening if len(rows) else "none"  # else a checkpoint brings the map
            found = find_whitening(rows, kind, groups=settings.whiten_groups)
            if found.n_dropped:
                _log.warning(
                    "whitening: %d of %d directions of %s have next to no variance and are dropped",
                    found.n_dropped,
                    width,
                    name,
                )
            self.register_buffer(f"mean_{name}", torch.from_numpy(found.mean))
            self.register_buffer(f"matrix_{name}", torch.from_numpy(found.matrix))

    @torch.no_grad()
    def _begin_ids_as_features(self, dataset: Any) -> None:
        """Set the vectors of items that have features of all modalities to columns of them."""
        found = [dataset.modality(name) for name in dataset.modality_names]
        self.widths = {
            name: features.width
            for name, features in zip(dataset.modality_names, found, strict=True)
        }
        is_there = np.logical_and.reduce([features.present for features in found])
        if not is_there.any():  # a checkpoint brings the vectors
            return
        rows = np.concatenate([features.values for features in found], axis=1)[is_there]
        counts = dataset.target_counts().numpy()[is_there]
        start = initial_vectors(rows, self.settings.hidden_size, self.settings.id_init, counts)
        weight = self.item_embedding.weight
        scaled = torch.from_numpy(self.settings.init_scale / start.std() * start)
        weight[torch.from_numpy(is_there)] = scaled.to(weight.dtype)

    def mapped_text(self, items: Tensor | None, on_host: Array | None) -> Tensor:
        """The map of whitened features; of zeros where an item has none. Shape ``[K, D]``.

        The whitening is a linear map, so it is joined to the trained one: F times F times D numbers
        a step in place of one product more for each item.
        """
        total: Tensor = self.text_map.bias
        weights = self.text_map.weight.split(list(self.widths.values()), dim=1)
        for name, weight in zip(self.modalities, weights, strict=True):
            features = self.features(name, items, on_host)
            centred = features - getattr(self, f"mean_{name}").to(features.dtype)
            centred = centred * self.present(name, items)[:, None].to(features.dtype)
            matrix = getattr(self, f"matrix_{name}").to(features.dtype)
            total = total + F.linear(centred, weight @ matrix.mT)
        return F.gelu(total) if self.settings.text_map == "gelu" else total

    def vectors(self, items: Tensor | None, on_host: Array | None) -> Tensor:
        """Mapped whitened features, and ids, of some items, or of all. Shape ``[K, D]``."""
        parts = [self.mapped_text(items, on_host)] if self.has_text else []
        if self.has_ids:
            parts.append(self.id_rows(items))
        return sum(parts[1:], start=parts[0])


def initial_vectors(rows: Array, width: int, kind: str, counts: Array) -> Array:
    """Columns of features as initial vectors of ids, not yet scaled.

    Args:
        rows: Features of the items that have some. Shape ``[N, F]``.
        width: D.
        kind: ``pca``, ``uniform_columns`` or ``top_variance``.
        counts: How often each item is a target. Shape ``[N]``, int64.

    Returns:
        Shape ``[N, D]``, float64.

    Raises:
        ConfigError: If there are fewer columns than D.
    """
    n_columns = rows.shape[1]
    if n_columns < width:
        raise ConfigError(
            f"hidden_size must be at most the width of the features with id_init: {kind}, got "
            f"{width} and {n_columns}"
        )
    if kind == "pca":
        return find_whitening(rows, "pca")(rows)[:, :width]
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    if kind == "uniform_columns":
        return centred[:, :: n_columns // width][:, :width]
    popular = np.argsort(-counts, kind="stable")[: max(1, round(_POPULAR_SHARE * len(counts)))]
    columns = np.argsort(-centred[popular].var(axis=0), kind="stable")[:width]
    return centred[:, np.sort(columns)]
