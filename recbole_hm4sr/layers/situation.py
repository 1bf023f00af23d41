"""What is known of a request besides its items."""

import math

import torch
from torch import Tensor


def situation(
    last_times: Tensor, lengths: Tensor, moments: Tensor, *, gap: float, day: int
) -> Tensor:
    r"""What is known of a request besides its items: how long a history, how far apart, how late.

    :math:`(\ln n, [v_t = v_{t-1}], [n = 1], \log_2(1 + g)/5, \ln u, [u = n], [e \le gap],
    \log_2(1 + e)/5)` with g the days between the two newest items, u the newest items of one visit
    among the last ten, and e the days from the newest item to the request.

    Args:
        last_times: Times of the last items of each row, newest first; any value behind the end of
            the history. Shape ``[N, K]``, int64.
        lengths: n, items of each history, at least 1. Shape ``[N]``, int64.
        moments: T, when the request is made. Shape ``[N]``, int64.
        gap: Longest time between two interactions of one visit, in the unit of the times.
        day: Ticks of a day.

    Returns:
        Shape ``[N, 8]``, float64.
    """
    steps = torch.arange(1, last_times.size(1), device=last_times.device)
    is_there = steps < lengths[:, None]  # [N, K - 1]
    between = (last_times[:, :-1] - last_times[:, 1:]).masked_fill(~is_there, 0)
    joined = (between <= gap) & is_there
    # A cumulative product of flags, in operations that ONNX has.
    in_visit = 1 + ((~joined).cumsum(dim=1) == 0).sum(dim=1)
    n = lengths.double()
    days = between[:, 0].double() / day
    late = (moments - last_times[:, 0]).clamp(min=0)
    return torch.stack(
        [
            n.log(),
            joined[:, 0].double(),
            (lengths == 1).double(),
            days.log1p() / (5 * math.log(2)),
            in_visit.double().log(),
            (in_visit == lengths).double(),
            (late <= gap).double(),
            (late.double() / day).log1p() / (5 * math.log(2)),
        ],
        dim=1,
    )
