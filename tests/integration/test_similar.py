"""More like this: against cosines computed from the feature files and the model's rows."""

import json

import numpy as np
import pytest

from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.data.features import load_features
from recbole_hm4sr.model.capabilities import item_vectors

pytestmark = pytest.mark.integration
TOKENS = [f"B{n:03d}" for n in range(24)]


@pytest.fixture(scope="module")
def cosines(toy_path, recommender):
    """Of all items by each way, in the order of TOKENS."""
    rows = {}
    for name in ("text", "image"):
        features = load_features(toy_path / "toy" / f"toy.{name}.npz")
        row = {token: number for number, token in enumerate(features.tokens.tolist())}
        rows[name] = features.values[[row[token] for token in TOKENS]]
    vectors = item_vectors(recommender.model, len(recommender.items)).detach().numpy()
    number = recommender.items.tokens.tolist()
    rows["model"] = vectors[[number.index(token) for token in TOKENS]]
    unit = {it: r / np.linalg.norm(r, axis=1, keepdims=True) for it, r in rows.items()}
    found = {name: values @ values.T for name, values in unit.items()}
    return found | {"features": (found["text"] + found["image"]) / 2}


def most_like(cosine, item, left=TOKENS):
    row = cosine[TOKENS.index(item)]
    return sorted((it for it in left if it != item), key=lambda it: -row[TOKENS.index(it)])


@pytest.mark.parametrize("by", ["model", "text", "image", "features"])
def test_the_most_like_are_those_of_the_largest_cosine(recommender, cosines, by):
    found = recommender.similar(TOKENS, 23, by=by)
    wanted = -np.sort(-(cosines[by] - 9 * np.eye(24)), axis=1)[:, :23]
    rows = [[TOKENS.index(item) for item in row] for row in found.items]
    assert [len({*row, number}) for number, row in enumerate(rows)] == [24] * 24
    # Rows of features are of half precision, so that near ones may change places.
    error = 1e-6 if by == "model" else 2e-3
    np.testing.assert_allclose(
        np.take_along_axis(cosines[by], np.array(rows), 1), wanted, atol=error
    )
    np.testing.assert_allclose(found.scores, wanted, atol=error)


def test_rules_hold_for_similar_items_too(recommender, cosines):
    left = [it for it in TOKENS if int(it[1:]) % 3 == 0 and it not in ("B003", "B006")]
    rules = {"where": "categories = 'Group_0'", "exclude_items": ["B003", "B006"]}
    found = recommender.similar(["B001", "B009"], 3, by="text", **rules, show=["title"])
    wanted = [most_like(cosines["text"], it, left)[:3] for it in ("B001", "B009")]
    assert found.items.tolist() == wanted
    assert found.details["title"][0].tolist() == [f'Item "{int(it[1:])}"' for it in wanted[0]]
    halves = recommender.similar(["B001"], 24, max_per={"categories": 1})
    chosen, seen = [], set()
    for item in most_like(cosines["model"], "B001"):
        own = {f"Group_{int(item[1:]) % 3}", f"Half_{int(item[1:]) // 12}"}
        if not own & seen:
            chosen.append(item)
            seen |= own
    assert [it for it in halves.items[0] if it] == chosen
    unlike = recommender.similar(["B001"], 2, by="text", diversity=1.0).items[0].tolist()
    first = most_like(cosines["text"], "B001")[0]
    assert unlike == [first, most_like(cosines["features"], first, [
        it for it in TOKENS if it != "B001"])[-1]]  # fmt: skip


def test_items_that_are_not_known_are_named(recommender, caplog):
    found = recommender.similar(["new", " B002 "], 2)
    assert found.is_known.tolist() == [False, True]
    assert found.without_answer.tolist() == ["new"]
    assert "1 of 2 items are not known, e.g. 'new'" in caplog.text
    assert list(found.table()["item_id"]) == [" B002 ", " B002 "]
    assert [record["known"] for record in found.records()] == [False, True]
    with pytest.raises(DataError, match="items must be of the run, but of 1 none is known"):
        recommender.similar(["new"])
    with pytest.raises(ConfigError, match="k must be 1 or more, got 0"):
        recommender.similar(["B001"], 0)
    ways = "got 'sound', but HM4SR has model, features, text, image"
    with pytest.raises(ConfigError, match=ways):
        recommender.similar(["B001"], by="sound")
    assert recommender.similar([], 2).items.shape == (0, 2)


def test_the_service_tells_similar_items(recommender, cosines):
    pytest.importorskip("httpx", reason="needs httpx of the extra dev")
    pytest.importorskip("fastapi_offline", reason="needs the extra serve")
    from fastapi.testclient import TestClient

    from recbole_hm4sr.serve.service import create_app

    client = TestClient(create_app(recommender))
    body = {"items": ["B004", "none"], "k": 3, "by": "text", "show": ["categories"]}
    answer = client.post("/similar", json=body).json()["items"]
    assert [it["item"] for it in answer[0]["items"]] == most_like(cosines["text"], "B004")[:3]
    assert answer[0]["items"][0]["details"]["categories"][1].startswith("Half_")
    assert answer[1] == {"item": "none", "known": False, "items": []}
    answer = client.post("/similar", json={"items": ["none"]})
    assert (answer.status_code, answer.json()["errors"]) == (
        404,
        ["none of the items is an item of the run"],
    )
    answer = client.post("/similar", json={"items": ["B004"], "by": "sound"})
    assert answer.status_code == 422
    assert "got 'sound', but HM4SR has model, features" in answer.json()["errors"][0]


def test_the_command_tells_similar_items(hm4sr_run, cosines, tmp_path, capsys):
    names, out = tmp_path / "names.txt", tmp_path / "best.jsonl"
    names.write_text("B004\nB005\n", encoding="utf-8")
    words = ["similar", "--run", hm4sr_run, "-k", 2, "--by", "text", "--items"]
    with pytest.raises(SystemExit, match="0"):
        cli.main([str(word) for word in [*words, f"@{names}"]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "item_id,rank,similar_item_id,score"
    wanted = [most_like(cosines["text"], it)[:2] for it in ("B004", "B005")]
    assert [line.split(",")[2] for line in lines[1:]] == [*wanted[0], *wanted[1]]
    with pytest.raises(SystemExit, match="0"):
        cli.main([str(word) for word in [*words, "B004,none", "--out", out]])
    assert "2 items, 1 of them without an answer" in capsys.readouterr().out
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [it["item"] for it in records[0]["items"]] == wanted[0]
    assert records[1] == {"item": "none", "known": False, "items": []}
    with pytest.raises(SystemExit, match="2"):
        cli.main(["similar", "--run", str(hm4sr_run), "--items", ","])
    assert "--items must name at least one item, got ','" in capsys.readouterr().err
