"""What ``hm4sr models`` and ``hm4sr settings`` show."""

import ast
import importlib
import json

import pytest

from recbole_hm4sr import cli
from recbole_hm4sr.config.catalog import settings_of
from recbole_hm4sr.config.compose import check_settings, recbole_defaults
from recbole_hm4sr.model.cards import model_cards
from recbole_hm4sr.model.registry import MODELS, find_model, model_names


@pytest.mark.parametrize("model", model_names())
def test_every_setting_is_shown_once_with_the_value_of_a_run(model):
    settings_class = find_model(model).settings_class
    groups = settings_of(model, settings_class)
    lines = [line for group in groups.values() for line in group]
    names = [line.name for line in lines]
    assert len(names) == len(set(names))
    assert set(settings_class.names() if settings_class else ()) <= set(names)
    if model != "DIEN":  # which cannot run here
        run = check_settings(model, "sports", settings_class=settings_class)
        own = {line.name: line.value for line in groups[model] + groups["run"]}
        assert own == {name: run[name] for name in own}
    # RecBole says nothing of GCSAN's weight.
    assert {line.name for line in lines if not line.sentence} <= {"weight"}


def test_a_setting_of_recbole_s_models_is_read_from_its_file_there():
    lines = {line.name: line for line in settings_of("GRU4Rec", None)["GRU4Rec"]}
    assert set(lines) <= set(recbole_defaults("GRU4Rec"))
    assert lines["hidden_size"].value == 128
    assert lines["hidden_size"].kind == "a whole number, 1 or more"
    assert lines["hidden_size"].sentence == "The number of features in the hidden state."


def test_every_model_has_a_line_and_a_paper():
    cards = {card.name: card for card in model_cards()}
    assert list(cards) == model_names()
    assert all(card.about for card in cards.values())
    assert cards["SASRec"].about == (
        'Wang-Cheng Kang et al. "Self-Attentive Sequential Recommendation." in ICDM 2018'
    )
    assert (cards["SASRec"].origin, cards["SASRec"].reads) == ("RecBole", ())
    assert cards["FDSA"].reads == ("attributes",)


def test_what_a_model_reads_is_what_its_class_says():
    for card in model_cards():
        if card.name in MODELS:
            cls = getattr(importlib.import_module(MODELS[card.name].module), card.name)
            assert set(card.reads) == set(getattr(cls, "reads", ())), card.name


def test_settings_are_printed_by_group_with_their_range(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["settings", "MMSR"])
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if line and line[0] != " "] == [
        "MMSR", "data set", "run", "RecBole",
    ]  # fmt: skip
    assert "  hidden_size: 128  (a whole number, 1 or more)\n      D, width of every" in text
    assert "  learning_rate: 0.002  (a number, above 0)\n" in text  # properties/model/MMSR.yaml
    value = text.partition("  eval_args: ")[2].partition("  (")[0]
    assert json.loads(value) == ast.literal_eval(value)
