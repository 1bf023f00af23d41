"""RecBole's models without most of the padding: loss, gradient and scores of the padded batch."""

import itertools

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_hm4sr.base.compat import import_recbole_models
from recbole_hm4sr.model.recbole.trimming import MODELS, groups_of_length, groups_of_masks
from recbole_hm4sr.model.registry import find_model
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import QUICK

OVERRIDES = {"FDSA": {"selected_features": ["categories"]}, "S3Rec": {"train_stage": "pretrain"}}
MAX_LENGTH = 16  # toy histories have up to 15 interactions


def open_model(name, toy_path, tmp_path, **overrides):
    overrides = {**QUICK, "MAX_ITEM_LIST_LENGTH": MAX_LENGTH, **overrides}
    plan = compose(
        name,
        "toy",
        overrides={**overrides, **OVERRIDES.get(name, {}), "data_path": str(toy_path)},
    )
    return build_parts(plan, tmp_path)


@pytest.fixture
def double_precision():
    """BERT4Rec makes its one-hot rows in torch's default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def make_pair(name, toy_path, tmp_path, **overrides):
    """The same model twice, without and with trimming, in double precision and without dropout."""
    padded = open_model(name, toy_path, tmp_path / "padded", trim_padding=False, **overrides)
    trimmed = open_model(name, toy_path, tmp_path / "trimmed", **overrides)
    trimmed.model.load_state_dict(padded.model.state_dict())
    for session in (padded, trimmed):
        model = session.model.double().eval()
        if name == "S3Rec":  # its second stage, without the file of the first
            model.train_stage, model.loss_type = "finetune", "CE"
            model.loss_fct = torch.nn.CrossEntropyLoss()
            model._trims = session is trimmed
    return padded, trimmed


def loss_and_gradients(model, batch):
    loss = model.calculate_loss(batch)
    loss.backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), trained


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("loss_type", ["CE", "BPR"])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_loss_and_gradient_are_those_of_the_padded_batch(
    name, loss_type, toy_path, tmp_path, monkeypatch
):
    # S3Rec draws its own.
    draws = loss_type == "BPR" and name != "S3Rec"
    negatives = {"distribution": "uniform", "sample_num": 1} if draws else None
    padded, trimmed = make_pair(
        name, toy_path, tmp_path, loss_type=loss_type, train_neg_sample_args=negatives
    )
    batch = next(iter(padded.train_data))
    expected_loss, expected = loss_and_gradients(padded.model, batch)
    shapes, masks = [], []
    own_class = type(trimmed.model).__mro__[2]
    own_loss = own_class.calculate_loss

    def watched(model, part):
        shapes.append(part[model.ITEM_SEQ].shape)
        if name == "BERT4Rec":
            masks.append((part[model.MASK_INDEX] > 0).sum(dim=1).tolist())
        return own_loss(model, part)

    monkeypatch.setattr(own_class, "calculate_loss", watched)
    loss, gradients = loss_and_gradients(trimmed.model, batch)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-12, atol=0)
    assert gradients.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(gradients[key], value, rtol=1e-9, atol=1e-13)
    # Each sample once, in at least three groups, each shorter than the one after it.
    widths = [width for _, width in shapes]
    assert len(set(widths)) >= 3
    if name == "BERT4Rec":  # those without a masked item have no loss and are left out
        wanted = (batch[padded.model.MASK_INDEX] > 0).sum(dim=1)
        assert sorted(itertools.chain.from_iterable(masks)) == sorted(wanted[wanted > 0].tolist())
        assert all(len(set(group)) == 1 or min(group) > 2 for group in masks)
    else:
        assert sum(rows for rows, _ in shapes) == len(batch)
        assert widths == sorted(set(widths))


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", sorted(MODELS))
def test_scores_are_those_of_the_padded_batch(name, toy_path, tmp_path):
    padded, trimmed = make_pair(name, toy_path, tmp_path)
    for batch, *_ in padded.test_data:
        with torch.no_grad():
            expected = padded.model.full_sort_predict(batch)
            scores = trimmed.model.full_sort_predict(batch)
        torch.testing.assert_close(scores, expected, rtol=1e-10, atol=1e-12)


def test_groups_hold_each_row_once_by_length():
    lengths = torch.tensor([50, 6, 7, 1, 12, 13, 25, 26])
    groups = [rows.tolist() for rows in groups_of_length(lengths, 50)]
    assert groups == [[1, 3], [2, 4], [5, 6], [0, 7]]


def test_groups_hold_each_row_with_a_mask_once_by_masks():
    n_masks = torch.tensor([0, 1, 5, 2, 1, 0, 3])
    groups = groups_of_masks(torch.tensor([0, 1, 2, 3, 5, 6]), n_masks)
    assert [rows.tolist() for rows in groups] == [[1], [3], [2, 6]]


def test_groups_of_one_position_are_one_group():
    assert [rows.tolist() for rows in groups_of_length(torch.tensor([1, 1]), 1)] == [[0, 1]]


def test_a_batch_without_a_masked_item_teaches_nothing(toy_path, tmp_path):
    # RecBole's BERT4Rec divides by the number of masked items: not a number.
    session = open_model("BERT4Rec", toy_path, tmp_path)
    model = session.model
    batch = next(iter(session.train_data))
    columns = {name: batch[name].clone() for name in batch.columns}
    columns[model.MASK_INDEX].zero_()
    loss = model.calculate_loss(Interaction(columns))
    loss.backward()
    assert loss == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("name", ["CORE", "Caser", "FEARec", "LightSANs"])
def test_models_that_see_the_padding_keep_it(name):
    assert find_model(name).model_class is getattr(import_recbole_models(), name)


def test_the_pre_training_of_s3rec_keeps_the_padding(toy_path, tmp_path, monkeypatch):
    session = open_model("S3Rec", toy_path, tmp_path)
    batch = next(iter(session.train_data))
    monkeypatch.setattr(type(session.model), "_groups", None)
    assert torch.isfinite(session.model.calculate_loss(batch))
