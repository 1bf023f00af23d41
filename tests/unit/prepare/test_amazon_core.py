"""``hm4sr prepare amazon``: repeats and the k-core, by arithmetic and by a loop."""

import itertools
import random

from amazonfiles import DAY, JULY, dropped, prepare, read_inter, reviews


def test_the_core_is_the_fixed_point_and_each_round_is_counted(tmp_path):
    chain = [("U1", "A"), ("U1", "B"), ("U2", "B"), ("U2", "C"), ("U3", "C"), ("U3", "D")]
    square = [("U8", "X"), ("U9", "Y"), ("U8", "Y"), ("U9", "X")]
    out, provenance = prepare(tmp_path, reviews(2014, chain + square), core=2)
    # A and D have one each; without them U1 and U3 have one, and then B and C, and U2 none.
    assert [row[:2] for row in read_inter(out)] == square
    assert [dropped(provenance, step) for step in range(5)] == [
        {},
        {},
        {"interactions of an item with fewer than 2": 2},
        {
            "interactions of an item with fewer than 2": 2,
            "interactions of a user with fewer than 2": 2,
        },
        {},
    ]
    counted = [step["interactions"] for step in provenance["steps"]]
    assert counted == [10, 10, 8, 4, 4]
    assert [provenance["steps"][-1][name] for name in ("users", "items")] == [2, 2]


def plain_core(rows, core):
    """The k-core by its definition."""
    while True:
        users, items = (
            {name for name, many in itertools.groupby(sorted(column)) if len([*many]) >= core}
            for column in ([row[0] for row in rows], [row[1] for row in rows])
        )
        left = [row for row in rows if row[0] in users and row[1] in items]
        if left == rows:
            return rows
        rows = left


def test_the_core_equals_a_plain_loop(tmp_path):
    generator = random.Random(5)
    pairs = [(f"U{generator.randrange(90)}", f"B{generator.randrange(60)}") for _ in range(520)]
    rows = [(*pair, JULY + generator.randrange(9) * DAY) for pair in dict.fromkeys(pairs)]
    expected = plain_core(rows, 5)
    assert 0 < len(expected) < len(rows)
    out, _ = prepare(tmp_path, reviews(2018, rows), core=5)
    assert read_inter(out) == expected


REPEATED = [
    ("U1", "B1", JULY + DAY),
    ("U1", "B1", JULY),  # earlier, though it stands later
    ("U1", "B1", JULY),
    ("U1", "B1", JULY + 2 * DAY),
    ("U2", "B1", JULY),
]


def test_the_earliest_of_the_same_user_and_item_is_kept(tmp_path):
    out, provenance = prepare(tmp_path, reviews(2018, REPEATED))
    assert read_inter(out) == [REPEATED[1], REPEATED[4]]
    assert dropped(provenance, 1) == {
        "the same user, item and time again": 1,
        "the same user and item again, later": 2,
    }


def test_later_interactions_of_the_same_user_and_item_can_be_kept(tmp_path):
    out, provenance = prepare(tmp_path, reviews(2018, REPEATED), keep_later=True)
    assert read_inter(out) == [REPEATED[place] for place in (0, 1, 3, 4)]
    assert dropped(provenance, 1) == {"the same user, item and time again": 1}
