"""Where rows of new items begin: by hand from those of the nearest known ones."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from recbole_hm4sr.train.carry_over import TableRows, carry_over
from recbole_hm4sr.train.new_item_rows import _NEAREST, NewItemRows

N_KNOWN, N_ITEMS = 30, 36


class Data:
    """Two modalities of items 1 to 35, of which 30 and later are new; 29 was never learned."""

    item_num, modality_names = N_ITEMS, ("text", "image")

    def __init__(self):
        random = np.random.default_rng(3)
        self.values = {name: random.normal(size=(N_ITEMS, 4)) for name in self.modality_names}
        self.values["text"][31] = 0  # it has an image alone
        for values in self.values.values():
            values[0] = values[35] = 0  # 35 has nothing

    def modality(self, name):
        return SimpleNamespace(take=lambda items: self.values[name][items].astype(np.float32))

    def trained_items(self):
        return np.isin(np.arange(N_ITEMS), [0, 29], invert=True)


def by_hand(data, rows):
    """The mean of the ten nearest known items with a cosine above 0, else of all known ones."""
    known, found = range(1, 29), []
    for new in range(N_KNOWN, N_ITEMS):
        cosines = {}
        for item in known:
            total = 0.0
            for values in data.values.values():
                a, b = values[new], values[item]
                if np.linalg.norm(a) > 0:
                    total += a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            cosines[item] = total
        best = sorted(known, key=lambda item: -cosines[item])[:_NEAREST]
        best = [item for item in best if cosines[item] > 0] or list(known)
        found.append(np.mean([rows[item] for item in best], axis=0))
    return np.array(found)


def test_a_new_row_is_the_mean_of_the_nearest_known_ones():
    data, rows = Data(), torch.randn(N_KNOWN, 5, generator=torch.manual_seed(1))
    begin = NewItemRows.of(SimpleNamespace(reads={"features"}), data, N_KNOWN)
    np.testing.assert_allclose(begin(rows), by_hand(data, rows.numpy()), atol=1e-6)
    # Of one number an item as of a vector.
    np.testing.assert_allclose(begin(rows[:, 2]), by_hand(data, rows.numpy())[:, 2], atol=1e-6)


def test_without_features_ids_stay_as_they_are_drawn():
    assert NewItemRows.of(SimpleNamespace(reads=()), Data(), N_KNOWN) is None
    data = Data()
    data.modality_names = ()
    assert NewItemRows.of(SimpleNamespace(reads={"features"}), data, N_KNOWN) is None


@pytest.mark.parametrize("more", [0, 1])
def test_known_rows_and_a_mask_stay_as_they_were(more):
    data = Data()
    model, width = nn.Module(), 3
    model.items = nn.Embedding(N_ITEMS + more, width)
    model.users = nn.Embedding(8, width)
    known = {"items.weight": torch.randn(N_KNOWN + more, width), "users.weight": torch.ones(7, 3)}
    drawn = model.users.weight.detach().clone()
    before, now = TableRows(7, N_KNOWN), TableRows(8, N_ITEMS)
    begin = NewItemRows.of(SimpleNamespace(reads={"features"}), data, N_KNOWN)
    assert carry_over(model, known, before, now, begin=begin) == ()
    after = model.items.weight.detach()
    assert torch.equal(after[:N_KNOWN], known["items.weight"][:N_KNOWN])
    assert torch.equal(after[N_ITEMS:], known["items.weight"][N_KNOWN:])
    expected = by_hand(data, known["items.weight"].numpy())
    np.testing.assert_allclose(after[N_KNOWN:N_ITEMS], expected, atol=1e-6)
    assert torch.equal(model.users.weight[7], drawn[7])
