r"""TedRec: ids and text of a history mixed by convolutions over the window.

Reference:
    Xu et al., "Sequence-level Semantic Representation Fusion for Recommender Systems", CIKM 2024,
    arXiv:2402.18166.

A transform over the L positions of the window makes of a convolution a product. With e the ids of a
history, t its adapted features (UniSRec's experts, with shifts for each position) and a trained
filter w, all zero behind the history.

.. math:: c^1 = F^{-1}(F(e)\, w), \quad c^2 = F^{-1}(F(e)\, F(t)), \quad
    f = 2\,(c^1 \sigma(w_1 \cdot c^1 + a_1) + c^2 \sigma(w_2 \cdot c^2 + a_2))

Tokens are f and positions, a causal transformer makes the user of them, and a score is the cosine
of the user and an item's id over ``temperature``: candidates have no text. Several modalities have
an adaptor each, and t is their sum. An item without features has the experts' shifts alone.

The window's length belongs to the function: serving pads to the same, and a model is trained and
scored with one ``MAX_ITEM_LIST_LENGTH``.
"""

from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.blocks import build_encoder
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.convolution import as_windows, fourier_transform, from_windows
from recbole_hm4sr.layers.initialize import draw_normal
from recbole_hm4sr.layers.items import IdRows
from recbole_hm4sr.layers.whitening_moe import WhiteningMoE
from recbole_hm4sr.model.text.content import ContentRecommender
from recbole_hm4sr.model.text.tedrec_settings import TedRecSettings

Array = np.ndarray[Any, Any]


class TedRec(ContentRecommender):
    """TedRec on packed tokens; only the convolutions see rows of the window's length.

    Args:
        config: RecBole ``Config`` with the fields of :class:`TedRecSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        Padding is zero where the transforms read it; there it is the vector of item 0 and, once
        trained, the experts' shifts. The padding item is no candidate. The gates' noise is drawn
        once for an item of a step, and one dropout mask serves all experts. ``predict`` works.

        A position sees later items of its prefix, by the wrap-around. So it trains on prefixes;
        ``causal_filter: true`` sees earlier ones alone and trains on whole histories, which is
        another model. At the start positions drown the items: the first epochs are slow.
    """

    settings_class = TedRecSettings
    reads = frozenset({"features"})
    settings: TedRecSettings
    served_content: Tensor | None

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings, size, length = self.settings, self.settings.hidden_size, self.max_seq_length
        self.item_embedding = IdRows(self.n_items, size)
        self.adaptors = nn.ModuleDict(
            {
                name: WhiteningMoE(
                    in_width=width,
                    width=size,
                    n_experts=settings.n_experts,
                    dropout_prob=settings.adaptor_dropout_prob,
                    gate_noise=settings.gate_noise,
                    n_positions=length,
                    deviation=settings.initializer_range,
                )
                for name, width in self.widths.items()
            }
        )
        # A causal filter is as long as twice the window, so that nothing wraps around.
        self.turn = 2 * length if settings.causal_filter else length
        shape = length // 2 + 1, size
        self.filter_real = nn.Parameter(settings.initializer_range * torch.randn(shape))
        self.filter_imaginary = nn.Parameter(settings.initializer_range * torch.randn(shape))
        self.build_inputs()
        self.encoder = build_encoder(**settings.encoder_options())
        gates = [nn.Linear(size, 1) for _ in range(2)]
        self.item_gate, self.fusion_gate = gates
        begins = [gate.bias.detach().clone() for gate in gates]
        draw_normal(self, settings.initializer_range)
        with torch.no_grad():  # the gates' biases keep PyTorch's values, as in the authors' code
            for gate, begin in zip(gates, begins, strict=True):
                gate.bias.copy_(begin)
        self.register_buffer("served_content", None, persistent=False)

    # --- items ---------------------------------------------------------------------------------

    def vectors(self, items: Tensor | None, on_host: Array | None) -> Tensor:  # noqa: ARG002
        """The ids of some items, or of all: what is scored. Shape ``[K, D]``."""
        return self.item_embedding.rows(items)

    def content(self, items: Tensor, on_host: Array | None = None) -> list[tuple[Tensor, Tensor]]:
        """Each modality's mixed projections, ``[K, D]``, and gates, ``[K, E]``, of some items."""
        if self.served_content is not None:
            size, n = self.settings.hidden_size, self.settings.n_experts
            parts = self.served_content.index_select(0, items).split(size + n, dim=1)
            return [(part[:, :size], part[:, size:]) for part in parts]
        found = []
        for name, module in self.adaptors.items():
            adaptor = cast(WhiteningMoE, module)
            x = self.features(name, items, on_host)
            gates = adaptor.gates(x, adaptor.draw_noise(len(items)))
            found.append((adaptor.mix(x, gates), gates))
        return found

    # --- users ---------------------------------------------------------------------------------

    def text_tokens(self, batch: PackedBatch) -> Tensor:
        """The adapted features of the tokens, by position. Shape ``[T, D]``."""
        if batch.distinct is None:
            content = self.content(batch.items)
        else:
            of_token = batch.distinct.of_token
            content = [
                (F.embedding(of_token, mixed), F.embedding(of_token, gates))
                for mixed, gates in self.content(batch.distinct.items)
            ]
        parts = [
            mixed - cast(WhiteningMoE, adaptor).shifts(gates, batch.packing.position)
            for adaptor, (mixed, gates) in zip(self.adaptors.values(), content, strict=True)
        ]
        return sum(parts[1:], start=parts[0])

    def tokens(self, batch: PackedBatch, catalogue: Catalogue) -> Tensor:
        """Ids and text of each history, mixed over the window. Shape ``[T, D]``."""
        ids = super().tokens(batch, catalogue)
        windows = [
            as_windows(x, batch.packing, self.max_seq_length)
            for x in (ids, self.text_tokens(batch))
        ]
        return from_windows(self.mix(*windows), batch.packing)

    def mix(self, ids: Tensor, text: Tensor) -> Tensor:
        """The gated sum of the filtered ids and of ids and text convolved. All ``[B, L, D]``."""
        length, turn = ids.shape[1], self.turn
        # Twice as long a window, half of it zeros, has no wrap-around.
        ids, text = (F.pad(x, (0, 0, 0, turn - length)) for x in (ids, text))
        transform = fourier_transform(turn, ids)
        e, t = transform.forward(ids), transform.forward(text)
        w = self._filter(turn)
        filtered = transform.back(*_product(e, w))[:, :length]
        # The norms of both windows would shrink the longer one's products once more.
        scale = (turn / length) ** 0.5
        mutual = scale * transform.back(*_product(e, t))[:, :length]
        total = filtered * self.item_gate(filtered).sigmoid()
        return 2 * (total + mutual * self.fusion_gate(mutual).sigmoid())

    def _filter(self, turn: int) -> tuple[Tensor, Tensor]:
        """Real and imaginary parts of the filter for a window of a length. ``[Q, D]`` each."""
        own = self.filter_real, self.filter_imaginary
        if turn == self.max_seq_length:
            return own
        kernel = fourier_transform(self.max_seq_length, own[0]).back(*own)  # [L, D]
        # As the filter of the longer window: from the kernel, less the norm of its way back.
        scale = (turn / self.max_seq_length) ** 0.5
        longer = fourier_transform(turn, kernel).forward(
            F.pad(kernel, (0, 0, 0, turn - self.max_seq_length))
        )
        return scale * longer[0], scale * longer[1]

    # --- serving -------------------------------------------------------------------------------

    @torch.no_grad()
    def serving_arrays(self) -> dict[str, Array]:
        """What every packed model keeps, and what the adaptors make of each item."""
        parts = [
            torch.cat([part for pair in self.content(items) for part in pair], dim=1)
            for items in torch.arange(self.n_items, device=self.filter_real.device).split(65_536)
        ]
        return {"content": torch.cat(parts).cpu().numpy(), **super().serving_arrays()}

    @classmethod
    def from_serving(cls, config: Any, dataset: Any) -> "TedRec":
        """The model built to score only, with kept rows in place of item features."""
        model = cast(TedRec, super().from_serving(config, dataset))
        model.served_content = torch.from_numpy(dataset.array("content"))
        return model


def _product(left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Of complex numbers, as real and imaginary parts."""
    real = left[0] * right[0] - left[1] * right[1]
    return real, left[0] * right[1] + left[1] * right[0]
