"""Transfers from the host to a device, all tensors of a batch together.

Each copy to a GPU costs its start, and one from pageable memory is waited for besides. Here the
tensors of one dtype are laid side by side in pinned memory and copied at once, while the host goes
on.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")


def send(value: Value, device: torch.device | str) -> Value:
    """Copy all tensors in a value to a device, those of the host in one transfer for each dtype.

    Args:
        value: A tensor, or tuples, lists, dictionaries, named tuples and dataclasses of tensors,
            nested. Anything else in them stays as it is, NumPy arrays too: they belong to the host.
        device: Where the tensors go.

    Returns:
        The same with the tensors on the device; tensors that came together share their memory.
        Those that are there already are not copied.
    """
    device = torch.device(device)
    tensors: list[Tensor] = []
    _replace(value, tensors.append)
    if all(tensor.device == device for tensor in tensors):
        return value
    moved = iter(_move(tensors, device))
    result: Value = _replace(value, lambda _: next(moved))
    return result


class Pending:
    """A yes or no that a device is still computing; asked, it waits for that and no more.

    Args:
        flag: Shape ``[]``, bool.
    """

    def __init__(self, flag: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._flag = flag
        if flag.device.type == "cuda":
            self._flag = flag.to("cpu", non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(flag.device))

    def __bool__(self) -> bool:
        if self._event is not None:
            self._event.synchronize()
        return bool(self._flag)


def _move(tensors: list[Tensor], device: torch.device) -> list[Tensor]:
    moved = [tensor if tensor.device.type == "cpu" else tensor.to(device) for tensor in tensors]
    if device.type == "cpu":
        return moved
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        together = [
            number
            for number, tensor in enumerate(tensors)
            if tensor.device.type == "cpu" and tensor.dtype == dtype
        ]
        parts = _copy([tensors[number] for number in together], dtype, device)
        for number, part in zip(together, parts, strict=True):
            moved[number] = part
    return moved


def _copy(tensors: list[Tensor], dtype: torch.dtype, device: torch.device) -> Iterator[Tensor]:
    sizes = [tensor.numel() for tensor in tensors]
    buffer = torch.empty(sum(sizes), dtype=dtype, pin_memory=device.type == "cuda")
    for part, tensor in zip(buffer.split(sizes), tensors, strict=True):
        part.view(tensor.shape).copy_(tensor)
    parts = buffer.to(device, non_blocking=True).split(sizes)
    return (part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True))


def _replace(value: Any, of_tensor: Callable[[Tensor], Any]) -> Any:
    """The value with what a function gives for each of its tensors, in their order."""
    if isinstance(value, Tensor):
        return of_tensor(value)
    if isinstance(value, dict):
        return {key: _replace(part, of_tensor) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        parts = [_replace(part, of_tensor) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return dataclasses.replace(
            value, **{name: _replace(getattr(value, name), of_tensor) for name in names}
        )
    return value
