"""The context of a moment: its calendar fields through sines and cosines (MOJITO)."""

import torch
from torch import Tensor, nn

_HARMONICS = 3


class CalendarContext(nn.Module):
    r"""A vector of the calendar fields of a moment.

    .. math:: e_m(v) = b_m + \sum_{k=1}^3 w_{m,k} \sin(k v / 10^{p_m})
        + w_{m,3+k} \cos(k v / 10^{p_m})

    Args:
        n_fields: Of the calendar.
        n_channels: m, of each field.
        width: D.
        longest_period: Exponents p begin evenly spaced from 0 to that.
    """

    multiples: Tensor

    def __init__(
        self, *, n_fields: int, n_channels: int, width: int, longest_period: float
    ) -> None:
        super().__init__()
        periods = torch.linspace(0, longest_period, n_channels).repeat(n_fields, 1)
        self.period = nn.Parameter(periods)  # [fields, m]
        self.bias = nn.Parameter(torch.zeros(n_fields, n_channels))
        self.weight = nn.Parameter(torch.empty(n_fields, n_channels, 2 * _HARMONICS))
        self.output = nn.Linear(n_fields * n_channels, width)
        multiples = torch.arange(1, _HARMONICS + 1).float()
        self.register_buffer("multiples", multiples, persistent=False)
        nn.init.xavier_uniform_(self.weight)

    def forward(self, calendar: Tensor) -> Tensor:
        """Shapes ``[N, fields]``, int64, to ``[N, D]``."""
        angles = calendar[..., None].to(self.period.dtype) / 10**self.period  # [N, fields, m]
        angles = angles[..., None] * self.multiples
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1)  # [N, fields, m, 6]
        channels = self.bias + (self.weight * waves).sum(dim=-1)
        return self.output(channels.flatten(1))
