"""Loaders: no list of numbers, no set a user, batches of segments as looked up place by place."""

import pytest
import torch
from datafiles import read_config, walks, write_dataset
from recbole.data import data_preparation
from recbole.data.interaction import Interaction

from recbole_hm4sr.base import compat
from recbole_hm4sr.data.loaders import TARGET_LIST, SequenceTrainDataLoader
from recbole_hm4sr.data.recbole import MultiModalSequentialDataset

pytestmark = pytest.mark.filterwarnings(r"ignore::Warning:recbole\.data")


@pytest.fixture
def path(tmp_path):
    return write_dataset(tmp_path / "toy", walks([4, 9, 3, 30, 5, 1, 17, 2]))


def loaders_of(path, *, lean, **settings):
    config = read_config(path, train_batch_size=8, eval_batch_size=4, **settings)
    dataset = MultiModalSequentialDataset(config)
    if not lean:
        return data_preparation(config, dataset)
    with compat.lean_loaders():
        return data_preparation(config, dataset)


def samples_of(loader):
    return loader.__dict__["dataset"]


def test_recbole_s_loaders_hold_a_number_a_sample_and_its_sampler_a_set_a_user(path):
    train, _, test = loaders_of(path, lean=False)
    assert samples_of(train) == list(range(len(train._dataset)))
    assert test._sampler.used_ids.tolist() == [set()] * 9


@pytest.mark.parametrize(
    "settings",
    [{}, {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni5"}}],
    ids=["full", "uni5"],
)
def test_lean_loaders_give_the_same_batches(path, settings):
    batches = []
    for lean in (True, False):
        torch.manual_seed(0)
        loaders = loaders_of(path, lean=lean, **settings)
        batches.append([batch for loader in loaders for batch in [*loader, *loader]])
        assert isinstance(samples_of(loaders[0]), list) is not lean
    assert len(batches[0]) == len(batches[1]) > 8
    for pair in zip(*batches, strict=True):
        ours, recboles = (batch if isinstance(batch, Interaction) else batch[0] for batch in pair)
        assert ours.columns == recboles.columns
        for name in ours.columns:
            if "uni5" not in str(settings) or name != "item_id":
                assert torch.equal(ours[name], recboles[name])


def test_recbole_is_as_it_was_after_an_error():
    from recbole.data.dataloader import abstract_dataloader
    from recbole.sampler import RepeatableSampler

    before = RepeatableSampler.get_used_ids
    with pytest.raises(RuntimeError, match="inside"), compat.lean_loaders():
        raise RuntimeError("inside")
    assert "list" not in vars(abstract_dataloader)
    assert RepeatableSampler.get_used_ids is before


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
        TARGET_LIST: items[following].masked_fill_(~trained, 0),
    }


@pytest.mark.parametrize("max_length", [1, 3, 8, 50, 200])
def test_segments_are_those_of_looking_every_place_up(path, max_length):
    config = read_config(path, MAX_ITEM_LIST_LENGTH=max_length, train_batch_size=8)
    train, _, _ = data_preparation(config, MultiModalSequentialDataset(config))
    loader = SequenceTrainDataLoader(config, train._dataset, shuffle=True)
    n_segments = loader.sample_size
    for numbers in (list(range(n_segments)), [n_segments - 1], [0], list(range(n_segments - 1))):
        batch = loader.collate_fn(numbers)
        expected = segments_by_places(loader, torch.tensor(numbers))
        assert set(batch.columns) == set(expected)
        for name, values in expected.items():
            assert torch.equal(batch[name], values), name
