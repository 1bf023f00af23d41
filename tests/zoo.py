"""Recorded numbers of the zoo (parity/fixtures/zoo) as batches of this package."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import assert_close
from recbole.data.interaction import Interaction

from recbole_hm4sr.data.loaders import TARGET_LIST

ZOO = Path(__file__).parent / "parity" / "fixtures" / "zoo"
TOLERANCE = 1e-9
ORDERS = pytest.mark.parametrize(
    "order", [slice(None), torch.arange(11, -1, -1)], ids=["", "reversed"]
)


def load(name):
    """All numbers of a fixture, by key."""
    with np.load(ZOO / f"{name}.npz") as archive:
        return {key: torch.from_numpy(archive[key]) for key in archive.files}


def right_padded(left_padded, lengths):
    """Left-padded rows as right-padded ones; zeros behind them."""
    rows = torch.zeros_like(left_padded)
    for row, n in enumerate(lengths.tolist()):
        rows[row, :n] = left_padded[row, left_padded.shape[1] - n :]
    return rows


def batch_of(
    items, lengths, *, times=None, labels=None, targets=None, order=slice(None), padding=0, **more
):
    """A batch of right-padded rows; each of shape ``[B, L]``, the lengths ``[B]``."""

    def rows(values):
        values = values[order]
        return torch.cat([values, values.new_zeros(len(values), padding)], dim=1)

    items = rows(items)
    columns = {
        "item_id_list": items,
        "item_length": lengths[order],
        "timestamp_list": torch.zeros_like(items) if times is None else rows(times),
        "item_id": (torch.ones_like(lengths) if targets is None else targets)[order],
        **{name: values[order] for name, values in more.items()},
    }
    if labels is not None:
        columns[TARGET_LIST] = rows(labels)
    return Interaction(columns)


def in_tokens(rows, lengths, order=slice(None)):
    """What right-padded rows hold, a row a token, in the order of the packed tokens."""
    rows, lengths = rows[order], lengths[order]
    return rows[torch.arange(rows.shape[1]) < lengths[:, None]]


def steps_of(model, batch, trajectory):
    """Assert that as many Adam steps have the recorded losses."""
    optimizer, found = torch.optim.Adam(model.parameters(), lr=1e-3), []
    for _ in trajectory:
        optimizer.zero_grad()
        loss = model.calculate_loss(batch)
        found.append(loss.item())
        loss.backward()
        optimizer.step()
    assert_close(torch.tensor(found).double(), trajectory, 1e-6)
