r"""TiCoSeRec: two views of each history, made where its interactions are far apart or even.

Reference:
    Dang et al., "Uniform Sequence Better: Time Interval Aware Data Augmentation for Sequential
    Recommendation", AAAI 2023, arXiv:2212.08262.

The encoder is SASRec's, with positions counted from the newest item. A view inserts similar items
at the largest gaps, replaces items at the smallest by similar ones, masks items, crops to the
window of the most even gaps, or shuffles it; of short histories the first three. The loss is the
binary cross-entropy of each target and one drawn item, plus `cl_weight` times the contrast of the
two views of each history with those of all others, from epoch `cl_start_epoch` on. The histories of
the most even users are their own views.

Similar is what the same users bought: with :math:`m_u` the items of a user,

.. math:: s_{ij} = \frac1{\sqrt{N_i N_j}} \sum_{u:\, i, j \in u} \frac1{\ln(1 + m_u)}

The score is u . E, with u the newest state. Causal: sequence mode equals prefix mode, but for the
contrast, whose rows are whole histories there and prefixes here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_hm4sr.data.item_similarity import inputs_of, most_even_users, most_similar_items
from recbole_hm4sr.data.seen import FIRST_POSITION
from recbole_hm4sr.data.serving_data import ServingDataset
from recbole_hm4sr.data.views import ViewRules, make_view, newest_of
from recbole_hm4sr.layers.attention import StepContext
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.blocks import build_encoder
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.initialize import draw_normal
from recbole_hm4sr.layers.items import IdRows
from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.nt_xent import nt_xent
from recbole_hm4sr.layers.packing import Packing, build_packing
from recbole_hm4sr.layers.padded_rows import Arrangement
from recbole_hm4sr.layers.pairs import hidden_keys
from recbole_hm4sr.layers.positions import window_positions
from recbole_hm4sr.layers.scorers import UserRows
from recbole_hm4sr.layers.transfer import send
from recbole_hm4sr.model.batch_reader import BatchReader
from recbole_hm4sr.model.packed import EncodedBatch
from recbole_hm4sr.model.timed.pairwise import PairwiseRecommender
from recbole_hm4sr.model.timed.settings import TiCoSeRecSettings

Array = np.ndarray[Any, Any]
_TEMPERATURE = 1.0


@dataclass(frozen=True)
class TiCoSeRecBatch(PackedBatch):
    """A batch as TiCoSeRec reads it.

    Attributes:
        rows: Items of the histories, padded, on the host. Shape ``[B, L]``, int64.
        gaps: Of the items, the last one to the target, on the host. Shape ``[B, L]``, int64.
        is_even: Whether a history is its own view, on the host. Shape ``[B]``, bool.
        views: Both views of each history, the first ones of all before the second ones: their
            items, ``[T]``, int64, and arrangement; None where nothing contrasts them.
    """

    rows: Array | None = None
    gaps: Array | None = None
    is_even: Array | None = None
    views: tuple[Tensor, Packing] | None = None


@dataclass(frozen=True)
class TiCoSeRecReader(BatchReader):
    """Arranges a batch of RecBole for TiCoSeRec.

    Attributes:
        log_times: Times of all interactions; None where they are not kept. Shape ``[N]``, int64.
        is_even: Whether each one's user is among the most even. Shape ``[N]``, bool.
    """

    log_times: Array | None = None
    is_even: Array | None = None

    def __call__(self, interaction: Interaction, *, train: bool) -> PackedBatch:
        """Arrange a batch, which may be on any device; the result is on the CPU."""
        batch = super().__call__(interaction, train=train)
        if not train or self.log_times is None or self.is_even is None:
            return TiCoSeRecBatch(**vars(batch))
        lengths = interaction[self.length].cpu().numpy()
        firsts = interaction[FIRST_POSITION].cpu().numpy()
        times = interaction[self.time_list].cpu().numpy()
        after = np.append(times[:, 1:], np.zeros_like(times[:, :1]), axis=1)
        after[np.arange(len(after)), lengths - 1] = self.log_times[firsts + lengths]
        return TiCoSeRecBatch(
            **vars(batch),
            rows=interaction[self.item_list].cpu().numpy(),
            gaps=np.abs(after - times),
            is_even=self.is_even[firsts],
        )


class TiCoSeRec(PairwiseRecommender):
    """RecBole recommender.

    Args:
        config: RecBole ``Config`` with the fields of :class:`TiCoSeRecSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        Views are contrasted by their newest state, or the mean of their states (``cl_pool``); there
        by the outputs of all L positions, padding included. The variance of a window of w items is
        that of w - 1 gaps; there of the first w - 2 (``window_gaps: official``). Equal gaps have an
        order. The most even users are found by user and from training times; there by line number,
        test times included. Similar items come from who bought both at all times; the embeddings
        that join from epoch 80 there choose the less similar of the two.
    """

    settings_class = TiCoSeRecSettings
    reads = frozenset({"times"})
    settings: TiCoSeRecSettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings, size = self.settings, self.settings.hidden_size
        self.rules = ViewRules(**{name: getattr(settings, name) for name in _RULES})
        self.contrasts = settings.cl_start_epoch <= 1
        self.near = self._similar_items(dataset)
        self.item_embedding = IdRows(self.n_items, size)
        self.position_embedding = nn.Embedding(self.max_seq_length, size)
        self.input_norm = nn.LayerNorm(size, eps=settings.layer_norm_eps)
        self.dropout = Dropout(settings.hidden_dropout_prob)
        self.encoder = build_encoder(**settings.encoder_options())
        draw_normal(self, settings.initializer_range)

    def _similar_items(self, dataset: Any) -> Array | None:
        """The most similar item of each; None in serving and without a contrast."""
        if isinstance(dataset, ServingDataset) or not self.settings.cl_weight:
            return None
        log = dataset.log
        known = inputs_of(log, dataset.shown_interactions().numpy())
        return most_similar_items(log.users[known], log.items[known], self.n_items)

    def make_reader(self, config: Any, dataset: Any) -> BatchReader:
        """A reader of gaps, if a contrast needs them."""
        options = self.reader_options(config, dataset)
        if isinstance(dataset, ServingDataset) or not self.settings.cl_weight:
            return TiCoSeRecReader(**options)
        shown, share = dataset.shown_interactions().numpy(), self.settings.uniform_share
        is_even = most_even_users(dataset.log, shown, share)
        return TiCoSeRecReader(**options, log_times=dataset.log.times, is_even=is_even)

    # --- views ---------------------------------------------------------------------------------

    def begin_epoch(self, epoch: int, data: Any) -> None:  # noqa: ARG002
        """Contrast from ``cl_start_epoch`` on.

        Args:
            epoch: Number of the epoch, from 1.
            data: Not read.
        """
        self.contrasts = epoch >= self.settings.cl_start_epoch

    def read(self, interaction: Interaction, *, train: bool) -> PackedBatch:
        """A batch on the model's device; with its views where they are contrasted."""
        batch = super().read(interaction, train=train)
        rows = batch.rows if isinstance(batch, TiCoSeRecBatch) else None
        if not (train and self.contrasts and self.settings.cl_weight) or rows is None:
            return batch
        items, lengths = self.make_views(cast(TiCoSeRecBatch, batch), self.draw_views(*rows.shape))
        packing = build_packing(torch.from_numpy(lengths), items.shape[1])
        views = packing.pack(torch.from_numpy(items)), packing
        return batch.replace(views=send(views, batch.items.device))

    def draw_views(self, n_rows: int, length: int) -> Array:
        """Numbers in [0, 1) that decide both views of each row. Shape ``[2, B, 1 + L]``."""
        return torch.rand(2, n_rows, 1 + length, dtype=torch.float64).numpy()

    def make_views(self, batch: TiCoSeRecBatch, draws: Array) -> tuple[Array, Array]:
        """Both views of each history as padded rows, ``[2B, L]``, and their lengths, ``[2B]``."""
        assert batch.rows is not None
        assert batch.gaps is not None
        assert batch.is_even is not None
        assert self.near is not None
        lengths = (batch.rows > 0).sum(axis=1)
        views = []
        for own in draws:
            for row, n in enumerate(lengths):
                items = batch.rows[row, :n]
                gaps, numbers = batch.gaps[row, :n], own[row]
                is_even = batch.is_even[row]
                view = items if is_even else make_view(items, gaps, self.near, self.rules, numbers)
                views.append(view)
        return newest_of(views, self.max_seq_length)

    # --- items and users -----------------------------------------------------------------------

    def item_rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:  # noqa: ARG002
        """The item embeddings, the one modality. Shape ``[K, 1, D]``."""
        return self.item_embedding.rows(items)[:, None]  # [K, D] to [K, 1, D]

    def encode(self, batch: PackedBatch, catalogue: Catalogue) -> EncodedBatch:
        """Embed, encode, and read the positions that are asked for."""
        x, context = self._inputs(batch.items, batch.packing), StepContext(batch.packing)
        if batch.read_at is None:
            users = self.encoder(x, context)
        else:
            users = self.encoder.at_every_position(x, context).index_select(0, batch.read_at)
        return EncodedBatch(UserRows(users[:, None]), batch, catalogue)  # [N, 1, D]

    def _inputs(self, items: Tensor, packing: Arrangement) -> Tensor:
        """Items, 0 for a masked one, and positions; the newest has the last. ``[T, D]``."""
        position = window_positions(packing, self.max_seq_length, "newest")
        # A mask has the padding's vector, which no look-up trains.
        vectors = F.embedding(items, self.item_embedding.weight, padding_idx=0)
        return self.dropout(self.input_norm(vectors + self.position_embedding(position)))

    def auxiliary_losses(
        self,
        encoded: EncodedBatch,
        rows: LossRows,  # noqa: ARG002
    ) -> Iterator[tuple[str, Tensor]]:
        """The contrast of the views."""
        views = getattr(encoded.batch, "views", None)
        if views is not None:
            first, second = self.encode_views(*views).chunk(2)
            loss = nt_xent(first, second, temperature=_TEMPERATURE)
            yield "contrastive", self.settings.cl_weight * loss

    def encode_views(self, items: Tensor, packing: Packing) -> Tensor:
        """A vector of each view; masked items are hidden as keys. Shape ``[2B, D]``."""
        context = StepContext(packing, hidden_keys(items == 0, packing))
        x = self._inputs(items, packing)
        if self.settings.cl_pool == "last":
            return self.encoder(x, context)
        states = self.encoder.at_every_position(x, context)
        total = states.new_zeros(len(packing.lengths), states.shape[1])
        return total.index_add(0, packing.sequence, states) / packing.lengths[:, None]


_RULES = tuple(ViewRules.__dataclass_fields__)
