"""The exported memory: its lines give the scores of the service, and its length is measured."""

import json
import shutil

import numpy as np
import pytest
import torch
from servedruns import train_toy
from test_export import run_lines

import recbole_hm4sr
from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.evaluate.statistics import user_metric
from recbole_hm4sr.layers.frozen_memory import freeze_memory
from recbole_hm4sr.model.dense_weight import DenseWeight
from recbole_hm4sr.report.cases import rank_of
from recbole_hm4sr.serve import export, export_memory
from recbole_hm4sr.serve.export import export_index
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.testing.toydata import write_toy_dataset

pytest.importorskip("onnxruntime", reason="needs the extra export")
pytest.importorskip("onnxscript", reason="needs the extra export")
pytest.importorskip("faiss", reason="needs the extra export")

pytestmark = pytest.mark.integration
SETTINGS = {
    "epochs": 1,
    "memory": "events",
    "memory_weights": "situation",
    "request_time": "target",
    "popularity": True,
    "MAX_ITEM_LIST_LENGTH": 11,
    "hidden_size": 16,
    "inner_size": 32,
    "n_layers": 1,
}


@pytest.fixture(scope="module")
def run_dir(toy_path, tmp_path_factory):
    def choose_half(weights, view, _name):
        weights.values[view] = 0.5

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DenseWeight, "choose", choose_half)
        return train_toy(
            "SASRecPlus", toy_path, tmp_path_factory.mktemp("runs") / "run", **SETTINGS
        )


@pytest.fixture(scope="module")
def parts(run_dir):
    return export_memory._open(run_dir)


def test_with_long_lists_the_lines_score_as_the_service(run_dir, tmp_path):
    recommender = Recommender.load(run_dir)
    assert recommender.model.weight_of_dense_part() == 0.5
    assert recommender.model.scorer.w.any()  # weights that depend on the situation
    index = export_index(run_dir, tmp_path / "index", list_length=10_000)
    facts = json.loads((index / "index.json").read_text(encoding="utf-8"))["memory"]
    assert facts["moment"] == recommender.model.known_until
    assert facts["measured"] is None
    assert str(facts["list_length"]) in (index / "README.md").read_text(encoding="utf-8")
    now = facts["moment"] + 40 * 86400
    recommend = run_lines(index)
    score, number = recommend.__globals__["score"], recommend.__globals__["number"]
    histories = [
        (["B003", "B004", "B005"], [now - 9_000_000, now - 86400, now - 86400]),
        (["B010"], [now - 5]),
        ([f"B{n:03d}" for n in range(14)], list(range(now - 20_000_000, now - 13, 1_428_000))[:14]),
    ]
    served = recommender.recommend(histories, 24, exclude_seen=False, at=now)
    for row, history in enumerate(histories):
        pairs = list(zip(*history, strict=True))
        known = np.array([(number[item], time) for item, time in pairs][-11:])
        found, scores = score(known, now)
        assert found.tolist() == list(range(1, 25))
        mine = dict(zip(served.items[row], served.scores[row], strict=True))
        expected = [mine[f"B{n:03d}"] for n in range(24)]
        order = [number[f"B{n:03d}"] - 1 for n in range(24)]
        scores = scores[order]
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
        assert recommend(pairs, 10, now) == served.items[row, :10].tolist()
    assert recommend([("new", 5)], 3, now) == []


def test_a_refresh_writes_the_index_anew(run_dir, tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "run" / "index"
    shutil.copytree(run_dir, run)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["export", f"--run={run}", "--list_length=10000"])
    facts = json.loads((out / "index.json").read_text(encoding="utf-8"))
    facts["memory"]["measured"] = measured = {
        "metric": "NDCG@10", "ndcg": {"whole": 0.5}, "loss": 0.0, "recall": 1.0, "recall_users": 7,
    }  # fmt: skip
    (out / "index.json").write_text(json.dumps(facts), encoding="utf-8")
    now = facts["memory"]["moment"] + 86400
    path = tmp_path / "new.csv"
    rows = [f"n{n},{item},{now + n}" for n in range(5) for item in ("B004", "new")]
    path.write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "renew_index", no_space)
        with pytest.raises(RuntimeError, match="no space"):
            recbole_hm4sr.refresh(run, path)
    for _ in range(2):  # it is mended by the same command, and then nothing is left to do
        with pytest.raises(SystemExit, match="0"):
            cli.main(["refresh", f"--run={run}", f"--interactions={path}"])
    assert capsys.readouterr().out.count("index written anew:") == 1
    found = json.loads((out / "index.json").read_text(encoding="utf-8"))
    assert found["n_items"] == facts["n_items"] + 1 == len(np.load(out / "tokens.npy"))
    assert found["memory"] == {**facts["memory"], "moment": now + 5, "measured": measured}
    assert not list(run.glob(".index*"))
    recommender, recommend = Recommender.load(run), run_lines(out)
    history = ["B003", "B004"], [now - 50, now]
    served = recommender.recommend([history], 5, at=now + 9, exclude_seen=False)
    assert recommend(list(zip(*history, strict=True)), 5, now + 9) == served.items[0].tolist()
    assert "new" in recommend([("B004", now)], 25, now + 9)


def no_space(*_):
    raise RuntimeError("no space")


def test_the_shortest_lists_that_lose_little_are_chosen(parts, monkeypatch):
    monkeypatch.setattr(export_memory, "LENGTHS", (1, 3, 1000))
    model, loader = parts.model, parts.valid_data
    own = model.scorer.memory
    found = export_memory.measure_lists(parts)
    assert model.scorer.memory is own
    whole = freeze_memory(own, model.known_until)
    importance = model.user_tower().importance()
    batches = [(batch[0], batch[0][model.ITEM_ID]) for batch in loader]
    for length, memory in ((n, whole.shortened(n, importance)) for n in (1, 3, 1000)):
        with export_memory.remembering(model, memory), torch.no_grad():
            ranks = []
            for batch, targets in batches:
                scores = model.full_sort_predict(batch)
                scores[:, 0] = -torch.inf
                ranks += [rank_of(row, int(t)) for row, t in zip(scores, targets, strict=True)]
        ndcg = user_metric(np.array(ranks), "NDCG@10").mean()
        assert found["ndcg"][str(length)] == pytest.approx(ndcg)
    ndcg = found["ndcg"]
    assert ndcg["1000"] == ndcg["whole"]
    assert len(set(ndcg.values())) > 1
    wanted = next(n for n in (1, 3, 1000) if ndcg[str(n)] >= 0.99 * ndcg["whole"])
    assert found["list_length"] == wanted
    assert found["loss"] == pytest.approx(1 - ndcg[str(wanted)] / ndcg["whole"])
    assert found["recall_users"] == len(loader._dataset)


def test_long_lists_find_the_ten_best_and_few_candidates_do_not(parts, monkeypatch):
    whole = freeze_memory(parts.model.scorer.memory, parts.model.known_until)
    assert export_memory.measure_recall(parts, whole, whole)[0] == 1
    short = whole.shortened(1, parts.model.user_tower().importance())
    monkeypatch.setattr(export_memory, "N_CANDIDATES", 2)
    assert export_memory.measure_recall(parts, whole, short)[0] < 1


def test_a_length_is_needed_where_the_data_are_not(tmp_path):
    write_toy_dataset(tmp_path / "toy")
    run_dir = train_toy("SASRecPlus", tmp_path, tmp_path / "run", **SETTINGS)
    tower = Recommender.load(run_dir).model.user_tower()
    shutil.rmtree(tmp_path / "toy")
    with pytest.raises(DataError, match=r"cannot be read: .*; name a length with --list_length"):
        export_memory.export_memory(run_dir, tower, None)
    assert export_memory.export_memory(run_dir, tower, 7).length == 7
