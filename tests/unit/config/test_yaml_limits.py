"""Settings text of any kind: a value, or one sentence, in time and memory that its size allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.cli.options import parse_overrides
from recbole_hm4sr.config import yaml_limits
from recbole_hm4sr.config.compose import parse_value, read_yaml
from recbole_hm4sr.config.settings import Settings, build_settings
from recbole_hm4sr.config.yaml_limits import MOST_ENTRIES


def error_sentence(error):
    assert len(str(error).splitlines()) == 1


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_aliases_and_merges_are_read_as_yaml_says(tmp_path):
    text = "base: &base {a: 1, b: [2]}\nmore: {<<: *base, a: 3}\nsame: *base\n"
    assert read_yaml(write(tmp_path / "a.yaml", text)) == {
        "base": {"a": 1, "b": [2]},
        "more": {"a": 3, "b": [2]},
        "same": {"a": 1, "b": [2]},
    }


def laughs(levels, fan, form):
    lines = ["l0: &l0 " + ("{a: 1}" if form == "merge" else "[x, x]")]
    for level in range(1, levels):
        names = ", ".join([f"*l{level - 1}"] * fan)
        line = f"{{<<: [{names}]}}" if form == "merge" else f"[{names}]"
        lines.append(f"l{level}: &l{level} {line}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("form", ["list", "merge"])
def test_few_lines_that_grow_without_end_are_refused(tmp_path, form):
    path = write(tmp_path / "a.yaml", laughs(40, 9, form))
    message = rf"a\.yaml, line \d+ must be YAML: it must have at most {MOST_ENTRIES:,} entries"
    with pytest.raises(ConfigError, match=message):
        read_yaml(path)


def test_the_limit_counts_an_alias_as_often_as_it_is_written(tmp_path, monkeypatch):
    # The mapping, two names, and two lists of 97 words: 1 + 2 + 2 * 98 = 199.
    text = f"a: &a [{', '.join(['1'] * 97)}]\nb: *a\n"
    path = write(tmp_path / "a.yaml", text)
    monkeypatch.setattr(yaml_limits, "MOST_ENTRIES", 199)
    assert len(read_yaml(path)["b"]) == 97
    monkeypatch.setattr(yaml_limits, "MOST_ENTRIES", 198)
    with pytest.raises(ConfigError, match="line 1 must be YAML: it must have at most 198 entries"):
        read_yaml(path)


def test_a_list_that_holds_itself_and_deep_nesting_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="it holds itself"):
        read_yaml(write(tmp_path / "a.yaml", "a: &a [*a]\n"))
    with pytest.raises(ConfigError, match="it is nested too deeply"):
        read_yaml(write(tmp_path / "a.yaml", "a: " + "[" * 2000 + "]" * 2000))


@pytest.mark.parametrize("text", ["!!bool maybe", "!!float ''", "!!timestamp 5", "!!int x"])
def test_a_tag_whose_text_is_none_is_refused(tmp_path, text):
    with pytest.raises(
        ConfigError,
        match=r"a\.yaml must be YAML: (a value is not what its tag says|invalid literal)",
    ):
        read_yaml(write(tmp_path / "a.yaml", f"a: {text}\n"))
    with pytest.raises(ConfigError, match="a flag's value must be YAML"):
        parse_value(text)


@given(text=st.text(alphabet="ab:- \n[]{},&*!<'\"#|>%@0.e\t?", max_size=40))
def test_any_text_is_settings_or_one_sentence(tmp_path, text):
    try:
        assert isinstance(read_yaml(write(tmp_path / "a.yaml", text)), dict)
    except ConfigError as error:
        error_sentence(error)


@given(words=st.lists(st.text(alphabet="-ab=[]{}1:.!&*'\"", max_size=8), max_size=4))
def test_any_words_are_flags_or_one_sentence(words):
    try:
        assert all(isinstance(name, str) for name in parse_overrides(words))
    except ConfigError as error:
        error_sentence(error)


@pytest.mark.parametrize("value", [10**400, -(10**400), float("inf"), float("nan")])
def test_a_number_beyond_float64_is_no_number(value):
    class Part(Settings):
        rate: float

    assert build_settings({"rate": value}, Part)[1] == [f"rate must be a number, got {value!r}"]
