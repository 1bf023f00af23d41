"""RecBole's models trained without padding: the loss and the gradient of the padded batch."""

import pytest
import torch
from recbole.data.interaction import Interaction
from toydata import QUICK

from recbole_hm4sr.config import build_config
from recbole_hm4sr.registry import find_model
from recbole_hm4sr.session import open_session
from recbole_hm4sr.trimming import MODELS, groups_of_length, trimmed_loss

OVERRIDES = {"FDSA": {"selected_features": ["categories"]}, "S3Rec": {"train_stage": "pretrain"}}
MAX_LENGTH = 16  # toy histories have up to 15 interactions


def open_model(name, toy_path, tmp_path, **overrides):
    model_class = find_model(name).model_class
    overrides = {**QUICK, "MAX_ITEM_LIST_LENGTH": MAX_LENGTH, **overrides}
    config = build_config(
        model_class,
        "toy",
        overrides={**overrides, **OVERRIDES.get(name, {}), "data_path": str(toy_path)},
        checkpoint_dir=tmp_path / "checkpoint",
    )
    return open_session(config, tmp_path, model_class)


@pytest.fixture
def double_precision():
    """BERT4Rec makes its one-hot rows in torch's default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def loss_and_gradients(model, loss_of, batch):
    model.zero_grad()
    loss = loss_of(batch)
    loss.backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), {name: gradient.clone() for name, gradient in trained.items()}


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("loss_type", ["CE", "BPR"])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_loss_and_gradient_are_those_of_the_padded_batch(name, loss_type, toy_path, tmp_path):
    negatives = {"distribution": "uniform", "sample_num": 1} if loss_type == "BPR" else None
    session = open_model(
        name, toy_path, tmp_path, loss_type=loss_type, train_neg_sample_args=negatives
    )
    model = session.model.double().eval()  # without dropout
    if name == "S3Rec":  # its second stage, without the file of the first
        model.train_stage, model.loss_type = "finetune", "CE"
        model.loss_fct = torch.nn.CrossEntropyLoss()
    batch = next(iter(session.train_data))
    shapes = []
    own_loss = model.calculate_loss

    def watched(part):
        shapes.append(part[model.ITEM_SEQ].shape)
        return own_loss(part)

    model.calculate_loss = watched
    loss, gradients = loss_and_gradients(model, trimmed_loss(model, session.config), batch)
    expected_loss, expected = loss_and_gradients(model, own_loss, batch)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-12, atol=0)
    assert gradients.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(gradients[key], value, rtol=1e-9, atol=1e-13)
    # Each sample once, in at least three groups, each shorter than the one after it.
    assert sum(rows for rows, _ in shapes) == len(batch)
    widths = [width for _, width in shapes]
    assert len(widths) >= 3
    assert widths == sorted(set(widths))


def test_groups_hold_each_row_once_by_length():
    lengths = torch.tensor([50, 6, 7, 1, 12, 13, 25, 26])
    groups = [rows.tolist() for rows in groups_of_length(lengths, 50)]
    assert groups == [[1, 3], [2, 4], [5, 6], [0, 7]]


def test_groups_of_one_position_are_one_group():
    assert [rows.tolist() for rows in groups_of_length(torch.tensor([1, 1]), 1)] == [[0, 1]]


def test_a_batch_without_a_masked_item_teaches_nothing(toy_path, tmp_path):
    # RecBole's BERT4Rec divides by the number of masked items: not a number.
    session = open_model("BERT4Rec", toy_path, tmp_path)
    model = session.model
    batch = next(iter(session.train_data))
    columns = {name: batch[name].clone() for name in batch.columns}
    columns[model.MASK_INDEX].zero_()
    loss = trimmed_loss(model, session.config)(Interaction(columns))
    loss.backward()
    assert loss == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("name", ["CORE", "Caser", "S3Rec"])  # S3Rec: its pre-training
def test_models_that_see_the_padding_keep_it(name, toy_path, tmp_path):
    session = open_model(name, toy_path, tmp_path)
    assert trimmed_loss(session.model, session.config) == session.model.calculate_loss


def test_padding_stays_when_told_so(toy_path, tmp_path):
    session = open_model("SASRec", toy_path, tmp_path, trim_padding=False)
    assert trimmed_loss(session.model, session.config) == session.model.calculate_loss
