"""Initial values of weights."""

import torch
from torch import nn

from recbole_hm4sr.layers.items import IdRows


@torch.no_grad()
def draw_normal(model: nn.Module, deviation: float) -> None:
    """Draw N(0, deviation) for linear maps and tables; zero biases and the padding's id.

    Args:
        model: Its modules so far; those that are made later keep PyTorch's initial values.
        deviation: Standard deviation.
    """
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=deviation)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, IdRows):
            module.weight[0] = 0
