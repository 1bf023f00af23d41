r"""DIF-SR and NOVA: attributes of the items decide where to look, and never what is seen there.

Symbols: x, the state of a token, at first its item's vector; p, the vector of its position, counted
from the oldest; a^1 to a^F, what is known of its item, the same in all layers.

An attribute is a column of the `.item` file: the sum of trained vectors of the item's values, zeros
for an item without any. A modality may be one as well: a trained map of its features. Values of
attention are made of x alone, so that attributes choose among the items of a history without being
mixed into them. Both models are causal: sequence mode equals prefix mode.

The score is u . E, with u the newest state. The loss is the cross-entropy over all items, plus a
multi-label cross-entropy for each attribute, which foretells the values of the target item from u.
"""

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.layers.attention import SelfAttention, StepContext
from recbole_hm4sr.layers.attributes import AttributeRows, attribute_loss
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.blocks import FeedForward, PostNormBlock, SequenceEncoder
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.fusion import build_fusion
from recbole_hm4sr.layers.initialize import draw_normal
from recbole_hm4sr.layers.items import FeatureRows, FeatureTable, IdRows
from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.scorers import UserRows
from recbole_hm4sr.model.packed import EncodedBatch, PackedRecommender
from recbole_hm4sr.model.side.settings import DIFSRSettings, NOVASettings

Array = np.ndarray[Any, Any]


class FusedScores(SelfAttention):
    """Attention whose streams have scores of their own, which a fusion makes one (DIF-SR).

    Scores of keys that a query may not see are 0 before the fusion: it reads whole rows of scores,
    and would let a position read what comes after it.

    Args:
        fusion: ``gate`` or ``concat`` of as many streams as there are attributes, then the item,
            then the position. The plain sum needs no other layer than :class:`SelfAttention`.
        **options: Of :class:`SelfAttention`.
    """

    def __init__(self, *, fusion: nn.Module, **options: Any) -> None:
        super().__init__(**options)
        self.fusion = fusion

    def _scores(self, query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
        widths = [size // self.n_heads for size in self._stream_sizes]
        pairs = zip(query.split(widths, dim=-1), key.split(widths, dim=-1), strict=True)
        item, *attributes, position = (q @ k.mT for q, k in pairs)
        streams = torch.stack([*attributes, item, position])  # [S, b, h, q, w]
        return self.fusion(streams.masked_fill(mask < 0, 0))

    @property
    def _stream_sizes(self) -> list[int]:
        return [linear.out_features for linear in (self.value, *cast(Any, self.side_keys))]


class FusedInputs(SelfAttention):
    """Attention whose queries and keys are made of fused streams, its values of the items (NOVA).

    Args:
        fusion: Of the attributes, the state and the position, token by token.
        **options: Of :class:`SelfAttention`.
    """

    def __init__(self, *, fusion: nn.Module, **options: Any) -> None:
        super().__init__(**options)
        self.fusion = fusion

    def forward(self, queries: Tensor, sources: Tensor, context: StepContext) -> Tensor:  # type: ignore[override]  # the values are the sources
        """Attend at every token; ``queries`` are ``sources``. Shapes ``[T, D]`` to ``[T, D]``."""
        del queries
        mixed = self._fused(sources, context)
        return super().forward(mixed, mixed, context._replace(side=()), values=sources)

    def at_last(self, newest: Tensor, sources: Tensor, context: StepContext) -> Tensor:  # type: ignore[override]
        """Attend at the last token of each sequence. Shapes ``[T, D]`` to ``[B, D]``."""
        del newest
        mixed = self._fused(sources, context)
        last = mixed.index_select(0, context.packing.last)
        return super().at_last(last, mixed, context._replace(side=()), values=sources)

    def _fused(self, states: Tensor, context: StepContext) -> Tensor:
        *attributes, position = context.side
        return self.fusion(torch.stack([*attributes, states, position]))


class SideInformation(PackedRecommender):
    """What DIF-SR and NOVA share: all but their attention.

    Args:
        config: RecBole ``Config`` with the fields of ``settings_class``.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Raises:
        ConfigError: If no attribute is named, and there is no ``category_field`` either.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings, size = self.settings, self.settings.hidden_size
        self.attributes = attribute_names(settings, dataset)
        self.sizes = one_each(self.attribute_sizes, len(self.attributes))
        self.item_embedding = IdRows(self.n_items, size)
        self.position_embedding = nn.Embedding(self.max_seq_length, size)
        self._value_names: dict[str, Array] = {}
        self.side_rows = nn.ModuleList(
            self._make_rows(dataset, name, width)
            for name, width in zip(self.attributes, self.sizes, strict=True)
        )
        self.predictors = nn.ModuleDict(self._predictors())
        self.input_norm = nn.LayerNorm(size, eps=settings.layer_norm_eps)
        self.dropout = Dropout(settings.hidden_dropout_prob)
        self.encoder = SequenceEncoder([self._block() for _ in range(settings.n_layers)])
        draw_normal(self, settings.initializer_range)
        if not settings.train_attributes:
            self._freeze_attributes()
        for number in range(len(self.attributes)):
            self.register_buffer(f"served_side_{number}", None, persistent=False)

    @property
    def attribute_sizes(self) -> tuple[int, ...]:
        """Widths of the attributes' vectors, one for all or one each."""
        raise NotImplementedError

    def attention(self, options: dict[str, Any]) -> SelfAttention:
        """The attention of a block.

        Args:
            options: Of :class:`SelfAttention`.
        """
        raise NotImplementedError

    def modalities_of(self, dataset: Any) -> tuple[str, ...]:
        """The modalities among the attributes."""
        return tuple(name for name in dataset.modality_names if name in self.settings.attributes)

    @property
    def streams(self) -> tuple[str, ...]:
        """The ids alone: attributes are in no score."""
        return ("id",)

    def row_keys(self) -> dict[str, Array]:
        """Besides those of a memory the values of the attributes; the first is none."""
        found = super().row_keys()
        for number, name in enumerate(self.attributes):
            if name in self._value_names:
                weights = [f"side_rows.{number}.embedding.weight"]
                if str(number) in self.predictors:
                    weights += [f"predictors.{number}.{part}" for part in ("weight", "bias")]
                found |= dict.fromkeys(weights, self._value_names[name])
        return found

    def _make_rows(self, dataset: Any, name: str, width: int) -> nn.Module:
        if name in self.modalities:
            features = dataset.modality(name)
            resident = not self.settings.n_negatives
            table = FeatureTable(
                features.take, n_items=self.n_items, width=features.width, resident=resident
            )
            return FeatureRows(table, width)
        attribute = dataset.attribute(name)
        self._value_names[name] = np.array(["", *attribute.names], dtype=np.str_)
        return AttributeRows(
            attribute.values,
            n_values=attribute.n_values,
            width=width,
            pooling=self.settings.attribute_pooling,
            is_single=attribute.is_single,
        )

    def _predictors(self) -> dict[str, nn.Linear]:
        """A linear map to the values of each attribute whose loss counts."""
        self.loss_weights = one_each(self.settings.attribute_weights, len(self.attributes))
        return {
            str(number): nn.Linear(self.settings.hidden_size, rows.n_values)
            for number, rows in enumerate(self.side_rows)
            if isinstance(rows, AttributeRows) and self.loss_weights[number]
        }

    def _block(self) -> PostNormBlock:
        settings = self.settings
        shared = {
            "hidden_size": settings.hidden_size,
            "hidden_dropout_prob": settings.hidden_dropout_prob,
            "layer_norm_eps": settings.layer_norm_eps,
        }
        heads = {
            "hidden_size": settings.hidden_size,
            "n_heads": settings.n_heads,
            "attn_dropout_prob": settings.attn_dropout_prob,
        }
        feed_forward = FeedForward(
            inner_size=settings.inner_size, hidden_act=settings.hidden_act, **shared
        )
        return PostNormBlock(attention=self.attention(heads), feed_forward=feed_forward, **shared)

    def _freeze_attributes(self) -> None:
        for rows in self.side_rows:
            if isinstance(rows, AttributeRows):
                nn.init.normal_(rows.embedding.weight)
                rows.embedding.weight.requires_grad_(False)

    # --- items and users -----------------------------------------------------------------------

    def item_rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:  # noqa: ARG002
        """The item embeddings, the one modality. Shape ``[K, 1, D]``."""
        return self.item_embedding.rows(items)[:, None]  # [K, D] to [K, 1, D]

    def side_of(self, number: int, items: Tensor) -> Tensor:
        """What one attribute says of some items. Shapes ``[K]``, int64, to ``[K, D_f]``."""
        served = getattr(self, f"served_side_{number}")
        if served is not None:
            return served.index_select(0, items)
        return cast(Any, self.side_rows[number]).rows(items)

    def _side_streams(self, batch: PackedBatch) -> list[Tensor]:
        """The attributes and the position of each token. F + 1 of ``[T, D_f]``."""
        numbers = range(len(self.attributes))
        if batch.distinct is None:
            side = [self.side_of(number, batch.items) for number in numbers]
        else:
            items, of_token = batch.distinct.items, batch.distinct.of_token
            side = [F.embedding(of_token, self.side_of(number, items)) for number in numbers]
        return [*side, self.position_embedding(batch.packing.position)]

    def encode(self, batch: PackedBatch, catalogue: Catalogue) -> EncodedBatch:
        """Embed the items, encode, and read the positions that are asked for."""
        if batch.distinct is None:
            items = catalogue.of(batch.items)[:, 0]
        else:
            distinct = catalogue.of(batch.distinct.items)[:, 0]
            items = F.embedding(batch.distinct.of_token, distinct)  # [T, D]
        x = self.dropout(self.input_norm(items))
        context = StepContext(batch.packing, side=self._side_streams(batch))
        if batch.read_at is None:
            users = self.encoder(x, context)
        else:
            users = self.encoder.at_every_position(x, context).index_select(0, batch.read_at)
        return EncodedBatch(UserRows(users[:, None]), batch, catalogue)  # [N, 1, D]

    def auxiliary_losses(
        self, encoded: EncodedBatch, rows: LossRows
    ) -> Iterator[tuple[str, Tensor]]:
        """For each attribute, the loss that foretells the target's values."""
        users = encoded.users.vectors[:, 0]
        for key, predictor in self.predictors.items():
            number = int(key)
            loss = attribute_loss(
                predictor(users),
                cast(Any, self.side_rows[number]).values,
                rows.targets,
                divisor=rows.joined.divisor,
                shares=rows.shares,
            )
            yield self.attributes[number], self.loss_weights[number] * loss

    # --- serving -------------------------------------------------------------------------------

    @torch.no_grad()
    def serving_arrays(self) -> dict[str, Array]:
        """What its base keeps, the attributes' vectors of all items, and sizes to build it by."""
        items = torch.arange(self.n_items, device=self.position_embedding.weight.device)
        found = {}
        for number, (name, rows) in enumerate(zip(self.attributes, self.side_rows, strict=True)):
            found[f"side.{number}"] = self.side_of(number, items).cpu().numpy()
            if isinstance(rows, AttributeRows):
                found[f"{name}.n_values"] = np.array(rows.n_values)
            else:
                found[f"{name}.width"] = np.array(rows.in_features)
        return {**found, **super().serving_arrays()}

    @classmethod
    def from_serving(cls, config: Any, dataset: Any) -> "SideInformation":
        """The model built to score only, with kept rows of items and of their attributes."""
        model = super().from_serving(config, dataset)
        for number in range(len(model.attributes)):
            kept = torch.from_numpy(dataset.array(f"side.{number}"))
            setattr(model, f"served_side_{number}", kept)
        return model

    def drop_features(self) -> None:
        """Forget the features of modalities: their maps of all items are kept."""
        for rows in self.side_rows:
            if isinstance(rows, FeatureRows):
                rows.drop_features()


class DIFSR(SideInformation):
    r"""DIF-SR: each stream scores the keys by itself, and the scores are fused.

    .. math:: S_{item} = (W_q x)(W_k x)^T, \quad S_{pos} = (W_{qp} p)(W_{kp} p)^T, \quad
        S_f = (W_{qf} a^f)(W_{kf} a^f)^T

    .. math:: y = LN(x + W_o\, softmax(fusion(S_1, .., S_F, S_{item}, S_{pos}) / \sqrt{d})\, W_v x)

    The fusion is a sum, a linear map of all scores of a query, or a gate that weighs the streams by
    their scores. d is the width of a head of the items, for every stream.

    Reference:
        Xie, Zhou and Kim, "Decoupled Side Information Fusion for Sequential Recommendation", SIGIR
        2022, arXiv:2204.11046.

    Args:
        config: RecBole ``Config`` with the fields of :class:`DIFSRSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        There the attributes' vectors lie in a plain dictionary, are never trained and stay N(0, 1),
        published numbers included: ``train_attributes: false`` repeats that. Scores of hidden keys
        are 0 before the fusion; there a position's fusion reads later items and what stands in the
        padding. Only linear predictors: the authors' MLP fails when it is built.
    """

    settings_class = DIFSRSettings
    reads = frozenset({"categories", "features"})
    settings: DIFSRSettings

    @property
    def attribute_sizes(self) -> tuple[int, ...]:
        """Those of the settings."""
        return self.settings.attribute_sizes

    def attention(self, options: dict[str, Any]) -> SelfAttention:
        """Scores of each stream, fused; their plain sum is that of the heads side by side."""
        sizes = (*self.sizes, self.settings.hidden_size)
        if self.settings.fusion == "sum":
            return SelfAttention(**options, side_sizes=sizes)
        fusion = build_fusion(
            self.settings.fusion, n_streams=len(sizes) + 1, size=self.max_seq_length
        )
        return FusedScores(fusion=fusion, side_sizes=sizes, **options)


class NOVA(SideInformation):
    r"""NOVA: queries and keys are made of all streams fused, values of the items alone.

    .. math:: m = fusion(a^1, .., a^F, x, p), \quad y = LN(x + MHA(m, m, x))

    Reference:
        Liu et al., "Noninvasive Self-attention for Side Information Fusion in Sequential
        Recommendation", AAAI 2021, arXiv:2103.03578.

    Args:
        config: RecBole ``Config`` with the fields of :class:`NOVASettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the paper:
        The paper's model is bidirectional and trained on masked items; its code is not public. This
        is the causal form that the authors of DIFF compare with, trained as DIF-SR is. Attributes'
        vectors are trained; in that code they stay N(0, 1), as with ``train_attributes: false``.
    """

    settings_class = NOVASettings
    reads = frozenset({"categories", "features"})
    settings: NOVASettings

    @property
    def attribute_sizes(self) -> tuple[int, ...]:
        """D: they are fused with the items' vectors."""
        return (self.settings.hidden_size,)

    def attention(self, options: dict[str, Any]) -> SelfAttention:
        """Queries and keys of the fused streams."""
        size = self.settings.hidden_size
        fusion = build_fusion(self.settings.fusion, n_streams=len(self.attributes) + 2, size=size)
        return FusedInputs(fusion=fusion, **options)


def attribute_names(settings: Any, dataset: Any) -> tuple[str, ...]:
    """The attributes of the settings, else the column of the categories.

    Raises:
        ConfigError: If there is neither.
    """
    if settings.attributes:
        return settings.attributes
    column = dataset.settings.category_field
    if column is None:
        raise ConfigError(
            "attributes must name a column of the .item file or a modality where the data set has "
            "no category_field, got []"
        )
    return (column,)


def one_each(values: tuple[Any, ...], n: int) -> tuple[Any, ...]:
    """A value for each of n, where one may be for all."""
    return values * n if len(values) == 1 else values
