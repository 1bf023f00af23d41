"""The data set: RecBole's batches bit for bit, exact times, and what a split may tell."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from datafiles import (
    DAY,
    INTER,
    NEW_YEAR,
    read_config,
    read_dataset,
    write_dataset,
)
from recbole.data import data_preparation
from recbole.data.dataset import SequentialDataset

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.histories import HistorySamples
from recbole_hm4sr.data.loaders import make_loaders
from recbole_hm4sr.data.recbole import MultiModalSequentialDataset
from recbole_hm4sr.data.seen import FIRST_POSITION

# RecBole's own reader and augmentation, on pandas 3 and numpy 2.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore::Warning:recbole\.data"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept"),
]

RATED = INTER + "\trating:float"
ITEMS = (
    "item_id:token\tprice:float\tbrand:token\ttags:token_seq\ttitle:token_seq\tshape:float_seq",
    [
        (f"i{item}", item / 3 if item % 4 else "", f"b{item % 3}", "x y z"[: item % 4 * 2],
         f"title {item % 5}", f"{item} 0.5")
        for item in range(40)
    ],
)  # fmt: skip
USERS = (
    "user_id:token\tage:float\tsex:token",
    [(f"u{user}", user or "", "mf"[user % 2]) for user in range(12)],
)
ALL_COLUMNS = {"inter": "*", "item": "*", "user": "*"}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Users of 1, 2, 3, 4 and 80 interactions, tied times, repeated items, ratings, in no order."""
    random = np.random.default_rng(1)
    lengths = [1, 2, 3, 4, 80, 5, 1, 9, 2, 17, 33]
    rows = [
        (
            f"u{user}",
            f"i{random.integers(30)}",
            NEW_YEAR + DAY * int(random.integers(length)),
            random.choice([1, 2.5, 3.7, 4.1, 5]),
        )
        for user, length in enumerate(lengths)
        for _ in range(length)
    ]
    random.shuffle(rows)
    folder = tmp_path_factory.mktemp("atomic") / "toy"
    return write_dataset(folder, rows, RATED, item=ITEMS, user=USERS)


def recbole_loaders(config):
    return data_preparation(config, SequentialDataset(config))


def our_loaders(config):
    config["train_mode"] = "prefix"  # as RecBole trains
    dataset = MultiModalSequentialDataset(config)
    return make_loaders(config, dataset, dataset.build())


def batches_of(loaders_of, config):
    """All batches of two training epochs, validation and test."""
    np.random.seed(4)  # noqa: NPY002  RecBole's negative sampler draws from it
    loaders = loaders_of(config)
    batches = []
    for number, loader in enumerate(loaders):
        for _ in range(2 if number == 0 else 1):
            for batch in loader:
                interaction, *rest = batch if isinstance(batch, tuple) else (batch,)
                batches.append((interaction.interaction, rest))
    return batches, [len(loader._dataset) for loader in loaders]


def assert_equal_batches(path, **settings):
    """Our batches are RecBole's, but for the type of the times; returns the sizes of the parts."""
    config = read_config(path, train_batch_size=16, eval_batch_size=4, **settings)
    is_packed = config["model"] == "HM4SR"
    expected, expected_sizes = batches_of(recbole_loaders, copy.deepcopy(config))
    actual, sizes = batches_of(our_loaders, config)
    assert sizes == expected_sizes
    assert len(actual) == len(expected) > 0
    for (ours, rest), (recboles, recboles_rest) in zip(actual, expected, strict=True):
        # A packed model's batches say besides where their windows stand.
        assert set(ours) == {*recboles, *[FIRST_POSITION] * is_packed}
        for name, values in recboles.items():
            is_time = name in ("timestamp", "timestamp_list")
            assert ours[name].dtype == (torch.int64 if is_time else values.dtype), name
            assert torch.equal(ours[name].to(values.dtype), values), name
        for one, other in zip(rest, recboles_rest, strict=True):
            assert (one is None and other is None) or torch.equal(one, other)
    return sizes


SPLITS = [
    {"LS": "valid_and_test"},
    {"LS": "valid_only"},
    {"LS": "test_only"},
    {"RS": [0.8, 0.1, 0.1]},
    {"RS": [6, 2, 2]},
    {"TS": [0.8, 0.1, 0.1]},
]


@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_batches_equal_recbole_s_bit_for_bit(mixed, split):
    eval_args = {"split": split, "order": "TO", "mode": "full"}
    sizes = assert_equal_batches(mixed, eval_args=eval_args, load_col={"inter": "*"})
    # 157 interactions of 11 users make 146 samples.
    assert sum(sizes) == 157 - 11


def test_batches_equal_recbole_s_without_groups(mixed):
    eval_args = {"split": {"RS": [8, 1, 1]}, "group_by": "none", "order": "TO", "mode": "full"}
    assert assert_equal_batches(mixed, eval_args=eval_args) == [118, 14, 14]


@pytest.mark.parametrize(
    "settings",
    [
        {"MAX_ITEM_LIST_LENGTH": 3},
        {"MAX_ITEM_LIST_LENGTH": 1, "load_col": {"inter": "*"}},
        {"user_inter_num_interval": "[3,inf)", "item_inter_num_interval": "[2,inf)"},
        {"val_interval": {"rating": "[2,inf)"}, "load_col": {"inter": "*"}},
        {"numerical_features": ["rating"], "load_col": {"inter": "*"}},
        {"normalize_field": ["rating"], "load_col": {"inter": "*"}},
        {"RATING_FIELD": "rating", "threshold": {"rating": 3}, "load_col": {"inter": "*"}},
        {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}},
        {"train_neg_sample_args": {"distribution": "popularity", "sample_num": 2, "alpha": 0.5}},
        {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni5"}},
        {"eval_args": {"split": {"RS": [6, 2, 2]}, "order": "TO", "mode": "pop3"}},
        {"shuffle": False},
    ],
    ids=lambda settings: ", ".join(settings),
)
def test_batches_equal_recbole_s_under_its_settings(mixed, settings):
    assert_equal_batches(mixed, **settings)


RECBOLE_READS_SEQUENCES = int(pd.__version__.split(".")[0]) < 3


@pytest.mark.skipif(
    not RECBOLE_READS_SEQUENCES,
    reason="RecBole's own reader breaks on pandas 3 (test_compat_data.py)",
)
@pytest.mark.parametrize("settings", [{}, {"seq_len": {"title": 1}}], ids=str)
def test_items_and_users_are_joined_as_recbole_joins_them(mixed, settings):
    assert_equal_batches(mixed, load_col=ALL_COLUMNS, **settings)


def test_items_and_users_are_joined_by_token(mixed):
    train, _, _ = our_loaders(read_config(mixed, load_col=ALL_COLUMNS))
    dataset = train._dataset
    batch = next(iter(train))
    known = [item / 3 for item in range(40) if item % 4 and f"i{item}" in dataset.item_tokens]
    mean = np.float32(np.mean(known))
    for row, item in enumerate(dataset.id2token("item_id", batch["item_id"].numpy())):
        number = int(item[1:])
        price = np.float32(number / 3) if number % 4 else mean
        assert batch["price"][row].item() == pytest.approx(price, rel=1e-6)
        assert dataset.id2token("brand", batch["brand"][row].item()) == f"b{number % 3}"
        tags = dataset.id2token("tags", batch["tags"][row].numpy()).tolist()
        assert tags == ["x", "y", "z"][: number % 4] + ["[PAD]"] * (3 - number % 4)
        assert batch["shape"][row].tolist() == [number, 0.5]
    for row, user in enumerate(dataset.id2token("user_id", batch["user_id"].numpy())):
        assert dataset.id2token("sex", batch["sex"][row].item()) == "mf"[int(user[1:]) % 2]


# --- times -------------------------------------------------------------------------------------


def test_purchases_one_second_apart_in_2024_keep_their_order_and_their_gap(tmp_path):
    rows = [("u", f"i{5 - step}", NEW_YEAR + 5 - step) for step in range(6)]
    train, valid, test = read_dataset(write_dataset(tmp_path / "toy", rows)).build()
    batch = test[[0]]
    assert batch["timestamp_list"].dtype == torch.int64
    assert batch["timestamp_list"][0, :5].tolist() == [NEW_YEAR + step for step in range(5)]
    tokens = test.id2token("item_id", batch["item_id_list"][0, :5].numpy())
    assert tokens.tolist() == ["i0", "i1", "i2", "i3", "i4"]
    assert batch["timestamp"].tolist() == [NEW_YEAR + 5]
    assert (len(train), len(valid), len(test)) == (3, 1, 1)


def test_equal_times_keep_the_file_s_order(tmp_path):
    items = [f"i{number}" for number in np.random.default_rng(0).permutation(30)]
    path = write_dataset(tmp_path / "toy", [("u", item, NEW_YEAR) for item in items])
    *_, test = read_dataset(path).build()
    assert (
        test.id2token("item_id", test[[0]]["item_id_list"][0, :29].numpy()).tolist() == items[:29]
    )


def tied_history(path, **settings):
    """Items of a history of 30 interactions at one time, then one later."""
    *_, test = read_dataset(path, tie_order="shuffle", **settings).build()
    batch = test[[0]]
    items = test.id2token("item_id", batch["item_id_list"][0, :30].numpy()).tolist()
    return items, test.id2token("item_id", batch["item_id"].item())


def test_equal_times_are_shuffled_by_the_seed_where_the_setting_says_so(tmp_path):
    rows = [("u", f"i{number}", NEW_YEAR) for number in range(30)] + [("u", "late", NEW_YEAR + 1)]
    path = write_dataset(tmp_path / "toy", rows)
    items, last = tied_history(path, seed=1)
    assert sorted(items) == sorted(f"i{number}" for number in range(30))
    assert items != [f"i{number}" for number in range(30)]
    assert last == "late"
    assert tied_history(path, seed=1) == (items, last)
    assert tied_history(path, seed=2)[0] != items


@pytest.mark.parametrize(("keep", "expected"), [("first", range(15)), ("last", range(15, 30))])
def test_removing_duplicates_keeps_the_file_s_order_of_equal_times(tmp_path, keep, expected):
    rows = [("u", f"i{number % 15}", NEW_YEAR, number) for number in range(30)]
    path = write_dataset(tmp_path / "toy", rows, INTER + "\tplace:float")
    *_, test = read_dataset(path, rm_dup_inter=keep, load_col={"inter": "*"}).build()
    batch = test[[0]]
    places = [*batch["place_list"][0, :14].tolist(), batch["place"].item()]
    assert places == list(expected)


def test_milliseconds_order_the_history_and_the_model_gets_them(tmp_path):
    rows = [("u", f"i{9 - step}", NEW_YEAR * 1000 + 600 * (9 - step)) for step in range(10)]
    path = write_dataset(tmp_path / "toy", rows)
    with pytest.raises(DataError, match="looks like milliseconds; set timestamp_unit: ms"):
        read_dataset(path)
    *_, test = read_dataset(path, timestamp_unit="ms").build()
    batch = test[[0]]
    tokens = test.id2token("item_id", batch["item_id_list"][0, :9].numpy()).tolist()
    assert tokens == [f"i{number}" for number in range(9)]
    expected = [NEW_YEAR * 1000 + number * 600 for number in range(9)]
    assert batch["timestamp_list"][0, :9].tolist() == expected


def test_fractions_of_a_second_as_advised_are_read_to_the_last_digit(tmp_path):
    moments = [1600000000.25, 1600000000.75, 1600000001.0, 1600000001.001]
    path = write_dataset(tmp_path / "toy", [("u", f"i{n}", t) for n, t in enumerate(moments)])
    advice = "a whole number; write milliseconds and set timestamp_unit: ms, got 1600000000.25"
    with pytest.raises(DataError, match=advice):
        read_dataset(path)
    with pytest.raises(DataError, match="it looks like seconds, so multiply it by 1000, got"):
        read_dataset(path, timestamp_unit="ms")
    rows = [("u", f"i{n}", round(t * 1000)) for n, t in enumerate(moments)]
    (tmp_path / "ms").mkdir()
    path = write_dataset(tmp_path / "ms" / "toy", rows)
    dataset = read_dataset(path, timestamp_unit="ms")
    times = [1600000000250, 1600000000750, 1600000001000, 1600000001001]
    dataset.build()
    assert dataset.inter_feat.histories.columns["timestamp"].tolist() == times


def test_the_time_encoding_is_told_whole_seconds(tmp_path):
    # From .9 to 1.1: a gap of 200 ms is one of a second between whole seconds.
    moments = [0, 900, 1100, 5_000, 9_000, 20_000]
    rows = [("u", f"i{n}", NEW_YEAR * 1000 + t + 900) for n, t in enumerate(moments)]
    path = write_dataset(tmp_path / "toy", rows)
    train, valid, test = read_dataset(path, timestamp_unit="ms").build()
    assert train.first_time() == test.first_time() == NEW_YEAR
    assert train.longest_gap() == 5 - 2
    assert valid.longest_gap() == 9 - 5


@pytest.mark.parametrize("seed", [1, 2])
def test_shuffled_ties_leave_milliseconds_in_their_order(tmp_path, seed):
    rows = [("u", f"i{number}", NEW_YEAR * 1000 + 3 * number) for number in reversed(range(30))]
    path = write_dataset(tmp_path / "toy", rows)
    *_, test = read_dataset(path, timestamp_unit="ms", tie_order="shuffle", seed=seed).build()
    tokens = test.id2token("item_id", test[[0]]["item_id_list"][0, :29].numpy()).tolist()
    assert tokens == [f"i{number}" for number in range(29)]


def test_whole_histories_in_milliseconds_give_the_batches_of_seconds(tmp_path, mixed):
    lines = (mixed / "toy" / "toy.inter").read_text().splitlines()[1:]
    rows = [(user, item, int(time) * 1000) for user, item, time, _ in map(str.split, lines)]
    path = write_dataset(tmp_path / "toy", rows)
    ours, _ = batches_of(our_loaders, read_config(path, timestamp_unit="ms"))
    seconds, _ = batches_of(our_loaders, read_config(mixed))
    for (one, _), (other, _) in zip(ours, seconds, strict=True):
        for name in other:
            factor = 1000 if name in ("timestamp", "timestamp_list") else 1
            assert torch.equal(one[name], other[name] * factor)


@pytest.mark.parametrize(
    "settings",
    [
        {"normalize_all": True},
        {"normalize_field": ["timestamp"]},
        {"numerical_features": ["timestamp"]},
    ],
    ids=lambda settings: ", ".join(settings),
)
def test_a_setting_that_would_change_the_times_is_refused(folder, settings):
    dataset = read_dataset(folder.parent, **settings)
    with pytest.raises(DataError, match="timestamp must stay whole numbers for the models"):
        dataset.build()


# --- what a split tells ------------------------------------------------------------------------


@pytest.fixture
def leaky(tmp_path):
    """A history whose last two gaps are the longest, a single early interaction, a late user."""
    steps = [100, 110, 140, 150, 1150, 6150]
    rows = [("single", "i0", 0), *(("u", f"i{n}", NEW_YEAR + step) for n, step in enumerate(steps))]
    rows += [("late", f"i{n}", NEW_YEAR + 50 + 7 * n) for n in range(4)]
    return write_dataset(tmp_path / "toy", rows)


def test_the_training_part_tells_nothing_of_validation_and_test(leaky):
    train, valid, test = read_dataset(leaky).build()
    assert train.longest_gap() == 140 - 110
    assert valid.longest_gap() == 1150 - 150
    assert test.longest_gap() == 6150 - 1150


def test_the_targets_of_a_split_are_counted_and_no_others(leaky):
    """Drawn negatives follow the training targets; those of validation and test would leak."""
    train, valid, _ = read_dataset(leaky).build()

    def counts(part):
        found = part.target_counts().tolist()
        assert len(found) == part.item_num
        return {part.item_tokens[item]: n for item, n in enumerate(found) if n}

    # The first is no target, the last two are those of validation and test.
    assert counts(train) == {"i1": 2, "i2": 1, "i3": 1}
    assert counts(valid) == {"i4": 1, "i2": 1}


def test_an_interaction_in_no_sample_does_not_count_as_the_first(leaky):
    train, _, _ = read_dataset(leaky).build()
    assert train.first_time() == NEW_YEAR + 50


def test_a_user_who_appears_only_in_the_test_part_does_not_count_in_training(tmp_path):
    rows = [("a", "i0", 5), ("a", "i1", NEW_YEAR + 900)]
    rows += [("b", f"i{n}", NEW_YEAR + n) for n in range(6)]
    args = {"split": {"RS": [4, 1, 1]}, "group_by": "none", "order": "TO", "mode": "full"}
    train, valid, test = read_dataset(write_dataset(tmp_path / "toy", rows), eval_args=args).build()
    assert (len(train), len(valid), len(test)) == (4, 1, 1)
    assert train.first_time() == NEW_YEAR
    assert train.longest_gap() == 1
    assert test.first_time() == 5


# --- memory ------------------------------------------------------------------------------------


def test_what_is_kept_is_linear_in_the_interactions(mixed):
    dataset = read_dataset(mixed, load_col={"inter": "*"}, MAX_ITEM_LIST_LENGTH=1000)
    parts = dataset.build()
    histories = dataset.inter_feat.histories
    assert {
        name: tuple(values.shape) for name, values in histories.columns.items()
    } == dict.fromkeys(("user_id", "item_id", "timestamp", "rating"), (157,))
    assert histories.starts.shape == (157,)
    for part in parts:
        assert isinstance(part.inter_feat, HistorySamples)
        assert part.inter_feat.histories is histories
        tensors = [value for value in vars(part.inter_feat).values() if torch.is_tensor(value)]
        assert [tensor.shape for tensor in tensors] == [(len(part),)]


def test_a_batch_is_as_wide_as_the_longest_window_allowed(mixed):
    train, _, _ = read_dataset(mixed, MAX_ITEM_LIST_LENGTH=7).build()
    assert train[[0, 1]]["item_id_list"].shape == (2, 7)
    assert train[3]["item_id_list"].shape == (1, 7)
    assert train[1:4]["timestamp_list"].shape == (3, 7)
