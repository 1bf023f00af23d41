"""From a padded batch of histories to user vectors, in operations that can be exported.

The models work on packed tokens, whose number depends on the data. Here every row is padded to the
longest, and every shape follows from the input's. The vectors are those of the model; the scores
are their inner products with the item table.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from recbole_hm4sr.data.times import whole_seconds
from recbole_hm4sr.errors import ConfigError
from recbole_hm4sr.layers.encoder import SequenceEncoder, TransformerLayer
from recbole_hm4sr.layers.time import TimeEncoding, bucketize_gaps
from recbole_hm4sr.model.hm4sr import HM4SR

_NEVER = torch.iinfo(torch.int64).max


class PaddedTimeEncoding(nn.Module):
    """``TimeEncoding`` of padded rows.

    A logarithm may differ in its last bit from one library to the next, and then a gap at the edge
    of a bucket falls into its neighbour. So the first gap of each bucket is kept as a whole number,
    and decides.

    Args:
        encoding: The model's.
    """

    first_gaps: Tensor

    def __init__(self, encoding: TimeEncoding) -> None:
        super().__init__()
        self.encoding = encoding
        n_buckets = encoding.interval_embedding.num_embeddings
        first_gaps = _first_gaps(n_buckets, encoding.buckets_per_doubling)
        self.register_buffer("first_gaps", first_gaps)

    def forward(self, timestamps: Tensor) -> Tensor:
        """Encode times.

        Args:
            timestamps: Whole seconds since the epoch, oldest first; 0 in the padding. Shape
                ``[B, L]``, int64.

        Returns:
            Shape ``[B, L, 2D]``.
        """
        encoding = self.encoding
        previous = torch.cat([timestamps[:, :1], timestamps[:, :-1]], dim=1)
        # Only the gap into the padding is negative; nothing reads it.
        gaps = (timestamps - previous).clamp(min=0)
        moments = (timestamps - encoding.origin).double() / encoding.scale
        angles = moments[..., None] * encoding.frequency.double() + encoding.phase.double()
        absolute = (angles * encoding.decay).cos().to(encoding.frequency.dtype)
        return torch.cat([encoding.interval_embedding(self._buckets(gaps)), absolute], dim=-1)

    def _buckets(self, gaps: Tensor) -> Tensor:
        last = self.encoding.interval_embedding.num_embeddings - 1
        doublings = torch.log2(gaps.double() + 1)
        near = torch.floor(self.encoding.buckets_per_doubling * doublings).long().clamp(max=last)
        below = (gaps < self.first_gaps[near]).long()
        above = (gaps >= self.first_gaps[near + 1]).long()
        return near - below + above


def _first_gaps(n_buckets: int, buckets_per_doubling: float) -> Tensor:
    """The smallest gap of each bucket or a later one, and one that no gap reaches behind them."""
    wanted = torch.arange(n_buckets)
    low, high = torch.full((n_buckets,), -1), torch.full((n_buckets,), 1 << 52)
    while bool(((high - low) > 1).any()):  # by halves: low is below the bucket, high is in it
        middle = (low + high) // 2
        buckets = bucketize_gaps(
            middle.clamp(min=0), buckets_per_doubling=buckets_per_doubling, n_buckets=1 << 40
        )
        reached = (buckets >= wanted) & (middle >= 0)
        open_ = (high - low) > 1
        high = torch.where(open_ & reached, middle, high)
        low = torch.where(open_ & ~reached, middle, low)
    return torch.cat([high, torch.tensor([_NEVER])])


class HM4SRTower(nn.Module):
    """User vectors of HM4SR.

    Args:
        model: HM4SR at its best epoch.
    """

    catalogue: Tensor

    def __init__(self, model: HM4SR) -> None:
        super().__init__()
        self.model = model
        with torch.no_grad():
            self.register_buffer("catalogue", model.catalogue().rows.clone(), persistent=True)
        self.time = PaddedTimeEncoding(model.time_encoding) if model._uses_time else None

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, timestamps: Tensor) -> Tensor:
        """Encode histories.

        Args:
            item_seq: Items, oldest first, padded with 0 on the right. Shape ``[B, L]``, int64.
            item_seq_len: Items of each history, at least 1. Shape ``[B]``, int64.
            timestamps: Their times in the run's unit since the epoch. Shape ``[B, L]``, int64.

        Returns:
            Shape ``[B, M * D]``.
        """
        model = self.model
        batch, length = item_seq.shape
        n_streams, size = self.catalogue.shape[1:]
        positions = model.position_embedding.weight
        tokens = self.catalogue[item_seq] + positions[:length, None]
        if model.settings.use_interactive_moe:
            mixed = model.interactive_moe(tokens.reshape(batch * length, n_streams, size))
            tokens = mixed.reshape(batch, length, n_streams, size)
        if model.settings.use_temporal_moe and self.time is not None:
            moe = model.temporal_moe
            seconds = whole_seconds(timestamps, model.timestamp_unit)
            scale = moe.route(self.time(seconds)) @ moe.experts
            tokens = tokens * scale.reshape(batch, length, n_streams, size)
        steps = torch.arange(length, device=item_seq.device)
        is_later = steps > steps[:, None]
        is_padding = steps >= item_seq_len[:, None]
        last = (item_seq_len - 1)[:, None, None].expand(-1, 1, size)
        users = []
        for stream, name in enumerate(model.streams):
            x = model.input_norms[name](tokens[:, :, stream])
            encoder = cast(SequenceEncoder, model.encoders[name])
            users.append(_encode(encoder, x, is_later, is_padding, last))
        return torch.cat(users, dim=-1)


def _encode(
    encoder: SequenceEncoder, x: Tensor, is_later: Tensor, is_padding: Tensor, last: Tensor
) -> Tensor:
    """The output at the last token of each row. Shapes ``[B, L, D]`` to ``[B, D]``."""
    layers = [cast(TransformerLayer, layer) for layer in encoder.layers]
    if not layers:
        return x.gather(1, last).squeeze(1)
    for layer in layers[:-1]:
        # Padding stands on the right: what hides later tokens hides it from every token.
        x = _attend(layer, x, x, is_later)
    newest = x.gather(1, last)  # [B, 1, D]
    return _attend(layers[-1], newest, x, is_padding[:, None]).squeeze(1)


def _attend(layer: TransformerLayer, queries: Tensor, keys: Tensor, hidden: Tensor) -> Tensor:
    """One layer at some positions. Shapes ``[B, q, D]`` and ``[B, L, D]`` to ``[B, q, D]``."""
    attention = layer.attention
    mask = queries.new_zeros(hidden.shape).masked_fill(hidden, -torch.inf)
    mixed = attention._attend(
        attention.query(queries), attention.key(keys), attention.value(keys), mask=mask
    )
    return layer.feed_forward(attention._add(queries, mixed))


class SASRecTower(nn.Module):
    """User vectors of RecBole's SASRec, which reads no times.

    Args:
        model: SASRec at its best epoch.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Encode histories, as :class:`HM4SRTower` but without times. Shape ``[B, D]``."""
        return self.model(item_seq, item_seq_len)


def build_tower(model: Any, name: str) -> tuple[nn.Module, Tensor]:
    """The user tower of a model, and its item table.

    Args:
        model: At its best epoch.
        name: Its name.

    Returns:
        The tower, in evaluation mode, and vectors of all items, padding included, whose inner
        products with the tower's are the model's scores. Shape ``[I, V]``, float32.

    Raises:
        ConfigError: If its scores are no such products, or the model cannot be exported.
    """
    if isinstance(model, HM4SR):
        tower = HM4SRTower(model)
        return tower.eval(), tower.catalogue.flatten(1).float()
    if name == "SASRec":
        return SASRecTower(model).eval(), model.item_embedding.weight.detach().float()
    raise ConfigError(
        f"hm4sr export takes models whose scores are inner products of a user vector that ONNX can "
        f"compute with item vectors: HM4SR, SASRec; got {name}; use hm4sr recommend or hm4sr serve"
    )
