"""gSASRec: the original SASRec block, trained against drawn negatives by gBCE.

Reference:
    Petrov and Macdonald, "gSASRec: Reducing Overconfidence in Sequential Recommendation Trained
    with Negative Sampling", RecSys 2023, arXiv:2308.07192.

A softmax over the catalogue is not needed: each target meets K negatives, and a power of its
probability corrects what so few of them would teach. The form is that of the authors' PyTorch code.
"""

from typing import Any

import numpy as np
from torch import Tensor, nn

from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.blocks import SASRecBlock, SequenceEncoder, build_normed_block
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.items import IdRows
from recbole_hm4sr.model.ids.gsasrec_settings import gSASRecSettings
from recbole_hm4sr.model.ids.id_sequence import IdSequence

Array = np.ndarray[Any, Any]


class gSASRec(IdSequence):  # noqa: N801  # the paper's name, which --model takes
    r"""SASRec with gBCE and two tables of items, one read and one scored.

    .. math:: q = LN(x), \quad y = q + MHA(q, x, x), \quad z = LN(y), \quad z + W_2\, relu(W_1 z)

    Args:
        config: RecBole ``Config`` with the fields of :class:`gSASRecSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        ``tie_items`` works (there the option is never passed on, and there are always two tables),
        padding is item 0, and negatives are drawn for real positions only. Item and position
        vectors begin as N(0, .02): from N(0, 1) as there, ``initializer_range: 1.0``, a small data
        set learns next to nothing.
    """

    settings_class = gSASRecSettings
    settings: gSASRecSettings
    positions = "newest"

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings, size = self.settings, self.settings.hidden_size
        self.input_norm = nn.Identity()
        if not settings.tie_items:
            self.scored_embedding = IdRows(self.n_items, size)
        blocks = [self._block() for _ in range(settings.n_layers)]
        self.encoder = SequenceEncoder(blocks, nn.LayerNorm(size, eps=settings.layer_norm_eps))
        self._initialize()

    def _block(self) -> SASRecBlock:
        settings = self.settings
        return build_normed_block(
            hidden_size=settings.hidden_size,
            n_heads=settings.n_heads,
            hidden_dropout_prob=settings.hidden_dropout_prob,
            attn_dropout_prob=settings.attn_dropout_prob,
            layer_norm_eps=settings.layer_norm_eps,
        )

    def _initialize(self) -> None:
        """Draw N(0, ``initializer_range``) for the tables; linear maps keep PyTorch's values."""
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=self.settings.initializer_range)
            if isinstance(module, IdRows):
                nn.init.zeros_(module.weight[0])

    def item_rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:  # noqa: ARG002
        """The vectors that items are scored by, the one modality. Shape ``[K, 1, D]``."""
        table = self.item_embedding if self.settings.tie_items else self.scored_embedding
        return table.rows(items)[:, None]  # [K, D] to [K, 1, D]

    def item_states(self, batch: PackedBatch, catalogue: Catalogue) -> Tensor:  # noqa: ARG002
        """The items of a batch, of the table that is read. Shape ``[T, D]``."""
        return self.item_embedding(batch.items)
