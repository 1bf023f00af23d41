r"""MoRec: an item is a deep map of its frozen features, in place of an id.

Reference:
    Yuan et al., "Where to Go Next for Recommender Systems? ID- vs. Modality-based Recommender
    Models Revisited", SIGIR 2023, arXiv:2303.13835.

The two-stage form: the encoder of text or images is frozen, what is trained are r + 1 maps behind
it. With x the features and e an id.

.. math:: t = M_r(\dots M_1(M_0(x))), \quad M_k(y) = gelu(W_k y + b_k)

.. math:: v = t, \quad v = N_q(\dots N_1(e + t)) \quad or \quad
    v = N_q(\dots N_1(gelu(W [e; t] + b)))

by ``id_fusion``. A score is the inner product of the user and v. The loss sets each target against
one item that its user does not have.

.. math:: -\log \sigma(u_j \cdot v_{j+1}) - \log \sigma(-u_j \cdot v^-_j)

or, with ``loss: in_batch``, against the items of the batch, corrected for their popularity; the
authors report that this is far better. Several modalities are read side by side. An item without
features is mapped from zeros.
"""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from recbole_hm4sr.layers.bce import mean_bce
from recbole_hm4sr.layers.dropout import Dropout
from recbole_hm4sr.layers.items import IdRows
from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.model.batch_reader import BatchReader
from recbole_hm4sr.model.packed import EncodedBatch
from recbole_hm4sr.model.text.lab import DeepMap, LabRecommender, draw_xavier
from recbole_hm4sr.model.text.morec_batch import MoRecBatch, MoRecReader, UserItems
from recbole_hm4sr.model.text.morec_settings import MoRecSettings

Array = np.ndarray[Any, Any]


class MoRec(LabRecommender):
    """MoRec in two stages: text or images alone, or with ids.

    Args:
        config: RecBole ``Config`` with the fields of :class:`MoRecSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        Windows are those of all models here; there a user's last L + 3 items are kept alone. All
        places of a window are trained in one pass, as there (``train_mode: sequence``), with
        positions from the newest: an evaluated history ends where training ended a window.
        ``last_activation: false`` leaves out the last gelu, which puts all items into a narrow
        cone. A user who has every item trains no negative; there the drawing never ends.
    """

    settings_class = MoRecSettings
    reads = frozenset({"features"})
    settings: MoRecSettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings, size = self.settings, self.settings.hidden_size
        dropout = Dropout(settings.hidden_dropout_prob)
        n_ends = settings.n_fusion_maps + (settings.id_fusion == "cat")
        self.text_maps = DeepMap(
            [sum(self.widths.values()), *[size] * (settings.n_projections + 1)],
            dropout,
            ends_linear=not (settings.last_activation or n_ends),
        )
        if settings.id_fusion != "none":
            self.item_embedding = IdRows(self.n_items, size)
            joint = 2 * size if settings.id_fusion == "cat" else size
            self.fusion_maps = DeepMap(
                [joint, *[size] * n_ends],
                dropout,
                drops_input=True,
                ends_linear=not settings.last_activation,
            )
        draw_xavier(self)
        self.build_users()

    def make_reader(self, config: Any, dataset: Any) -> BatchReader:
        """The reader of batches, which draws negatives where the loss reads them."""
        options = self.reader_options(config, dataset)
        settings = self.settings
        if settings.loss != "bce":
            return MoRecReader(**options)
        # What is kept for serving has no log, and trains nothing.
        if settings.negatives_from == "all" or not hasattr(dataset, "log"):
            return MoRecReader(**options, n_items=self.n_items)
        log, shown = dataset.log, dataset.shown_interactions().numpy()
        owned = UserItems(log.users[shown], log.items[shown], self.n_items)
        return MoRecReader(**options, n_items=self.n_items, owned=owned, user_of=log.users)

    def vectors(self, items: Tensor | None, on_host: Array | None) -> Tensor:
        """Mapped features, with ids or without, of some items or of all. Shape ``[K, D]``."""
        found = [self.features(name, items, on_host) for name in self.modalities]
        text: Tensor = self.text_maps(torch.cat(found, dim=1))
        if self.settings.id_fusion == "none":
            return text
        ids = self.id_rows(items)
        is_sum = self.settings.id_fusion == "add"
        joint = ids + text if is_sum else torch.cat([ids, text], dim=1)
        fused: Tensor = self.fusion_maps(joint)
        return fused

    def main_loss(self, encoded: EncodedBatch, rows: LossRows) -> tuple[str, Tensor]:
        """The binary cross-entropies of targets and negatives, or the loss of the settings."""
        if self.settings.loss != "bce":
            return super().main_loss(encoded, rows)
        negatives = cast(Tensor, cast(MoRecBatch, encoded.batch).negatives)[:, None]  # [N, 1]
        targets = rows.targets if rows.shares is None else rows.shares
        users = self.rows_to_score(encoded)
        own, scores = encoded.catalogue.scores_beside(users, targets, negatives)
        is_none, seen = negatives == 0, rows.seen_in(negatives)
        if self.left_out is not None:  # a new item is no negative
            is_none = is_none | torch.isin(negatives, self.left_out)
        loss = mean_bce(
            own,
            scores,
            excluded=is_none if seen is None else is_none | seen,
            divisor=rows.joined.divisor,
            shares=rows.shares,
        )
        return "bce", loss
