"""Models trained by the binary cross-entropy of each target and one drawn negative."""

from typing import Any

from torch import Tensor

from recbole_hm4sr.layers.bce import mean_bce
from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.sampling import draw_uniformly
from recbole_hm4sr.layers.transfer import send
from recbole_hm4sr.model.packed import PackedRecommender


class PairwiseRecommender(PackedRecommender):
    """RecBole recommender with ``loss: bce | ce``.

    A negative is never the target, and with ``train_history: exclude`` one that the row has seen
    counts nothing; the authors draw outside all training items of a user.
    """

    @property
    def samples_softmax(self) -> bool:
        """With ``loss: ce`` alone: the other looks its negatives up in the whole catalogue."""
        return self.settings.loss == "ce" and super().samples_softmax

    def main_loss(self, encoded: Any, rows: LossRows) -> tuple[str, Tensor]:
        """The binary cross-entropy, or with ``loss: ce`` the cross-entropy."""
        if self.settings.loss == "ce":
            return super().main_loss(encoded, rows)
        drawn = self.draw_other_items(rows.targets)  # [N, 1]
        users = self.rows_to_score(encoded)
        targets = rows.targets if rows.shares is None else rows.shares
        own, scores = encoded.catalogue.scores_beside(users, targets, drawn)
        loss = mean_bce(
            own,
            scores,
            excluded=rows.seen_in(drawn),
            divisor=rows.joined.divisor,
            shares=rows.shares,
        )
        return "bce", loss

    def draw_other_items(self, targets: Tensor) -> Tensor:
        """An item for each target that is another one. Shapes ``[N]`` to ``[N, 1]``, int64."""
        drawn = send(draw_uniformly(self.n_items - 1, len(targets)), targets.device)
        return (drawn + (drawn >= targets).long())[:, None]  # the numbers but the target's
