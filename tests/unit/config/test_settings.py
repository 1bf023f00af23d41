"""Typed settings: which values fit which type, and every problem in one error."""

from typing import Annotated, Any, Literal

import pydantic
import pytest

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.fields import (
    Count,
    Dropout,
    Layers,
    Many,
    Positive,
    Rule,
    Share,
    Weight,
    field_in_words,
    fits,
    setting,
    type_in_words,
)
from recbole_hm4sr.config.recbole_settings import RecBoleSettings
from recbole_hm4sr.config.settings import (
    DataSettings,
    RunSettings,
    Settings,
    build_settings,
    read_settings,
    require,
)
from recbole_hm4sr.model.registry import MODELS

OF_MODELS = [entry.settings_class for entry in MODELS.values()]


@pytest.mark.parametrize(
    ("value", "hint", "read"),
    [
        (3, int, 3),
        (3, float, 3.0),
        (0.5, float, 0.5),
        (True, bool, True),
        ("x", str, "x"),
        ("s", Literal["s", "ms"], "s"),
        ([1, 2], Many[int], (1, 2)),
        ((), Many[int], ()),
        ([1, 2], Many[float], (1.0, 2.0)),
        ({"a": "b"}, dict[str, str], {"a": "b"}),
        (None, str | None, None),
        ("x", str | None, "x"),
        (3, float | str, 3.0),
        (["a"], Many[str] | Literal["*"], ("a",)),
    ],
)
def test_a_value_that_fits_comes_back_as_its_type(value, hint, read):
    cls = pydantic.create_model("Part", __base__=Settings, part=(hint, ...))
    result = read_settings({"part": value}, cls).part
    assert fits(value, hint)
    assert result == read
    assert type(result) is type(read)


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
        ("ab", Many[str]),
        ([1, "a"], Many[int]),
        ([("a", "b")], dict[str, str]),
        ({"a": 1}, dict[str, str]),
        ({1: "a"}, dict[str, str]),
        (5, str | None),
    ],
)
def test_a_value_of_another_type_does_not_fit(value, hint):
    cls = pydantic.create_model("Part", __base__=Settings, part=(hint, ...))
    assert not fits(value, hint)
    assert build_settings({"part": value}, cls) == (
        None,
        [f"part must be {type_in_words(hint)}, got {value!r}"],
    )


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "a whole number"),
        (float, "a number"),
        (bool, "true or false"),
        (str | None, "a text or null"),
        (Literal["s", "ms"], "one of s, ms"),
        (Many[str], "a list, each entry a text"),
        (dict[str, float], "a mapping from a text to a number"),
    ],
)
def test_types_are_put_in_words(hint, words):
    assert type_in_words(hint) == words


@pytest.mark.parametrize(
    ("hint", "words", "good", "bad"),
    [
        (Count, "a whole number, 1 or more", [1, 2**70], [0, -1]),
        (Layers, "a whole number, from 0 to 1000", [0, 1000], [-1, 1001]),
        (Share, "a number, in [0, 1]", [0, 1], [-0.1, 1.1]),
        (Dropout, "a number, in [0, 1)", [0, 0.999], [-0.1, 1]),
        (Weight, "a number, 0 or more", [0, 1e300], [-1e-9]),
        (Positive, "a number, above 0", [1e-300], [0, -1]),
        (Annotated[float, pydantic.Field(gt=0, le=1)], "a number, in (0, 1]", [1], [0, 1.1]),
        (Annotated[int, pydantic.Field(le=3)], "a whole number, at most 3", [-9, 3], [4]),
        (Annotated[str, Rule("a tab", lambda text: text == "\t")], "a tab", ["\t"], [" ", ""]),
    ],
)
def test_a_range_is_put_in_words_and_held(hint, words, good, bad):
    cls = pydantic.create_model("Part", __base__=Settings, part=(hint, ...))
    assert field_in_words(cls.model_fields["part"]) == words
    for value in good:
        assert read_settings({"part": value}, cls).part == value
    for value in bad:
        sentence = f"part must be {words.rpartition('number, ')[2]}, got {value!r}"
        assert build_settings({"part": value}, cls) == (None, [sentence])


def test_lists_become_tuples_and_settings_are_frozen():
    settings = read_settings({"text_fields": ["title"], "other": 1}, DataSettings)
    assert settings.text_fields == ("title",)
    with pytest.raises(pydantic.ValidationError, match="Instance is frozen"):
        settings.generated = True


def test_what_is_not_given_has_its_default():
    assert read_settings({}, RunSettings).model_dump(mode="json") == RunSettings.defaults()
    assert DataSettings.defaults()["text_fields"] == []


def test_a_default_is_checked_too():
    class Part(Settings):
        width: Count = setting(0, "Width.")

    assert build_settings({}, Part) == (None, ["width must be 1 or more, got 0"])


def test_settings_with_a_change_are_checked_anew():
    settings = read_settings({"modalities": {"text": "npz"}}, DataSettings)
    changed = settings.changed(text_fields=["title"], modalities={"text": "tfidf-svd"})
    assert (changed.text_fields, settings.text_fields) == (("title",), ())
    with pytest.raises(ConfigError, match=r"^text_fields must name at least one column"):
        changed.changed(text_fields=())


def test_a_class_of_settings_takes_no_other_names():
    with pytest.raises(pydantic.ValidationError, match="n_thread\n  Extra inputs are not"):
        RunSettings(n_thread=3)


@pytest.mark.parametrize("cls", [DataSettings, RunSettings, RecBoleSettings, *OF_MODELS])
def test_every_setting_has_one_sentence_at_its_field(cls):
    for name, field in cls.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_a_mapping_is_copied():
    given: dict[str, Any] = {"modalities": {"text": "npz"}}
    settings = read_settings(given, DataSettings)
    given["modalities"]["image"] = "npz"
    assert settings.modalities == {"text": "npz"}


def test_all_problems_stand_in_one_error():
    values = {"timestamp_unit": "days", "generated": "no", "text_fields": [1], "same_visit_gap": -1}
    with pytest.raises(ConfigError, match="generated") as caught:
        read_settings(values, DataSettings)
    assert str(caught.value).split("; ") == [
        "text_fields must be a list, each entry a text, got [1]",
        "timestamp_unit must be one of s, ms, got 'days'",
        "same_visit_gap must be 0 or more, got -1",
        "generated must be true or false, got 'no'",
    ]


def test_a_missing_value_says_what_it_must_be():
    class Part(Settings):
        width: Count = setting(..., "Width.")

    assert build_settings({}, Part) == (None, ["width is missing: a whole number, 1 or more"])


def test_a_constraint_without_words_of_ours_has_pydantic_s():
    cls = pydantic.create_model(
        "Part", __base__=Settings, part=(Annotated[int, pydantic.Field(multiple_of=8)], ...)
    )
    sentence = "part must be a whole number (Input should be a multiple of 8), got 12"
    assert build_settings({"part": 12}, cls) == (None, [sentence])


def test_nothing_is_built_of_wrong_values():
    settings, found = build_settings({"n_threads": "many"}, RunSettings)
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
        read_settings({"modalities": modalities}, DataSettings)


def test_threads_are_counted_from_zero():
    assert read_settings({"n_threads": 0}, RunSettings).n_threads == 0
    with pytest.raises(ConfigError, match=r"^n_threads must be from 0 to 1024, got -1$"):
        read_settings({"n_threads": -1}, RunSettings)


def test_processes_wait_for_each_other_some_time():
    with pytest.raises(ConfigError, match=r"^process_timeout must be above 0, got 0$"):
        read_settings({"process_timeout": 0}, RunSettings)


def test_a_broken_rule_is_a_sentence_with_the_value():
    assert require(True, "x must be 1", 1) == []
    assert require(False, "x must be 1", "2") == ["x must be 1, got '2'"]
