"""Recommendations from a run's folder: what the model itself says, for anybody, anywhere."""

import dataclasses
import json
import logging
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from servedruns import assert_reasons_hold, expected_of, train_toy

from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import ConfigError, DataError, TrainingError
from recbole_hm4sr.data.features import load_features, save_features
from recbole_hm4sr.serve.opening import open_for_serving
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.testing.toydata import write_toy_dataset

pytestmark = pytest.mark.integration


def rows(found):
    return [[item for item in row if item is not None] for row in found.items.tolist()]


def history_file(path, histories):
    lines = ["user_id,item_id,timestamp"]
    for user, (items, times) in enumerate(histories):
        lines += [f"u{user},{item},{time}" for item, time in zip(items, times, strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run_command(*words):
    with pytest.raises(SystemExit, match="0"):
        cli.main([str(word) for word in words])


# --- equal to the model -------------------------------------------------------------------------


def test_all_test_users_get_what_the_model_scores_highest(recommender, expected):
    found = recommender.recommend(expected.histories, 10, exclude_seen=False)
    assert rows(found) == expected.top(10)
    scores = expected.scores.sort(dim=1, descending=True).values[:, :10]
    np.testing.assert_allclose(found.scores, scores, rtol=1e-5, atol=1e-6)
    assert found.by_model.all()


def test_what_was_taken_is_left_out_by_default(recommender, expected):
    found = recommender.recommend(expected.histories, 24)
    assert rows(found) == expected.top(24, banned="seen")
    # Fewer than k are left: the rest is empty, in no place between.
    shortest = min(len(row) for row in rows(found))
    assert shortest < 24
    assert np.isnan(found.scores[:, -1]).any()


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "MMSR"])
def test_other_models_serve_as_well(toy_path, tmp_path, model):
    run_dir = train_toy(model, toy_path, tmp_path / model, epochs=1)
    expected = expected_of(run_dir)
    recommender = Recommender.load(run_dir)
    found = recommender.recommend(expected.histories, 10, exclude_seen=False)
    assert rows(found) == expected.top(10)
    explained = recommender.recommend(expected.histories, 10, explain=True)
    assert (explained.streams, explained.shares.size) == ((), 0)
    assert_reasons_hold(recommender, expected.histories, explained)


def test_a_run_without_its_serving_file_is_opened_from_its_data(hm4sr_run, tmp_path, expected):
    run_dir = tmp_path / "run"
    shutil.copytree(hm4sr_run, run_dir)
    (run_dir / "serving.npz").unlink()
    found = Recommender.load(run_dir).recommend(expected.histories, 10, exclude_seen=False)
    assert rows(found) == expected.top(10)


def test_a_run_is_served_where_its_data_is_not(tmp_path, monkeypatch):
    write_toy_dataset(tmp_path / "toy")
    run_dir = train_toy("HM4SR", tmp_path, tmp_path / "run")
    expected = expected_of(run_dir)
    shutil.rmtree(tmp_path / "toy")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("config.yaml", "serving.npz", "checkpoint/best.pt"):
        (moved / name).parent.mkdir(exist_ok=True)
        shutil.copy(run_dir / name, moved / name)
    monkeypatch.chdir(moved)
    found = Recommender.load(moved).recommend(expected.histories, 10, exclude_seen=False)
    assert rows(found) == expected.top(10)


def test_loading_leaves_the_random_numbers_alone(hm4sr_run):
    before = torch.get_rng_state()
    Recommender.load(hm4sr_run)
    assert torch.equal(torch.get_rng_state(), before)


# --- any history --------------------------------------------------------------------------------


def test_unsorted_times_are_sorted(recommender):
    ordered = (["B003", "B004", "B005"], [100, 50_000, 9_000_000])
    mixed = (["B005", "B003", "B004"], [9_000_000, 100, 50_000])
    found = recommender.recommend([ordered, mixed], 10)
    assert found.items[0].tolist() == found.items[1].tolist()
    assert found.scores[0].tolist() == found.scores[1].tolist()


def test_only_the_most_recent_are_read(recommender):
    length = recommender.max_length
    recent = ([f"B{n:03d}" for n in range(length)], list(range(1000, 1000 + length)))
    longer = (["B020", "B021", *recent[0]], [1, 2, *recent[1]])
    found = recommender.recommend([recent, longer], 5, exclude_seen=False)
    assert found.items[0].tolist() == found.items[1].tolist()
    # What is older than the window was taken all the same.
    assert not {"B020", "B021"} & set(recommender.recommend([longer], 24).items[0].tolist())


def test_unknown_items_are_skipped_with_a_warning(recommender, caplog):
    known = (["B003", "B004"], [1, 2])
    with caplog.at_level(logging.WARNING):
        found = recommender.recommend([known, (["B003", "new", "B004"], [1, 2, 2])], 5)
    assert found.items[0].tolist() == found.items[1].tolist()
    assert found.unknown_items.tolist() == [0, 1]
    assert "1 of 5 interactions, of 1 users, are skipped" in caplog.text


def test_a_user_who_has_taken_everything_is_named(recommender, hm4sr_run, tmp_path, caplog, capsys):
    every = recommender.items.tokens[1:].tolist()
    histories = [(every, list(range(len(every)))), (every[:1], [1])]
    with caplog.at_level(logging.WARNING):
        found = recommender.recommend(histories, 3)
    assert found.users_without_items.tolist() == [0]
    assert (
        "1 of 2 users get no item, since they have taken every one that may be recommended: 0"
        in caplog.text
    )
    first, second = found.records()
    assert (first["user"], first["items"], len(second["items"])) == (0, [], 3)
    path = history_file(tmp_path / "h.csv", histories)
    caplog.clear()
    words = ["recommend", "--run", hm4sr_run, "--history", path, "-k", 3]
    run_command(*words, "--out", tmp_path / "lists.csv")
    assert "2 users, 1 of them without an item" in capsys.readouterr().out.replace("\n", " ")
    assert (
        "1 of 2 users get no item, since they have taken every one that may be recommended: 'u0'"
        in caplog.text
    )
    assert set(pd.read_csv(tmp_path / "lists.csv").user_id) == {"u1"}
    run_command(*words, "--format", "jsonl")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["user_id"], len(line["items"])) for line in lines] == [("u0", 0), ("u1", 3)]


def test_no_break_spaces_are_letters_of_the_ids(tmp_path, toy_path):
    """Three items that differ in the kind of their space, through all readers to all answers."""
    folder = tmp_path / "data"
    shutil.copytree(toy_path, folder)
    names = {"B001": "a b", "B002": "a\u00a0b", "B003": "a\u2009b", "B004": "\u00a0B001"}
    for name in ("toy.inter", "toy.item"):
        text = (folder / "toy" / name).read_text(encoding="utf-8")
        for old, new in names.items():
            text = text.replace(old + "\t", new + "\t")
        (folder / "toy" / name).write_text(text, encoding="utf-8")
    for modality in ("text", "image"):
        stored = load_features(folder / "toy" / f"toy.{modality}.npz")
        tokens = np.array([names.get(str(token), str(token)) for token in stored.tokens])
        renamed = dataclasses.replace(stored, tokens=tokens)
        save_features(folder / "toy" / f"toy.{modality}.npz", renamed)
    recommender = Recommender.load(train_toy("HM4SR", folder, tmp_path / "run", epochs=1))
    assert set(names.values()) <= set(recommender.items.tokens[1:])
    assert recommender.knows([*names.values(), " a b ", "B001", "a\u3000b"]).tolist() == (
        [True] * 5 + [False] * 2
    )
    wanted = list(names.values())
    alone = recommender.recommend([([item], [1]) for item in wanted], 3)
    lines = [f"u{n},{item},1" for n, item in enumerate(wanted)]
    path = tmp_path / "h.csv"
    path.write_text("\n".join(["user_id,item_id,timestamp", *lines]), encoding="utf-8")
    assert rows(recommender.recommend(recommender.read_histories(path), 3)) == rows(alone)
    candidates = tmp_path / "candidates.txt"
    candidates.write_text("\n".join(wanted), encoding="utf-8")
    out = tmp_path / "lists.csv"
    words = ["--run", tmp_path / "run", "--history", path, "--candidates", candidates]
    run_command("recommend", *words, "-k", 4, "--include_seen", "--out", out)
    table = pd.read_csv(out)
    assert table.groupby("user_id").item_id.apply(set).tolist() == [set(wanted)] * 4


def test_a_user_without_a_known_item_gets_the_most_frequent(recommender, hm4sr_run, toy_path):
    with np.load(hm4sr_run / "serving.npz") as kept:
        counts, tokens = kept["counts"][1:], kept["item_tokens"][1:]
    # Counted by hand: each user's last two interactions are held out, of three and more.
    frame = pd.read_csv(toy_path / "toy" / "toy.inter", sep="\t", header=0, names=["u", "i", "t"])
    frame = frame.sort_values(["u", "t"], kind="stable")
    rest = frame.groupby("u").cumcount(ascending=False)
    length = frame.groupby("u")["i"].transform("size")
    # A user of three has two samples; the later is for the test, the earlier for training.
    train = frame[rest >= np.where(length == 3, 1, 2)]
    assert dict(zip(tokens.tolist(), counts.tolist(), strict=True)) == {
        token: int((train["i"] == token).sum()) for token in tokens.tolist()
    }
    best = sorted(range(len(tokens)), key=lambda place: (-counts[place], place))
    found = recommender.recommend([([], []), (["new"], [3])], 4)
    assert found.items.tolist() == [[str(tokens[place]) for place in best[:4]]] * 2
    assert found.scores[0].tolist() == [counts[place] for place in best[:4]]
    assert found.by_model.tolist() == [False, False]
    few = recommender.recommend([([], [])], 4, candidates=[str(tokens[best[7]]), "B001"])
    assert set(few.items[0].tolist()) == {str(tokens[best[7]]), "B001"}


def test_ties_stand_in_the_order_of_items_whatever_is_asked_beside(hm4sr_run, expected):
    run = open_for_serving(hm4sr_run)
    table = run.model.served_rows
    table[1:] = table[1:][torch.arange(len(table) - 1) % 4]  # each ties with five others
    run.model._cache.forget()
    recommender = Recommender(run)
    answers = [
        recommender.recommend(expected.histories, 9, exclude_seen=False, batch_size=size)
        for size in (1, 7, 1024)
    ]
    place = {token: number for number, token in enumerate(recommender.run.data.item_tokens)}
    for found in answers:
        assert rows(found) == rows(answers[0])
        for items in rows(found):
            kinds = [(place[item] - 1) % 4 for item in items]
            assert kinds == sorted(kinds, key=kinds.index)  # equal scores stand together
            for kind in set(kinds):
                ids = [place[item] for item in items if (place[item] - 1) % 4 == kind]
                assert ids == [1 + kind + 4 * n for n in range(len(ids))]


# --- options ------------------------------------------------------------------------------------


def test_candidates_restrict_and_the_unknown_are_named(recommender, expected, caplog):
    chosen = ["B020", "B002", "none", "B011", "B002"]
    with caplog.at_level(logging.WARNING):
        found = recommender.recommend(expected.histories, 10, exclude_seen=False, candidates=chosen)
    assert "1 of 5 candidates are not known, e.g. 'none'" in caplog.text
    full = expected.top(24)
    assert rows(found) == [[item for item in row if item in chosen] for row in full]
    with pytest.raises(DataError, match=r"of 2 none is known, e.g. 'x', 'y'"):
        recommender.recommend(expected.histories, candidates=["x", "y"])


def test_a_data_frame_and_lists_give_the_same(recommender, expected):
    frame = pd.DataFrame(
        [
            (f"user {user}", item, time)
            for user, (items, times) in enumerate(expected.histories)
            for item, time in zip(items, times, strict=True)
        ],
        columns=["user_id", "item_id", "timestamp"],
    )
    found = recommender.recommend(frame, 3)
    assert found.items.tolist() == recommender.recommend(expected.histories, 3).items.tolist()
    table = found.table()
    assert list(table) == ["user_id", "rank", "item_id", "score", "source"]
    assert len(table) == 3 * len(expected.histories)
    assert table.iloc[1].tolist()[:3] == ["user 0", 2, found.items[0, 1]]


def test_wrong_numbers_are_refused(recommender):
    with pytest.raises(ConfigError, match="k and batch_size must be 1 or more, got 0"):
        recommender.recommend([], 0)


def test_a_model_that_gives_nan_is_refused(hm4sr_run, expected):
    recommender = Recommender.load(hm4sr_run)
    with torch.no_grad():
        recommender.model.position_embedding.weight.fill_(torch.nan)
    with pytest.raises(TrainingError, match="every score must be a number"):
        recommender.recommend(expected.histories)


def test_a_model_that_reads_user_ids_is_refused(toy_path, tmp_path):
    run_dir = train_toy("SHAN", toy_path, tmp_path / "run", epochs=1)
    with pytest.raises(ConfigError, match="but SHAN reads the column 'user_id' as well"):
        Recommender.load(run_dir)


def test_files_that_do_not_belong_together_are_refused(hm4sr_run, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(hm4sr_run, run_dir)
    shutil.copy(run_dir / "checkpoint" / "last.pt", run_dir / "checkpoint" / "best.pt")
    with pytest.raises(DataError, match=r"serving.npz must belong to .*best.pt"):
        Recommender.load(run_dir)
    content = (hm4sr_run / "serving.npz").read_bytes()
    (run_dir / "serving.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"serving.npz must be the serving file of a run"):
        Recommender.load(run_dir)
    with pytest.raises(DataError, match=r"holds no config\.yaml"):
        Recommender.load(tmp_path)


# --- the command --------------------------------------------------------------------------------


def test_the_command_prints_and_writes(hm4sr_run, recommender, expected, tmp_path, capsys):
    path = history_file(tmp_path / "h.csv", [*expected.histories[:3], (["new"], [5])])
    best = recommender.recommend([*expected.histories[:3], ([], [])], 2)
    run_command("recommend", "--run", hm4sr_run, "--history", path, "-k", "2")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "user_id,rank,item_id,score,source"
    assert [line.split(",")[2] for line in lines[1:]] == best.items.flatten().tolist()
    assert lines[-1].split(",")[-1] == "popular"
    out = tmp_path / "best.jsonl"
    run_command(
        "recommend", "--run", hm4sr_run, "--history", path, "-k", "2", "--explain", "--out", out
    )
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [record["user_id"] for record in records] == ["u0", "u1", "u2", "u3"]
    assert [record["unknown_items"] for record in records] == [0, 0, 0, 1]
    assert set(records[0]["items"][0]["shares"]) == {"id", "text", "image"}
    assert "shares" not in records[3]["items"][0]
    items = [[item["item"] for item in record["items"]] for record in records]
    assert items == best.items.tolist()


def test_the_command_restricts_to_candidates(hm4sr_run, expected, tmp_path, capsys):
    path = history_file(tmp_path / "h.csv", expected.histories[:2])
    names = tmp_path / "names.txt"
    names.write_text("B001\r\n\nB002\n", encoding="utf-8")
    words = ["--history", path, "--candidates", names, "--include_seen", "--format", "jsonl"]
    run_command("recommend", "--run", hm4sr_run, *words)
    for line in capsys.readouterr().out.splitlines():
        assert {item["item"] for item in json.loads(line)["items"]} == {"B001", "B002"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--history", "none.csv"], "error: the file none.csv does not exist"),
        (["--history", "h.csv"], "h.csv, line 2: timestamp must be a number or a date, got 'noon'"),
        (["--history", "h.csv", "--format", "xml"], "--format must be one of csv, jsonl"),
        (["--history", "h.csv", "--out", "x.txt"], "--out must end in .csv, .jsonl, .parquet"),
        (["--history", "e.csv", "-k", "0"], "Invalid value for '-k'"),
        (["--history", "e.csv", "--candidates", "none"], "cannot read the candidates in none"),
    ],
)
def test_bad_input_ends_the_command_with_one_sentence(
    hm4sr_run, tmp_path, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "h.csv").write_text("user_id,item_id,timestamp\nu,B001,noon\n", encoding="utf-8")
    (tmp_path / "e.csv").write_text("user_id,item_id,timestamp\nu,B001,5\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        cli.main(["recommend", "--run", str(hm4sr_run), *words])
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.csv", "h.csv"]


def test_help_needs_neither_torch_nor_recbole():
    code = "import sys; from recbole_hm4sr import cli; print({'torch', 'recbole'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
