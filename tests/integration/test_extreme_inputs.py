"""Extreme but legal inputs train, and every loss, weight and score stays finite."""

import math

import numpy as np
import pytest
import torch
from datafiles import DAY, NEW_YEAR, walks, write_dataset, write_features, write_lines

from recbole_hm4sr.base.errors import DataError, TrainingError
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.testing.toydata import QUICK_HM4SR
from recbole_hm4sr.train.trainer import Trainer

pytestmark = pytest.mark.integration
YEAR = 365 * DAY
IN_2100 = 4_102_444_800  # midnight of 2100-01-01, UTC
ITEMS = [f"i{n}" for n in range(7)]
# Of 8 channels dropout leaves none in one token of 256. A layer norm of nothing but zeros has a
# slope of 1e6 (layer_norm_eps: 1e-12), two in a row 1e12, and the square of such a gradient is
# beyond float32. Of 32 channels some are always left.
TINY = {**QUICK_HM4SR, "epochs": 1, "hidden_size": 32, "inner_size": 32, "topk": [1, 2],
        "valid_metric": "NDCG@1", "train_batch_size": 16}  # fmt: skip
MODES = ["prefix", "sequence"]


def train(tmp_path, rows, values=None, categories=None, **settings):
    """Train on rows with one modality; returns the losses and the scores of the test part."""
    items = sorted({row[1] for row in rows})
    folder = write_dataset(tmp_path / "toy", rows)
    values = {item: [n / 7, -n, 1.0] for n, item in enumerate(items)} if values is None else values
    write_features(tmp_path / "toy", "text", values)
    if categories:
        lines = [(item, categories) for item in items]
        header = "item_id:token\tcategories:token_seq"
        write_lines(tmp_path / "toy" / "toy.item", header, lines)
        settings["category_field"] = "categories"
    seen = {}

    def keep(session):
        seen["session"] = session

    overrides = {**TINY, "data_path": str(folder), "modalities": {"text": "npz"}, **settings}
    result = quick_start.run(
        "HM4SR", "toy", overrides=overrides, run_dir=tmp_path / "run", on_start=keep
    )
    session = seen["session"]
    session.model.eval()
    with torch.no_grad():
        for batch in session.test_data:
            scores = session.model.full_sort_predict(batch[0])
            assert torch.isfinite(scores).all()
    for record in result.epochs:
        assert all(math.isfinite(value) for value in record.losses.values())
    for weight in session.model.parameters():
        assert torch.isfinite(weight).all()
    assert all(0 <= value <= 1 for value in (*result.test.values(), *result.valid.values()))
    return result


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("first", [0, 1, IN_2100], ids=["1970", "a second later", "2100"])
def test_years_far_from_now(tmp_path, first, mode):
    train(tmp_path, walks([6, 5, 4], first=first), train_mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_gaps_of_fifty_years(tmp_path, mode):
    train(tmp_path, walks([4, 4, 3], first=0, step=50 * YEAR), train_mode=mode)


def test_from_the_first_second_to_the_year_5138(tmp_path):
    rows = [("u0", f"i{n}", time) for n, time in enumerate([0, 1, 10**11 - 2, 10**11 - 1])]
    train(tmp_path, [*rows, *walks([5])[3:]], train_mode="prefix")


@pytest.mark.parametrize("mode", MODES)
def test_ten_thousand_equal_times(tmp_path, mode):
    rows = [(f"u{n % 100}", f"i{n % 7}", NEW_YEAR) for n in range(10_000)]
    train(tmp_path, rows, train_mode=mode, train_batch_size=4096, MAX_ITEM_LIST_LENGTH=20)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", [0.0, 1e6, 1e-30], ids=lambda scale: f"times {scale:g}")
def test_features_of_many_sizes(tmp_path, scale, mode):
    values = {item: [scale * (n + 1), -scale, scale * n * n] for n, item in enumerate(ITEMS)}
    train(tmp_path, walks([8, 7, 6]), values, train_mode=mode)


def test_features_that_are_all_equal(tmp_path):
    train(tmp_path, walks([8, 7, 6]), {item: [3.0, 3.0, 3.0] for item in ITEMS})


@pytest.mark.parametrize("mode", MODES)
def test_one_category(tmp_path, mode):
    train(tmp_path, walks([6, 5, 4]), categories="all", train_mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_one_user(tmp_path, mode):
    train(tmp_path, walks([7]), train_mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_two_items(tmp_path, mode):
    rows = [(user, f"i{int(item[1:]) % 2}", time) for user, item, time in walks([6, 5, 4])]
    train(tmp_path, rows, train_mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_histories_of_one(tmp_path, mode):
    # Of four interactions two are held out: one input and one target are left to train on.
    result = train(tmp_path, walks([4, 4, 4]), train_mode=mode, MAX_ITEM_LIST_LENGTH=1)
    assert len(result.epochs) == 1


@pytest.mark.parametrize("mode", MODES)
def test_users_of_one_interaction_and_more(tmp_path, mode):
    train(tmp_path, walks([1, 2, 3, 4, 4]), train_mode=mode)


def test_features_beyond_what_float32_can_square_stop_with_their_stream(tmp_path):
    values = {item: [1e30 * (n + 1), -1e30, n] for n, item in enumerate(ITEMS)}
    message = (
        r"but cross_entropy, placeholder_contrastive is nan, nan in epoch 1, step 1: the first "
        r"value that is not finite is in the output of input_norms\.text; row 1 of \d+ gives it by "
        r"itself: item 'i0', 'i1'"
    )
    with pytest.raises(TrainingError, match=message):
        train(tmp_path, walks([8, 7, 6]), values, shuffle=False)
    assert list((tmp_path / "run" / "checkpoint").iterdir()) == []


@pytest.mark.parametrize("mode", MODES)
def test_a_gradient_too_large_to_square_is_not_passed_over(tmp_path, mode, monkeypatch):
    original = Trainer._named_losses

    def steep(self, batch):
        losses = original(self, batch)
        # A finite loss whose gradient is 1e22: Adam keeps its square, and never moves again.
        weight = self.model.item_embedding.weight[1:2]
        return {**losses, "more": ((weight - weight.detach()) * 1e22).sum()}

    monkeypatch.setattr(Trainer, "_named_losses", steep)
    message = r"after epoch 1 these are not: gradient of item_embedding\.weight \(exp_avg_sq\)"
    with pytest.raises(TrainingError, match=message):
        train(tmp_path, walks([4, 4]), train_mode=mode, train_batch_size=4096)


def test_a_gradient_that_is_not_finite_leaves_no_checkpoint(tmp_path, monkeypatch):
    original = Trainer._named_losses

    def poisoned(self, batch):
        losses = original(self, batch)
        # Finite, but its gradient is 0 * infinity.
        weight = self.model.item_embedding.weight
        return {**losses, "more": torch.sqrt(weight * 0).sum()}

    monkeypatch.setattr(Trainer, "_named_losses", poisoned)
    with pytest.raises(
        TrainingError, match=r"after epoch 1 these are not: weight item_embedding\.weight"
    ):
        train(tmp_path, walks([4, 4]), train_batch_size=4096)
    assert list((tmp_path / "run" / "checkpoint").iterdir()) == []


def test_values_that_are_not_finite_never_enter(tmp_path):
    with pytest.raises(DataError, match="hold NaN or infinity"):
        write_features_of_nan(tmp_path)


def write_features_of_nan(tmp_path):
    folder = write_dataset(tmp_path / "toy", walks([5, 4]))
    values = np.full((7, 2), np.nan, dtype=np.float32)
    arrays = {"tokens": np.array(ITEMS), "values": values, "encoder": "e", "revision": "r"}
    np.savez(tmp_path / "toy" / "toy.text.npz", **arrays)
    overrides = {**TINY, "data_path": str(folder), "modalities": {"text": "npz"}}
    quick_start.run("HM4SR", "toy", overrides=overrides, run_dir=tmp_path / "run")
