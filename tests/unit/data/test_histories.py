"""Flat histories and the windows of them."""

import numpy as np
import pytest
import torch
from logs import histories_in_order, samples_of

from recbole_hm4sr.data.histories import cut_windows


def histories(users, times, **columns):
    return histories_in_order(user=users, time=times, **columns)


def samples(flat, max_length=3):
    return samples_of(flat, max_length, length_field="length")


def test_interactions_are_ordered_by_user_then_time_then_file():
    flat = histories([2, 1, 2, 1, 2], [5, 9, 5, 1, 4], item=[10, 11, 12, 13, 14])
    assert flat.columns["user"].tolist() == [1, 1, 2, 2, 2]
    assert flat.columns["item"].tolist() == [13, 11, 14, 10, 12]
    assert flat.starts.tolist() == [0, 0, 2, 2, 2]


def test_times_one_second_apart_in_2024_keep_their_order():
    # In float32 both moments are 1704067200: their step there is 128 s.
    flat = histories([1, 1], [1_704_067_201, 1_704_067_200], item=[2, 1])
    assert flat.columns["item"].tolist() == [1, 2]
    assert torch.diff(flat.columns["time"]).tolist() == [1]


def test_windows_hold_the_most_recent_interactions_padded_on_the_right():
    flat = histories([1] * 5 + [2] * 2, [0, 1, 2, 3, 4, 0, 1], item=[1, 2, 3, 4, 5, 6, 7])
    windows, lengths = cut_windows(
        flat, torch.tensor([4, 1, 6]), {"item": "items", "time": "times"}, max_length=3
    )
    assert windows["items"].tolist() == [[2, 3, 4], [1, 0, 0], [6, 0, 0]]
    assert windows["times"].tolist() == [[1, 2, 3], [0, 0, 0], [0, 0, 0]]
    assert lengths.tolist() == [3, 1, 1]
    assert windows["times"].dtype == torch.int64


def test_windows_of_columns_with_several_values_are_padded_too():
    flat = histories([1, 1, 1], [0, 1, 2], pair=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    windows, _ = cut_windows(flat, torch.tensor([1, 2]), {"pair": "pairs"}, max_length=2)
    assert windows["pairs"].tolist() == [[[1, 2], [0, 0]], [[1, 2], [3, 4]]]


def test_cutting_windows_changes_no_column():
    flat = histories([1, 1, 1], [7, 8, 9])
    cut_windows(flat, samples(flat).targets, {"time": "times"}, max_length=5)
    assert flat.columns["time"].tolist() == [7, 8, 9]


def test_samples_are_read_by_column_and_by_number():
    flat = histories([1, 1, 1, 2, 2], [0, 1, 2, 0, 1], item=[1, 2, 3, 4, 5])
    all_samples = samples(flat, max_length=1)
    assert len(all_samples) == 3
    assert all_samples["item"].tolist() == [2, 3, 5]
    assert all_samples["length"].tolist() == [1, 1, 1]
    assert samples(flat)["length"].tolist() == [1, 2, 1]
    assert all_samples.columns == list(all_samples) == ["user", "time", "item", "length"]
    assert "item" in all_samples
    assert "length" in all_samples
    assert "items" not in all_samples
    with pytest.raises(KeyError, match="items"):
        all_samples["items"]


@pytest.mark.parametrize(
    "index",
    [
        [2, 0],
        np.array([2, 0]),
        torch.tensor([2, 0]),
        (2, 0),
    ],
)
def test_samples_are_chosen_by_any_kind_of_index(index):
    flat = histories([1, 1, 1, 1], [0, 1, 2, 3], item=[1, 2, 3, 4])
    assert samples(flat)[index]["item"].tolist() == [4, 2]


@pytest.mark.parametrize(
    "index",
    [
        [True, False, True],
        np.array([True, False, True]),
        torch.tensor([True, False, True]),
        slice(0, 3, 2),
        range(0, 3, 2),
    ],
)
def test_samples_are_chosen_by_mask_slice_and_range(index):
    flat = histories([1, 1, 1, 1], [0, 1, 2, 3], item=[1, 2, 3, 4])
    assert samples(flat)[index]["item"].tolist() == [2, 4]


def test_an_empty_list_chooses_no_samples():
    chosen = samples(histories([1, 1], [0, 1]))[[]]
    assert len(chosen) == 0
    assert chosen["time"].tolist() == []


def test_sorting_keeps_equal_samples_in_order_as_recbole_does():
    flat = histories([1, 1, 1, 2, 2], [0, 5, 7, 0, 5], item=[1, 2, 3, 4, 5])
    part = samples(flat)
    part.sort(by="time", ascending=True)
    assert part["item"].tolist() == [2, 5, 3]
    # RecBole reverses an ascending order, so equal samples change places.
    part.sort(by="time", ascending=False)
    assert part["item"].tolist() == [3, 5, 2]


def test_parts_share_the_flat_columns():
    flat = histories([1, 1, 1], [0, 1, 2])
    part = samples(flat)[[0]]
    assert part.histories is flat
    assert part.targets.shape == (1,)


def test_a_column_of_windows_is_cut_row_by_row():
    flat = histories([1, 1, 1, 1], [0, 1, 2, 3], item=[5, 6, 7, 8])
    windows = samples(flat, max_length=2)["item_list"]
    assert len(windows) == 3
    assert windows[0].tolist() == [5, 0]
    assert windows[[1, 2]].tolist() == [[5, 6], [6, 7]]


# --- windows as rows of a view ------------------------------------------------------------------


def windows_by_places(flat, targets, column, max_length):
    """The arrangement before: every place of every window is looked up, padding at place 0."""
    starts = torch.maximum(flat.starts[targets], targets - max_length)
    steps = torch.arange(max_length)
    inside = steps < (targets - starts)[:, None]
    places = (starts[:, None] + steps).masked_fill_(~inside, 0)
    window = flat.columns[column][places]
    return window.masked_fill_(~inside.view(*inside.shape, *(1,) * (window.ndim - 2)), 0)


@pytest.mark.parametrize("max_length", [1, 4, 50, 300])
def test_windows_are_those_of_looking_every_place_up(max_length):
    random = np.random.default_rng(max_length)
    users = random.integers(1, 12, 200)
    flat = histories(
        users.tolist(),
        random.integers(10**9, size=200).tolist(),
        item=random.integers(1, 99, 200).tolist(),
        price=[*random.random(199).tolist(), float("inf")],
        pair=random.random((200, 2)).tolist(),
    )
    names = {"item": "items", "time": "times", "price": "prices", "pair": "pairs"}
    everything = samples(flat).targets
    # The second half leaves the last windows out, so that no view ends beyond the column.
    for targets in (everything, everything[torch.randperm(len(everything) // 2)], everything[:0]):
        windows, lengths = cut_windows(flat, targets, names, max_length=max_length)
        for column, name in names.items():
            expected = windows_by_places(flat, targets, column, max_length)
            assert torch.equal(windows[name], expected)
            assert windows[name].dtype == flat.columns[column].dtype
        assert torch.equal(lengths, (targets - flat.starts[targets]).clamp(max=max_length))


def test_a_window_may_be_changed_without_changing_a_column():
    flat = histories([1] * 9, list(range(9)))
    windows, _ = cut_windows(flat, torch.tensor([2, 3]), {"time": "times"}, max_length=3)
    windows["times"][:] = -1
    assert flat.columns["time"].tolist() == list(range(9))
