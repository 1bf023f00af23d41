"""The numbers of users and items: saved, read back, begun from."""

import numpy as np
import pytest
from datafiles import read_config, walks, write_dataset

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.recbole import MultiModalSequentialDataset
from recbole_hm4sr.data.vocabulary import FILE_NAME, Vocabulary


def vocabulary(users=("[PAD]", "u1"), items=("[PAD]", "i2", "größe", "NA")):
    return Vocabulary(np.array(users), np.array(items))


def test_what_is_saved_is_read(tmp_path):
    vocabulary().save(tmp_path / FILE_NAME)
    read = Vocabulary.load(tmp_path / FILE_NAME)
    assert read.users.tolist() == ["[PAD]", "u1"]
    assert read.items.tolist() == ["[PAD]", "i2", "größe", "NA"]
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        (["[PAD]", "a", "b", "a"], "items must give a token one number, got 1 and 3 for 'a'"),
        (["a", "b"], r"items must be tokens by number, with \[PAD\] as number 0"),
        ([], "items must be tokens by number"),
    ],
)
def test_a_vocabulary_that_contradicts_itself_is_refused(items, sentence, tmp_path):
    path = tmp_path / FILE_NAME
    vocabulary(items=items).save(path)
    with pytest.raises(DataError, match=sentence):
        Vocabulary.load(path)


def test_a_run_without_one_is_told_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"does not exist; a run of an older release .* train it"):
        Vocabulary.load(tmp_path / FILE_NAME)


def test_a_damaged_file_and_one_of_a_later_release_are_refused(tmp_path):
    path = tmp_path / FILE_NAME
    path.write_bytes(b"PK\3\4 and no more")
    with pytest.raises(DataError, match=r"vocabulary\.npz must be the vocabulary of a run, but"):
        Vocabulary.load(path)
    np.savez(path, format=np.array("recbole-hm4sr vocabulary 9"), users=np.zeros(1), items=[])
    with pytest.raises(DataError, match=r"must have the format .* 1', got .* 9'; use the release"):
        Vocabulary.load(path)


def test_a_later_data_set_keeps_the_numbers_and_appends(tmp_path):
    config = read_config(write_dataset(tmp_path / "toy", walks([5, 4])))
    first = MultiModalSequentialDataset(config)
    first.vocabulary.save(tmp_path / FILE_NAME)
    rows = [("new", "i9", 1), ("new", "i1", 2), *walks([5, 4])[3:], ("u1", "i8", 10**9)]
    (tmp_path / "later").mkdir()
    config = read_config(write_dataset(tmp_path / "later" / "toy", rows))
    later = MultiModalSequentialDataset(config, Vocabulary.load(tmp_path / FILE_NAME)).vocabulary
    assert first.vocabulary.users.tolist() == ["[PAD]", "u0", "u1"]
    assert first.vocabulary.items.tolist() == ["[PAD]", "i0", "i1", "i2", "i3", "i4"]
    assert later.users.tolist() == [*first.vocabulary.users, "new"]
    assert later.items.tolist() == [*first.vocabulary.items, "i9", "i8"]
    # Without it the numbers follow the file, as RecBole's do.
    alone = MultiModalSequentialDataset(config).vocabulary
    assert alone.users.tolist()[:2] == ["[PAD]", "new"]


def test_interactions_of_a_begun_vocabulary_carry_its_numbers(tmp_path):
    config = read_config(write_dataset(tmp_path / "toy", walks([5, 5])))
    earlier = Vocabulary(np.array(["[PAD]", "gone", "u1"]), np.array(["[PAD]", "i4", "i3"]))
    dataset = MultiModalSequentialDataset(config, earlier)
    dataset.build()
    assert (dataset.user_num, dataset.item_num) == (4, 6)
    # u0 is new: number 3. Items i0, i1, i2 come after those known.
    assert dataset.log.users.tolist() == [2] * 5 + [3] * 5
    assert dataset.log.items[:5].tolist() == [3, 4, 5, 2, 1]
    assert dataset.log.offsets.tolist() == [0, 0, 0, 5, 10]
