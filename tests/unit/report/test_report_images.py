"""Thumbnails: whole images become small ones, the rest is left out."""

import base64
import io

import pytest
from runfiles import some_facts

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.report.items import make_thumbnails
from recbole_hm4sr.report.model_facts import add_images

pillow = pytest.importorskip("PIL.Image", reason="images need pillow")


def write_image(path, size=(300, 200), kind="JPEG"):
    pillow.new("RGB", size, (200, 30, 30)).save(path, kind)


def test_thumbnails_are_small_and_whole(tmp_path):
    write_image(tmp_path / "i1.jpg")
    write_image(tmp_path / "a%2Fb.png", kind="PNG")
    (tmp_path / "i3.jpg").write_bytes(b"no image")
    found = make_thumbnails(tmp_path, {"i1", "a/b", "i3", "i4"})
    assert set(found) == {"i1", "a/b"}
    with pillow.open(io.BytesIO(base64.b64decode(found["i1"]))) as image:
        assert image.format == "WEBP"
        assert image.size == (72, 48)


def test_a_thumbnail_of_16_bits_is_not_white(tmp_path):
    pillow.new("I;16", (144, 144), 100 * 257).save(tmp_path / "i1.png")
    found = make_thumbnails(tmp_path, {"i1"})
    with pillow.open(io.BytesIO(base64.b64decode(found["i1"]))) as image:
        # WebP moves a plain grey by a step or two.
        assert all(abs(low - 100) < 4 > abs(high - 100) for low, high in image.getextrema())


def test_a_folder_without_images_is_a_note_unless_it_was_asked_for(tmp_path):
    facts = some_facts()
    add_images(facts, tmp_path, required=False)
    assert "must hold images named by item token" in facts["images_missing"]
    with pytest.raises(DataError, match="must hold images named by item token"):
        add_images(facts, tmp_path, required=True)


def test_images_of_the_cases_are_added(tmp_path):
    write_image(tmp_path / "i9.jpg")
    write_image(tmp_path / "i2.jpg")
    facts = some_facts()
    add_images(facts, tmp_path, required=True)
    assert set(facts["images"]) == {"i9"}
