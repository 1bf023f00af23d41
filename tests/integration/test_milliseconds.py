"""Interactions 300 ms apart, from the file to the tables, the report and the served lists."""

import json
import shutil

import numpy as np
import pytest
import torch
from servedruns import expected_of, train_toy

from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.evaluate.groups import group_masks
from recbole_hm4sr.report.run_files import FACTS_FILE
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.testing.toydata import N_ITEMS

pytestmark = pytest.mark.integration
START, STEP, N_USERS = 1_600_000_000_000, 300, 50


def write_walks(folder, toy_path, unit):
    """The toy items, which 50 users take in turn every 300 ms; in seconds most of them tie."""
    shutil.copytree(toy_path, folder)
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(N_USERS):
        for step in range(5 + user % 8):
            time = START + 7 * user + STEP * step
            item = f"B{(3 * user + step) % N_ITEMS:03d}"
            lines.append(f"u{user}\t{item}\t{time if unit == 'ms' else time // 1000}")
    (folder / "toy" / "toy.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (folder / "toy" / "toy.yaml").open("a", encoding="utf-8") as file:
        file.write(f"timestamp_unit: {unit}\n")
    return folder


@pytest.fixture(scope="module")
def runs(toy_path, tmp_path_factory):
    """Runs on the walks: in milliseconds, and in seconds in the same order."""
    base = tmp_path_factory.mktemp("milliseconds")
    return {
        unit: train_toy("HM4SR", write_walks(base / unit, toy_path, unit), base / f"run {unit}")
        for unit in ("ms", "s")
    }


def ranks_of(run_dir):
    with np.load(run_dir / "test_ranks.npz") as file:
        return dict(file)


def test_no_user_ties_and_every_gap_has_its_fraction(runs):
    ranks = ranks_of(runs["ms"])
    assert ranks["gap_seconds"].tolist() == [0.3] * N_USERS
    sizes = {name: int(mask.sum()) for name, mask in group_masks(ranks).items()}
    assert (sizes["tie"], sizes["non-tie"], sizes["gap under 1 min"]) == (0, N_USERS, N_USERS)
    assert set(ranks_of(runs["s"])["gap_seconds"].tolist()) == {0, 1}


def test_the_model_is_that_of_the_same_order_in_whole_seconds(runs):
    one, other = (
        torch.load(run / "checkpoint" / "best.pt", weights_only=True)["state_dict"]
        for run in runs.values()
    )
    assert all(torch.equal(one[name], other[name]) for name in other)
    ranks, expected = (ranks_of(run) for run in runs.values())
    for name in ("user", "target", "rank_include", "rank_exclude", "history_length"):
        assert ranks[name].tolist() == expected[name].tolist()


def test_the_report_shows_fractions_and_groups_no_ties(runs):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["report", str(runs["ms"])])
    facts = json.loads((runs["ms"] / FACTS_FILE).read_text(encoding="utf-8"))
    assert [row["label"] for row in facts["temporal"]["groups"]["gap"]] == ["under 1 min"]
    assert (facts["data"]["first"], facts["data"]["last"]) == (1_600_000_000, 1_600_000_003)
    for case in facts["cases"]:
        assert {event["gap"] for event in case["history"]} <= {None, 0.3}
        assert case["target"]["gap"] == 0.3
        assert START // 1000 <= case["target"]["time"] <= START // 1000 + 4
    assert "+ 0.3 s" in (runs["ms"] / "report.html").read_text(encoding="utf-8")


def test_the_check_counts_no_tie(runs, toy_path, tmp_path, capsys):
    starts = START + 7 * np.repeat(np.arange(N_USERS), 4 + np.arange(N_USERS) % 8)
    steps = STEP * np.concatenate([np.arange(4 + user % 8) for user in range(N_USERS)])
    ties = np.mean((starts + steps) // 1000 == (starts + steps + STEP) // 1000)
    for unit, zero in (("ms", "; 0 % zero"), ("s", f"; {100 * ties:.0f} % zero")):
        folder = write_walks(tmp_path / unit, toy_path, unit)
        with pytest.raises(SystemExit, match="0"):
            cli.main(["check", "--dataset=toy", f"--data_path={folder}"])
        text = " ".join(capsys.readouterr().out.split())
        assert zero in text
        assert ("have the very time of the item before" in text) == (unit == "s")


def test_users_are_served_in_milliseconds(runs, tmp_path, capsys):
    recommender, expected = Recommender.load(runs["ms"]), expected_of(runs["ms"])
    items, times = expected.histories[0]
    assert times[:2] == [START, START + STEP]
    backwards = [(list(reversed(i)), list(reversed(t))) for i, t in expected.histories]
    found = recommender.recommend(backwards, 5, exclude_seen=False)
    assert found.items.tolist() == expected.top(5)
    lines = [f"u,{item},{time}" for item, time in zip(items, times, strict=True)]
    path = tmp_path / "h.csv"
    path.write_text("\n".join(["user_id,item_id,timestamp", *reversed(lines)]), encoding="utf-8")
    words = ["recommend", f"--run={runs['ms']}", f"--history={path}", "-k", "5", "--include_seen"]
    with pytest.raises(SystemExit, match="0"):
        cli.main(words)
    table = capsys.readouterr().out.splitlines()[1:]
    assert [line.split(",")[2] for line in table] == expected.top(5)[0]


@pytest.mark.parametrize(
    ("unit", "factor", "advice"),
    [
        ("ms", 1 / 1000, "the run counts in milliseconds, so multiply times by 1000"),
        ("s", 1000, "the run counts in seconds, so divide times by 1000 and round down"),
    ],
)
def test_the_other_unit_is_refused_with_advice_that_works(runs, unit, factor, advice):
    recommender, (items, times) = Recommender.load(runs[unit]), expected_of(runs[unit]).histories[0]
    wrong = [int(time * factor) for time in times]
    with pytest.raises(DataError, match=advice):
        recommender.recommend([(items, wrong)])
    mended = [time * 1000 if unit == "ms" else time // 1000 for time in wrong]
    assert recommender.recommend([(items, mended)]).by_model.all()


def test_the_exported_tower_takes_milliseconds(runs, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra export")
    pytest.importorskip("onnxscript", reason="needs the extra export")
    from recbole_hm4sr.serve.export import export_index

    # It compares the scores of made histories, in the run's unit, with the model's.
    index = export_index(runs["ms"], tmp_path / "index")
    assert "Times are milliseconds since 1970 (UTC)." in (index / "README.md").read_text()
    assert json.loads((index / "index.json").read_text())["timestamp_unit"] == "ms"
