"""The base of MoRec and IISAN: an encoder without biases, and a loss among the items of a batch."""

import itertools
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.layers.attention import SelfAttention
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.blocks import FeedForward, PostNormBlock, SequenceEncoder
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.seen import holds
from recbole_hm4sr.layers.transfer import send
from recbole_hm4sr.model.packed import EncodedBatch
from recbole_hm4sr.model.text.described import DescribedItems
from recbole_hm4sr.parallel.rows import global_rows


class LabRecommender(DescribedItems):
    """RecBole recommender of content with the encoder of MoRec and IISAN.

    Args:
        config: RecBole ``Config`` with the fields of a subclass of
            :class:`~recbole_hm4sr.model.text.lab_settings.LabSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.
    """

    log_share: Tensor

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        if self.settings.loss == "in_batch":
            # One more of each, so that an item of the batch is never impossible.
            counts = dataset.interaction_counts().double() + 1
            counts[0] = 0
            log_share = (counts / counts.sum()).log()
            self.register_buffer("log_share", log_share, persistent=False)

    def build_users(self) -> None:
        """Inputs and encoder, from Xavier's initial values."""
        self.build_inputs()
        self.encoder = SequenceEncoder([self._block() for _ in range(self.settings.n_layers)])
        draw_xavier(self.encoder)
        nn.init.xavier_normal_(self.position_embedding.weight)

    def _block(self) -> PostNormBlock:
        settings, size = self.settings, self.settings.hidden_size
        shared: dict[str, Any] = {
            "hidden_size": size,
            "hidden_dropout_prob": settings.hidden_dropout_prob,
            "layer_norm_eps": settings.layer_norm_eps,
        }
        attention = SelfAttention(
            hidden_size=size,
            n_heads=settings.n_heads,
            attn_dropout_prob=settings.attn_dropout_prob,
            bias=False,
        )
        feed_forward = FeedForward(inner_size=4 * size, hidden_act="relu", **shared)
        return PostNormBlock(attention=attention, feed_forward=feed_forward, **shared)

    @property
    def temperature(self) -> None:
        """None: the score is an inner product."""
        return

    @property
    def counts_from(self) -> Any:
        """The end of a window that positions are counted from."""
        return self.settings.position_from

    def training_catalogue(self, batch: PackedBatch) -> Catalogue:
        """The items that the loss sees: all, or those of the batch alone."""
        if self.settings.loss == "ce":
            return super().training_catalogue(batch)
        self._cache.forget()
        assert batch.wanted is not None
        items = send(torch.from_numpy(batch.wanted), next(self.parameters()).device)
        rows = self.item_rows(items, batch.wanted)
        return Catalogue(rows, items=items, similarity=self.similarity, scorer=self.scorer)

    def main_loss(self, encoded: EncodedBatch, rows: LossRows) -> tuple[str, Tensor]:
        """The loss among the items of the batch, or the cross-entropy over all."""
        if self.settings.loss == "in_batch":
            return "in_batch", self._in_batch(encoded, rows)
        return super().main_loss(encoded, rows)

    def _in_batch(self, encoded: EncodedBatch, rows: LossRows) -> Tensor:
        """Cross-entropy of a target among it and the items of the other windows of the batch.

        An item of the own window is no candidate, wherever it stands. One of several windows counts
        as often as it is there. Scores are less the logarithm of an item's share of the training
        part, so that what comes often is not punished for it.
        """
        batch, users = encoded.batch, self.rows_to_score(encoded)
        sequence, places, pairs = places_of_windows(batch, rows.targets)
        joined = global_rows(len(places))
        items = joined.gather(places)
        vectors = joined.gather(encoded.catalogue.of(places)[:, 0])  # [P, D]
        correction = self.log_share.to(vectors.dtype)
        scores = users.vectors[:, 0] @ vectors.mT - correction[items]  # [N, P]
        is_own = holds(pairs, items, len(batch.packing.lengths))[sequence]
        if rows.seen is not None:
            is_own = is_own | holds(rows.seen.pairs, items, len(scores))
        scores = scores.masked_fill(is_own, -torch.inf)
        targets, weights = rows.targets, None
        if rows.shares is not None:
            row, targets = rows.shares.pairs.unbind(dim=1)
            users, scores, weights = users.select(row), scores[row], rows.shares.weights
        own = encoded.catalogue.scores(users, targets.contiguous()) - correction[targets]
        losses = torch.cat([own[:, None], scores], dim=1).logsumexp(dim=1) - own
        losses = losses if weights is None else losses * weights.to(losses.dtype)
        return losses.sum() / rows.joined.divisor


def places_of_windows(batch: PackedBatch, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The items of the windows of a batch: those that are read, and the last target of each.

    Args:
        batch: Packed; the output at the last token of each window is read.
        targets: Of the rows that are read. Shape ``[N]``, int64.

    Returns:
        Window of each row, ``[N]``; items of all places, ``[P]``; and pairs of a window and an item
        that it has, ``[E, 2]``; all int64.
    """
    packing = batch.packing
    if batch.read_at is None:
        sequence = last = torch.arange(len(targets), device=targets.device)
    else:
        sequence = packing.sequence.index_select(0, batch.read_at)
        last = torch.searchsorted(batch.read_at, packing.last)
    places = torch.cat([batch.items, targets.index_select(0, last)])
    windows = torch.cat([packing.sequence, sequence])
    return sequence, places, torch.stack([windows, torch.cat([batch.items, targets])], dim=1)


class DeepMap(nn.Module):
    """Linear maps one after the other, each with a gelu, dropout before all but the first.

    Args:
        widths: Of the input and after each map.
        dropout: Before a map.
        drops_input: Whether the first map has dropout before it too.
        ends_linear: Whether the last map has no gelu.
    """

    def __init__(
        self,
        widths: list[int],
        dropout: nn.Module,
        *,
        drops_input: bool = False,
        ends_linear: bool = False,
    ) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(widths))
        self.dropout, self.drops_input, self.ends_linear = dropout, drops_input, ends_linear

    def forward(self, x: Tensor) -> Tensor:
        """Shapes ``[K, widths[0]]`` to ``[K, widths[-1]]``."""
        for number, linear in enumerate(self.maps):
            x = linear(self.dropout(x) if number or self.drops_input else x)
            if not (self.ends_linear and number == len(self.maps) - 1):
                x = F.gelu(x)
        return x


@torch.no_grad()
def draw_xavier(module: nn.Module) -> None:
    """Draw the linear maps and tables of a module by Xavier's normal rule; biases are 0."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            nn.init.xavier_normal_(part.weight)
        bias = getattr(part, "bias", None)
        if isinstance(part, nn.Linear) and bias is not None:
            nn.init.zeros_(cast(Tensor, bias))
