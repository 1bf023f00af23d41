"""Mixed precision: what a step computes in, and the scale of its loss.

bfloat16 has the range of float32, so gradients neither vanish nor overflow, and nothing is scaled.
float16 has more digits and a small range: the loss is scaled up before the backward pass, and a
step whose gradients overflow is left out while the scale comes down.
"""

import contextlib
from typing import Any, Literal

import torch
from torch import Tensor


class Precision:
    """The precision of a run; its state is part of what a run resumes from.

    Args:
        device: Where the steps run.
        enabled: Whether operators that allow it compute in ``dtype``; else all in float32.
        dtype: Name of the low precision.
    """

    def __init__(
        self, device: torch.device, *, enabled: bool, dtype: Literal["bfloat16", "float16"]
    ) -> None:
        self._device_type = device.type
        self._enabled = enabled
        self._dtype = torch.float16 if dtype == "float16" else torch.bfloat16
        scales = enabled and self._dtype == torch.float16
        self._scaler = torch.amp.GradScaler(device.type, enabled=scales)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """What the losses are computed in."""
        return torch.autocast(self._device_type, dtype=self._dtype, enabled=self._enabled)

    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss, scaled where the precision needs it."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call, unused-ignore]

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring the gradients to their own scale, for what reads them before the step."""
        self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Move the weights, unless a scaled gradient has overflowed; adapt the scale."""
        self._scaler.step(optimizer)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """The scale and how it came about; empty where nothing is scaled."""
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state of :meth:`state_dict`."""
        if state:
            self._scaler.load_state_dict(state)
