"""Initial values of weights."""

import math

import torch
from torch import nn

from recbole_hm4sr.layers.attention import MultiHeadAttention
from recbole_hm4sr.layers.items import IdRows


@torch.no_grad()
def draw_normal(model: nn.Module, deviation: float) -> None:
    """Draw N(0, deviation) for linear maps and tables; zero biases and the padding's id.

    Args:
        model: Its modules so far; those that are made later keep PyTorch's initial values.
        deviation: Standard deviation.
    """
    for module in model.modules():
        if isinstance(module, IdRows):
            module.draw_normal(deviation)
            module.zero_padding()
        elif isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=deviation)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def draw_xavier(model: nn.Module) -> None:
    """Draw tables and output maps as the original SASRec's code does; PyTorch's values stay else.

    Tables and the attention's output maps are Xavier-normal. The maps of queries, keys and values
    are Xavier-uniform as one matrix, without biases at first. The padding's id is zero.

    Args:
        model: Its modules so far.
    """
    for module in model.modules():
        if isinstance(module, IdRows):
            # As nn.init.xavier_normal_ draws the whole table.
            module.draw_normal(math.sqrt(2 / (module.shards.n_rows + module.width)))
            module.zero_padding()
        elif isinstance(module, nn.Embedding):
            nn.init.xavier_normal_(module.weight)
        if isinstance(module, MultiHeadAttention):
            for linear in (module.query, module.key, module.value):
                joint = torch.empty(3 * linear.out_features, linear.in_features)
                nn.init.xavier_uniform_(joint)
                linear.weight.copy_(joint[: linear.out_features])
                nn.init.zeros_(linear.bias)
            if isinstance(module.output, nn.Linear):
                nn.init.xavier_normal_(module.output.weight)
                nn.init.zeros_(module.output.bias)
