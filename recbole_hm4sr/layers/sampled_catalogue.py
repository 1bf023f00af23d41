"""The catalogue of a step that sees a sample of the items."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.scorers import Candidates, UserRows
from recbole_hm4sr.layers.softmax import sampled_cross_entropy


@dataclass(frozen=True, kw_only=True)
class SampledCatalogue(Catalogue):
    """Rows of the items of a step and of a sample of the others.

    A scorer that normalises over all items has no estimate here: it sees the rows of the step.

    Attributes:
        drawn: The sample. Shape ``[S]``, int64.
        log_expected: Logarithm of how often each is expected in the sample. Shape ``[S]``.
    """

    drawn: Tensor
    log_expected: Tensor

    def loss(self, users: UserRows, rows: LossRows) -> Tensor:
        """Cross-entropy that the sample estimates, without the seen items. A scalar."""
        users = self.prepared(users)
        total, mean = self._targets(users, rows.targets if rows.shares is None else rows.shares)
        return sampled_cross_entropy(
            total,
            self.scorer.scores(users, self._named(self.drawn)),
            log_expected=self.log_expected,
            excluded=rows.excluded_from(self.drawn),
            divisor=rows.joined.divisor,
            mean=mean,
        )

    def log_sum_exp(
        self, users: UserRows, scores: Callable[[UserRows, Candidates], Tensor]
    ) -> Tensor:
        """Refused: the sum over all items is not known here.

        Raises:
            ValueError: Always.
        """
        del users, scores
        raise ValueError("n_negatives must be 0 with a score that is normalised over all items")
