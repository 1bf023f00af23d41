"""The weeks after training, played in order: judge, then learn."""

import json

import numpy as np
import pytest
from laterfiles import read_rows, write_csv, write_halves
from servedruns import train_toy

from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.files import read_lines
from recbole_hm4sr.later import picture
from recbole_hm4sr.later.options import Recipe, ReplayOptions
from recbole_hm4sr.later.replay import RESULTS, replay
from recbole_hm4sr.page.format import NONE
from recbole_hm4sr.testing.toydata import DAY

pytestmark = pytest.mark.integration
WEEK = 90 * DAY  # the toy's interactions are months apart
SMALL = {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 1, "epochs": 1}
MEMORY = {"memory": "events", "MAX_ITEM_LIST_LENGTH": 10, "memory_refresh": ["none", "week"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("halves")
    return path, write_halves(path)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run with a memory: all four policies differ."""
    folder = tmp_path_factory.mktemp("runs") / "plus"
    return train_toy("SASRecPlus", data[0], folder, **SMALL, **MEMORY)


def play(run, rows, folder, **options):
    file = write_csv(folder.with_suffix(".csv"), rows)
    return replay(
        run, file, out=folder, options=ReplayOptions(every="90", recipe=Recipe(passes=1), **options)
    )


def without_seconds(rows):
    left_out = {"learning_seconds", "judging_seconds", "replay"}
    return [{k: v for k, v in row.items() if k not in left_out} for row in rows]


def test_no_row_is_learned_from_before_it_is_judged(data, run, tmp_path):
    """Rows that are planted in the third week, or moved there, change nothing before it."""
    _, later = data
    begin = later[0][2]
    boundary = begin + 2 * WEEK
    plain = play(run, later, tmp_path / "plain")
    last = max(k for k, row in enumerate(later) if row[2] < boundary + WEEK)
    moved = [list(row) for row in later]
    moved[last][2] = boundary + 5  # it was later in that week
    moved[last][1] = "B002"
    planted = [["u1", "B999", boundary], ["u2", "B003", boundary], ["fresh", "B004", boundary]]
    other = play(run, [*planted, *moved], tmp_path / "other")
    assert {row["policy"] for row in plain} == {"frozen", "refreshed", "updated", "retrained"}
    before = [[row for row in rows if row["week"] < 2] for rows in (plain, other)]
    assert len(before[0]) == 8
    assert without_seconds(before[0]) == without_seconds(before[1])
    after = [[row for row in rows if row["week"] == 2] for rows in (plain, other)]
    assert without_seconds(after[0]) != without_seconds(after[1])


def test_a_replay_that_was_stopped_goes_on_and_ends_the_same(data, run, tmp_path):
    _, later = data
    options = {"policies": ("frozen", "updated")}
    whole = play(run, later, tmp_path / "out", **options)
    results = tmp_path / "out" / RESULTS
    lines = results.read_text().splitlines(keepends=True)
    assert len(lines) == len(whole) == 8
    results.write_text("".join(lines[:5]) + lines[5][:20])  # killed in the third week
    again = play(run, later, tmp_path / "out", **options)
    assert without_seconds(again) == without_seconds(whole)
    assert len([line for line in results.read_text().splitlines() if line.endswith("}")]) == 8
    with pytest.raises(ConfigError, match=r"holds another replay: .* choose another --out"):
        play(run, later, tmp_path / "out", targets="all")


def popular_rows(earlier, later, begin, *, until):
    """NDCG@10 of the most frequent items by hand: of targets with a history, all of a week."""
    numbers = {}
    for _, item, _ in [*earlier, *sorted(later, key=lambda row: row[2])]:
        numbers.setdefault(item, len(numbers))
    seen = {user for user, _, time in [*earlier, *later] if time < begin}
    known = [row for row in [*earlier, *later] if row[2] < begin + WEEK]
    counts = np.zeros(len({item for _, item, _ in known}))
    for _, item, time in known:
        counts[numbers[item]] += time < until
    order = np.lexsort((np.arange(len(counts)), -counts)).tolist()
    gains = []
    for user, item, time in sorted(later, key=lambda row: row[2]):
        if begin <= time < begin + WEEK:
            if user in seen:
                rank = 1 + order.index(numbers[item])
                gains.append(1 / np.log2(rank + 1) if rank <= 10 else 0.0)
            seen.add(user)
    return len(gains), float(np.mean(gains))


def test_a_frozen_and_a_refreshed_popularity_are_what_counting_gives(data, tmp_path):
    path, later = data
    earlier = read_rows(path / "toy" / "toy.inter")
    run = train_toy("Popular", path, tmp_path / "popular")
    rows = play(run, later, tmp_path / "out", targets="all")
    start = later[0][2]
    assert [row["policy"] for row in rows[:2]] == ["frozen", "refreshed"]
    for row in rows[:4]:
        begin = start + row["week"] * WEEK
        until = start if row["policy"] == "frozen" else begin
        n, ndcg = popular_rows(earlier, later, begin, until=until)
        assert row["targets"] == n
        assert row["metrics"]["ndcg@10"] == pytest.approx(ndcg, abs=1e-6)
    # Known and new items are told apart at the end of the training.
    known = {item for _, item, _ in earlier}
    new = sum(row["groups"].get("new items", {}).get("n", 0) for row in rows[::2])
    users = {user for user, _, _ in earlier}
    expected = 0
    for user, item, _ in later:
        expected += user in users and item not in known
        users.add(user)
    assert new == expected
    picture.write_pictures(rows, "NDCG@10", tmp_path / "out", title="Popular on toy")
    assert (tmp_path / "out" / "replay.svg").read_text().count("<path") == 4
    assert "5 or more in training" in (tmp_path / "out" / "replay.html").read_text()


def test_rows_that_the_run_knows_cannot_be_played(data, run, tmp_path):
    with pytest.raises(DataError, match="must be later than the run's data, which end at 20"):
        play(run, [["u1", "B001", 1_600_000_000]], tmp_path / "out")
    with pytest.raises(ConfigError, match="--every must be one of day, week, month or a number"):
        replay(run, None, options=ReplayOptions(every="fortnight"))
    with pytest.raises(ConfigError, match="without --interactions must be of a run whose"):
        replay(run, None, out=tmp_path / "none")


def test_lines_that_cannot_be_used_are_left_out_if_asked_for(data, run, tmp_path):
    """The command on a file with two bad lines writes what the good ones give."""
    good = write_csv(tmp_path / "good.csv", data[1])
    bad = tmp_path / "bad.csv"
    bad.write_text(good.read_text() + "u1,,1900000000\nu1,B001,soon\n")
    flags = [f"--run={run}", "--every=90", "--policies=frozen"]
    answers = []
    for file, more in ((good, []), (bad, []), (bad, ["--skip_bad"])):
        out = tmp_path / f"out{len(answers)}"
        words = ["replay", *flags, f"--interactions={file}", f"--out={out}", *more]
        with pytest.raises(SystemExit) as stop:
            cli.main(words)
        rows = [row for _, row in read_lines(out / RESULTS)]
        answers.append((stop.value.code, without_seconds(rows)))
    assert answers[1] == (2, [])
    assert answers[0][0] == 0
    assert len(answers[0][1]) == 4
    assert answers[2] == answers[0]


def test_the_summary_weighs_weeks_by_their_targets():
    def row(week, n, value):
        metrics = {"ndcg@10": value}
        groups = {"known items": {"n": n, "metrics": metrics}}
        return {
            "week": week, "policy": "frozen", "targets": n, "metrics": metrics, "groups": groups,
            "learning_seconds": 2.0, "begins": week * 7 * DAY,
        }  # fmt: skip

    rows = json.loads(json.dumps([row(0, 1, 0.5), row(1, 3, 0.1)]))
    assert picture.means(rows, "known items", "NDCG@10") == {"frozen": pytest.approx(0.2)}
    assert picture.summary_table(rows, "NDCG@10").rows == (
        ("frozen", "0.2000", NONE, "0.2000", NONE, "2 s"),
    )
