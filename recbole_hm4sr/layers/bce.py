"""Binary cross-entropies of a target and of negative items drawn beside it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_hm4sr.layers.softmax import TargetShares


def generalized_bce(
    own: Tensor,
    scores: Tensor,
    *,
    beta: float,
    excluded: Tensor | None = None,
    divisor: float | None = None,
    shares: TargetShares | None = None,
) -> Tensor:
    r"""The generalised binary cross-entropy gBCE of targets and drawn negatives.

    .. math:: \frac1B \sum_i \frac1{K + 1} \Bigl[ -\beta \log \sigma(s_i)
        - \sum_k \log (1 - \sigma(s_{ik})) \Bigr]

    With few negatives a model learns probabilities that are far too large: it rarely meets an item
    that it names wrongly. The power :math:`\beta` of a positive's probability corrects that.

    Args:
        own: Score of each row's target, shape ``[B]``; with ``shares`` of each of its pairs.
        scores: Scores of its negatives. Shape ``[B, K]``.
        beta: :math:`\beta`, of :func:`gbce_beta`; 1 for the plain binary cross-entropy.
        excluded: True where an item is no negative of a row: it adds nothing, and K stays. Shape
            ``[B, K]``, bool.
        divisor: What the sum over the rows is divided by; their number if None.
        shares: Several targets of each row: each is a positive of its weight.

    Returns:
        Scalar; float32 or of a higher precision.

    Reference:
        Petrov and Macdonald, "gSASRec: Reducing Overconfidence in Sequential Recommendation Trained
        with Negative Sampling", RecSys 2023, arXiv:2308.07192.

    Differs from the authors' code:
        There the positive score is transformed so that the binary cross-entropy of the result is
        this loss, with logarithms clipped at 1e-10 in float64; the closed form needs neither.
    """
    positive, negative = _sums(own, scores, excluded, shares)
    total = beta * positive + negative
    return total / (scores.shape[1] + 1) / (len(scores) if divisor is None else divisor)


def mean_bce(
    own: Tensor,
    scores: Tensor,
    *,
    excluded: Tensor | None = None,
    divisor: float | None = None,
    shares: TargetShares | None = None,
) -> Tensor:
    r"""The binary cross-entropy of targets, and its mean over their drawn negatives.

    .. math:: \frac1B \sum_i \Bigl[ -\log \sigma(s_i)
        - \frac1K \sum_k \log (1 - \sigma(s_{ik})) \Bigr]

    With one negative it is the loss of SASRec's authors. The arguments are those of
    :func:`generalized_bce`.
    """
    positive, negative = _sums(own, scores, excluded, shares)
    return (positive + negative / scores.shape[1]) / (len(scores) if divisor is None else divisor)


def _sums(
    own: Tensor, scores: Tensor, excluded: Tensor | None, shares: TargetShares | None
) -> tuple[Tensor, Tensor]:
    """The sums over all rows of what positives and negatives add; scalars."""
    dtype = torch.promote_types(own.dtype, torch.float32)
    negative = F.softplus(scores.to(dtype))
    if excluded is not None:
        negative = negative.masked_fill(excluded, 0)
    positive = F.softplus(-own.to(dtype))
    if shares is not None:
        positive = positive * shares.weights.to(dtype)
    return positive.sum(), negative.sum()


def gbce_beta(n_negatives: int, n_candidates: int, *, t: float) -> float:
    r"""The power of a positive's probability in gBCE.

    .. math:: \alpha = \min\Bigl(1, \frac K{N - 1}\Bigr), \quad \beta = 1 - t (1 - \alpha)

    Args:
        n_negatives: K, negatives drawn beside each target.
        n_candidates: N, items that can be drawn.
        t: 0 for the plain binary cross-entropy, 1 for probabilities as with all negatives.

    Differs from the authors' code:
        The share :math:`\alpha` of the negatives that are drawn is at most 1; there it grows beyond
        it where more are drawn than there are.
    """
    alpha = min(1.0, n_negatives / max(1, n_candidates - 1))
    return 1 - t * (1 - alpha)
