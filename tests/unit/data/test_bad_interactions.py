"""Interactions and settings that make no data set, each refused in one sentence."""

import pytest
from datafiles import DAY, INTER, read_dataset, walks, write_dataset, write_lines

from recbole_hm4sr.base.errors import DataError

# RecBole's own reader, on pandas 3.
pytestmark = pytest.mark.filterwarnings(r"ignore::Warning:recbole\.data")

ALL_COLUMNS = {"inter": "*", "item": "*", "user": "*"}


def test_a_missing_file_of_interactions_is_named(folder):
    (folder / "toy.inter").unlink()
    with pytest.raises(DataError, match=r"the file .*toy\.inter does not exist; put the inter"):
        read_dataset(folder.parent)


def test_filters_that_leave_nothing_are_named(folder):
    with pytest.raises(
        DataError, match=r"at least one interaction must pass the filters \(user_in"
    ):
        read_dataset(folder.parent, user_inter_num_interval="[100,inf)")


@pytest.mark.parametrize("needed", [3, 4])
def test_a_split_that_leaves_a_part_empty_is_refused(tmp_path, needed):
    path = write_dataset(tmp_path / "toy", walks([needed - 1, 2]))
    mode = "valid_and_test" if needed == 4 else "test_only"
    dataset = read_dataset(path, eval_args={"split": {"LS": mode}, "order": "TO", "mode": "full"})
    if needed == 3:
        expected = "the split test_only must leave samples in every part, got 2 / 0; at least one"
    else:
        expected = "got 2 / 0 / 1; at least one user needs 4 interactions"
    with pytest.raises(DataError, match=expected):
        dataset.build()


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("user_id:float\titem_id:token\ttimestamp:float", [(1, "i", 1)], "'user_id' must be token"),
        (
            "user_id:token\titem_id:token\ttimestamp:token",
            [("u", "i", 1)],
            "'timestamp' must be fl",
        ),
        (INTER, [("u", "", 1)], "line 2: item_id must not be empty"),
        (INTER, [("u", "i", "")], "line 2: timestamp must be a finite number"),
        (
            "user_id:token\titem_id:token",
            [("u", "i")],
            "must have the column 'timestamp', got user_id",
        ),
    ],
)
def test_bad_interactions_are_refused(tmp_path, header, rows, message):
    path = write_dataset(tmp_path / "toy", rows, header)
    with pytest.raises(DataError, match=message):
        read_dataset(path)


def test_an_item_or_a_user_on_two_lines_is_refused(folder):
    write_lines(folder / "toy.item", "item_id:token", [("i0",), ("i1",), ("i0",)])
    with pytest.raises(
        DataError, match="item_id must be on one line each, got 'i0' in lines 2 and 4"
    ):
        read_dataset(folder.parent, load_col=ALL_COLUMNS)
    write_lines(folder / "toy.item", "item_id:token", [("i0",), ("i1",)])
    write_lines(folder / "toy.user", "user_id:token", [("u1",), ("u1",)])
    with pytest.raises(
        DataError, match="user_id must be on one line each, got 'u1' in lines 2 and 3"
    ):
        read_dataset(folder.parent, load_col=ALL_COLUMNS)


def test_a_lone_quotation_mark_in_a_title_swallows_no_item(folder):
    titles = ['TV 24"', "Radio", 'Say "A"', "B", "C", "D", "E"]
    write_lines(
        folder / "toy.item",
        "item_id:token\ttitle:token_seq",
        [(f"i{number}", title) for number, title in enumerate(titles)],
    )
    dataset = read_dataset(folder.parent, load_col=ALL_COLUMNS)
    titles_read = dataset.id2token("title", dataset.item_feat["title"][1])
    assert titles_read.tolist() == ["TV", '24"']
    assert len(dataset.item_feat) == dataset.item_num == 5


def test_a_file_with_windows_line_ends_gives_the_same_data_set(folder):
    plain = read_dataset(folder.parent)
    plain.build()
    content = (folder / "toy.inter").read_bytes()
    (folder / "toy.inter").write_bytes(content.replace(b"\n", b"\r\n"))
    windows = read_dataset(folder.parent)
    windows.build()
    assert windows.fingerprints() == plain.fingerprints()
    assert windows.item_tokens.tolist() == plain.item_tokens.tolist()


def test_a_changed_interaction_changes_the_fingerprint(folder):
    first = read_dataset(folder.parent)
    first.build()
    write_lines(folder / "toy.inter", INTER, walks([4, 4, 4], step=DAY + 1))
    second = read_dataset(folder.parent)
    second.build()
    assert first.fingerprints() != second.fingerprints()
