"""The verdict of a report: from numbers to sentences, and from a run's files to the numbers."""

import numpy as np
import pytest
from runfiles import some_facts, write_ranks, write_run

from recbole_hm4sr.evaluate.group_scores import GroupScore
from recbole_hm4sr.report.page import write_report
from recbole_hm4sr.report.run_files import read_run
from recbole_hm4sr.report.spread import above, is_better, marked
from recbole_hm4sr.report.standing import standing_sentences
from recbole_hm4sr.report.verdict import RunNumbers, verdict
from recbole_hm4sr.report.verdict_numbers import numbers_of
from recbole_hm4sr.report.weak_groups import WeakGroup, weak_groups

GAPS = "Time since the interaction before, ties left out"
HISTORY = "Length of the history, items"


def said(**changes):
    """The sentences of a run of which these numbers are known, without quality and baselines."""
    numbers = {"metric": "NDCG@10", "chosen": "exclude", "quality": {}, "baselines": ("B.",)}
    sentences = verdict(RunNumbers(**{**numbers, **changes}))
    return tuple(text for text in sentences if text != "B." and not text.startswith("Test "))


def group(label, mean, n, *, half=0.001, small=False, name=None):
    return GroupScore(label, name or label, n, small, mean, (mean - half, mean + half))


def test_quality_is_said_in_both_protocols():
    numbers = RunNumbers(
        metric="NDCG@10",
        chosen="exclude",
        quality={"include": 0.0576, "exclude": 0.0675},
        hits={"include": 0.1033, "exclude": 0.1118},
        baselines=("With seen items kept, M is level with B.",),
    )
    assert verdict(numbers) == (
        "Test NDCG@10 is 0.0576 with seen items kept and 0.0675 with seen items removed. Of 100 "
        "targets 10.3 and 11.2 are among the first 10.",
        "With seen items kept, M is level with B.",
    )


def test_a_run_without_baselines_says_what_is_missing():
    (sentence,) = verdict(RunNumbers(metric="m", chosen="include", quality={}))
    assert sentence.startswith("No baseline was measured in this run. Counts of the same data")
    fitted = RunNumbers(metric="m", chosen="include", quality={}, has_epochs=False)
    assert verdict(fitted) == ()


@pytest.mark.parametrize(
    ("validation", "sentence"),
    [
        # Ten epochs: the last two against the eight before them.
        ([0.1] * 8 + [0.101, 0.102], "still improving at the end: the last 2 epochs brought 2.0 %"),
        ([0.1] * 8 + [0.102, 0.1], "Validation was still improving at the end"),
        ([0.1] * 8 + [0.1, 0.1005], "The last epoch is the best, but the last 2 epochs brought"),
        (
            [0.1, 0.2, 0.3, 0.2, 0.2, 0.1, 0.1, 0.1],
            "Validation had stopped improving: the best of 8 epochs is epoch 3, and the 5 after",
        ),
        ([0.1, 0.2], "It was trained for 2 epochs only: too few to say whether it has learned."),
        ([0.1], "It was trained for 1 epoch only"),
    ],
)
def test_whether_it_was_still_improving(validation, sentence):
    (found,) = said(validation=validation, wanted_epochs=10)
    assert sentence in found
    assert ("more epochs than 10." in found) == ("still improving" in found)
    (found,) = said(validation=validation, ended_by_budget=True)
    assert found.endswith("It was ended by max_cpu_minutes.")


@pytest.mark.parametrize(
    ("shuffled", "sentences"),
    [
        (
            {"text": 0.05, "image": 0.08},
            [
                "Text carries the ranking: what is lost of NDCG@10 with the features at the wrong "
                "items is text 50 %, image 20 %."
            ],
        ),
        ({"text": 0.05}, ["Text carries the ranking: what is lost of NDCG@10 with the"]),
        # Half lost is carried; a fifth, which matters most; less, somewhat.
        ({"text": 0.0501}, ["Text matters most: what is lost of NDCG@10 with the features at"]),
        ({"text": 0.08, "image": 0.09}, ["Text matters most: what is lost of NDCG@10 with the"]),
        ({"text": 0.0801}, ["Text matters somewhat: what is lost of NDCG@10 with the features"]),
        ({"text": 0.09}, ["Text matters somewhat: what is lost of NDCG@10 with the features at"]),
        ({"text": 0.07, "image": 0.072}, ["Text and image matter most, and alike: what is lost"]),
        ({"text": 0.09, "image": 0.091}, ["Text and image matter somewhat, and alike: what is"]),
        # 54 % and 50 %: no further apart than two seeds.
        ({"text": 0.05, "image": 0.046}, ["Image and text carry the ranking alike: what"]),
        (
            {"text": 0.05, "image": 0.0961},
            ["Text carries the ranking: ", "It hardly uses image: with the features at the wrong"],
        ),
        ({"text": 0.11, "image": 0.1}, ["It hardly uses the modalities: with the features at"]),
        ({}, []),
    ],
)
def test_how_much_the_ranking_rests_on_a_modality(shuffled, sentences):
    found = said(shuffled=shuffled, shuffled_metric="NDCG@10", right=0.1)
    assert len(found) == len(sentences)
    for sentence, begin in zip(found, sentences, strict=True):
        assert sentence.startswith(begin)


def test_which_part_of_the_scores_it_needs():
    left_out = {"dense part": 0.08, "events": 0.04, "near_text": 0.0999, "popularity": 0.107}
    found = said(left_out=left_out, shuffled_metric="NDCG@10", right=0.1)
    assert found == (
        "What is lost of NDCG@10 when a part of its scores is left out is: events 60 %, dense part "
        "20 %.",
        "NDCG@10 is higher without some parts of its scores: popularity by 7.0 %.",
        "It hardly uses near_text: no more than 4.0 % of NDCG@10 changes without.",
    )


def test_where_it_fails():
    weak = (WeakGroup("after breaks over 30 days", 39, 0.02), WeakGroup("for new items", 5, 0.01))
    (sentence,) = said(quality={"exclude": 0.08}, n_targets=100, weak=weak)
    assert sentence == (
        "It fails most after breaks over 30 days: 39 % of the targets, with NDCG@10 0.0200, 25 % "
        "of the mean; it is weakest for new items (5 targets, 0.0100)."
    )
    (sentence,) = said(quality={"exclude": 0.08}, n_targets=100)
    assert sentence.startswith("No group of enough users is clearly below")
    assert said(quality={"exclude": 0.08}) == ()  # no ranks were kept


def test_neighbouring_weak_ranges_are_one_place():
    scores = {
        GAPS: [
            group("1 to 7 days", 0.2, 10),
            group("7 to 30 days", 0.1, 10),
            group("30 to 90 days", 0.03, 10),
            group("90 to 365 days", 0.01, 30),
            group("over a year", 0.0, 3, small=True),
        ],
        HISTORY: [group("3 to 5", 0.05, 20), group("6 to 10", 0.1, 40)],
    }
    (breaks,) = weak_groups(scores, 0.1)
    assert breaks == WeakGroup("after breaks over 30 days", 40, pytest.approx(0.015))
    (histories,) = weak_groups({HISTORY: scores[HISTORY]}, 0.1)
    assert histories.place == "for histories under 6 items"
    middle = [group("1 to 6 h", 0.1, 1), group("6 to 24 h", 0.0, 1), group("7 to 30 days", 0.1, 1)]
    assert weak_groups({GAPS: middle}, 0.1)[0].place == "after breaks from 6 h to under 24 h"


def test_what_is_no_weak_group():
    named = "Target seen in training"
    known = group("known items", 0.1, 90)
    for other in (
        group("new items", 0.0, 5, small=True),  # few users
        group("new items", 0.08, 30),  # near the mean
        group("new items", 0.05, 30, half=0.06),  # an interval that holds the mean
    ):
        assert weak_groups({named: [other, known]}, 0.1) == ()
    new = group("new items", 0.01, 30)
    (found,) = weak_groups({named: [new, known]}, 0.1)
    assert found == WeakGroup("for items that were not seen in training", 30, 0.01)


def test_where_most_is_lost_comes_before_where_it_is_weakest():
    scores = {
        "Target seen in training": [group("new items", 0.0, 10), group("known items", 0.1, 90)],
        GAPS: [group("1 to 7 days", 0.2, 30), group("over a year", 0.02, 50)],
    }
    most, lowest = weak_groups(scores, 0.1)
    assert most.place == "after breaks over 365 days"  # 50 x 0.08 lost, and not 10 x 0.1
    assert lowest.place == "for items that were not seen in training"


def test_better_is_what_is_further_than_two_seeds():
    assert not is_better(0.104, 0.1)
    assert is_better(0.1041, 0.1)
    assert (above(0.12, 0.1), above(0.35, 0.1)) == ("20 % above", "3.5 times")
    assert [cell.best for cell in marked("ab", [0.104, 0.1])] == [False, False]
    assert [cell.best for cell in marked("abc", [0.1, None, 0.105])] == [False, False, True]
    assert [cell.best for cell in marked("ab", [10.0, 11.0], lower=True)] == [True, False]
    assert [cell.best for cell in marked("ab", [10.0, 10.4], lower=True)] == [False, False]
    assert [cell.best for cell in marked("a", [1.0])] == [False]


def test_the_best_of_several_runs_or_those_that_are_not_told_apart():
    scores = {
        "include": {"A": 0.1, "B": 0.15, "C": 0.146},
        "exclude": {"A": 0.1, "B": 0.25},
    }
    assert standing_sentences("NDCG@10", scores) == (
        "NDCG@10 with seen items kept: B and C are not told apart (0.1460 to 0.1500); all others "
        "are below.",
        "NDCG@10 with seen items removed: B is the best with 0.2500, 2.5 times A (0.1000).",
    )
    assert standing_sentences("NDCG@10", {"include": {"A": 0.1}, "exclude": {}}) == ()


def test_the_numbers_are_those_of_the_run(tmp_path):
    permutation = {
        "metric": "NDCG@10", "users": 4, "of_users": 4,
        "right": {"include": 0.2, "exclude": 0.4},
        "shuffled": {"text": {"include": 0.1, "exclude": 0.3}},
        "left_out": {"events": {"include": 0.05, "exclude": 0.1}},
    }  # fmt: skip
    folder = write_run(
        tmp_path, facts=some_facts(permutation=permutation), rank_history="exclude",
        settings="epochs: 7\n", ended_by="budget",
    )  # fmt: skip
    n = 60
    write_ranks(
        folder,
        user=np.array([f"u{k}" for k in range(n)]),
        target=np.array(["i"] * n),
        rank_include=np.array([1] * n),
        rank_exclude=np.array([1] * 30 + [20] * 30),
        history_length=np.array([4] * n),
        gap_seconds=np.array([3 * 86400] * 30 + [40 * 86400] * 30),
        target_count=np.array([9] * n),
        popularity=np.array(["head"] * n),
    )
    numbers = numbers_of(read_run(folder))
    assert numbers.quality == {"include": 0.25, "exclude": 0.35}
    assert (numbers.metric, numbers.chosen, numbers.cut) == ("NDCG@10", "exclude", 10)
    assert (numbers.right, numbers.shuffled) == (0.4, {"text": 0.3})
    assert numbers.left_out == {"events": 0.1}
    assert numbers.validation == [0.1, 0.2]
    assert (numbers.wanted_epochs, numbers.ended_by_budget) == (7, True)
    assert numbers.weak == (WeakGroup("after breaks over 30 days", 30, 0.0),)
    page = " ".join(write_report(folder).read_text().split())
    for sentence in verdict(numbers):
        assert f"<li>{sentence}</li>" in page
    assert page.index("In words") < page.index('class="tiles"')
