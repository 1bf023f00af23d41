"""Values of flags and settings files: plain YAML, with RecBole's floats, and nothing that runs."""

import re

import pytest

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.compose import parse_value, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("3", 3),
        ("0.001", 0.001),
        (".inf", float("inf")),
        ("1e", "1e"),
        ("e3", "e3"),
        ("v1.2e", "v1.2e"),
        ("true", True),
        ("~", None),
        ("", None),
        ("[5, 10]", [5, 10]),
        ("{text: npz}", {"text": "npz"}),
        ("NDCG@10", "NDCG@10"),
        ("[1,inf)", "[1,inf)"),
        ('"[1,inf)"', "[1,inf)"),
        ("[0,3);(5,9]", "[0,3);(5,9]"),
        ("(0, 2.5)", "(0, 2.5)"),
    ],
)
def test_a_flag_s_value_is_read_as_yaml(text, value):
    result = parse_value(text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    "text", ["{a: 1, a: 2}", "!!python/object/apply:os.getcwd []", "2024-13-45", "[1", "a: b: c"]
)
def test_a_flag_s_value_that_is_no_plain_yaml_is_refused(text):
    with pytest.raises(ConfigError, match=re.escape(f"got {text!r}")):
        parse_value(text)


def test_an_empty_settings_file_sets_nothing(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("# nothing\n", encoding="utf-8")
    assert read_yaml(path) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"epochs: 1\nname: [1\n", r", line 3 must be YAML: "),
        (b"epochs: 1\nseed: 2\nepochs: 3\n", r", line 1 must be YAML: 'epochs' is set twice"),
        (b"a: 1\nmodalities: {x: npz,\n  x: item}\n", r", line 2 must be YAML: 'x' is set twice"),
        (
            b"a: 1\nb: !!python/name:os.system\n",
            r", line 2 must be YAML: could not determine a con",
        ),
        (b"day: 2024-13-45\n", r" must be YAML: month must be in 1..12"),
        (b"a: 1\nb: \xe9\n", r", line 2 must be UTF-8, got the byte 0xe9; save it as UTF-8"),
        ("epochs: 3\n".encode("utf-16"), r" must be UTF-8 text, but is UTF-16 text: save it as"),
        ("epochs: 3\n".encode("utf-16-le"), r" must be UTF-8 text, but is UTF-16 text without a"),
        (b"PK\x03\x04\x14\x00\x00", r" must be UTF-8 text, but is a zip archive, as "),
        (b"\x1f\x8b\x08\x00", r" must be UTF-8 text, but is a gzip file: unpack it"),
        (b"a: \x00\n", r" must be UTF-8 text, but is no text, since it holds zero bytes"),
        (b"a: [0,inf)\n", r', line 2 must be YAML: .*; an interval needs .* "\[5,inf\)"'),
        (b"a: [0,inf)\nb: 3\n", r', line 2 must be YAML: .*; an interval needs .* "\[5,inf\)"'),
        (b"- epochs\n", r" must hold lines of the form name: value"),
        (b"1: 2\n", r" must hold lines of the form name: value"),
        (b"just text\n", r" must hold lines of the form name: value"),
    ],
)
def test_a_bad_settings_file_is_named_with_its_line(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="^the settings file " + re.escape(str(path)) + message):
        read_yaml(path)


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xef\xbb\xbfepochs: 3\n")
    assert read_yaml(path) == {"epochs": 3}


def test_a_missing_settings_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"^cannot read the settings file .*no\.yaml: No such"):
        read_yaml(tmp_path / "no.yaml")
