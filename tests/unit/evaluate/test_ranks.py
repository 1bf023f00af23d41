"""Ranks against RecBole's own evaluation, and by hand."""

import logs
import numpy as np
import pytest
import torch

from recbole_hm4sr.base.errors import TrainingError
from recbole_hm4sr.data.seen import mark_seen
from recbole_hm4sr.evaluate.ranks import describe_samples, rank_samples, top_hits
from recbole_hm4sr.model.registry import find_model
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import QUICK


def samples_of(users, items, times):
    return logs.samples_of(logs.histories_in_order(user=users, item=items, time=times))


def rank(samples, scores, batch_size=2):
    scores = torch.tensor(scores)
    targets = samples["item"]
    batches = list(torch.arange(len(scores)).split(batch_size))

    def score(rows):
        return None, scores[rows], None, targets[rows]

    return rank_samples(score, batches, samples, item_field="item")


def test_ranks_by_hand():
    # One user takes 3, 1, 3, 2: targets 1, 3, 2 after histories {3}, {3, 1}, {3, 1}.
    samples = samples_of([1] * 4, [3, 1, 3, 2], [0, 1, 2, 3])
    inf = float("-inf")
    ranks = rank(
        samples,
        [
            [inf, 5.0, 1.0, 9.0, 7.0],  # target 1: below 3 (taken) and 4
            [inf, 5.0, 1.0, 2.0, 1.0],  # target 3, taken before: below 1 (taken)
            [inf, 5.0, 1.0, 2.0, 1.0],  # target 2: below 1 and 3 (both taken), tied with 4
        ],
    )
    assert ranks.include.tolist() == [3, 2, 3]
    assert ranks.exclude.tolist() == [2, 1, 1]


def test_equal_scores_stand_in_the_order_of_item_ids():
    samples = samples_of([1, 1, 2, 2], [1, 3, 2, 4], [0, 1, 0, 1])
    ranks = rank(samples, [[-1.0, 7.0, 7.0, 7.0, 7.0]] * 2)
    # Target 3 behind 1 (taken) and 2; target 4 behind 1, 2 (taken) and 3.
    assert ranks.include.tolist() == [3, 4]
    assert ranks.exclude.tolist() == [2, 3]


def test_a_tie_with_one_item_of_a_smaller_id_is_lost():
    samples = samples_of([1, 1], [4, 3], [0, 1])
    ranks = rank(samples, [[-1.0, 7.0, 0.0, 7.0, 0.0]])  # target 3, tied with 1
    assert ranks.include.tolist() == ranks.exclude.tolist() == [2]


def test_what_another_user_took_is_taken_for_the_first_time_by_each():
    # 3 is the largest item of the first user and the smallest of the second.
    samples = samples_of([1, 1, 2, 2], [3, 1, 3, 4], [0, 1, 0, 1])
    assert mark_seen(samples.histories, "item").is_first.tolist() == [True] * 4
    ranks = rank(samples, [[-1.0, 1.0, 0.0, 9.0, 1.0]] * 2)
    assert ranks.include.tolist() == [2, 3]  # 3 is above both, 1 is tied with 4
    assert ranks.exclude.tolist() == [1, 2]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_stops_the_evaluation(bad):
    samples = samples_of([1, 1], [1, 2], [0, 1])
    with pytest.raises(TrainingError, match="every score must be a number"):
        rank(samples, [[float("-inf"), 1.0, bad]])


def test_a_nan_of_any_other_item_stops_the_evaluation_too():
    """It is above no target and below none: every rank would look better than it is."""
    samples = samples_of([1, 1], [1, 2], [0, 1])
    for place in (1, 3):
        scores = [float("-inf"), 1.0, 2.0, 1.0]
        scores[place] = float("nan")
        with pytest.raises(TrainingError, match="every score must be a number"):
            rank(samples, [scores])


def test_hits_are_the_matrix_of_recbole():
    assert top_hits(torch.tensor([1, 3, 9]), 3).tolist() == [
        [1, 0, 0, 1],
        [0, 0, 1, 1],
        [0, 0, 0, 1],
    ]


def shown_part(taken):
    """What training shows: all but two, or all but one of a user with too few for validation."""
    return taken[:-2] if len(taken) > 3 else taken[:-1]


def test_groups_describe_the_test_users(toy_path, tmp_path):
    entry = find_model("SASRec")
    plan = compose(
        entry,
        "toy",
        overrides={**QUICK, "data_path": str(toy_path)},
    )
    session = build_parts(plan, tmp_path)
    groups = describe_samples(session.test_data._dataset, session.train_data._dataset)
    rows = [
        line.split("\t") for line in (toy_path / "toy" / "toy.inter").read_text().split("\n")[1:-1]
    ]
    by_user = {}
    for user, item, time in rows:
        by_user.setdefault(user, []).append((item, int(time)))
    shown = np.concatenate([[item for item, _ in shown_part(taken)] for taken in by_user.values()])
    for place, user in enumerate(groups["user"]):
        taken = by_user[user]
        assert groups["target"][place] == taken[-1][0]
        assert groups["history_length"][place] == len(taken) - 1
        assert groups["gap_seconds"][place] == taken[-1][1] - taken[-2][1]
    counts = {item: int((shown == item).sum()) for item in np.unique(shown)}
    expected = [counts.get(item, 0) for item in groups["target"]]
    assert groups["target_count"].tolist() == expected
    # 24 items: the 5 most frequent are the head, the next 7 the middle, the other 12 the tail; of
    # equally frequent ones the one that was met first.
    tokens = list(session.test_data._dataset.item_tokens)[1:]
    assert len(tokens) == 24
    ordered = sorted(tokens, key=lambda token: -counts.get(token, 0))
    kinds = dict(zip(ordered, ["head"] * 5 + ["middle"] * 7 + ["tail"] * 12, strict=True))
    assert groups["popularity"].tolist() == [kinds[item] for item in groups["target"]]
    assert set(groups["popularity"]) == {"head", "middle", "tail"}
