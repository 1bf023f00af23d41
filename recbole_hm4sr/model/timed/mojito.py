r"""MOJITO: two attentions, by items and by calendar, mixed pair by pair; and a long-term profile.

Reference:
    Tran, Salha-Galvan, Sguerra and Hennequin, "Attention Mixtures for Time-Aware Sequential
    Recommendation", SIGIR 2023, arXiv:2304.08158.

C is the context of a moment: its calendar (year, month, day, weekday, day of the year, week, hour),
each field through sines and cosines of trained periods. A token is its item beside its context,
both with the position p.

.. math:: x = [\sqrt{D} E_i + p;\ \sqrt{D} C + p], \quad S_{item} = (W q)(W' x)^T, \quad
    S_{ctx} = (V q')(V' c)^T

.. math:: logits = M_2\, relu(M_1 (S_{item}, S_{ctx})) / \sqrt{D}

The score of an item has a short-term part, with C at the moment T of the request, and a long-term
part, whose set F holds the user's vector and a sample of his items; l is `lambda_trans`.

.. math:: out \cdot [E_i; C(T)] + \lambda\, E_i \cdot ((1 - l) E_i + l\, E_i \odot
    \sum_f softmax_f(E_i \cdot f)\, f)

T is the time of the newest interaction with `request_time: last`, of the next one with `target`. It
adds the same to all items of a request, so that it acts through training alone. Causal: every
position has a context of its own. The long-term part is no inner product, so a run cannot be
exported as an index: `hm4sr recommend` and `hm4sr serve` answer. A user of no training row has no
vector, only his items; the served ones are all of that kind.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_hm4sr.data.calendars import FIELDS, calendar_fields, year_of
from recbole_hm4sr.data.seen import FIRST_POSITION
from recbole_hm4sr.data.serving_data import ServingDataset
from recbole_hm4sr.layers.attention import StepContext
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.bce import mean_bce
from recbole_hm4sr.layers.blocks import SequenceEncoder
from recbole_hm4sr.layers.calendar_context import CalendarContext
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.items import IdRows
from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.mixed_attention import MixedBlock
from recbole_hm4sr.layers.positions import window_positions
from recbole_hm4sr.layers.scorers import Scorer, UserRows
from recbole_hm4sr.layers.transfer import send
from recbole_hm4sr.model.batch_reader import BatchReader
from recbole_hm4sr.model.packed import EncodedBatch
from recbole_hm4sr.model.timed.long_term import LongTermScorer
from recbole_hm4sr.model.timed.moments import Moments, ReadsMoment
from recbole_hm4sr.model.timed.pairwise import PairwiseRecommender
from recbole_hm4sr.model.timed.settings import MOJITOSettings

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class MojitoBatch(PackedBatch):
    """A batch as MOJITO reads it.

    Attributes:
        calendar: Of each token. Shape ``[T, 7]``, int64.
        asked: Calendar of the moment of each row that is read. Shape ``[N, 7]``, int64.
        users: Number of each sequence's user, 0 if he is not known. Shape ``[B]``, int64.
        rows: Items of the sequences as padded rows. Shape ``[B, L]``, int64.
    """

    calendar: Tensor | None = None
    asked: Tensor | None = None
    users: Tensor | None = None
    rows: Tensor | None = None


@dataclass(frozen=True)
class MojitoReader(BatchReader):
    """Arranges a batch of RecBole for MOJITO.

    Attributes:
        moments: Tells the moment of each request.
        first_year: The year that counts as 1.
        user: Name of the users' column.
        log_users: User of each interaction; None where they are not kept. Shape ``[N]``, int64.
    """

    moments: Moments | None = None
    first_year: int = 1970
    user: str = ""
    log_users: Tensor | None = None

    def __call__(self, interaction: Interaction, *, train: bool) -> PackedBatch:
        """Arrange a batch, which may be on any device; the result is on the CPU."""
        batch = super().__call__(interaction, train=train)
        return MojitoBatch(
            **vars(batch),
            calendar=self._calendar(batch.times),
            asked=self._calendar(self._asked(batch, interaction, train=train)),
            users=self._users(interaction),
            rows=interaction[self.item_list].cpu(),
        )

    def _calendar(self, seconds: Tensor) -> Tensor:
        return torch.from_numpy(calendar_fields(seconds.numpy(), self.first_year))

    def _asked(self, batch: PackedBatch, interaction: Interaction, *, train: bool) -> Tensor:
        """The moment of each row that is read, in seconds. Shape ``[N]``, int64."""
        assert self.moments is not None
        packing: Any = batch.packing
        tokens = packing.last if batch.read_at is None else batch.read_at
        newest = batch.times[tokens]
        if not (train and self.every_position):
            return self.moments.of_rows(newest, interaction)
        if self.moments.request_time == "last":
            return newest
        firsts = interaction[FIRST_POSITION].cpu()[packing.sequence[tokens]]
        return self.moments.at(firsts + packing.position[tokens] + 1)

    def _users(self, interaction: Interaction) -> Tensor:
        if self.user in interaction:
            return interaction[self.user].cpu()
        if self.log_users is not None and FIRST_POSITION in interaction:
            return self.log_users[interaction[FIRST_POSITION].cpu()]
        return torch.zeros(len(interaction), dtype=torch.int64)


class MOJITO(PairwiseRecommender, ReadsMoment):
    """RecBole recommender.

    Args:
        config: RecBole ``Config`` with the fields of :class:`MOJITOSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        There a reshape builds the heads of a user from the scores of two users of the batch; with
        one row at a time that code is right, and equal to this. The noise on attention scores is
        left out; there evaluation has it too. The target is not in the sample of its own row, and
        empty places of the sample count nothing; there each counts like an item of zeros. A term of
        the test scores that no loss trains, of the history, is left out unless `history_term` asks
        for it.
    """

    settings_class = MOJITOSettings
    reads = frozenset({"times", "target_time"})
    settings: MOJITOSettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings, size = self.settings, self.settings.hidden_size
        self.item_embedding = IdRows(self.n_items, size)
        self.user_embedding = IdRows(dataset.num(config["USER_ID_FIELD"]), size)
        self.position_embedding = nn.Embedding(self.max_seq_length, size)
        self.dropout = Dropout(settings.hidden_dropout_prob)
        self.context = CalendarContext(
            n_fields=len(FIELDS),
            n_channels=settings.time_channels,
            width=size,
            longest_period=settings.longest_period,
        )
        self.encoder = SequenceEncoder(
            [
                MixedBlock(
                    hidden_size=size,
                    is_first=not number,
                    hidden_dropout_prob=settings.hidden_dropout_prob,
                    attn_dropout_prob=settings.attn_dropout_prob,
                    layer_norm_eps=settings.layer_norm_eps,
                )
                for number in range(settings.n_layers)
            ]
        )
        self.output_norm = nn.LayerNorm(2 * size, eps=settings.layer_norm_eps)
        self._initialize()

    def _initialize(self) -> None:
        """Glorot-uniform maps and tables; the map of the context is N(0, .01)."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.xavier_uniform_(module.weight)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
            if isinstance(module, IdRows):
                nn.init.zeros_(module.weight[0])
        nn.init.normal_(self.context.output.weight, std=0.01)

    def make_scorer(self, dataset: Any) -> Scorer:  # noqa: ARG002
        """Inner products, the moment's part and the long-term part."""
        return LongTermScorer(
            self.settings.lambda_global, self.settings.lambda_trans, self.max_seq_length
        )

    def make_reader(self, config: Any, dataset: Any) -> BatchReader:
        """A reader of calendars and users."""
        is_kept = isinstance(dataset, ServingDataset)
        return MojitoReader(
            **self.reader_options(config, dataset),
            moments=self.make_moments(config, dataset),
            first_year=int(year_of(dataset.first_time())),
            user=config["USER_ID_FIELD"],
            log_users=None if is_kept else torch.from_numpy(dataset.log.users),
        )

    # --- the sample ----------------------------------------------------------------------------

    def long_items(self, batch: MojitoBatch) -> Tensor:
        """The items of each sequence that are in F: drawn ones in training, else the newest.

        Returns:
            0 in empty places. Shape ``[B, S]``, int64.
        """
        rows, lengths = cast(Tensor, batch.rows), batch.packing.lengths[:, None]
        steps = torch.arange(rows.shape[1], device=rows.device)
        outside = steps >= lengths
        if self.training:
            keys = send(self.draw_keys(*rows.shape), rows.device)
        else:
            keys = (-steps).double().expand_as(rows)
        order = keys.masked_fill(outside, torch.inf).argsort(dim=1)
        places = order[:, : self.settings.n_long_items]
        return rows.masked_fill(outside, 0).gather(1, places)

    def draw_keys(self, n_rows: int, length: int) -> Tensor:
        """Numbers whose order chooses the sample. On the CPU. Shape ``[B, L]``, float64."""
        return torch.rand(n_rows, length, dtype=torch.float64)

    def is_hidden(self, sample: Tensor, targets: Tensor | None) -> Tensor:
        """Which places of F count nothing: empty ones, and in training the target of the row.

        Args:
            sample: Items of F, of each row that is read. Shape ``[N, S]``, int64.
            targets: Shape ``[N]``, int64; None in evaluation.

        Returns:
            Shape ``[N, S]``, bool.
        """
        is_empty = sample == 0
        return is_empty if targets is None else is_empty | (sample == targets[:, None])

    # --- items and users -----------------------------------------------------------------------

    def item_rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:  # noqa: ARG002
        """The item embeddings, the one modality. Shape ``[K, 1, D]``."""
        return self.item_embedding.rows(items)[:, None]  # [K, D] to [K, 1, D]

    def encode(self, batch: PackedBatch, catalogue: Catalogue) -> EncodedBatch:
        """Embed items and calendars, encode, and read the positions that are asked for."""
        assert isinstance(batch, MojitoBatch)
        packing, size = batch.packing, self.settings.hidden_size
        position = window_positions(packing, self.max_seq_length, "newest")
        p = self.position_embedding(position)
        moments = self.dropout(self.context(cast(Tensor, batch.calendar)))  # [T, D]
        items = self.item_embedding(batch.items)
        x = self.dropout(torch.cat([size**0.5 * items + p, size**0.5 * moments + p], dim=-1))
        context = StepContext(packing, side=(moments,))
        if batch.read_at is None:
            states, tokens = self.encoder(x, context), packing.last
        else:
            tokens = batch.read_at
            states = self.encoder.at_every_position(x, context).index_select(0, tokens)
        states = self.output_norm(states)  # [N, 2D]
        asked = self.dropout(self.context(cast(Tensor, batch.asked)))
        users = UserRows(
            states[:, None, :size],
            {"moment": (states[:, size:] * asked).sum(dim=-1), **self._long(batch, tokens)},
        )
        return EncodedBatch(users, batch, catalogue)

    def _long(self, batch: MojitoBatch, tokens: Tensor) -> dict[str, Tensor]:
        """F of each row that is read: its user's vector, then the sample."""
        sequence = batch.packing.sequence.index_select(0, tokens)
        users = cast(Tensor, batch.users).index_select(0, sequence)[:, None]
        sample = self.long_items(batch).index_select(0, sequence)
        hidden = torch.cat([users == 0, self.is_hidden(sample, batch.targets)], dim=1)
        items = self.item_embedding(sample).masked_fill(sample[..., None] == 0, 0)
        vectors = torch.cat([self.user_embedding(users), items], dim=1)
        side = {"long": vectors, "is_hidden": hidden}  # [N, S + 1, D] and [N, S + 1]
        if self.settings.history_term and not self.training:
            side["history"] = self._history(batch, vectors, hidden)
        return side

    def _history(self, batch: MojitoBatch, vectors: Tensor, hidden: Tensor) -> Tensor:
        """The sum of the profiles of a history's items, the first of a full window left out."""
        packing = batch.packing
        sequence = packing.sequence
        profiles = cast(LongTermScorer, self.scorer).profiles(
            self.item_embedding(batch.items),
            vectors.index_select(0, sequence),
            hidden.index_select(0, sequence),
        )
        is_full = packing.lengths.index_select(0, sequence) == self.max_seq_length
        profiles = profiles.masked_fill((is_full & (packing.position == 0))[:, None], 0)
        return torch.zeros_like(vectors[:, 0]).index_add(0, sequence, profiles)

    def main_loss(self, encoded: EncodedBatch, rows: LossRows) -> tuple[str, Tensor]:
        """One binary cross-entropy for each part, or with ``loss: ce`` the cross-entropy."""
        if self.settings.loss == "ce":
            return super().main_loss(encoded, rows)
        drawn = self.draw_other_items(rows.targets)
        items = torch.cat([rows.targets[:, None], drawn], dim=1)  # [N, 2]
        vectors = encoded.catalogue.of(items.flatten())[:, 0].unflatten(0, items.shape)
        scorer, losses = cast(LongTermScorer, self.scorer), []
        for scores in (scorer.short, scorer.long):
            own, other = scores(encoded.users, vectors).split(1, dim=1)
            excluded, divisor = rows.seen_in(drawn), rows.joined.divisor
            losses.append(mean_bce(own[:, 0], other, excluded=excluded, divisor=divisor))
        local, long = losses
        return "bce", local + self.settings.lambda_global * long
