"""Weights carried over to a longer model, row by row."""

import numpy as np
import pytest
import torch
from torch import nn

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.layers.time import TimeEncoding
from recbole_hm4sr.model.capabilities import row_keys
from recbole_hm4sr.train.carry_over import TableRows, carry_over


class Tables(nn.Module):
    """Tables of items, of items and a mask, of users, of categories, and a layer."""

    def __init__(self, n_users, n_items, names, width=3):
        super().__init__()
        self.names = names
        self.items = nn.Embedding(n_items, width)
        self.masked = nn.Embedding(n_items + 1, width)
        self.users = nn.Embedding(n_users, width)
        self.categories = nn.Linear(width, len(names))
        self.layer = nn.Linear(width, width)

    def row_keys(self):
        return {"categories.weight": np.array(self.names), "categories.bias": np.array(self.names)}


def rows_of(model, n_users, n_items):
    return TableRows(n_users, n_items, row_keys(model))


def carried(known, n_known, new, n_new):
    weights = {name: value.clone() for name, value in known.state_dict().items()}
    fresh = carry_over(new, weights, rows_of(known, *n_known), rows_of(new, *n_new))
    return weights, new.state_dict(), fresh


def test_items_users_and_a_mask_keep_their_rows_and_new_ones_stay_as_drawn():
    known, new = Tables(4, 6, ["a", "b"]), Tables(5, 9, ["a", "b"])
    drawn = new.items.weight.detach().clone()
    before, after, fresh = carried(known, (4, 6), new, (5, 9))
    assert fresh == ()
    assert torch.equal(after["items.weight"][:6], before["items.weight"])
    assert torch.equal(after["items.weight"][6:], drawn[6:])
    assert torch.equal(after["masked.weight"][:6], before["masked.weight"][:6])
    assert torch.equal(after["masked.weight"][9], before["masked.weight"][6])  # the mask itself
    assert torch.equal(after["users.weight"][:4], before["users.weight"])
    assert torch.equal(after["layer.weight"], before["layer.weight"])


def test_categories_are_matched_by_name():
    known, new = Tables(4, 6, ["b", "d"]), Tables(4, 6, ["a", "b", "c", "d"])
    drawn = new.categories.bias.detach().clone()
    before, after, _ = carried(known, (4, 6), new, (4, 6))
    assert torch.equal(after["categories.weight"][[1, 3]], before["categories.weight"])
    assert torch.equal(after["categories.bias"][[0, 2]], drawn[[0, 2]])


def test_gap_buckets_are_matched_by_their_first_gap_and_longer_ones_start_as_the_longest():
    def encoding(longest_gap):
        return TimeEncoding(
            hidden_size=2, longest_gap=longest_gap, buckets_per_doubling=1, origin=0, scale=1.0
        )

    known, new = encoding(3), encoding(20)
    # Buckets floor(log2(gap + 1)) begin at 0, 1, 3, 7 and 15 seconds.
    assert row_keys(new)["interval_embedding.weight"].tolist() == [0, 1, 3, 7, 15]
    before, after, fresh = carried(known, (2, 2), new, (2, 2))
    table = before["interval_embedding.weight"]
    assert torch.equal(after["interval_embedding.weight"], table[[0, 1, 2, 2, 2]])
    assert fresh == ()


def test_what_has_no_partner_is_named():
    known, new = Tables(4, 6, ["a"]), Tables(4, 6, ["z"])
    new.more = nn.Linear(3, 2)
    _, _, fresh = carried(known, (4, 6), new, (4, 6))
    assert fresh == ("categories.weight", "categories.bias", "more.weight", "more.bias")


def test_another_width_is_refused():
    known, new = Tables(4, 6, ["a"]), Tables(4, 6, ["a"], width=5)
    with pytest.raises(ConfigError, match=r"same width, but items\.weight has 6x3 there and 6x5"):
        carried(known, (4, 6), new, (4, 6))


def test_a_run_that_did_not_say_what_its_rows_are_is_met_halfway():
    """Buckets of gaps begin alike; as many categories are taken to be the same, others are not."""
    gaps = [
        TimeEncoding(hidden_size=2, longest_gap=it, buckets_per_doubling=1, origin=0, scale=1.0)
        for it in (3, 20)
    ]
    known, new = gaps
    weights = {name: value.clone() for name, value in known.state_dict().items()}
    carry_over(new, weights, TableRows(2, 2), rows_of(new, 2, 2))
    table = weights["interval_embedding.weight"]
    assert torch.equal(new.interval_embedding.weight, table[[0, 1, 2, 2, 2]])
    known, new, more = (Tables(4, 6, names) for names in (["a", "b"], ["c", "d"], ["a", "b", "c"]))
    weights = {name: value.clone() for name, value in known.state_dict().items()}
    assert carry_over(new, weights, TableRows(4, 6), rows_of(new, 4, 6)) == ()
    fresh = carry_over(more, weights, TableRows(4, 6), rows_of(more, 4, 6))
    assert fresh == ("categories.weight", "categories.bias")


class Clusters(nn.Module):
    """Items that belong to clusters, which training finds; and a buffer that is of the data."""

    def __init__(self, n_items, centres):
        super().__init__()
        self.register_buffer("centres", torch.tensor(centres))
        self.register_buffer("of_item", torch.zeros(n_items, 1, dtype=torch.int64))
        self.register_buffer("features", torch.arange(n_items) / n_items)

    def row_keys(self):
        return {"centres": np.arange(len(self.centres))}

    def learned_buffers(self):
        return ("of_item",)

    def assign_new(self, first):
        """After the centres have come: the first is 7."""
        self.of_item[first:] = 10 + int(self.centres[0])


class Whole(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer


@pytest.mark.parametrize("wrap", [Whole, lambda layer: layer])
def test_what_training_gives_items_is_carried_and_new_items_get_theirs(wrap):
    known, new = Clusters(4, [7.0, 8.0]), Clusters(6, [1.0, 2.0, 3.0])
    known.of_item[1:, 0] = torch.tensor([3, 1, 2])
    _, _, fresh = carried(wrap(known), (2, 4), wrap(new), (2, 6))
    assert fresh == ()
    assert new.centres.tolist() == [7.0, 8.0, 8.0]  # one more repeats the last
    assert new.of_item[:, 0].tolist() == [0, 3, 1, 2, 17, 17]
    assert new.features.equal(torch.arange(6) / 6)
    same = Clusters(4, [1.0, 2.0])
    carried(known, (2, 4), same, (2, 4))
    assert same.of_item.equal(known.of_item)
