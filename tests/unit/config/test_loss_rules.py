"""A loss that reads negative items gets them, and one that reads none gets none."""

import re

import pytest

from recbole_hm4sr.base.recbole_files import recbole_folder, sequential_models
from recbole_hm4sr.config.compose import parse_value, recbole_defaults
from recbole_hm4sr.config.loss_rules import wrong_losses
from recbole_hm4sr.model.registry import find_model

DRAWN = {"distribution": "uniform", "sample_num": 1}


def problems(model, loss, drawn, **more):
    loss = {} if loss is None else {"loss_type": loss}
    values = {**loss, "train_neg_sample_args": drawn, **more}
    return wrong_losses(model, find_model(model).losses, values)


@pytest.mark.parametrize(
    ("model", "loss"),
    [("SASRec", "BPR"), ("GRU4Rec", "BPR"), ("FPMC", "BPR"), ("TransRec", None), ("DIN", None)],
)
def test_negative_items_must_be_drawn_for_a_loss_that_reads_them(model, loss):
    for none in (None, {"distribution": None}):
        [sentence] = problems(model, loss, none)
        assert sentence.startswith("train_neg_sample_args must say how negative items are drawn")
        advised = re.search(r"--train_neg_sample_args='(.*)'$", sentence)[1]
        assert problems(model, loss, parse_value(advised)) == []


@pytest.mark.parametrize(
    ("model", "loss"), [("SASRec", "CE"), ("HM4SR", None), ("MMSR", None), ("RepeatNet", "CE")]
)
def test_negative_items_are_refused_where_none_are_read(model, loss):
    """A point-wise model would train on them as on targets."""
    [sentence] = problems(model, loss, DRAWN)
    assert sentence.startswith("train_neg_sample_args must be null, since ")
    assert problems(model, loss, None) == []


def test_a_model_that_draws_its_own_needs_none_and_may_have_some():
    assert problems("BERT4Rec", "BPR", None) == problems("BERT4Rec", "BPR", DRAWN) == []
    assert problems("S3Rec", "BPR", None, train_stage="pretrain") == []


def test_losses_are_those_that_recbole_s_models_have():
    """As the sources say; GRU4RecCPR and SASRecCPR end the process on BPR with exit code 0."""
    for model, module in sequential_models().items():
        path = recbole_folder().parent / (module.replace(".", "/") + ".py")
        text = path.read_text(encoding="utf-8")
        taken = set(re.findall(r'loss_type == "(\w+)"', text)) or {"CE"}
        taken -= {"BPR"} if "does not support BPR" in text else set()
        wanted = {
            loss
            for loss in ("BPR", "CE", "NLL", "XX")
            if not any("loss_type" in it for it in problems(model, loss, None) if "must be" in it)
        }
        if "loss_type" in recbole_defaults(model):
            assert wanted == taken, model
    assert problems("SASRec", "ce", None) == ["loss_type of SASRec must be BPR or CE, got 'ce'"]


@pytest.mark.parametrize(
    ("drawn", "problem"),
    [
        ("uniform", "must be null or a mapping"),
        ({"number": 1}, "number is unknown; it takes distribution, sample_num"),
        ({"distribution": "normal"}, "distribution must be uniform or popularity, got 'normal'"),
        ({"sample_num": 0}, "sample_num must be a whole number from 1, got 0"),
        ({"alpha": "x"}, "alpha must be a number, got 'x'"),
        ({"dynamic": 1}, "dynamic must be true or false, got 1"),
        ({"dynamic": True}, "candidate_num must be 1 or more with dynamic: true"),
    ],
)
def test_how_negative_items_are_drawn_is_checked(drawn, problem):
    [sentence] = problems("SASRec", "BPR", drawn)
    assert problem in sentence
