"""New items in a finished run equal, to the last bit, those that were described from the start."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.config.settings import read_settings
from recbole_hm4sr.data.added_items import AddedItems
from recbole_hm4sr.data.features import ItemFeatures, load_features, save_features
from recbole_hm4sr.data.recbole import MultiModalSequentialDataset
from recbole_hm4sr.later.options import Recipe
from recbole_hm4sr.later.update import undo, update
from recbole_hm4sr.model.memory import memory_arrays
from recbole_hm4sr.model.momento.settings import MomentoSettings
from recbole_hm4sr.prepare.encode.tfidf import make_missing_text_features
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.run.serving_file import read_serving_file
from recbole_hm4sr.serve import add_items as adding
from recbole_hm4sr.serve import export
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.serve.refresh import refresh
from recbole_hm4sr.testing.toydata import QUICK_HM4SR, write_toy_dataset

SETTINGS = {
    **{name: it for name, it in QUICK_HM4SR.items() if name != "n_temporal_experts"},
    "epochs": 1,
    "memory": "events",
    "memory_reach": 4,
    "memory_neighbours": 5,
    "request_time": "target",
    "modalities": {"text": "tfidf-svd", "image": "npz"},
    "text_fields": ["title"],
    "eval_args": {
        "order": "TO", "mode": "full", "split": {"GT": [0.6, 0.2, 0.2]}, "targets": "all",
    },
}  # fmt: skip
HEADER = "item_id:token\ttitle:token_seq\tcategories:token_seq"
# The new items are like these of the first.
TWINS = {"C1": "B003", "N1": "B005", "N2": "B007"}
LINES = {
    "C1": 'C1\tItem "03" alike\tGroup_0 Unheard',
    "N1": 'N1\tItem "05" 05\tNovel',
    "N2": 'N2\tItem "07" new\tGroup_1',
}


def describe(path, items):
    """Add items to the files of the toy data set, each with the image features of its twin."""
    with (path / "toy" / "toy.item").open("a", encoding="utf-8") as file:
        file.writelines(f"{LINES[item]}\n" for item in items)
    file = path / "toy" / "toy.image.npz"
    there = load_features(file)
    rows = [there.tokens.tolist().index(TWINS[item]) for item in items]
    values = np.concatenate([there.values, there.values[rows]])
    tokens = np.append(there.tokens, items)
    save_features(file, ItemFeatures(tokens, values, "test", "1", "toy"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A data set with an item that nobody has interacted with, a run on it, and its folder."""
    path = tmp_path_factory.mktemp("shop")
    write_toy_dataset(path / "toy")
    # Titles of several words, some of them of several items.
    item_file = path / "toy" / "toy.item"
    lines = item_file.read_text(encoding="utf-8").splitlines()[1:]
    titles = [
        f'{line.split(chr(9))[0]}\tItem "{k:02d}" kind{k % 3}\t{line.split(chr(9))[2]}'
        for k, line in enumerate(lines)
    ]
    item_file.write_text("\n".join([HEADER, *titles]) + "\n", encoding="utf-8")
    describe(path, ["C1"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(path / "cache"))
        quick_start.run(
            "Momento", "toy", overrides={**SETTINGS, "data_path": str(path)}, run_dir=path / "run"
        )
        yield path


@pytest.fixture
def run(shop, tmp_path):
    return shutil.copytree(shop / "run", tmp_path / "run")


def new_items(folder, *items, features=True):
    """An item file, and a file with the image features of its items."""
    (folder / "new.item").write_text(
        "\n".join([HEADER, *(LINES[it] for it in items)]) + "\n", encoding="utf-8"
    )
    if not features:
        return folder / "new.item"
    values = np.concatenate([image_of(TWINS[it])[None] for it in items])
    save_features(
        folder / "new.image.npz", ItemFeatures(np.array(items), values, "test", "1", "new")
    )
    return folder / "new.item", {"image": folder / "new.image.npz"}


IMAGES = {}


def image_of(item):
    return IMAGES[item]


@pytest.fixture(autouse=True)
def _images(shop):
    there = load_features(shop / "toy" / "toy.image.npz")
    IMAGES.update(zip(there.tokens.tolist(), np.array(there.values), strict=True))


def as_if_described(shop, folder, items):
    """Neighbours of a data set that has described all items from the start."""
    shutil.copytree(shop / "toy", folder / "toy")
    describe(folder, items)
    overrides = {**SETTINGS, "data_path": str(folder), "catalogue": "all"}
    plan = compose("Momento", "toy", overrides=overrides)
    config = plan.to_recbole()
    make_missing_text_features(folder / "toy", "toy", plan.data, item_field="item_id")
    train = MultiModalSequentialDataset(config).build()[0]
    settings = read_settings(config, MomentoSettings)
    return train.item_tokens, memory_arrays(train, settings, ("text", "image"))


def check_neighbours(kept, tokens, expected):
    assert kept.data.item_tokens.tolist() == tokens.tolist()
    for name in ("near.text", "cosines.text", "near.image", "cosines.image", "starts"):
        np.testing.assert_array_equal(kept.data.arrays[f"memory.{name}"], expected[name], name)
    assert any(kept.data.arrays["memory.near.text"][-1])


def parts_of(kept, item):
    """Row of an item: the part of its id, and those of its features."""
    row = kept.data.arrays["catalogue"][kept.data.item_tokens.tolist().index(item)]
    return row[0], row[1:]


def test_a_run_serves_what_is_described_and_was_never_bought(shop, run, tmp_path):
    kept = read_serving_file(run)
    assert len(kept.data.counts) == 25
    check_neighbours(kept, *as_if_described(shop, tmp_path / "all", []))
    id_row, (_, image) = parts_of(kept, "C1")
    assert not id_row.any()
    np.testing.assert_allclose(image, parts_of(kept, "B003")[1][1], rtol=0, atol=1e-6)
    added = AddedItems.load(run, kept.added)
    assert added.tokens.tolist() == ["C1"]
    assert added.modalities["text"].texts == ('Item "03" alike',)


def test_added_items_equal_those_that_were_described_from_the_start(shop, run, tmp_path):
    done = adding.add_items(run, *new_items(tmp_path, "N1", "N2"))
    assert done == adding.ItemsAdded(2, 0, ("Novel",))
    kept = read_serving_file(run)
    check_neighbours(kept, *as_if_described(shop, tmp_path / "all", ["N1", "N2"]))
    id_row, (_, image) = parts_of(kept, "N1")
    assert not id_row.any()
    np.testing.assert_allclose(image, parts_of(kept, "B005")[1][1], rtol=0, atol=1e-6)
    assert AddedItems.load(run, kept.added).tokens.tolist() == ["C1", "N1", "N2"]
    # Again, nothing changes.
    before = {path: path.read_bytes() for path in run.rglob("*.np[yz]")}
    assert adding.add_items(run, *new_items(tmp_path, "N1", "C1")) == adding.ItemsAdded(0, 2, ())
    assert {path: path.read_bytes() for path in run.rglob("*.np[yz]")} == before


def test_items_added_one_after_the_other_equal_those_added_at_once(run, tmp_path):
    at_once = shutil.copytree(run, tmp_path / "once")
    adding.add_items(at_once, *new_items(tmp_path, "N1", "N2"))
    for item in ("N1", "N2"):
        adding.add_items(run, *new_items(tmp_path, item))
    found, expected = read_serving_file(run), read_serving_file(at_once)
    assert found.data.item_tokens.tolist() == expected.data.item_tokens.tolist()
    for name, values in expected.data.arrays.items():
        np.testing.assert_array_equal(found.data.arrays[name], values, name)
    assert len(list((run / "added_items").iterdir())) == 2  # of now and of before


def test_added_items_are_recommended_and_known(run, tmp_path):
    adding.add_items(run, *new_items(tmp_path, "N1"))
    recommender = Recommender.load(run)
    assert recommender.knows(["C1", "N1", "N2"]).tolist() == [True, True, False]
    history = [(["B002", "N1"], [1_600_000_000, 1_600_000_060]), (["N2"], [5])]
    found = recommender.recommend(history, k=30)
    assert {"C1", "B005"} <= set(found.items[0])
    assert found.unknown_items.tolist() == [0, 1]
    assert found.by_model.tolist() == [True, False]
    scores = dict(zip(found.items[0].tolist(), found.scores[0].tolist(), strict=True))
    assert all(np.isfinite(scores[item]) for item in ("C1", "B005"))
    # Popularity knows them with a count of 0, behind all that were sold.
    assert found.items[1].tolist()[-2:] == ["C1", "N1"]


def contents(run):
    kept = read_serving_file(run)
    arrays = {**kept.data.arrays, "tokens": kept.data.item_tokens}
    arrays |= {f"whole.{name}": it for name, it in vars(kept.memory.open_events(run)).items()}
    arrays |= {f"state.{name}": it for name, it in vars(kept.memory.open_state(run)).items()}
    return arrays


def test_the_first_sale_of_an_added_item_makes_events_in_either_order(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    last = read_serving_file(run).data.clock.newest
    sales = tmp_path / "sales.csv"
    sales.write_text(
        f"user_id,item_id,timestamp\nu0,B001,{last + 10}\nu0,N1,{last + 20}\n", encoding="utf-8"
    )
    adding.add_items(run, *new_items(tmp_path, "N1"))
    assert refresh(run, sales).n_items == 0
    assert refresh(other, sales).n_items == 1
    row = contents(other)["tokens"].tolist().index("N1")
    assert not contents(other)["catalogue"][row].any()
    assert adding.add_items(other, *new_items(tmp_path, "N1")).n_added == 1
    found, expected = contents(other), contents(run)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, name)
    assert expected["catalogue"][row].any()
    # The sale after B001 is an event that leads to it.
    assert row in expected["whole.others"]
    model = Recommender.load(run).model
    assert model.scorer.memory.events.n_items == len(expected["tokens"])


def test_whatever_is_wrong_is_one_sentence_and_nothing_changes(run, tmp_path):
    before = contents(run)
    path, files = new_items(tmp_path, "N1", "N2")
    with pytest.raises(DataError, match=r"2 new items of 2 must have features, but no image feat"):
        adding.add_items(run, path)
    with pytest.raises(ConfigError, match="must be of the run's modalities text, image, got smell"):
        adding.add_items(run, path, {"smell": path})
    features = load_features(files["image"])
    for changes, sentence in (
        ({"values": np.zeros((2, 9), np.float32)}, "image features must be 5 wide as those of"),
        ({"encoder": "other"}, r"must come from the encoder of the first items, test, got other"),
        ({"tokens": np.array(["N1", "x"])}, "1 new item of 2 must have .* e.g. for 'N2'; give"),
    ):
        fields = {**vars(features), "values": np.array(features.values), **changes}
        save_features(tmp_path / "wrong.npz", ItemFeatures(**fields))
        with pytest.raises(DataError, match=sentence):
            adding.add_items(run, path, {"image": tmp_path / "wrong.npz"})
    kept = next(run.glob("toy.text.encoder.npz"))
    kept.write_bytes(kept.read_bytes() + b"0")
    with pytest.raises(DataError, match=r"toy.text.encoder.npz must be the encoder that serving"):
        adding.add_items(run, path, files)
    after = contents(run)
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)


def test_a_shops_table_is_answered_with_how_it_becomes_an_item_file(run, shop, tmp_path):
    table = tmp_path / "artikel.csv"
    table.write_text("sku;name\nN1;Item\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"run it as for the data set with --items=\S+ and another"):
        adding.add_items(run, table)
    columns = {"item": "sku", "title": "long name", "brand": None, "separator": "|"}
    provenance = shop / "toy" / "PROVENANCE.json"
    provenance.write_text(json.dumps({"options": {"item_columns": columns}}), encoding="utf-8")
    try:
        with pytest.raises(DataError, match=r"must be an \.item file") as caught:
            adding.add_items(run, table)
    finally:
        provenance.unlink()
    flags = f"--items={table} --items_item=sku '--title=long name' '--separator=|' and another"
    assert flags in str(caught.value)


def test_a_model_that_scores_by_ids_takes_no_items_in(sasrec_run, tmp_path):
    with pytest.raises(ConfigError, match=r"scores them by their features; SASRec in .* does not"):
        adding.add_items(sasrec_run, tmp_path / "new.item")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_call_that_is_killed_leaves_the_run_as_it_was(run, tmp_path, monkeypatch):
    arguments, before = new_items(tmp_path, "N1"), contents(run)
    process = os.fork()
    if not process:
        kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
        monkeypatch.setattr(adding, "save_serving_file", kill)
        torch.set_num_threads(1)
        adding.add_items(run, *arguments)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    for name, values in contents(run).items():
        np.testing.assert_array_equal(values, before[name])
    assert adding.add_items(run, *arguments).n_added == 1


def test_columns_and_features_of_added_items_are_served(run, tmp_path):
    adding.add_items(run, *new_items(tmp_path, "N1"))
    items = Recommender.load(run).items
    numbers = items.numbers(["N1", "B005", "C1"])
    assert items.titles(numbers).tolist() == ['Item "05" 05', 'Item "05" kind2', 'Item "03" alike']
    vectors = items.vectors("image")
    assert len(vectors) == len(items)
    torch.testing.assert_close(vectors[numbers[0]], vectors[numbers[1]])
    assert vectors[numbers].any(dim=1).all()


def test_an_index_of_other_items_is_written_anew(run, tmp_path, monkeypatch):
    renewed = []
    monkeypatch.setattr(export, "require_packages", lambda: None)
    monkeypatch.setattr(export, "renew_index", lambda *words: renewed.append(words[:2]))
    (run / "index").mkdir()
    (run / "index" / "index.json").write_text('{"n_items": 25}', encoding="utf-8")
    arguments = new_items(tmp_path, "N1")
    assert adding.add_items(run, *arguments).indexes == (run / "index",)
    # A call that was killed before it wrote the index is mended by the same call.
    assert adding.add_items(run, *arguments).indexes == (run / "index",)
    (run / "index" / "index.json").write_text('{"n_items": 26}', encoding="utf-8")
    assert adding.add_items(run, *arguments).indexes == ()
    assert renewed == [(run, run / "index")] * 2


def test_an_update_keeps_the_items_that_were_added(run, tmp_path):
    adding.add_items(run, *new_items(tmp_path, "N1"))
    before, last = contents(run), read_serving_file(run).data.clock.newest
    week = tmp_path / "week.csv"
    rows = "".join(f"u{k},B00{k},{last + 10 * k}\n" for k in range(1, 7))
    week.write_text(f"user_id,item_id,timestamp\n{rows}", encoding="utf-8")
    assert update(run, week, recipe=Recipe(passes=1)).n_learned == 6
    kept = read_serving_file(run)
    assert kept.data.item_tokens.tolist() == before["tokens"].tolist()
    assert AddedItems.load(run, kept.added).tokens.tolist() == ["C1", "N1"]
    id_row, (_, image) = parts_of(kept, "N1")
    assert not id_row.any()
    # Of the weights of now, as the row of its twin.
    np.testing.assert_allclose(image, parts_of(kept, "B005")[1][1], rtol=0, atol=1e-6)
    assert not np.array_equal(kept.data.arrays["catalogue"][-1], before["catalogue"][-1])
    assert adding.add_items(run, *new_items(tmp_path, "N1", "N2")).n_added == 1
    undo(run)
    for name, values in contents(run).items():
        np.testing.assert_array_equal(values, before[name])
