"""After a refresh the scores are, to the last bit, those of a memory built from all data."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

import recbole_hm4sr
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.run.serving_file import (
    read_serving_file,
    save_serving_file,
    write_serving_file,
)
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.testing.toydata import QUICK, write_toy_dataset

pytestmark = pytest.mark.integration

DAY = 86400
CUT = 1_600_000_000 + 200 * DAY
NOW = CUT + 4000 * DAY
SETTINGS = {
    **QUICK,
    "epochs": 1,
    "MAX_ITEM_LIST_LENGTH": 11,
    "request_time": "target",
    "eval_args": {
        "split": {"GT": [0.6, 0.2, 0.2]},
        "order": "TO",
        "mode": "full",
        "targets": "visits",
    },
    "same_visit_gap": 60,
    "missing_features": "zero",
    "use_gpu": False,
}
OF_MODELS = {
    "Momento": {"popularity": True, "hidden_size": 16, "inner_size": 32, "memory_events": 5},
    "ItemKNN": {"counts": "as_of"},
}


def rows_of(path):
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    return header, [line.split("\t") for line in lines]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folders of the data before a moment and of all, and two files of what came after it.

    What came is of known and new users and items; some of it has the time of its user's newest.
    """
    folder = tmp_path_factory.mktemp("data")
    for name in ("before", "all"):
        (folder / name).mkdir()
        write_toy_dataset(folder / name / "toy")
    header, rows = rows_of(folder / "all" / "toy" / "toy.inter")
    before = [row for row in rows if int(row[2]) < CUT]
    after = [row for row in rows if int(row[2]) >= CUT]
    newest = {user: time for user, _, time in sorted(before, key=lambda row: int(row[2]))}
    at_once = [[user, "B007", time] for user, time in list(newest.items())[:9]]
    fresh = [[f"n{n}", item, str(CUT + n * DAY)] for n in range(9) for item in ("B004", "new")]
    after = at_once + sorted(after + fresh, key=lambda row: int(row[2]))
    for name, its in (("before", before), ("all", before + after)):
        text = "\n".join([header, *("\t".join(row) for row in its)]) + "\n"
        (folder / name / "toy" / "toy.inter").write_text(text, encoding="utf-8")
    half = len(after) // 2
    for number, part in enumerate((after[:half], after[half:])):
        lines = ["user_id,item_id,timestamp", *map(",".join, part)]
        (folder / f"{number}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


class AllData:
    """Stands for a model whose memory is built from all data, in :func:`write_serving_file`.

    Its dense rows are the run's: nothing was trained on the items that are new.
    """

    def __init__(self, parts, kept):
        self.parts, self.kept = parts, kept

    def serving_arrays(self):
        model, dataset = self.parts.model, self.parts.train_data._dataset
        if hasattr(model, "fit"):
            model.fit(dataset)
        arrays = model.serving_arrays()
        if "catalogue" in arrays:
            rows = self.kept.arrays["catalogue"]
            arrays["catalogue"] = np.zeros((dataset.item_num, *rows.shape[1:]), rows.dtype)
            arrays["catalogue"][: len(rows)] = rows
        return arrays


@pytest.fixture(scope="module", params=OF_MODELS)
def opened(request, data, tmp_path_factory):
    """A run as it ended, after two refreshes, and with a memory built from all data."""
    folder = tmp_path_factory.mktemp("runs")
    settings = {**SETTINGS, **OF_MODELS[request.param]}
    run = folder / "run"
    quick_start.run(
        request.param, "toy", overrides={**settings, "data_path": str(data / "before")}, run_dir=run
    )
    for name in ("refreshed", "whole"):
        shutil.copytree(run, folder / name)
    for number in range(2):
        recbole_hm4sr.refresh(folder / "refreshed", data / f"{number}.csv")
    whole, kept = folder / "whole", read_serving_file(run)
    plan = compose(request.param, "toy", overrides={**settings, "data_path": str(data / "all")})
    parts = build_parts(plan, folder / "parts")
    write_serving_file(
        whole,
        AllData(parts, kept.data),
        parts.train_data._dataset,
        fingerprints=kept.fingerprints,
    )
    built = read_serving_file(whole)
    # What was fitted is the run's: its items, and what is known of its times.
    known = replace(kept.data, item_tokens=built.data.item_tokens, arrays=built.data.arrays)
    save_serving_file(whole, replace(built, data=known))
    return [Recommender.load(folder / name) for name in ("run", "refreshed", "whole")]


def ask(recommender):
    histories = [
        (["B003", "B004"], [NOW - 9 * DAY, NOW - DAY]),
        (["B004"], [NOW - DAY]),
        ([f"B{n:03d}" for n in range(12)], [NOW - 40 * DAY + n * 50 for n in range(12)]),
    ]
    return recommender.recommend(
        histories, k=recommender.n_items - 1, at=NOW, exclude_seen=False, explain=True
    )


def test_items_scores_shares_and_reasons_are_equal_to_the_last_bit(opened):
    before, refreshed, whole = map(ask, opened)
    assert refreshed.items.tolist() == whole.items.tolist()
    np.testing.assert_array_equal(refreshed.scores, whole.scores)
    np.testing.assert_array_equal(refreshed.shares, whole.shares)
    for found, expected in zip(
        vars(refreshed.reasons).values(), vars(whole.reasons).values(), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert refreshed.known_until == whole.known_until > before.known_until
    assert (refreshed.scores[:, :3] != before.scores[:, :3]).all()
    # Its neighbour was bought with it nine times, so it is there, and not at the end.
    assert refreshed.items[1].tolist().index("new") < 20


def test_a_user_without_a_known_item_gets_what_is_popular_now(opened):
    _, refreshed, whole = opened
    found, expected = (it.recommend([([], [])], k=30, at=NOW) for it in (refreshed, whole))
    assert found.items.tolist() == expected.items.tolist()
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_all_that_is_served_is_equal(opened):
    _, refreshed, whole = opened
    found, expected = refreshed.run.data, whole.run.data
    np.testing.assert_array_equal(found.item_tokens, expected.item_tokens)
    assert found.arrays.keys() == expected.arrays.keys()
    for name, values in expected.arrays.items():
        assert found.arrays[name].dtype == values.dtype, name
        np.testing.assert_array_equal(found.arrays[name], values, err_msg=name)
