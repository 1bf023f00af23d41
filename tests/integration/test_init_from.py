"""A training on longer data that begins from what an earlier run knows."""

import logging

import pytest
import torch
from servedruns import train_toy

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.data.vocabulary import FILE_NAME, Vocabulary
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import DAY, QUICK_HM4SR, write_toy_dataset
from recbole_hm4sr.train.checkpoint import read_checkpoint

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def longer_path(tmp_path_factory):
    """The toy data set with a new user first in the file, a new item, and gaps of ten years."""
    path = tmp_path_factory.mktemp("longer")
    write_toy_dataset(path / "toy")
    inter, item = path / "toy" / "toy.inter", path / "toy" / "toy.item"
    header, *lines = inter.read_text().splitlines()
    new = [f"new\tB{number:03d}\t{1_500_000_000 + 320_000_000 * number}" for number in range(5)]
    new.append("new\tB999\t3200000000")
    inter.write_text("\n".join([header, *new, *lines]) + "\n")
    item.write_text(item.read_text() + "B999\tItem nine\tAardvark\n")
    (path / "toy" / "toy.yaml").write_text(
        (path / "toy" / "toy.yaml").read_text() + "missing_features: zero\n"
    )
    return path


def begin(longer_path, run_dir, init_from, **overrides):
    overrides = {
        **QUICK_HM4SR,
        "data_path": str(longer_path),
        "init_from": str(init_from),
        **overrides,
    }
    return build_parts(compose("HM4SR", "toy", overrides=overrides), run_dir)


def test_rows_are_found_again_by_what_they_stand_for(hm4sr_run, longer_path, tmp_path, caplog):
    caplog.set_level(logging.INFO, "recbole_hm4sr")
    parts = begin(longer_path, tmp_path / "run", hm4sr_run)
    parts.trainer.close()
    before = read_checkpoint(hm4sr_run / "checkpoint" / "best.pt")["state_dict"]
    known = Vocabulary.load(hm4sr_run / FILE_NAME)
    dataset, model = parts.train_data._dataset, parts.model
    # The new user stands first in the file, and its number is the last.
    assert dataset.vocabulary.users.tolist() == [*known.users, "new"]
    assert dataset.vocabulary.items.tolist() == [*known.items, "B999"]
    rows = model.item_embedding.weight.detach()
    assert torch.equal(rows[: len(known.items)], before["item_embedding.weight"])
    # Aardvark is the first category by name, and new.
    assert torch.equal(model.category_layer.weight[1:], before["category_layer.weight"])
    gaps = model.time_encoding.interval_embedding.weight.detach()
    old = before["time_encoding.interval_embedding.weight"]
    assert len(gaps) > len(old)
    # The buckets of the gaps that the first data have; rows between them are of no gap.
    met = model.time_encoding.buckets(torch.tensor([0, 40, 7 * DAY, 90 * DAY]))
    assert torch.equal(gaps[met], old[met])
    assert (gaps[len(old) :] == old[-1]).all()
    # 2020, the first time of the first run; the longer data begin in 2017.
    assert dataset.first_time() == known.origin == 1_600_000_000
    assert "the state of the optimizer starts fresh" in caplog.text


def test_it_trains_is_evaluated_and_resumed_without_the_first(hm4sr_run, longer_path, tmp_path):
    shutil_copy = tmp_path / "first"
    shutil_copy.mkdir()
    (shutil_copy / "checkpoint").mkdir()
    for name in ("config.yaml", FILE_NAME, "checkpoint/best.pt"):
        (shutil_copy / name).write_bytes((hm4sr_run / name).read_bytes())
    run = tmp_path / "second"
    train_toy("HM4SR", longer_path, run, init_from=str(shutil_copy), epochs=1)
    for path in sorted(shutil_copy.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    tested = quick_start.evaluate(run)
    assert len(tested.test) > 0
    resumed = quick_start.resume(run)
    assert resumed.test == tested.test


def test_what_cannot_be_begun_from_is_refused(hm4sr_run, sasrec_run, longer_path, tmp_path):
    with pytest.raises(ConfigError, match=r"same width, but .* set the sizes of the earlier run"):
        begin(longer_path, tmp_path / "a", hm4sr_run, hidden_size=8)
    how = {"data_path": str(longer_path), "init_from": str(sasrec_run), **QUICK_HM4SR}
    with pytest.raises(ConfigError, match="init_from must be a run of HM4SR, got one of SASRec"):
        quick_start.run("HM4SR", "toy", overrides=how, run_dir=tmp_path / "b")
    with pytest.raises(DataError, match="must be the folder of a run, but holds no config"):
        quick_start.run(
            "HM4SR", "toy", overrides={**how, "init_from": str(tmp_path)}, run_dir=tmp_path / "c"
        )
