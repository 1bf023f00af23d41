"""Loaders: RecBole's batches without a list of numbers and a set a user; batches of segments."""

import pytest
import torch
from datafiles import read_config, walks, write_dataset
from recbole.data import data_preparation

from recbole_hm4sr.data.loaders import TARGET_LIST, SequenceTrainDataLoader, make_loaders
from recbole_hm4sr.data.recbole import MultiModalSequentialDataset
from recbole_hm4sr.data.seen import FIRST_POSITION

pytestmark = pytest.mark.filterwarnings(r"ignore::Warning:recbole\.data")


@pytest.fixture
def path(tmp_path):
    return write_dataset(tmp_path / "toy", walks([4, 9, 3, 30, 5, 1, 17, 2]))


UNI5 = {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni5"}}


def loaders_of(path, *, prepare=None, **settings):
    """Our loaders, or those that RecBole prepares from our data set."""
    config = read_config(path, train_batch_size=8, eval_batch_size=4, **settings)
    config["train_mode"] = "prefix"  # as RecBole trains
    dataset = MultiModalSequentialDataset(config)
    if prepare is not None:
        return prepare(config, dataset)
    return make_loaders(config, dataset, dataset.build())


def samples_of(loader):
    return loader.__dict__["dataset"]


def test_recbole_s_loaders_hold_a_number_a_sample_and_its_sampler_a_set_a_user(path):
    train, _, test = loaders_of(path, prepare=data_preparation, **UNI5)
    assert samples_of(train) == list(range(len(train._dataset)))
    assert test._sampler.used_ids.tolist() == [set()] * 9


def test_ours_hold_neither(path):
    loaders = loaders_of(path, **UNI5)
    for loader in loaders:
        assert [len(samples_of(loader)), vars(samples_of(loader))] == [
            loader.sample_size, {"_size": loader.sample_size}
        ]  # fmt: skip
    assert loaders[2]._sampler.used_ids.size == 0


@pytest.mark.parametrize("settings", [{}, UNI5], ids=["full", "uni5"])
def test_ours_are_what_recbole_s_trainer_takes_them_for(path, settings):
    """It asks for the class of a loader to know how to evaluate."""
    ours = loaders_of(path, **settings)
    recboles = loaders_of(path, prepare=data_preparation, **settings)
    for one, other in zip(ours, recboles, strict=True):
        assert isinstance(one, type(other))
        assert (one.step, one.sample_size, one._batch_size) == (
            other.step, other.sample_size, other._batch_size
        )  # fmt: skip
        assert len(one) == len(other)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_worker_processes_are_the_same(path, workers):
    train, _, _ = loaders_of(path, worker=workers)
    theirs, _, _ = loaders_of(path, prepare=data_preparation, worker=0)
    for _ in range(2):
        for ours, recboles in zip(train, theirs, strict=True):
            assert ours.columns == recboles.columns
            assert all(torch.equal(ours[name], recboles[name]) for name in ours.columns)


def segments_by_places(loader, numbers):
    """The arrangement before: every place of every segment is looked up."""
    histories, segments = loader._dataset.inter_feat.histories, loader._segments
    begins, ends = segments.begins[numbers], segments.ends[numbers]
    steps = torch.arange(loader._max_length)
    inside = steps < (ends - begins)[:, None]
    positions = (begins[:, None] + steps).masked_fill_(~inside, 0)
    following = positions + 1
    trained = inside & (following >= segments.first_targets[numbers, None])
    trained &= loader._turn[following] == 0
    items, times = (histories.columns[name] for name in ("item_id", "timestamp"))
    following = following.masked_fill_(~trained, 0)
    return {
        "item_id_list": items[positions].masked_fill_(~inside, 0),
        "timestamp_list": times[positions].masked_fill_(~inside, 0),
        "item_length": ends - begins,
        FIRST_POSITION: begins,
        TARGET_LIST: items[following].masked_fill_(~trained, 0),
    }


@pytest.mark.parametrize("max_length", [1, 3, 8, 50, 200])
def test_segments_are_those_of_looking_every_place_up(path, max_length):
    config = read_config(path, MAX_ITEM_LIST_LENGTH=max_length, train_batch_size=8)
    train, _, _ = MultiModalSequentialDataset(config).build()
    loader = SequenceTrainDataLoader(config, train, shuffle=True)
    n_segments = loader.sample_size
    for numbers in (list(range(n_segments)), [n_segments - 1], [0], list(range(n_segments - 1))):
        batch = loader.collate_fn(numbers)
        expected = segments_by_places(loader, torch.tensor(numbers))
        assert set(batch.columns) == set(expected)
        for name, values in expected.items():
            assert torch.equal(batch[name], values), name
