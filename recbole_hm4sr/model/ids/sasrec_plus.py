"""SASRec+: SASRec on packed tokens, trained with the cross-entropy over all items.

Reference:
    Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, arXiv:1808.09781.

The function is RecBole's SASRec, with its loss ``CE``; the plus is what surrounds it here: whole
histories in one pass (``train_mode: sequence``), the sampled softmax, seen items left out of it,
and a step without padding. It is HM4SR without modalities and components, so it is the backbone
that those are measured against.

With ``block: original`` it is the first SASRec, as later studies run it with a cross-entropy: items
times the root of D, no norm before the first block but one after the last, the newest item always
at the last position, and a sink. The authors do not mask the padding: each query sees the L - n
vectors of zeros before a history of n, which take weight from the real items. The sink has the same
effect without padding; how much it takes depends on L.
"""

import dataclasses
from typing import Any

from torch import Tensor, nn

from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.blocks import build_encoder
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.initialize import draw_normal, draw_xavier
from recbole_hm4sr.model.ids.id_sequence import IdSequence
from recbole_hm4sr.model.ids.sasrec_plus_settings import SASRecPlusSettings


class SASRecPlus(IdSequence):
    """SASRec with the cross-entropy over all items, on packed tokens.

    Args:
        config: RecBole ``Config`` with the fields of :class:`SASRecPlusSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from RecBole's SASRec:
        In the arrangement only: with ``train_mode: prefix`` losses, gradients and scores are equal.

    Differs from the TensorFlow SASRec with ``block: original``:
        As in the code of the published numbers (CE-SCE-LLMRec, RecBoard) the heads are joined by
        one more linear map, the attention's output is added to the raw state, padding is not
        masked, and dropout comes before the ReLU.
    """

    settings_class = SASRecPlusSettings
    settings: SASRecPlusSettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = self.settings
        self._is_original = settings.block == "original"
        if self._is_original:
            self.positions = "newest"
            self.input_norm = nn.Identity()
        sink_length = self.max_seq_length if self._is_original else None
        self.encoder = build_encoder(**settings.encoder_options(), sink_length=sink_length)
        if self._is_original:
            draw_xavier(self)
        else:
            draw_normal(self, settings.initializer_range)

    def reader_options(self, config: Any, dataset: Any) -> dict[str, Any]:
        """Besides those of all models what tokens are rounded to."""
        return {
            **super().reader_options(config, dataset),
            "round_tokens": self.settings.round_tokens,
        }

    def item_states(self, batch: PackedBatch, catalogue: Catalogue) -> Tensor:
        """The items of a batch; with ``block: original`` times the root of D. Shape ``[T, D]``."""
        states = super().item_states(batch, catalogue)
        return states * self.settings.hidden_size**0.5 if self._is_original else states

    def catalogue_of(self, rows: Tensor) -> Catalogue:
        """The catalogue; with ``block: original`` the padding item is no candidate."""
        return dataclasses.replace(super().catalogue_of(rows), n_padding=int(self._is_original))
