"""Recommenders that score through a catalogue: RecBole's methods, ranks and best items."""

from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor

from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.ranking import Alive
from recbole_hm4sr.layers.scorers import HasHistory, UserRows
from recbole_hm4sr.layers.softmax import HiddenPairs


class ScoredByCatalogue(SequentialRecommender):  # type: ignore[misc, unused-ignore]
    """RecBole recommender whose scores are those of a catalogue."""

    def ask(self, interaction: Interaction) -> tuple[UserRows, Catalogue]:
        """The rows of a batch, as the scorer reads them, and the items that can be scored."""
        raise NotImplementedError

    def predict(self, interaction: Interaction) -> Tensor:
        """Score one item a sequence. Shape ``[B]``."""
        users, catalogue = self.ask(interaction)
        return catalogue.scores(users, interaction[self.ITEM_ID])

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Score every item, padding included. Shape ``[B, I]``."""
        users, catalogue = self.ask(interaction)
        return catalogue.scores(users)

    def rank_targets(
        self,
        interaction: Interaction,
        targets: Tensor,
        seen: HiddenPairs | None = None,
        alive: Alive | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Ranks of targets among all items and among those not seen; never all scores at once.

        Args:
            interaction: A batch.
            targets: One item a sequence. Shape ``[B]``, int64.
            seen: Pairs of a sequence and an item that its user has seen, never its target.
            alive: Says which other items are candidates of a sequence; None for all.

        Returns:
            Ranks from 1 among the candidates, and among those but the seen; each ``[B]``, int64.

        Raises:
            TrainingError: If a score is NaN or a target's score is infinite.
        """
        users, catalogue = self.ask(interaction)
        return catalogue.ranks(users, targets, seen, alive)

    def top_items(
        self, interaction: Interaction, k: int, seen: HiddenPairs | None = None
    ) -> tuple[Tensor, Tensor]:
        """The best items of each sequence; never all scores at once.

        Args:
            interaction: A batch.
            k: From 1 to I.
            seen: Pairs of a sequence and an item that is no candidate of it.

        Returns:
            Scores, best first, and items; both of shape ``[B, k]``. Minus infinity where fewer
            items are left.
        """
        users, catalogue = self.ask(interaction)
        return catalogue.top(users, k, seen)

    def history_parts(self, interaction: Interaction, items: Tensor) -> Tensor | None:
        """What each of the last items adds to scores by itself. ``[B, C]`` to ``[B, C, K]``.

        Newest first. None where the scorer has no such part.
        """
        users, catalogue = self.ask(interaction)
        if not isinstance(catalogue.scorer, HasHistory):
            return None
        return catalogue.by_history_item(users, items).sum(dim=2)
