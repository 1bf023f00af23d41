"""KERec: attention beside differences in time, as speed and acceleration, scored by cosines.

Reference:
    "Coupling Global Context with Kinematic Evolution", 2026; the form is that of the authors' code
    (yyt-1219/KERec).

Attention sees what a history holds, in whatever order; the differences of a state with earlier ones
say where the history is going. Both are summed in each block.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.layers.attention import SelfAttention, StepContext
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.blocks import FeedForward, SequenceEncoder
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.initialize import draw_normal
from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.nt_xent import nt_xent
from recbole_hm4sr.layers.padded_rows import Arrangement
from recbole_hm4sr.layers.scorers import UserRows
from recbole_hm4sr.layers.similarity import ItemDirections, directions
from recbole_hm4sr.model.ids.id_sequence import IdSequence
from recbole_hm4sr.model.ids.kerec_settings import KERecSettings

_SMALLEST_TEMPERATURE = 1e-6


class KERecBatch(NamedTuple):
    """A batch after the encoder.

    Attributes:
        users: Directions of the states over the temperature, in training the mean of those under
            several masks.
        batch, catalogue: What was encoded; the items that can be scored.
        states: The states themselves. Shape ``[N, D]``.
        noisy: Those of the pass with noise; None without one. Shape ``[N, D]``.
    """

    users: UserRows
    batch: PackedBatch
    catalogue: Catalogue
    states: Tensor
    noisy: Tensor | None


class KERec(IdSequence):
    r"""SASRec with gated differences in each block, a cosine score and a pass with noise.

    For each lag s there are a speed v and an acceleration a; before the first item all is zero. A
    gate g, the softmax of a small network of all views, weighs them. One number w a layer weighs
    their sum.

    .. math:: v_s = x_{t-s} - x_t, \quad a_s = x_{t-2s} - 2 x_{t-s} + x_t

    .. math:: T(x) = g_0 x + \sum_s g_s v_s + g'_s a_s, \quad y = LN(x + MHA(x) + w\, T(x)),
        \quad LN(y + W_2\, gelu(W_1 y))

    The score is the cosine over a trained temperature; in training, the mean over some dropout
    masks of the user's vector. The loss is the cross-entropy over all items, and ``cl_weight``
    times the contrast of each user's state with that of a pass in which some positions move along
    T.

    Args:
        config: RecBole ``Config`` with the fields of :class:`KERecSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        Before the first item there are zeros, and the mean length of the differences is that of the
        real items; there both read padding. The pass with noise is left out of evaluation, and of
        training where ``cl_weight`` is 0. Items seen before are not ranked at all; there their
        scores are 0, above those of items with negative cosines. An unused row of the item table
        is not built.
    """

    settings_class = KERecSettings
    settings: KERecSettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = self.settings
        self.positions = settings.position_order
        self.encoder = SequenceEncoder([KERecBlock(settings) for _ in range(settings.n_layers)])
        self.head_dropout = Dropout(settings.hidden_dropout_prob)
        self.temperature = nn.Parameter(torch.tensor(settings.temperature))
        self.similarity = ItemDirections()
        draw_normal(self, settings.initializer_range)

    def encode(self, batch: PackedBatch, catalogue: Catalogue) -> KERecBatch:
        """Encode a batch, in training under several masks, and once more with noise."""
        x = self.input_states(batch, catalogue)
        states, noisy = self.user_states(x, batch), None
        if self.training and self.settings.cl_weight and self.settings.n_layers:
            noisy = self.user_states(self.with_noise(x, batch.packing), batch)
        masked = self.masked(states) if self.training else states[None]
        users = directions(masked).mean(dim=0) / self.temperature.clamp(min=_SMALLEST_TEMPERATURE)
        return KERecBatch(UserRows(users[:, None]), batch, catalogue, states, noisy)

    def masked(self, states: Tensor) -> Tensor:
        """The states under each mask of the head. Shapes ``[N, D]`` to ``[n_masks, N, D]``."""
        return self.head_dropout(states.expand(self.settings.n_masks, -1, -1).contiguous())

    def with_noise(self, x: Tensor, packing: Arrangement) -> Tensor:
        """Input states, some of them moved along the differences; the move is a constant.

        Args:
            x: Shape ``[T, D]``.
            packing: Arrangement of the tokens.

        Returns:
            Shape ``[T, D]``.
        """
        settings, first = self.settings, cast(KERecBlock, self.encoder.layers[0])
        with torch.no_grad():
            moves = first.differences(x, packing)
            lengths = torch.linalg.vector_norm(moves, dim=-1, keepdim=True)
            sums = lengths.new_zeros(len(packing.lengths), 1)
            sums = sums.index_add(0, packing.sequence, lengths)
            means = (sums / packing.lengths[:, None]).index_select(0, packing.sequence)
            sizes = (lengths / (means + 1e-8)).clamp(max=settings.noise_clip)
            normal, uniform = self.draw_noise(x)
            mix = settings.noise_mix
            along = mix * F.normalize(moves, dim=-1, eps=1e-8)
            along = F.normalize(along + (1 - mix) * F.normalize(normal, dim=-1, eps=1e-8), eps=1e-8)
            noise = sizes * (uniform < settings.noise_scale).to(x.dtype) * along
        return x + noise

    def draw_noise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normal numbers of the shape of x, ``[T, D]``, and a uniform one a token, ``[T, 1]``."""
        return torch.randn_like(x), torch.rand_like(x[:, :1])

    def auxiliary_losses(self, encoded: Any, rows: LossRows) -> Iterator[tuple[str, Tensor]]:  # noqa: ARG002
        """The contrast of the states with those of the pass with noise."""
        if encoded.noisy is not None:
            loss = nt_xent(encoded.states, encoded.noisy, temperature=1.0)
            yield "noise_contrast", self.settings.cl_weight * loss


class KERecBlock(nn.Module):
    """Attention and differences side by side, then feed-forward.

    Args:
        settings: Of the model.
    """

    def __init__(self, settings: KERecSettings) -> None:
        super().__init__()
        size, n_views = settings.hidden_size, 1 + 2 * len(settings.lags)
        self.lags = settings.lags
        self.attention = SelfAttention(
            hidden_size=size,
            n_heads=settings.n_heads,
            attn_dropout_prob=settings.attn_dropout_prob,
        )
        self.gate_inner = nn.Linear(n_views * size, 2 * size)
        self.gate_output = nn.Linear(2 * size, n_views)
        self.lag_weight = nn.Parameter(torch.tensor(settings.lag_weight))
        self.norm = nn.LayerNorm(size, eps=settings.layer_norm_eps)
        self.feed_forward = FeedForward(
            hidden_size=size,
            inner_size=settings.inner_size,
            hidden_dropout_prob=settings.hidden_dropout_prob,
            hidden_act=settings.hidden_act,
            layer_norm_eps=settings.layer_norm_eps,
        )
        self.dropout = Dropout(settings.hidden_dropout_prob)

    def forward(self, x: Tensor, context: StepContext) -> Tensor:
        """Every token's output. Shapes ``[T, D]`` to ``[T, D]``."""
        mixed = self.attention(x, x, context)
        return self._joined(x, mixed, self.differences(x, context.packing))

    def at_last(self, x: Tensor, context: StepContext) -> Tensor:
        """The output at the last token of each sequence. Shapes ``[T, D]`` to ``[B, D]``."""
        packing = context.packing
        newest = x.index_select(0, packing.last)
        mixed = self.attention.at_last(newest, x, context)
        return self._joined(newest, mixed, self.differences(x, packing, packing.last))

    def _joined(self, x: Tensor, mixed: Tensor, differences: Tensor) -> Tensor:
        y = self.norm(x + self.dropout(mixed) + self.lag_weight * differences)
        return self.feed_forward(y)

    def differences(self, x: Tensor, packing: Arrangement, at: Tensor | None = None) -> Tensor:
        """The gated sum T of the states and their differences.

        Args:
            x: Shape ``[T, D]``.
            packing: Arrangement of the tokens.
            at: Tokens to compute it at, ``[B]``, int64; None for all.

        Returns:
            Shape ``[T, D]``, or ``[B, D]``.
        """
        own = x if at is None else x.index_select(0, at)
        views = [own]
        for lag in self.lags:
            before, twice = _earlier(x, packing, lag, at), _earlier(x, packing, 2 * lag, at)
            views += [before - own, twice - 2 * before + own]
        inner = F.silu(self.gate_inner(torch.cat(views, dim=-1)))
        gates = self.gate_output(inner).softmax(dim=-1)  # [T, V]
        stacked = torch.stack(views, dim=1)  # [T, V, D]
        return self.dropout((gates[..., None] * stacked).sum(dim=1))


def _earlier(x: Tensor, packing: Arrangement, lag: int, at: Tensor | None) -> Tensor:
    """The states some tokens earlier in their sequences, zeros before the first. ``[B, D]``."""
    if at is None:
        # Not len(x): an exported tower has any number of rows.
        tokens, position = torch.arange(x.shape[0], device=x.device), packing.position
    else:
        tokens, position = at, packing.position.index_select(0, at)
    there = x.index_select(0, (tokens - lag).clamp(min=0))
    return there * (position >= lag).to(x.dtype)[:, None]
