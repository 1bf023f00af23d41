"""Typed settings: which values fit which type, and every problem in one error."""

import dataclasses
from typing import Any, Literal

import pytest

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.compose import properties_dir, read_yaml
from recbole_hm4sr.config.settings import (
    DataSettings,
    RunSettings,
    build_settings,
    convert,
    read_settings,
    require,
    type_in_words,
)

PROTOCOL = read_yaml(properties_dir() / "overall.yaml")
DATA = {field.name: PROTOCOL[field.name] for field in dataclasses.fields(DataSettings)}
RUN = {field.name: PROTOCOL[field.name] for field in dataclasses.fields(RunSettings)}


@pytest.mark.parametrize(
    ("value", "hint", "converted"),
    [
        (3, int, 3),
        (3, float, 3.0),
        (0.5, float, 0.5),
        (True, bool, True),
        ("x", str, "x"),
        ("s", Literal["s", "ms"], "s"),
        ([1, 2], tuple[int, ...], (1, 2)),
        ((), tuple[int, ...], ()),
        ([1, 2], tuple[float, ...], (1.0, 2.0)),
        ({"a": "b"}, dict[str, str], {"a": "b"}),
        (None, str | None, None),
        ("x", str | None, "x"),
        (3, float | str, 3.0),
        (["a"], tuple[str, ...] | Literal["*"], ("a",)),
    ],
)
def test_a_value_that_fits_comes_back_as_its_type(value, hint, converted):
    fits, result = convert(value, hint)
    assert fits
    assert result == converted
    assert type(result) is type(converted)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (True, int),
        (False, float),
        (1.0, int),
        ("1", int),
        ("0.1", float),
        (None, float),
        (float("nan"), float),
        (float("inf"), float),
        (1, bool),
        ("true", bool),
        (5, str),
        ("d", Literal["s", "ms"]),
        ("ab", tuple[str, ...]),
        ([1, "a"], tuple[int, ...]),
        ([("a", "b")], dict[str, str]),
        ({"a": 1}, dict[str, str]),
        ({1: "a"}, dict[str, str]),
        (5, str | None),
        (True, Literal[1]),
    ],
)
def test_a_value_of_another_type_does_not_fit(value, hint):
    assert convert(value, hint)[0] is False


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "a whole number"),
        (float, "a number"),
        (bool, "true or false"),
        (str | None, "a text or null"),
        (Literal["s", "ms"], "one of s, ms"),
        (tuple[str, ...], "a list, each entry a text"),
        (dict[str, float], "a mapping from a text to a number"),
    ],
)
def test_types_are_put_in_words(hint, words):
    assert type_in_words(hint) == words


def test_lists_become_tuples_and_settings_are_frozen():
    settings = read_settings({**DATA, "text_fields": ["title"], "other": 1}, DataSettings)
    assert settings.text_fields == ("title",)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'generated'"):
        settings.generated = True


def test_a_mapping_is_copied():
    given: dict[str, Any] = {**DATA, "modalities": {"text": "npz"}}
    settings = read_settings(given, DataSettings)
    given["modalities"]["image"] = "npz"
    assert settings.modalities == {"text": "npz"}


def test_all_problems_stand_in_one_error():
    values = {**DATA, "timestamp_unit": "days", "generated": "no", "text_fields": [1]}
    del values["modalities"]
    with pytest.raises(ConfigError, match="modalities") as caught:
        read_settings(values, DataSettings)
    assert str(caught.value).split("; ") == [
        "modalities is missing: a mapping from a text to a text",
        "text_fields must be a list, each entry a text, got [1]",
        "timestamp_unit must be one of s, ms, got 'days'",
        "generated must be true or false, got 'no'",
    ]


def test_nothing_is_built_of_wrong_values():
    settings, found = build_settings({**RUN, "n_threads": "many"}, RunSettings)
    assert settings is None
    assert found == ["n_threads must be a whole number, got 'many'"]


@pytest.mark.parametrize(
    ("modalities", "problem"),
    [
        ({"Text": "npz"}, "a modality's name must be lower-case letters, digits and _, .*'Text'"),
        ({"id": "npz"}, "none of clear, id, items, keys, pop, update, values, got 'id'"),
        ({"items": "npz"}, "got 'items'"),
        ({"a/b": "npz"}, "got 'a/b'"),
        ({"": "npz"}, "got ''"),
        ({"text": "csv"}, "'text' must be one of auto, item, npz, side, tfidf-svd, got 'csv'"),
        ({"text": "tfidf-svd"}, "text_fields must name at least one column .* 'text' is made from"),
    ],
)
def test_modalities_have_a_name_and_a_known_source(modalities, problem):
    with pytest.raises(ConfigError, match=problem):
        read_settings({**DATA, "modalities": modalities}, DataSettings)


def test_threads_are_counted_from_zero():
    assert read_settings({**RUN, "n_threads": 0}, RunSettings).n_threads == 0
    with pytest.raises(ConfigError, match=r"^n_threads must be 0 or more, got -1$"):
        read_settings({**RUN, "n_threads": -1}, RunSettings)


def test_processes_wait_for_each_other_some_time():
    with pytest.raises(ConfigError, match=r"^process_timeout must be above 0, got 0.0$"):
        read_settings({**RUN, "process_timeout": 0}, RunSettings)


def test_a_broken_rule_is_a_sentence_with_the_value():
    assert require(True, "x must be 1", 1) == []
    assert require(False, "x must be 1", "2") == ["x must be 1, got '2'"]
