"""Rules on items and lists: against the model's own scores and a loop over them."""

import shutil

import numpy as np
import pytest

from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.files import write_npz
from recbole_hm4sr.data.features import load_features
from recbole_hm4sr.serve.recommend import Recommender

pytestmark = pytest.mark.integration


def rows(found):
    return [[item for item in row if item is not None] for row in found.items.tolist()]


def categories(token):
    number = int(token[1:])
    return {f"Group_{number % 3}", f"Half_{number // 12}"}


def test_rules_on_items_leave_out_what_they_say(recommender, expected):
    ranked = expected.top(24)
    out = ["B003", "B004", "no such"]
    found = recommender.recommend(
        expected.histories,
        10,
        exclude_seen=False,
        candidates=[f"B{n:03d}" for n in range(2, 24)],
        exclude_items=out,
        where="categories = 'Group_0' or title like 'item \"1%'",
    )
    left = {f"B{n:03d}" for n in range(2, 24) if n % 3 == 0 or str(n).startswith("1")} - set(out)
    assert rows(found) == [[it for it in row if it in left][:10] for row in ranked]
    assert found.by_model.all()


def test_max_per_counts_an_item_under_each_of_its_values(recommender, expected):
    found = recommender.recommend(
        expected.histories, 6, exclude_seen=False, max_per={"categories": 2, "title": 1}
    )
    for row, ranked in zip(rows(found), expected.top(24), strict=True):
        chosen, counts = [], {}
        for item in ranked:
            if len(chosen) < 6 and all(counts.get(it, 0) < 2 for it in categories(item)):
                chosen.append(item)
                counts |= {it: counts.get(it, 0) + 1 for it in categories(item)}
        assert row == chosen
    plain = recommender.recommend(expected.histories, 6, exclude_seen=False, max_per={"title": 1})
    assert rows(plain) == expected.top(6)


def test_diversity_is_marginal_relevance_by_the_features(recommender, expected, toy_path):
    unit = []
    for name in ("text", "image"):
        features = load_features(toy_path / "toy" / f"toy.{name}.npz")
        number = {token: row for row, token in enumerate(features.tokens.tolist())}
        values = np.array([features.values[number[f"B{n:03d}"]] for n in range(24)])
        unit.append(values / np.linalg.norm(values, axis=1, keepdims=True))
    cosine = (unit[0] @ unit[0].T + unit[1] @ unit[1].T) / 2
    found = recommender.recommend(expected.histories, 5, exclude_seen=False, diversity=0.6)
    columns = {str(token): place for place, token in enumerate(expected.tokens)}
    for row, scores in zip(rows(found), expected.scores.double().numpy(), strict=True):
        own = {token: scores[columns[token]] for token in (f"B{n:03d}" for n in range(24))}
        low, span = min(own.values()), max(own.values()) - min(own.values())
        chosen = []
        while len(chosen) < 5:
            near = {
                it: max((cosine[int(it[1:]), int(that[1:])] for that in chosen), default=0)
                for it in own
            }
            value = {it: 0.4 * (own[it] - low) / span - 0.6 * near[it] for it in own}
            chosen.append(max((it for it in own if it not in chosen), key=value.get))
        assert row == chosen
    # The scores told are the model's, and reasons are of the items that were chosen.
    assert found.scores[0, 1] == pytest.approx(
        float(expected.scores[0, columns[found.items[0, 1]]]), abs=1e-6
    )
    explained = recommender.recommend(
        expected.histories[:4], 5, exclude_seen=False, diversity=0.6, explain=True
    )
    assert rows(explained) == rows(found)[:4]
    np.testing.assert_allclose(explained.shares.sum(axis=2), explained.scores, rtol=1e-5, atol=1e-6)


def test_popular_items_obey_the_rules_too(recommender):
    popular = rows(recommender.recommend([([], [])], 24))[0]
    rules = {"exclude_items": popular[:2], "where": "categories = 'Half_1'"}
    left = [it for it in popular[2:] if int(it[1:]) >= 12]
    assert rows(recommender.recommend([([], [])], 4, **rules)) == [left[:4]]
    found = recommender.recommend(
        [([], []), (["B001"], [5])], 4, **rules, max_per={"categories": 1}
    )
    assert rows(found)[0] == left[:1]
    assert len(rows(found)[1]) == 1
    diverse = recommender.recommend([([], [])], 3, diversity=0.9)
    assert diverse.scores[0].tolist() != sorted(diverse.scores[0].tolist(), reverse=True)


def test_nothing_is_left_where_no_item_passes(recommender, caplog):
    found = recommender.recommend([(["B001"], [5]), ([], [])], 3, where="title = 'none'")
    assert rows(found) == [[], []]
    assert [user["items"] for user in found.records()] == [[], []]
    assert "no item passes where: title = 'none'" in caplog.text
    assert "2 of 2 users get no item" in caplog.text
    explained = recommender.recommend([(["B001"], [5])], 3, where="title = 'none'", explain=True)
    assert explained.table().empty


def test_columns_are_told_of_each_item(recommender):
    found = recommender.recommend([(["B001"], [5])], 2, show=["title", "categories"])
    first = found.items[0, 0]
    number = int(first[1:])
    row = found.table().iloc[0]
    assert (row["title"], row["categories"]) == (
        f'Item "{number}"',
        f"Group_{number % 3} Half_{number // 12}",
    )
    record = next(found.records())["items"][0]
    assert record["details"]["categories"] == [f"Group_{number % 3}", f"Half_{number // 12}"]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"diversity": -0.1}, "diversity must be from 0 to 1, got -0.1"),
        ({"diversity": float("nan")}, "diversity must be from 0 to 1, got nan"),
        ({"max_per": {"title": 0}}, "max_per of 'title' must be 1 or more, got 0"),
        ({"max_per": {"brand": 1}}, "max_per: the column 'brand' is not kept for serving, but tit"),
        ({"show": ["price"]}, "show: the column 'price' is not kept for serving, but title, categ"),
        ({"where": "price < 5"}, "where, character 1: the column 'price' is not kept"),
    ],
)
def test_wrong_rules_are_refused(recommender, rules, message):
    with pytest.raises(ConfigError, match=message):
        recommender.recommend([([], [])], 2, **rules)


def test_a_model_without_features_compares_its_item_rows(sasrec_run):
    recommender = Recommender.load(sasrec_run)
    assert not (sasrec_run / "features").exists()
    weight = recommender.model.item_embedding.weight.detach().numpy()
    rows_ = weight / np.maximum(np.linalg.norm(weight, axis=1, keepdims=True), 1e-12)
    found = recommender.recommend([(["B001"], [5])], 2, diversity=1.0)
    tokens = recommender.items.tokens.tolist()
    first, second = (tokens.index(it) for it in found.items[0])
    others = [n for n in range(1, len(tokens)) if n != first and tokens[n] != "B001"]
    assert second == min(others, key=lambda n: rows_[n] @ rows_[first])


def test_a_run_from_before_reads_its_data_set_and_says_what_is_missing(
    hm4sr_run, recommender, tmp_path
):
    """A serving file without columns, as runs of an earlier release have it."""
    run_dir = tmp_path / "run"
    shutil.copytree(hm4sr_run, run_dir)
    shutil.rmtree(run_dir / "features")
    with pytest.raises(DataError, match=r"features.*\.npy must be there"):
        Recommender.load(run_dir).recommend([([], [])], 2, diversity=0.5)
    with np.load(run_dir / "serving.npz") as kept:
        arrays = {
            name: values
            for name, values in kept.items()
            if name != "features" and not name.startswith("item_table.")
        }
    write_npz(run_dir / "serving.npz", arrays)
    old = Recommender.load(run_dir)
    rules = {"where": "categories = 'Half_0'", "show": ["title"]}
    histories = [(["B001"], [5])]
    assert rows(old.recommend(histories, 3, **rules)) == rows(
        recommender.recommend(histories, 3, **rules)
    )
    assert old.items.compared_by == "model"
    (run_dir / "serving.npz").unlink()
    again = Recommender.load(run_dir)
    assert rows(again.recommend(histories, 3, **rules, diversity=0.7)) == rows(
        recommender.recommend(histories, 3, **rules, diversity=0.7)
    )


def test_the_command_takes_the_rules(hm4sr_run, recommender, tmp_path, capsys):
    history, out = tmp_path / "h.csv", tmp_path / "out.txt"
    history.write_text("user_id,item_id,timestamp\nu,B001,5\n", encoding="utf-8")
    out.write_text("B002\n", encoding="utf-8")
    words = ["--exclude_items", out, "--where", "categories = 'Half_0'", "--max_per"]
    words += ["categories=3", "--max_per", "title=1", "--diversity", 0.4, "--show", "title"]
    words = ["recommend", "--run", hm4sr_run, "--history", history, "-k", 3, *words]
    with pytest.raises(SystemExit, match="0"):
        cli.main([str(word) for word in words])
    best = recommender.recommend(
        [(["B001"], [5])],
        3,
        exclude_items=["B002"],
        where="categories = 'Half_0'",
        max_per={"categories": 3, "title": 1},
        diversity=0.4,
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "user_id,rank,item_id,score,source,title"
    assert [line.split(",")[2] for line in lines[1:]] == rows(best)[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max_per", "categories"], "--max_per must have the form COLUMN=N, N 1 or more, got 'c"),
        (["--max_per", "title=0"], "--max_per must have the form COLUMN=N, N 1 or more"),
        (["--where", "price <"], "where, character 8: there must be a number or a text"),
        (["--exclude_items", "none"], "cannot read the items in none"),
        (["--diversity", "2"], "Invalid value for '--diversity'"),
    ],
)
def test_wrong_flags_are_refused_before_anything_is_loaded(
    hm4sr_run, tmp_path, monkeypatch, capsys, words, message
):
    history = tmp_path / "h.csv"
    history.write_text("user_id,item_id,timestamp\n", encoding="utf-8")
    monkeypatch.setattr(Recommender, "load", lambda _: pytest.fail("the run was loaded"))
    with pytest.raises(SystemExit, match="2"):
        cli.main(["recommend", "--run", str(hm4sr_run), "--history", str(history), *words])
    assert message in capsys.readouterr().err
