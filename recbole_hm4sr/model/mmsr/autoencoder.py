"""A one-layer autoencoder that reduces feature matrices, as MMSR's authors train it."""

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

_LOGGER = logging.getLogger(__name__)

_BATCH_SIZE = 256
_MAX_EPOCHS = 500
_EPOCHS_BETWEEN_CHECKS = 10
_PATIENCE = 4  # checks in a row without a better loss
_LEARNING_RATE = 1e-3


def encode_with_autoencoder(
    rows: NDArray[np.floating[Any]], *, hidden_size: int, seed: int, max_epochs: int = _MAX_EPOCHS
) -> NDArray[np.float32]:
    r"""Train :math:`\hat x = \sigma(x W + b) V + c` on the mean squared error and encode with it.

    Batches keep the order of the rows. Every tenth epoch the loss, summed over its batches, is
    compared with the best so far; the fourth comparison in a row without improvement ends the
    training.

    Args:
        rows: Shape ``[N, F]``.
        hidden_size: Width of the code, D.
        seed: Seed of the first weights.
        max_epochs: Where the training ends at the latest.

    Returns:
        :math:`\sigma(x W + b)` under the last weights, in (0, 1). Shape ``[N, D]``.

    Reference:
        Hu et al., CIKM 2023, arXiv:2308.15980.

    Differs from the authors' code:
        There, the best weights are meant to be restored, but what is stored is a reference to the
        weights in training: the last ones are used, as here.
    """
    inputs = torch.from_numpy(rows.astype(np.float32))
    n_features = inputs.shape[1]
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int, fan_in: int) -> Tensor:
        bound = fan_in**-0.5
        drawn = torch.empty(shape).uniform_(-bound, bound, generator=generator)
        return drawn.requires_grad_()

    encoder = [uniform(hidden_size, n_features, fan_in=n_features)]
    encoder += [uniform(hidden_size, fan_in=n_features)]
    decoder = [uniform(n_features, hidden_size, fan_in=hidden_size)]
    decoder += [uniform(n_features, fan_in=hidden_size)]
    optimizer = torch.optim.Adam([*encoder, *decoder], lr=_LEARNING_RATE)

    best, checks_without_gain = float("inf"), 0
    for epoch in range(max_epochs):
        summed = 0.0
        for batch in inputs.split(_BATCH_SIZE):
            optimizer.zero_grad()
            decoded = F.linear(F.linear(batch, *encoder).sigmoid(), *decoder)
            loss = F.mse_loss(decoded, batch)
            loss.backward()
            optimizer.step()
            summed += loss.item()
        if epoch % _EPOCHS_BETWEEN_CHECKS == 0:
            checks_without_gain = 0 if summed < best else checks_without_gain + 1
            best = min(best, summed)
            if checks_without_gain == _PATIENCE:
                _LOGGER.info("the autoencoder stopped improving; stopped in epoch %d", epoch)
                break
    with torch.no_grad():
        return F.linear(inputs, *encoder).sigmoid().numpy()
