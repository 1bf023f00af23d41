"""Items without interactions as candidates, and from when on items can be chosen."""

import numpy as np
import pytest
from datafiles import NEW_YEAR, read_dataset, walks, write_dataset, write_features

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.added_items import AddedItems, ModalityRows
from recbole_hm4sr.evaluate.alive import alive_since
from recbole_hm4sr.evaluate.ranks import describe_samples

ITEMS = "item_id:token\tcategories:token_seq"
# i6 occurs once. New to all: a is described by all, b by text alone, c by the .item file alone.
LINES = [["i0", "Old"], ["a", "Old New"], ["c", "New"], ["i6", "Rare"]]


def folder_of(tmp_path, **item):
    rows = [*walks([6, 6, 6]), ("u9", "i6", NEW_YEAR), ("u9", "i0", NEW_YEAR + 1)]
    item = item or {"item": (ITEMS, LINES)}
    path = write_dataset(tmp_path / "toy", rows, **item)
    known = [f"i{number}" for number in range(7)]
    write_features(
        tmp_path / "toy", "text", {it: [1.0, k] for k, it in enumerate([*known, "b", "a"])}
    )
    write_features(tmp_path / "toy", "image", {it: [k] for k, it in enumerate(["a", *known])})
    return path


def settings(**more):
    return {"modalities": {"text": "npz", "image": "npz"}, "category_field": "categories", **more}


@pytest.mark.parametrize(
    ("catalogue", "missing", "behind"),
    [
        ("interacted", "error", []),
        ("all", "error", ["a", "i6"]),  # has all features; the order of the .item file
        ("all", "zero", ["a", "i6", "b"]),  # has a feature; the order of the first modality
    ],
)
def test_described_items_are_numbered_behind_those_of_interactions(
    catalogue, missing, behind, tmp_path
):
    dataset = read_dataset(
        folder_of(tmp_path),
        item_inter_num_interval="[2,inf)",
        **settings(catalogue=catalogue, missing_features=missing),
    )
    known = [f"i{number}" for number in range(6)]
    assert dataset.item_tokens.tolist() == ["[PAD]", *known, *behind]
    train = dataset.build()[0]
    assert train.trained_items()[7:].tolist() == [False] * len(behind)
    of_item = dict(zip(dataset.item_tokens, dataset.modality("text").values.tolist(), strict=True))
    assert of_item["i3"] == [1, 3]
    if behind:
        assert of_item["a"] == [1, 8]
        flags, names = dataset.categories()
        # Names that no item with interactions has are left out.
        assert names == ("Old",)
        assert flags[:, 0].tolist() == [0, 1, 0, 0, 0, 0, 0, 1, *[0] * (len(behind) - 1)]


def test_an_earlier_vocabulary_keeps_its_numbers(tmp_path):
    dataset = read_dataset(folder_of(tmp_path), **settings(catalogue="all"))
    assert dataset.item_tokens.tolist() == ["[PAD]", *(f"i{n}" for n in range(7)), "a"]


AVAILABLE = "item_id:token\tavailable_from:float"


def test_an_item_is_alive_from_what_the_file_says_else_after_its_first_interaction(tmp_path):
    lines = [["i1", NEW_YEAR - 5], ["a", NEW_YEAR + 7], ["i2", ""], ["unknown", 3]]
    dataset = read_dataset(
        folder_of(tmp_path, item=(AVAILABLE, lines)),
        **{**settings(catalogue="all", missing_features="zero"), "category_field": None},
    )
    dataset.build()
    since = dict(zip(dataset.item_tokens.tolist(), alive_since(dataset).tolist(), strict=True))
    day = 86400
    assert since == {
        "[PAD]": np.iinfo(np.int64).min,
        "i0": NEW_YEAR,
        "i1": NEW_YEAR - 6,
        "i2": NEW_YEAR + 2 * day,
        "i3": NEW_YEAR + 3 * day,
        "i4": NEW_YEAR + 4 * day,
        "i5": NEW_YEAR + 5 * day,
        "i6": NEW_YEAR,
        "a": NEW_YEAR + 6,
        "b": np.iinfo(np.int64).min,
    }


def test_a_wrong_moment_names_its_line(tmp_path):
    lines = [["i1", ""], ["i2", -1]]
    dataset = read_dataset(folder_of(tmp_path, item=(AVAILABLE, lines)))
    dataset.build()
    with pytest.raises(DataError, match=r"toy.item, line 3: available_from must be 0 or more"):
        alive_since(dataset)


def test_interactions_before_a_request_are_those_of_an_earlier_time(tmp_path):
    dataset = read_dataset(folder_of(tmp_path), **settings(catalogue="all"))
    train, _, test = dataset.build()
    facts = describe_samples(test, train)
    # The last of u0, u1 and u2 is i5, all at one time; that of u9 is i0, of three users before.
    assert dict(zip(facts["user"], facts["interactions_before"], strict=True)) == {
        "u0": 0, "u1": 0, "u2": 0,
    } | ({"u9": 3} if "u9" in facts["user"] else {})  # fmt: skip


def test_items_that_were_added_to_a_run_have_the_features_it_has_kept(tmp_path):
    """What the files say goes before; one that has no line has the kept row, in copies too."""
    more = {"missing_features": "zero", "text_fields": ["categories"]}
    dataset = read_dataset(folder_of(tmp_path), **settings(**more))
    tokens = np.array([*dataset.item_tokens, "late"], dtype=object)
    rows = {
        name: ModalityRows(np.full((2, width), 5, np.float32), np.array([True, True]), texts)
        for name, width, texts in (("text", 2, ("in", "it")), ("image", 1, ()))
    }
    files = dataset._files_of(tokens)
    files.add(AddedItems(np.array(["i3", "late"]), rows, ()))
    for own in (files, files.first(len(tokens))):
        found = dict(zip(tokens, own.modality("text").values.tolist(), strict=True))
        assert found["i3"] == [1, 3]
        assert found["late"] == [5, 5]
    assert files._texts_of(["late", "nobody"]) == ["it", ""]
