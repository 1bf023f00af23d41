"""From a shop's tables to a file of answers: what prepare took, recommend takes."""

import io
import json
import logging

import numpy as np
import pandas as pd
import pytest
from servedruns import QUICK

import recbole_hm4sr
from recbole_hm4sr import cli
from recbole_hm4sr.serve.recommend import Recommender

pytestmark = pytest.mark.integration
duckdb = pytest.importorskip("duckdb", reason="needs duckdb of the extra prepare")
N_USERS, N_ITEMS, DAY = 40, 12, 86400


def log_of_a_shop():
    """Every customer walks from item to item, one a day; every second row is a look."""
    rows = []
    for user in range(N_USERS):
        for step in range(6):
            day = pd.Timestamp("2024-03-01") + pd.Timedelta(days=step, hours=user % 5)
            item = (user + step) % N_ITEMS
            rows += [(f"K{user}", item, day, "buy"), (f"K{user}", (item + 5) % 12, day, "view")]
    return pd.DataFrame(rows, columns=["Kunde", "Artikel", "Zeit", "Art"])


ITEMS = pd.DataFrame(
    {
        "Artikel": range(N_ITEMS),
        "Name": [f"Schuh {n}" for n in range(N_ITEMS)],
        "Gruppe": [f"G{n % 3}|H{n % 2}" for n in range(N_ITEMS)],
        "Preis": [10.5 * n if n else None for n in range(N_ITEMS)],
    }
)
FLAGS = {
    "user": "Kunde",
    "item": "Artikel",
    "time": "Zeit",
    "event": "Art",
    "keep_events": ["buy"],
    "title": "Name",
    "categories": "Gruppe",
    "price": "Preis",
}


@pytest.fixture(scope="module")
def shop_run(tmp_path_factory):
    """The run of a data set that was prepared from data frames."""
    folder = tmp_path_factory.mktemp("shop")
    shop = recbole_hm4sr.prepare(log_of_a_shop(), ITEMS, out=folder / "shop", core=0, **FLAGS)
    assert shop.provenance["steps"][0]["events"] == {"buy": 6 * N_USERS}
    result = recbole_hm4sr.run(
        "SASRec", dataset=shop, overrides={**QUICK, "epochs": 1}, run_dir=folder / "run"
    )
    assert (result.dataset, result.run_dir) == ("shop", folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def recommender(shop_run):
    return Recommender.load(shop_run)


def recommend(*words):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["recommend", *map(str, words)])


HISTORIES = [
    (["3", "4"], ["2024-03-05T10:00:00Z", "2024-03-06"]),
    ([], []),
]


def write_log(path):
    text = "Kunde;Artikel;Zeit;Art\nA;4;2024-03-06;buy\nA;;;search\nA;3;2024-03-05 10:00;buy\n"
    path.write_text(text + "A;9;2024-03-07;view\nB;;;buy\n", encoding="utf-8")
    return path


def test_a_log_in_the_form_of_the_source_is_answered(shop_run, recommender, tmp_path, caplog):
    """Columns, events and forms of times are remembered by the run, not by the data set."""
    wanted = recommender.recommend(HISTORIES, 4)
    assert wanted.by_model.tolist() == [True, False]
    seconds = [[1_709_632_800, 1_709_683_200], []]
    numbers = [(items, times) for (items, _), times in zip(HISTORIES, seconds, strict=True)]
    assert recommender.recommend(numbers, 4).scores.tolist() == wanted.scores.tolist()
    log = write_log(tmp_path / "log.csv")
    with caplog.at_level(logging.INFO):
        raw = recommender.read_histories(log)
    assert "2 of 5 rows are left out, since Art is not buy" in caplog.text
    assert recommender.recommend(raw, 4).items.tolist() == wanted.items.tolist()
    frame = pd.read_csv(log, sep=";", dtype=str).query("Art == 'buy'")
    frame["Zeit"] = pd.to_datetime(frame["Zeit"], format="ISO8601")
    assert recommender.recommend(frame, 4).items.tolist() == wanted.items.tolist()
    frame = frame.rename(columns={"Kunde": "wer"})
    path = tmp_path / "log.parquet"
    duckdb.connect().execute(f"COPY (SELECT * FROM frame) TO '{path}'")
    out = tmp_path / "top.jsonl"
    words = ["--run", shop_run, "--history", path, "-k", 4, "--user", "wer", "--out", out]
    recommend(*words)
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [record["user_id"] for record in records] == ["A", "B"]
    assert [[it["item"] for it in record["items"]] for record in records] == wanted.items.tolist()


def test_titles_and_prices_are_told_in_rows_and_in_lists(shop_run, recommender, tmp_path, capsys):
    log = write_log(tmp_path / "log.csv")
    found = recommender.recommend(HISTORIES, 3, show=["title", "categories", "price"])
    details = ITEMS.set_index(ITEMS["Artikel"].astype(str))
    words = ["--run", shop_run, "--history", log, "-k", 3, "--show", "title,categories,price"]
    recommend(*words, "--out", tmp_path / "top.parquet")
    assert "2 users: " in capsys.readouterr().out
    top = duckdb.read_parquet(str(tmp_path / "top.parquet"))
    assert [*zip(top.columns, map(str, top.types), strict=True)] == [
        ("user_id", "VARCHAR"),
        ("rank", "BIGINT"),
        ("item_id", "VARCHAR"),
        ("score", "FLOAT"),
        ("source", "VARCHAR"),
        ("title", "VARCHAR"),
        ("categories", "VARCHAR"),
        ("price", "FLOAT"),
    ]
    rows = top.fetchall()
    assert [row[2] for row in rows] == found.items.flatten().tolist()
    for _, _, item, _, _, title, categories, price in rows:
        assert (title, categories) == (details["Name"][item], f"G{int(item) % 3} H{int(item) % 2}")
        assert (price is None) == np.isnan(details["Preis"][item])
        assert price is None or price == details["Preis"][item]
    recommend(*words, "--rows", "lists", "--out", tmp_path / "lists.parquet")
    lists = duckdb.read_parquet(str(tmp_path / "lists.parquet"))
    assert lists.columns == ["user_id", "source", "unknown_items", "item_ids", "scores", "title",
                             "categories", "price"]  # fmt: skip
    assert [row[3] for row in lists.fetchall()] == found.items.tolist()
    capsys.readouterr()
    recommend(*words, "--rows", "lists")
    printed = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert [json.loads(cell) for cell in printed["item_ids"]] == found.items.tolist()
    assert json.loads(printed["title"][0]) == [details["Name"][it] for it in found.items[0]]
    assert json.loads(printed["price"][0])[0] == found.details["price"][0, 0]


def test_users_without_an_answer_are_named_and_have_empty_lists(shop_run, tmp_path, capsys, caplog):
    log = write_log(tmp_path / "log.csv")
    words = ["--run", shop_run, "--history", log, "--where", "price < 0"]
    for rows, n_rows in (("items", 0), ("lists", 2)):
        out = tmp_path / f"{rows}.parquet"
        recommend(*words, "--rows", rows, "--out", out)
        assert "2 users, 2 of them without an item: " in capsys.readouterr().out
        assert len(duckdb.read_parquet(str(out)).fetchall()) == n_rows
    assert "2 of 2 users get no item, since" in caplog.text
    assert "'A', 'B'" in caplog.text
    assert duckdb.read_parquet(str(tmp_path / "lists.parquet")).fetchall()[0][3] == []


def test_progress_is_told_batch_by_batch(recommender):
    told = []
    recommender.recommend([HISTORIES[0]] * 5, 2, batch_size=2, report=lambda *it: told.append(it))
    assert told == [("scoring", 0, 5), ("scoring", 2, 5), ("scoring", 4, 5)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--unit", "hours"], "--unit must be one of s, ms, date, got 'hours'"),
        (["--encoding", "ansi2"], "--encoding must be"),
        (["--rows", "columns"], "--rows must be one of items, lists, got 'columns'"),
        (["--user", "Kundin"], "misses the column Kundin (--user), got Kunde, Artikel"),
        (["--at", "soon"], "date of ISO 8601 from 1970 on, as 2026-11-30T18:00, got 'so"),
    ],
)
def test_wrong_flags_are_one_sentence(shop_run, tmp_path, capsys, words, message):
    log = write_log(tmp_path / "log.csv")
    with pytest.raises(SystemExit, match="2"):
        cli.main(["recommend", "--run", str(shop_run), "--history", str(log), *words])
    assert message in capsys.readouterr().err
