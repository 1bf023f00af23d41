r"""MEANTIME: each attention head reads time in a way of its own, and masked items are filled in.

Reference:
    Cho, Park and Yoo, "MEANTIME: Mixture of Attention Mechanisms with Multi-temporal Embeddings for
    Sequential Recommendation", RecSys 2020, arXiv:2008.08273.

One head for each kernel. Absolute kernels say when a token is: `p` its position, `d` its day, `c`
nothing. Relative ones say how far two tokens are apart in `time_unit`: `s` by sines, `e` by
exponentials, `l` by logarithms. What they make of times is computed once for all layers.

.. math:: s_{ij} = (Q_i + A k_i + a) \cdot (K_j + B k_j + b), \quad
    s_{ij} = Q_i \cdot K_j + (Q_i + \beta) \cdot (C \varphi_{ij} + c)

Training fills in a share of the items of whole histories, from both sides; so there are no prefixes
to train on. A request is a history with a mask behind it that carries the moment: of the newest
interaction with `request_time: last`, of the next one with `target`. The score is
:math:`y \cdot E_i + b_i`, an inner product of vectors with one more entry.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_hm4sr.data.loaders import TARGET_LIST
from recbole_hm4sr.data.seen import FIRST_POSITION
from recbole_hm4sr.data.serving_data import ServingDataset
from recbole_hm4sr.data.times import DAY_SECONDS, whole_seconds
from recbole_hm4sr.layers.batch import PackedBatch, Requests
from recbole_hm4sr.layers.blocks import SequenceEncoder
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.initialize import draw_normal
from recbole_hm4sr.layers.items import IdRows
from recbole_hm4sr.layers.kernels import (
    KernelAttention,
    KernelBlock,
    KernelContext,
    relative_kernels,
)
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.padded_rows import PaddedRows
from recbole_hm4sr.layers.positions import window_positions
from recbole_hm4sr.layers.sampling import draw_uniformly
from recbole_hm4sr.layers.scorers import UserRows
from recbole_hm4sr.layers.transfer import send
from recbole_hm4sr.model.batch_reader import BatchReader
from recbole_hm4sr.model.packed import EncodedBatch
from recbole_hm4sr.model.timed.moments import Moments, ReadsMoment
from recbole_hm4sr.model.timed.settings import MEANTIMESettings
from recbole_hm4sr.model.user_tower import UserTower

Array = np.ndarray[Any, Any]
_MASKED, _RANDOM = 0.8, 0.1  # of the chosen tokens; the others stay as they are
_KEPT = -1


def with_last(rows: Tensor, lengths: Tensor, last: Tensor) -> Tensor:
    """Rows with one more entry behind the end of each.

    Args:
        rows: Padded with anything. Shape ``[B, L]``, int64.
        lengths: Of the rows. Shape ``[B]``, int64.
        last: The entries. Shape ``[B]``, int64.

    Returns:
        Zeros behind the entry. Shape ``[B, L + 1]``, int64.
    """
    longer = F.pad(rows, (0, 1))
    steps = torch.arange(longer.shape[1], device=rows.device)
    longer = torch.where(steps < lengths[:, None], longer, 0)
    return torch.where(steps == lengths[:, None], last[:, None], longer)


@dataclass(frozen=True)
class MeantimeReader(BatchReader):
    """Arranges a batch of RecBole for MEANTIME.

    A history is followed by its last target in training, whose tokens are all targets until some
    are chosen, and by the mask in evaluation.

    Attributes:
        moments: Tells the moment of each request.
        mask: Number of the mask.
    """

    moments: Moments | None = None
    mask: int = 0

    def __call__(self, interaction: Interaction, *, train: bool) -> PackedBatch:
        """Arrange a batch, which may be on any device; the result is on the CPU."""
        assert self.moments is not None
        items, times, lengths = (
            interaction[name].cpu() for name in (self.item_list, self.time_list, self.length)
        )
        seconds = whole_seconds(times, self.timestamp_unit)
        end = (lengths - 1).clamp(min=0)[:, None]
        if train:
            last = interaction[TARGET_LIST].cpu().gather(1, end)[:, 0]
            when = self.moments.at(interaction[FIRST_POSITION].cpu() + lengths)
        else:
            last = torch.full_like(lengths, self.mask)
            when = self.moments.of_rows(seconds.gather(1, end)[:, 0], interaction)
        packing = build_packing(lengths + 1, items.shape[1] + 1)
        tokens = packing.pack(with_last(items, lengths, last))
        times = packing.pack(with_last(seconds, lengths, when))
        batch = PackedBatch(items=tokens, times=times, packing=packing)
        if train:
            batch = batch.replace(targets=tokens, wanted=np.unique(tokens.numpy()))
        return batch


class MEANTIME(ReadsMoment):
    """RecBole recommender.

    Args:
        config: RecBole ``Config`` with the fields of :class:`MEANTIMESettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        The time of the target is read only with ``request_time: target``; there always. The table
        of days is as long as the training, and later days share its last row; there it has rows for
        days of the test, which nothing trains. Differences of times are float64 days; there float32
        seconds, whose sines are noise. The window is one longer, for the mask. A map is made of
        each query and none of each pair, which is the same function.
    """

    settings_class = MEANTIMESettings
    reads = frozenset({"times", "target_time"})
    settings: MEANTIMESettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings, size = self.settings, self.settings.hidden_size
        self.mask = self.n_items
        self.item_embedding = IdRows(self.n_items + 1, size)  # the mask is behind the items
        self.item_bias = nn.Parameter(torch.zeros(self.n_items))
        self.first_day = dataset.first_time() // DAY_SECONDS
        rows = {"p": self.max_seq_length + 1, "d": self._count_days(dataset), "c": 1}
        self.kernels = nn.ModuleList(nn.Embedding(rows[k], size) for k in settings.absolute_kernels)
        self.dropout = Dropout(settings.hidden_dropout_prob)
        self.kernel_dropout = Dropout(settings.kernel_dropout)
        self.encoder = SequenceEncoder([self._block() for _ in range(settings.n_layers)])
        self.head = nn.Linear(size, size)
        self.head_norm = nn.LayerNorm(size, eps=settings.layer_norm_eps)
        draw_normal(self, settings.initializer_range)

    def row_keys(self) -> dict[str, Array]:
        """Besides those of a memory the days, counted from the first one."""
        kernels = cast(Sequence[nn.Embedding], self.kernels)
        tables = zip(self.settings.absolute_kernels, kernels, strict=True)
        days = {
            f"kernels.{number}.weight": np.arange(kernel.num_embeddings)
            for number, (name, kernel) in enumerate(tables)
            if name == "d"
        }
        return {**super().row_keys(), **days}

    def _block(self) -> Any:
        settings, size = self.settings, self.settings.hidden_size
        attention = KernelAttention(
            hidden_size=size,
            n_absolute=len(settings.absolute_kernels),
            n_relative=len(settings.relative_kernels),
            attn_dropout_prob=settings.attn_dropout_prob,
        )
        for bias in attention.relative_bias:
            nn.init.normal_(bias, std=settings.initializer_range)
        return KernelBlock(
            attention=attention,
            hidden_size=size,
            hidden_dropout_prob=settings.hidden_dropout_prob,
            layer_norm_eps=settings.layer_norm_eps,
        )

    def _count_days(self, dataset: Any) -> int:
        """Days of the training part, both ends included."""
        if isinstance(dataset, ServingDataset):
            return int(dataset.array("n_days"))
        return dataset.last_time() // DAY_SECONDS - self.first_day + 1

    def make_reader(self, config: Any, dataset: Any) -> BatchReader:
        """A reader that puts a token behind each history."""
        return MeantimeReader(
            **self.reader_options(config, dataset),
            moments=self.make_moments(config, dataset),
            mask=dataset.num(config["ITEM_ID_FIELD"]),
        )

    # --- masks ---------------------------------------------------------------------------------

    def read(self, interaction: Interaction, *, train: bool) -> PackedBatch:
        """A batch on the model's device; in training some of its tokens are masked and read."""
        batch = super().read(interaction, train=train)
        if not train:
            return batch
        chosen, drawn = send(self.draw_masks(len(batch.items)), batch.items.device)
        targets = batch.items.index_select(0, chosen)
        shown = torch.where(drawn == _KEPT, targets, drawn)
        items = batch.items.index_copy(0, chosen, shown)
        return batch.replace(items=items, read_at=chosen, targets=targets)

    def draw_masks(self, n_tokens: int) -> tuple[Tensor, Tensor]:
        """Choose the tokens that are filled in, at least one, and what is shown in their place.

        Args:
            n_tokens: T.

        Returns:
            Packed numbers, ascending, and items: the mask, a random one, or -1 for the token's own.
            On the CPU. Shape ``[N]`` each, int64.
        """
        chosen = (torch.rand(n_tokens) < self.settings.cloze_ratio).nonzero()[:, 0]
        if not len(chosen):
            chosen = torch.tensor([n_tokens - 1])
        kind = torch.rand(len(chosen))
        shown = draw_uniformly(self.n_items, len(chosen))
        shown[kind < _MASKED] = self.mask
        shown[kind >= _MASKED + _RANDOM] = _KEPT
        return chosen, shown

    # --- items and users -----------------------------------------------------------------------

    def item_rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:  # noqa: ARG002
        """The item embeddings, and the bias behind each. Shape ``[K, 1, D + 1]``."""
        rows: Tensor = self.item_embedding.weight[: self.n_items]
        bias: Tensor = self.item_bias
        if items is not None:
            rows, bias = rows.index_select(0, items), bias.index_select(0, items)
        return torch.cat([rows, bias[:, None]], dim=1)[:, None]

    def encode(self, batch: PackedBatch, catalogue: Catalogue) -> EncodedBatch:
        """Embed tokens and times, encode, and read the tokens that are asked for."""
        settings, packing = self.settings, batch.packing
        relative = relative_kernels(
            batch.times,
            packing,
            settings.relative_kernels,
            settings.hidden_size,
            settings.time_unit,
        )
        dtype = self.item_bias.dtype
        context: Any = KernelContext(
            packing,
            [self.kernel_dropout(kernel) for kernel in self._absolute_kernels(batch)],
            [self.kernel_dropout(kernel.to(dtype)) for kernel in relative],
        )
        x = self.dropout(self.item_embedding(batch.items))
        if batch.read_at is None:
            states = self.encoder(x, context)
        else:
            states = self.encoder.at_every_position(x, context).index_select(0, batch.read_at)
        states = self.head_norm(F.gelu(self.head(states), approximate="tanh"))
        users = F.pad(states, (0, 1), value=1)[:, None]  # [N, 1, D + 1]
        return EncodedBatch(UserRows(users), batch, catalogue)

    def _absolute_kernels(self, batch: PackedBatch) -> list[Tensor]:
        """What each absolute kernel says of each token. Each of shape ``[T, D]``."""
        packing, length = batch.packing, self.max_seq_length + 1
        rows = {
            "p": window_positions(packing, length, "newest"),
            "d": batch.times // DAY_SECONDS - self.first_day,
            "c": torch.zeros_like(batch.times),
        }
        return [
            table(rows[kind].clamp(0, table.num_embeddings - 1))
            for kind, table in zip(
                self.settings.absolute_kernels,
                cast(Sequence[nn.Embedding], self.kernels),
                strict=True,
            )
        ]

    # --- serving -------------------------------------------------------------------------------

    def serving_arrays(self) -> dict[str, Array]:
        """What its base keeps, and the number of days."""
        days = [
            table.num_embeddings
            for kind, table in zip(self.settings.absolute_kernels, self.kernels, strict=True)
            if kind == "d"
        ]
        return {"n_days": np.array([*days, 1][0]), **super().serving_arrays()}

    def tower_at_last(self) -> nn.Module:
        """The tower, which puts the mask behind each history."""
        return MeantimeTower(self)


class MeantimeTower(UserTower):
    """From padded histories to user vectors, read at a mask of the newest interaction's time."""

    def _encode(
        self,
        item_seq: Tensor,
        item_seq_len: Tensor,
        timestamps: Tensor,
        requests: Requests | None = None,  # noqa: ARG002
    ) -> UserRows:
        last = torch.full_like(item_seq_len, self.model.n_items)
        when = timestamps.gather(1, item_seq_len[:, None] - 1)[:, 0]
        seconds = whole_seconds(
            with_last(timestamps, item_seq_len, when), self.model.timestamp_unit
        )
        batch = PackedBatch(
            items=with_last(item_seq, item_seq_len, last).flatten(),
            times=seconds.flatten(),
            packing=PaddedRows(item_seq_len + 1, item_seq.shape[1] + 1),
        )
        return self.model.encode(batch, self._catalogue()).users
