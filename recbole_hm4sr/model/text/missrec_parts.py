"""Parts of MISSRec: the interests of histories, one token a modality, and the fused cosines."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.layers.attention import CrossAttention, SelfAttention
from recbole_hm4sr.layers.blocks import FeedForward, PostNormBlock, SequenceEncoder
from recbole_hm4sr.layers.cross_rows import CrossRows, cross_buckets
from recbole_hm4sr.layers.decoder import DecoderBlock
from recbole_hm4sr.layers.kmeans import nearest_centres
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.padded_rows import Arrangement, PaddedRows
from recbole_hm4sr.layers.scorers import Candidates, UserRows

if TYPE_CHECKING:
    from recbole_hm4sr.layers.catalogue import Catalogue
    from recbole_hm4sr.model.text.missrec_settings import MISSRecSettings


def build_stacks(settings: "MISSRecSettings") -> tuple[SequenceEncoder, SequenceEncoder]:
    """The layers of the interests and those of the items; attention sees all tokens."""
    prob = settings.hidden_dropout_prob
    shared: dict[str, Any] = {
        "hidden_size": settings.hidden_size,
        "hidden_dropout_prob": prob,
        "layer_norm_eps": settings.layer_norm_eps,
    }
    heads: dict[str, Any] = {
        "hidden_size": settings.hidden_size,
        "n_heads": settings.n_heads,
        "attn_dropout_prob": settings.attn_dropout_prob,
    }

    def feed_forward() -> FeedForward:
        return FeedForward(
            inner_size=settings.inner_size,
            hidden_act=settings.hidden_act,
            inner_dropout_prob=prob,
            **shared,
        )

    halves = range(settings.n_layers // 2)
    encoder = [
        PostNormBlock(
            attention=SelfAttention(**heads, causal=False), feed_forward=feed_forward(), **shared
        )
        for _ in halves
    ]
    decoder = [
        DecoderBlock(
            attention=SelfAttention(**heads, causal=False),
            cross_attention=CrossAttention(**heads),
            feed_forward=feed_forward(),
            **shared,
        )
        for _ in halves
    ]
    return SequenceEncoder(encoder), SequenceEncoder(decoder)


class Interests(NamedTuple):
    """The interests of histories, each once, in any order.

    Attributes:
        numbers: Shape ``[S]``, int64; 0 in the padding of rows of one length.
        packing: Their arrangement, a sequence a history.
    """

    numbers: Tensor
    packing: Arrangement


def interests_of(owned: Tensor, packing: Arrangement, n_interests: int) -> Interests:
    """The distinct interests of the items of each history.

    Args:
        owned: Interests of each token's item, from 1. Shape ``[T, M]``, int64.
        packing: Arrangement of the tokens.
        n_interests: C.
    """
    if isinstance(packing, PaddedRows):
        is_real = packing.position < packing.lengths.index_select(0, packing.sequence)
        beyond = n_interests + 1
        rows = torch.where(is_real[:, None], owned, beyond)
        rows = rows.view(-1, packing.max_length * owned.shape[1]).sort(dim=1).values
        again = rows[:, 1:] == rows[:, :-1]
        rows = torch.cat([rows[:, :1], rows[:, 1:].masked_fill(again, beyond)], dim=1)
        rows = rows.sort(dim=1).values
        lengths = (rows < beyond).sum(dim=1)
        numbers = rows.masked_fill(rows == beyond, 0).flatten()
        return Interests(numbers, PaddedRows(lengths, rows.shape[1]))
    step = n_interests + 1
    keys = torch.unique(packing.sequence[:, None] * step + owned)  # by history
    lengths = torch.bincount(keys // step, minlength=len(packing.lengths))
    return Interests(keys % step, build_packing(lengths, int(lengths.max())))


def nearest_interests(vectors: Tensor, centres: Tensor) -> Tensor:
    """The interest nearest to each vector, of equal ones the first.

    Args:
        vectors: Shape ``[K, D]``.
        centres: Of the interests, the padding first. Shape ``[C + 1, D]``.

    Returns:
        From 1. Shape ``[K]``, int64.
    """
    centres = centres[1:]
    # Products of equal rows may differ in the last bit, so that one of them is asked alone.
    is_first = F.pad((centres[1:] != centres[:-1]).any(dim=1), (1, 0), value=True)
    nearest = nearest_centres(vectors, centres[is_first].to(vectors))
    return 1 + is_first.nonzero().squeeze(1)[nearest]


class CrossRowsOf(NamedTuple):
    """Interests as what the tokens of an arrangement attend to.

    Attributes:
        interests: Of the histories.
        outputs: What the encoder makes of each interest. Shape ``[S, D]``.
    """

    interests: Interests
    outputs: Tensor

    def rows(self, packing: Arrangement) -> CrossRows:
        """For the tokens of an arrangement of the same histories."""
        return CrossRows(self.outputs, cross_buckets(packing, self.interests.packing))


class Stacked(NamedTuple):
    """Histories in which each item is one token of each modality, modality after modality.

    Attributes:
        packing: Arrangement of the tokens, M times as many.
        source: Number of each one's item among the tokens. Shape ``[M T]``, int64.
        modality: Shape ``[M T]``, int64.
        newest: The token of the newest item in the first modality. Shape ``[B]``, int64.
    """

    packing: Arrangement
    source: Tensor
    modality: Tensor
    newest: Tensor


def stack_modalities(packing: Arrangement, n_modalities: int) -> Stacked:
    """Arrange a token a modality and item."""
    lengths = n_modalities * packing.lengths
    if isinstance(packing, PaddedRows):
        stacked: Arrangement = PaddedRows(lengths, n_modalities * packing.max_length)
    else:
        stacked = build_packing(lengths, int(lengths.max()))
    n_items = packing.lengths.index_select(0, stacked.sequence)
    first = (packing.last - packing.lengths + 1).index_select(0, stacked.sequence)
    modality = (stacked.position // n_items).clamp(max=n_modalities - 1)
    newest = stacked.last - lengths + packing.lengths
    return Stacked(stacked, first + stacked.position % n_items, modality, newest)


class HiddenKeys:
    """Tokens that no other attends to, as terms of one bucket; with all hidden none is.

    Args:
        is_hidden: Shape ``[b, w]``, bool.
        is_padding: Shape ``[b, w]``, bool.
    """

    def __init__(self, is_hidden: Tensor, is_padding: Tensor) -> None:
        all_hidden = (is_hidden | is_padding).all(dim=1, keepdim=True)
        self.bias = torch.zeros(is_hidden.shape, device=is_hidden.device)
        self.bias = self.bias.masked_fill(is_hidden & ~all_hidden, -torch.inf)[:, None, None]

    def scores(self, query: Tensor) -> Tensor:
        """Minus infinity where a key is hidden, else 0. ``[b, 1, 1, w]``."""
        return self.bias.to(query.dtype)

    def values(self, weights: Tensor) -> None:  # noqa: ARG002
        """Nothing."""
        return

    def at_last(self) -> "HiddenKeys":
        """The same for the newest query."""
        return self


def hidden_keys(is_hidden: Tensor, packing: Arrangement) -> Sequence[HiddenKeys]:
    """The tokens that no other attends to, a bucket each. ``[T]``, bool."""
    return [
        HiddenKeys(
            is_hidden.index_select(0, bucket.tokens.flatten()).view(bucket.tokens.shape),
            bucket.padding_bias < 0,
        )
        for bucket in packing.buckets
    ]


class FusedModalities(nn.Module):
    r"""Cosines of a candidate's modalities, weighed by a softmax of themselves.

    .. math:: \sum_m w_m l_m, \quad w = softmax_m(f\, l_m)

    The users' vectors bring their weights along: of a modality its share of the sum, of an id its
    own. What is added to the sum of the products is what the softmax changes.

    Args:
        n_modalities: M, the last streams of a row.
        share: What a modality's product is of its cosine.
        n_items: I for a learned number f for each item, 0 for one that comes later; None for one
            for all.
    """

    part = "fusion"

    def __init__(self, n_modalities: int, share: float, n_items: int | None) -> None:
        super().__init__()
        self.n_modalities, self.share = n_modalities, share
        self.factor = nn.Parameter(torch.zeros(() if n_items is None else n_items))

    def prepare(self, users: UserRows, catalogue: "Catalogue") -> UserRows:  # noqa: ARG002
        """Nothing is computed before."""
        return users

    def scores(self, users: UserRows, candidates: Candidates) -> Tensor:
        """Scores. Shape ``[N, K]``, or ``[N, C]`` for own candidates."""
        product = "nsd,ksd->snk" if candidates.rows.ndim == 3 else "nsd,ncsd->snc"
        products = torch.einsum(product, users.vectors, candidates.rows)
        n_ids = len(products) - self.n_modalities
        cosines = products[n_ids:]  # [M, N, K], each times the share
        factor = self.factor if self.factor.ndim == 0 else self._factors(candidates.items)
        weights = (factor / self.share * cosines).softmax(dim=0)
        return products[:n_ids].sum(dim=0) + self.n_modalities * (weights * cosines).sum(dim=0)

    def _factors(self, items: Tensor) -> Tensor:
        n_known = len(self.factor)
        return self.factor[items.clamp(max=n_known - 1)] * (items < n_known)
