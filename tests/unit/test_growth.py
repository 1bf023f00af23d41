"""Growth by size: the sizes, the slopes of known powers, the picture, and one tiny measurement."""

import argparse
import importlib
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
needs_linux = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").is_file(), reason="memory is read from Linux's /proc"
)


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("growth")


def test_each_axis_varies_alone_over_five_values(script):
    base = script.Size()
    found = script.sizes(base)
    assert set(found) == {"users", "items", "interactions", "modalities", "length"}
    for axis, of_axis in found.items():
        assert len({getattr(size, axis) for size in of_axis}) == 5
        for size in of_axis:
            assert {**vars(size), axis: 0} == {**vars(base), axis: 0}
    assert [size.items for size in found["items"]] == [4000, 8000, 16000, 32000, 64000]


def test_slopes_are_the_powers(script):
    x = [1, 2, 4, 8, 16]
    assert script.exponents(x, [7 * value**1.5 for value in x]) == pytest.approx((1.5, 1.5))
    every, last = script.exponents(x, [100 + value for value in x])  # a part that does not grow
    assert last == pytest.approx(math.log(116 / 108) / math.log(2))
    assert 0 < every < last


def points_of(script):
    """Loading grows with the square, all else by itself."""
    return {
        axis: [
            {
                **vars(size),
                **dict.fromkeys(script.KINDS, float(getattr(size, axis))),
                "load_seconds": float(getattr(size, axis)) ** 2,
            }
            for size in of_axis
        ]
        for axis, of_axis in script.sizes(script.Size()).items()
    }


def test_the_table_has_every_kind_of_every_axis(script, capsys):
    fitted = script.fit(points_of(script))
    script.print_exponents(fitted)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 5
    for line in lines[2:]:
        assert line.count("1.00, 1.00") == 5
        assert "2.00, 2.00" in line


def test_the_picture_has_a_line_a_kind_in_each_panel(script):
    root = ElementTree.fromstring(script.as_svg(points_of(script)))  # our own text
    lines = [line for line in root if line.tag.endswith("polyline")]
    assert len(lines) == 5 * len(script.KINDS)
    ends = {line.get("points").split()[-1] for line in lines}
    tops = {float(end.split(",")[1]) for end in ends}
    assert tops == {script.TOP, script.TOP - 0.2 * script.SIDE}  # slope 1; slope 2, cut off


@needs_linux
def test_a_tiny_size_is_measured(script):
    options = argparse.Namespace(
        model="SASRecPlus", batch_size=64, feature_size=8, repeats=2, seed=1
    )
    found = script.measure(script.TINY, options)
    assert set(found) == set(script.KINDS)
    assert all(value >= 0 for value in found.values())
    assert found["load_seconds"] > 0
    assert found["step_seconds"] > 0
