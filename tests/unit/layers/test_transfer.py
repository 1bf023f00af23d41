"""A batch goes to a device in one transfer for each dtype; ``meta`` stands for the device."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from helpers import count_operators

from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.transfer import _replace, send


class Pair(NamedTuple):
    values: torch.Tensor
    on_host: np.ndarray


@dataclass(frozen=True)
class Parts:
    first: Pair
    others: tuple
    name: str


def parts():
    pair = Pair(torch.arange(6).view(2, 3), np.arange(3))
    others = (torch.ones(4), None, {"flags": torch.tensor([True, False]), "n": torch.tensor(7)})
    return Parts(pair, others, "a name")


def shapes(value):
    found = []
    _replace(value, lambda tensor: found.append((tensor.dtype, tuple(tensor.shape))))
    return found


def test_every_tensor_is_sent_and_nothing_else():
    value = parts()
    sent = send(value, "meta")
    assert shapes(sent) == shapes(value)
    devices = []
    _replace(sent, lambda tensor: devices.append(tensor.device.type))
    assert devices == ["meta"] * 4
    assert sent.first.on_host is value.first.on_host
    assert (sent.name, sent.others[1]) == ("a name", None)


def test_one_transfer_for_each_dtype():
    with count_operators() as counts:
        send(parts(), "meta")
    assert counts["_to_copy"] == 3  # int64, float32, bool
    packing = build_packing(torch.arange(1, 51).repeat(40), 50)
    assert len(packing.buckets) > 1
    with count_operators() as counts:
        send(packing, "meta")
    assert counts["_to_copy"] == 2  # int64, float32


def test_what_is_there_already_is_not_copied():
    value = parts()
    assert send(value, "cpu") is value


def test_an_arrangement_can_be_read_where_it_was_sent():
    packing = build_packing(torch.tensor([2, 1, 3]), 4)
    sent = send(packing, "meta")
    assert sent.shapes == packing.shapes
    tokens = torch.empty(6, 5, device="meta")
    assert sent.collect(sent.spread(tokens)).shape == (6, 5)
