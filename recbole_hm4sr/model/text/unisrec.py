r"""UniSRec: items are whitened text, by a mixture of experts, and their ids.

Reference:
    Hou et al., "Towards Universal Sequence Representation Learning for Recommender Systems",
    KDD 2022, arXiv:2206.05941.

Trained from scratch: the pre-training on other domains is left out. With x the features of an item
and e its id, which ``use_ids: false`` leaves out.

.. math:: v = \sum_m A_m(x_m) + e, \quad
    A(x) = \sum_k g_k W_k (drop(x) - b_k), \quad g = softmax(x G + noise)

Tokens are the items' vectors and positions, a causal transformer makes the user u of them, and a
score is the cosine of u and v over ``temperature``. The loss is the cross-entropy over all items.

Any number of modalities: an adaptor each, and the sum of what they make. Without modalities this is
SASRec with the cosine. Missing features are a row of zeros: items without any have one learned
vector together, so without ids equal scores.
"""

from typing import Any, cast

import numpy as np
from torch import Tensor, nn

from recbole_hm4sr.layers.blocks import build_encoder
from recbole_hm4sr.layers.initialize import draw_normal
from recbole_hm4sr.layers.items import IdRows
from recbole_hm4sr.layers.whitening_moe import WhiteningMoE
from recbole_hm4sr.model.text.described import DescribedItems
from recbole_hm4sr.model.text.unisrec_settings import UniSRecSettings

Array = np.ndarray[Any, Any]


class UniSRec(DescribedItems):
    """UniSRec from scratch, with or without ids.

    Args:
        config: RecBole ``Config`` with the fields of :class:`UniSRecSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        The padding item is no candidate of the loss: there its cosine passes a gradient of 1e12 to
        the shifts b at the first step, and without ids they then hardly move. The noise and the
        dropout of an adaptor are drawn once a step for an item, not once more where it is a
        candidate; one mask serves all experts (``adaptor_dropout``). ``predict`` works.
    """

    settings_class = UniSRecSettings
    reads = frozenset({"features"})
    settings: UniSRecSettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = self.settings
        if settings.use_ids:
            self.item_embedding = IdRows(self.n_items, settings.hidden_size)
        self.adaptors = nn.ModuleDict(
            {
                name: WhiteningMoE(
                    in_width=width,
                    width=settings.hidden_size,
                    n_experts=settings.n_experts,
                    dropout_prob=settings.adaptor_dropout_prob,
                    own_masks=settings.adaptor_dropout == "per_expert",
                    gate_noise=settings.gate_noise,
                    deviation=settings.initializer_range,
                )
                for name, width in self.widths.items()
            }
        )
        self.build_inputs()
        self.encoder = build_encoder(**settings.encoder_options())
        draw_normal(self, settings.initializer_range)

    @property
    def needs_features_now(self) -> bool:
        """Whether there are no ids."""
        return not self.settings.use_ids

    def vectors(self, items: Tensor | None, on_host: Array | None) -> Tensor:
        """Adapted features and ids of some items, or of all. Shape ``[K, D]``."""
        n_rows = self.n_items if items is None else len(items)
        parts = []
        for name, module in self.adaptors.items():
            adaptor = cast(WhiteningMoE, module)
            parts.append(adaptor(self.features(name, items, on_host), adaptor.draw_noise(n_rows)))
        if self.settings.use_ids:
            parts.append(self.id_rows(items))
        return sum(parts[1:], start=parts[0])
