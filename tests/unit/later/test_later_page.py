"""What is printed of a run on later data: it fits a terminal, and calls better what is better."""

import io

import pytest
from rich.console import Console

from recbole_hm4sr.cli.later import as_rich
from recbole_hm4sr.evaluate.groups import GROUP_NAMES
from recbole_hm4sr.later.evaluation import LaterMetrics
from recbole_hm4sr.later.later_page import short_tables, verdict

NAMES = [f"{kind}@{cut}" for kind in ("recall", "mrr", "ndcg", "hit", "map") for cut in (5, 10, 50)]


def found(later, baselines, names=NAMES):
    metrics = {**dict.fromkeys(names, 0.1234), names[0]: later}
    if "ndcg@10" in names:
        metrics["ndcg@10"] = later
    return LaterMetrics(
        n_interactions=1_000_000,
        n_targets=900_000,
        unknown_users=0.1,
        unknown_items=0.2,
        added_items=0.0,
        metrics=metrics,
        own_test={**metrics, "ndcg@10": 0.538},
        baselines={name: {**metrics, "ndcg@10": value} for name, value in baselines.items()},
        groups={name: {"n": 900_000, "metrics": metrics} for name in GROUP_NAMES},
        lists={},
        drift=(),
    )


def printed(tables):
    console = Console(file=io.StringIO(), width=80)
    for table in tables:
        console.print(as_rich(table))
    return console.file.getvalue()


def test_tables_of_fifteen_metrics_are_whole_at_80_columns():
    text = printed(short_tables(found(0.467, {"RecentPopular": 0.342})))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for whole in ("0.4670", "NDCG@10", "MRR@10", "Hit@10", "RecentPopular, later"):
        assert whole in text
    assert "5 or more in training │ 900,000 │ 0.4670" in text
    assert "RECALL" not in text
    # Two tables: four lines of frame and title each, a heading, 3 models and 8 groups.
    assert len(text.splitlines()) == 2 * 5 + 3 + 8


@pytest.mark.parametrize(
    ("baselines", "second"),
    [
        # 0.467 / 0.342 = 1.365
        ({"ItemKNN": 0.342}, "The run is 37 % above ItemKNN."),
        # 0.467 / 0.45 = 1.038: two seeds of one model differ by as much.
        (
            {"Popular": 0.1, "ItemKNN": 0.45},
            "The run is level with ItemKNN: two seeds of one model differ by 2 to 4 % in NDCG@10, "
            "and these differ by less.",
        ),
        ({"ItemKNN": 0.5}, "The run does not beat ItemKNN, fitted without training."),
    ],
)
def test_the_verdict_is_drawn_from_the_numbers(baselines, second):
    listed = ", ".join(f"{name} {value:.4f}" for name, value in baselines.items())
    assert verdict(found(0.467, baselines)) == (
        f"On the later data the run has NDCG@10 0.4670, {listed}; its own test had 0.5380.",
        second,
    )


def test_without_baselines_the_verdict_is_one_sentence():
    assert verdict(found(0.467, {})) == (
        "On the later data the run has NDCG@10 0.4670; its own test had 0.5380.",
    )


def test_a_run_without_these_metrics_shows_its_first_three():
    other = found(0.2, {}, ["recall@5", "map@5", "hit@5", "mrr@5"])
    assert [table.columns for table in short_tables(other)] == [
        ("", "RECALL@5", "MAP@5", "HIT@5"),
        ("group", "targets", "RECALL@5", "MAP@5", "HIT@5"),
    ]
    assert verdict(other)[0].startswith("On the later data the run has RECALL@5 0.2000")
