"""The picture of the README: the numbers of results/, and no text upon another."""

import importlib
import itertools
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "results" / "summary.svg"


@pytest.fixture
def picture(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("summary_picture")


def test_the_file_is_drawn_from_the_results(picture):
    assert PICTURE.read_text(encoding="utf-8") == picture.as_svg(picture.shapes())


def test_it_shows_the_numbers_of_the_tables():
    # results/beauty.md, NDCG@10 of both protocols; results/speed.md, 1 / (1/share) of an epoch.
    texts = [spot.text for spot in ElementTree.parse(PICTURE).iter() if spot.text]
    assert [text for text in texts if re.fullmatch(r"\d?\.\d+", text)] == [
        ".0506", ".0436", ".0416", ".0406", ".0553", ".0579", ".0559", ".0544",
        "1.00", "0.28", "0.15", "0.11",
    ]  # fmt: skip


def test_nothing_overlaps_or_leaves_the_picture(picture):
    boxes = [(shape, shape.box) for shape in picture.shapes()]
    for (one, (left, top, right, bottom)), (two, box) in itertools.combinations(boxes, 2):
        apart = right <= box[0] or box[2] <= left or bottom <= box[1] or box[3] <= top
        assert apart, (one, two)
    assert max(right for _, (_, _, right, _) in boxes) <= picture.WIDTH


@pytest.mark.parametrize("font", ["DejaVuSans", "LiberationSans"])
def test_a_text_is_not_wider_than_its_box(picture, font):
    fonts = pytest.importorskip("PIL.ImageFont", reason="needs pillow")
    try:
        faces = {bold: fonts.truetype(f"{font}{'-Bold' * bold}.ttf", 100) for bold in (False, True)}
    except OSError:
        pytest.skip(f"the font {font} is not installed")
    for shape in picture.shapes():
        if isinstance(shape, picture.Text):
            face = faces[shape.kind in picture.BOLD]
            left, _, right, _ = shape.box
            assert face.getlength(shape.text) * picture.SIZE[shape.kind] / 100 <= right - left, (
                shape
            )
