"""Recommenders whose score is a sum: of modalities, and of what a scorer adds to them."""

from dataclasses import replace

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_hm4sr.layers.memory_scorer import MemoryScorer
from recbole_hm4sr.layers.scorers import HasParts, InnerProducts, Scorer
from recbole_hm4sr.model.scored_by_catalogue import ScoredByCatalogue


class SumOfParts(ScoredByCatalogue):
    """RecBole recommender that tells the parts of its scores.

    Attributes:
        scorer: Adds to the inner products of the modalities.
    """

    scorer: Scorer

    @property
    def streams(self) -> tuple[str, ...]:
        """A name for each vector of an item's row."""
        raise NotImplementedError

    @property
    def part_names(self) -> tuple[str, ...]:
        """A name for each part of a score, whose sum it is."""
        if isinstance(self.scorer, InnerProducts):
            return self.streams
        more = self.scorer.names if isinstance(self.scorer, HasParts) else (self.scorer.part,)
        return (*self.streams, *more)

    def score_parts(self, interaction: Interaction, items: Tensor) -> Tensor:
        """The parts of the scores of some items; their sum is the score.

        Args:
            interaction: A batch.
            items: Items of each sequence, shape ``[B, K]``, or the same of all, ``[K]``; int64.

        Returns:
            In the order of ``part_names``. Shape ``[B, K, parts]``.
        """
        users, catalogue = self.ask(interaction)
        return catalogue.parts(users, items)

    def dense_scores(self, interaction: Interaction, items: Tensor) -> Tensor:
        """Scores without a memory. Shapes ``[B, C]``, int64, to ``[B, C]``."""
        users, catalogue = self.ask(interaction)
        if isinstance(self.scorer, MemoryScorer):
            catalogue = replace(catalogue, scorer=InnerProducts())
        return catalogue.scores(users, items)
