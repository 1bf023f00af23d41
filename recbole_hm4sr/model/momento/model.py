r"""Momento: modalities, a memory of who bought what next, and the moment of the request.

The model of this package. A score has two parts. The dense part is a late sum of ids and modalities
(`recbole_hm4sr/model/late_sum.py`), whose streams exchange by HM4SR's interactive experts. The
memory adds who bought what next, as it was known at the moment of the request
(`recbole_hm4sr/layers/memory.py`).

Symbols: a history of the items i_1 to i_t; T, the moment of the request; j, a candidate.

The dense part, with x the row of an item in a modality and v what its encoder makes of the history.

.. math:: d(t, j) = \sum_m v^m_t \cdot x^m_j

The memory. Two interactions of a user at most `memory_reach` apart, from i to j, are an event
forward and one backward. It is known from the later interaction on, and weighs 1 / distance.
Direction, same visit or later, and three ages make twelve relations; one more for each modality are
the nearest items by its features. c counts the interactions before the last snapshot, q is
`memory_decay`, beta is `memory_damping`.

.. math:: m_r(t, j) = \sum_h q^h \sum_{e: i_{t-h} \to j \in r,\, time(e) < T} w_e\,
    c_{i_{t-h}}^{-\beta} c_j^{-\beta}

The score. z says how long the history is, how far apart its newest items are and how late the
request comes. g is chosen on validation (`dense_weights`): the older the dense part, the less it
counts.

.. math:: y(t, j) = g\, d(t, j) + \sum_r \alpha_r e^{w_r \cdot z_t + b_r} m_r(t, j)

The loss is the cross-entropy of y against all that is left of the next item's visit, in equal
shares (`train_targets`), plus the contrast of the id stream's user vector with the next item's id.
In a step `id_dropout` of the items have no id, so that features learn to carry new items.

When not to use it:
    Where times say nothing: all equal, or made up. Where no item follows another more often than by
    chance, the memory is empty. Where nothing new is learned between training and the request, a
    frozen memory is worth little. Every setting of its own may also be switched on for another
    packed model.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch import Tensor

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.initialize import draw_normal
from recbole_hm4sr.layers.losses import LossRows, info_nce
from recbole_hm4sr.model.late_sum import SHORTEST_ID, LateSum
from recbole_hm4sr.model.momento.settings import MomentoSettings
from recbole_hm4sr.model.packed import EncodedBatch

Array = np.ndarray[Any, Any]
# Features of F numbers are scaled to this times the root of F: beside ids of N(0, 0.02) neither
# drowns the other in the first steps.
_FEATURE_SCALE = 0.3


class Momento(LateSum):
    """RecBole recommender; any number of modalities, none included.

    Args:
        config: RecBole ``Config`` with the fields of :class:`MomentoSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.
    """

    settings_class = MomentoSettings
    reads = frozenset({"times", "features"})
    settings: MomentoSettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        if not self.streams:
            raise ConfigError("use_ids: false must go with modalities, got none")
        draw_normal(self, self.settings.initializer_range)
        if self.settings.use_interactive_moe:
            self.build_interactive_moe()

    @property
    def uses_ids(self) -> bool:
        """Whether the ids are a stream, the first."""
        return self.settings.use_ids

    @property
    def hides_ids(self) -> bool:
        """Always: beside a memory an item has a score before its id has learned anything."""
        return True

    def source_of(self, features: Any) -> Callable[[Array], Array]:
        """Features of one length, whatever the encoder gave."""
        return scaled(features.take)

    # --- users ---------------------------------------------------------------------------------

    def encode(self, batch: PackedBatch, catalogue: Catalogue) -> EncodedBatch:
        """Encode a batch: a vector a stream and row."""
        tokens, _ = self.read_tokens(batch, catalogue)
        if self.settings.use_interactive_moe:
            tokens = self.interactive_moe(tokens)
        return EncodedBatch(self.encode_streams(tokens, batch), batch, catalogue)

    def auxiliary_losses(
        self, encoded: EncodedBatch, rows: LossRows
    ) -> Iterator[tuple[str, Tensor]]:
        """The id stream's user vector against the next item's id, as it is in this step."""
        weight = self.settings.id_contrastive_weight
        if weight and self.uses_ids:
            own = encoded.catalogue.of(rows.targets)[:, 0]
            users = encoded.users.vectors[:, 0]
            temperature = self.settings.id_temperature
            loss = info_nce(users, own, rows, temperature=temperature, shortest=SHORTEST_ID)
            yield "id_contrastive", weight * loss


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
