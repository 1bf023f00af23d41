r"""PixelRec's item head: an item is its id plus its projected content, on both sides of the score.

Reference:
    "PixelRec", ACM Multimedia 2026, code 7xjerry1/ACM-MM-26-PixelRec.

The part that is trained, on any content: the authors draw title and image on one card and read it
by a vision-language model. With x the vector of a modality, e an id and P a projection.

.. math:: v = e + \sum_m P_m(LN(x_m)), \quad P(y) = W_2\, gelu(W_1 LN(y) + b_1) + b_2

With ``content: tokens`` the modalities of an item are its tokens, and learned queries choose among
them before one projection.

.. math:: q_r = t_r + C e + c, \quad o_r = \sum_t softmax_t(q_r \cdot K x_t / \sqrt a)\,
    LN(x_t), \quad y = \sum_r softmax_r(S o_r)\, o_r, \quad v = e + P(y)

A score is the cosine of the user and v over ``temperature``, the loss the cross-entropy over all
items. Any number of modalities. Content is left out whole, its bias too, for an item without it;
tokens of other widths have a map to the widest.
"""

import math
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.layers.blocks import build_encoder
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.initialize import draw_normal
from recbole_hm4sr.layers.items import IdRows
from recbole_hm4sr.model.text.described import DescribedItems
from recbole_hm4sr.model.text.pixelrec_settings import PixelRecSettings

Array = np.ndarray[Any, Any]
_NORM_EPS = 1e-5  # of the head's norms, whatever those of the encoder add


class PixelRec(DescribedItems):
    """PixelRec's trained part: ids and content on a causal transformer, with a cosine.

    Args:
        config: RecBole ``Config`` with the fields of :class:`PixelRecSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        No sample is the empty prefix of a user, which is 14.5 % of theirs on Beauty. The padding
        item is no candidate; there it is a random vector that is never trained. Two biases that
        shift all logits of a softmax alike, and so do nothing, are left out. With
        ``train_mode: sequence`` and positions from the oldest the loss is that of all prefixes;
        with positions from the newest, as here by default, it is that of windows.
    """

    settings_class = PixelRecSettings
    reads = frozenset({"features"})
    settings: PixelRecSettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings, size = self.settings, self.settings.hidden_size
        if settings.content == "tokens" and len(self.modalities) < 2:
            raise ConfigError(
                f"content: tokens must go with two modalities or more, got {len(self.modalities)}; "
                f"queries have nothing to choose from: use content: pooled"
            )
        if settings.use_ids:
            self.item_embedding = IdRows(self.n_items, size)
        self.build_inputs()
        self.encoder = build_encoder(**settings.encoder_options())
        draw_normal(self, settings.initializer_range)
        # The head keeps PyTorch's initial values: content leads at first, ids correct it.
        if settings.content == "tokens":
            self.chooser = TokenChooser(list(self.widths.values()), settings)
            self.projectors = nn.ModuleDict({"tokens": self._projector(self.chooser.width)})
        else:
            self.norms = nn.ModuleDict(
                {name: nn.LayerNorm(width, eps=_NORM_EPS) for name, width in self.widths.items()}
            )
            self.projectors = nn.ModuleDict(
                {name: self._projector(width) for name, width in self.widths.items()}
            )

    def _projector(self, width: int) -> nn.Sequential:
        size = self.settings.hidden_size
        return nn.Sequential(
            nn.LayerNorm(width, eps=_NORM_EPS),
            nn.Linear(width, 4 * size),
            nn.GELU(),
            Dropout(self.settings.content_dropout_prob),
            nn.Linear(4 * size, size),
        )

    @property
    def needs_features_now(self) -> bool:
        """Whether there are no ids."""
        return not self.settings.use_ids

    @property
    def counts_from(self) -> Any:
        """The end of a window that positions are counted from."""
        return self.settings.position_from

    def vectors(self, items: Tensor | None, on_host: Array | None) -> Tensor:
        """Ids and content of some items, or of all. Shape ``[K, D]``."""
        ids = self.id_rows(items) if self.settings.use_ids else None
        parts = [] if ids is None else [ids]
        if self.settings.content == "tokens":
            tokens = [self.features(name, items, on_host) for name in self.modalities]
            is_there = self.has_features if items is None else self.has_features[items]
            chosen = self.projectors["tokens"](self.chooser(tokens, is_there, ids))
            parts.append(chosen * is_there.any(dim=1, keepdim=True).to(chosen.dtype))
        else:
            for name in self.modalities:
                found = self.features(name, items, on_host)
                content = self.projectors[name](self.norms[name](found))
                parts.append(content * self.present(name, items)[:, None].to(content.dtype))
        return sum(parts[1:], start=parts[0])


class TokenChooser(nn.Module):
    """Learned queries that read an item's tokens, and what they found weighed.

    Args:
        widths: Width of each token's vector.
        settings: Of the model.
    """

    def __init__(self, widths: list[int], settings: PixelRecSettings) -> None:
        super().__init__()
        self.width = max(widths)
        size = settings.query_size
        # With tokens of one width there is nothing to map, as in the authors' code.
        self.maps = nn.ModuleList(
            nn.Linear(width, self.width, bias=False) if len(set(widths)) > 1 else nn.Identity()
            for width in widths
        )
        self.queries = nn.Parameter(0.02 * torch.randn(settings.n_queries, size))
        if settings.use_ids:
            self.context = nn.Linear(settings.hidden_size, size)
        # A bias of either would shift all logits of a softmax alike.
        self.key = nn.Linear(self.width, size, bias=False)
        self.norm = nn.LayerNorm(self.width, eps=_NORM_EPS)
        self.score = nn.Linear(self.width, 1, bias=False)
        self.dropout = Dropout(settings.content_dropout_prob)

    def forward(self, tokens: list[Tensor], is_there: Tensor, ids: Tensor | None) -> Tensor:
        """One vector an item.

        Args:
            tokens: T tokens of each item. Shape ``[K, F_t]`` each.
            is_there: Which of them an item has; one without any gets a meaningless row. Shape
                ``[K, T]``, bool.
            ids: Shape ``[K, D]``; None where items have none.

        Returns:
            Shape ``[K, F]``.
        """
        maps = cast("list[nn.Module]", list(self.maps))
        x = torch.stack([to(token) for to, token in zip(maps, tokens, strict=True)], dim=1)
        queries = self.queries[None]  # [1, Q, a]
        if ids is not None:
            queries = queries + self.context(ids)[:, None]  # [K, Q, a]
        scores = queries @ self.key(x).mT / math.sqrt(queries.shape[-1])  # [K, Q, T]
        hidden = ~is_there & is_there.any(dim=1, keepdim=True)
        weights = F.softmax(scores.masked_fill(hidden[:, None], -torch.inf), dim=-1)
        found = self.dropout(weights) @ self.norm(x)  # [K, Q, F]
        return (self.score(found).softmax(dim=1) * found).sum(dim=1)
