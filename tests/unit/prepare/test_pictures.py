"""Every mode of pillow keeps its picture, or the file is counted as one that cannot be read."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from recbole_hm4sr.prepare.images.folder import decode_image
from recbole_hm4sr.prepare.images.pictures import FORMATS, IMAGE_SUFFIXES, read_rgb

Image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
GREY = np.array([[0, 60, 120], [180, 240, 255]], dtype=np.uint8)
COLOURS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 20, 30], [200, 100, 50], [255, 255, 255]]],
    dtype=np.uint8,
)
ALPHA = np.array([[255, 0, 255], [0, 128, 255]], dtype=np.uint8)


def on_white(values, alpha):
    """What is shown: a share alpha of the colour, the rest white."""
    share = alpha[..., None] / 255
    return values * share + 255 * (1 - share)


def grey_rgb(values=GREY):
    return np.repeat(values[..., None], 3, axis=-1)


def pixels(path, **options):
    image = read_rgb(path, **options)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def save(tmp_path, image, kind="PNG", **options):
    path = tmp_path / "picture"
    image.save(path, kind, **options)
    return path


class Opened:
    """An image in memory as if it had been read from a file: some modes are no file's."""

    def __init__(self, monkeypatch, image, kind="TIFF"):
        image.format = kind
        monkeypatch.setattr("PIL.Image.open", lambda _: image)

    def pixels(self):
        return pixels(Path("in memory"))


def chunk(name, body):
    end = struct.pack(">I", zlib.crc32(name + body))
    return struct.pack(">I", len(body)) + name + body + end


def write_png(path, rows, *, bits, colour, transparent=None, **more):
    """A PNG as its standard says, for kinds that pillow does not write. Rows are bytes."""
    size = more["width"], len(rows), bits, colour, 0, 0, 0
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", *size))]
    parts += [chunk(b"tRNS", transparent)] if transparent else []
    parts += [chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b""))
    return path


# --- grey of more than 8 bits ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_grey_of_16_bits_equals_its_form_in_8(tmp_path, kind):
    # 65535 / 255 = 257. A PPM of 16 bits is opened as mode I.
    values = GREY.astype(np.uint16) * 257
    image = Image.fromarray(values.astype(np.int32) if kind == "PPM" else values)
    path = save(tmp_path, image, kind)
    assert np.array_equal(pixels(path), grey_rgb())


def test_grey_of_16_bits_is_rounded(tmp_path):
    # 128 / 257 = .498 and 129 / 257 = .502; 65406 / 257 = 254.498 and 65407 / 257 = 254.502.
    image = Image.fromarray(np.array([[128, 129, 65406, 65407]], dtype=np.uint16))
    assert pixels(save(tmp_path, image))[0, :, 0].tolist() == [0, 1, 254, 255]


@pytest.mark.parametrize(
    ("mode", "order"), [("I;16", "<"), ("I;16L", "<"), ("I;16B", ">"), ("I;16N", "=")]
)
def test_16_bits_of_any_order_of_bytes(monkeypatch, mode, order):
    body = (GREY.astype(np.uint16) * 257).astype(f"{order}u2").tobytes()
    opened = Opened(monkeypatch, Image.frombytes(mode, (3, 2), body))
    assert np.array_equal(opened.pixels(), grey_rgb())


def test_16_bits_in_32_as_older_releases_of_pillow_open_a_png(monkeypatch):
    image = Image.fromarray(GREY.astype(np.int32) * 257)
    assert image.mode == "I"
    assert np.array_equal(Opened(monkeypatch, image, "PNG").pixels(), grey_rgb())


def test_numbers_without_a_largest_one_are_not_read(tmp_path):
    for values in (GREY.astype(np.int32) * 257, GREY.astype(np.float32) / 255):
        path = save(tmp_path, Image.fromarray(values), "TIFF")
        assert Image.open(path).mode in ("I", "F")
        assert read_rgb(path) is None


@pytest.mark.parametrize("error", [ValueError, KeyError, IndexError, EOFError, struct.error])
def test_whatever_a_decoder_raises_the_file_is_not_read(monkeypatch, error):
    def fail(*_, **__):
        raise error

    image = Image.fromarray(GREY)
    image.convert = fail
    Opened(monkeypatch, image)
    assert read_rgb(Path("in memory")) is None


def test_a_lack_of_memory_is_not_the_files_fault(monkeypatch):
    def fail(_):
        raise MemoryError

    monkeypatch.setattr("PIL.Image.open", fail)
    with pytest.raises(MemoryError, match=r"^$"):
        read_rgb(Path("x"))


# --- modes of 8 bits ------------------------------------------------------------------------------


def test_black_and_white(tmp_path):
    image = Image.fromarray(GREY > 100)
    assert image.mode == "1"
    assert np.array_equal(pixels(save(tmp_path, image)), grey_rgb(255 * (GREY > 100)))


def test_grey_and_colours(tmp_path):
    assert np.array_equal(pixels(save(tmp_path, Image.fromarray(GREY))), grey_rgb())
    assert np.array_equal(pixels(save(tmp_path, Image.fromarray(COLOURS))), COLOURS)


# Steps of 255 that a mode's own numbers are apart: YCbCr and HSV are rounded; of L*a*b*, 8 bits a
# channel, a step near pure blue is some 20 of one colour.
@pytest.mark.parametrize(
    ("mode", "steps"),
    [("RGBX", 0), ("CMYK", 0), ("YCbCr", 3), ("HSV", 5), ("LAB", 25), ("RGBA", 0), ("RGBa", 0)],
)
def test_other_spaces_of_colours(monkeypatch, mode, steps):
    image = Image.fromarray(COLOURS)
    if mode == "LAB":
        cms = pytest.importorskip("PIL.ImageCms", reason="pillow without LittleCMS")
        profiles = cms.createProfile("sRGB"), cms.createProfile("LAB")
        image = cms.profileToProfile(image, *profiles, outputMode="LAB")
    else:
        image = image.convert("RGBA").convert(mode) if mode == "RGBa" else image.convert(mode)
    assert image.mode == mode
    assert np.abs(Opened(monkeypatch, image).pixels() - COLOURS).max() <= steps


def test_cmyk_of_a_jpeg(tmp_path):
    blocks = COLOURS.repeat(16, axis=0).repeat(16, axis=1)
    path = save(tmp_path, Image.fromarray(blocks).convert("CMYK"), "JPEG", quality=100)
    assert Image.open(path).mode == "CMYK"
    assert np.abs(pixels(path) - blocks).mean() < 2


def palette(values, *, mode="RGB"):
    """An image of a palette that holds the very colours."""
    colours = values.reshape(-1, values.shape[-1])
    image = Image.frombytes("P", values.shape[1::-1], bytes(range(len(colours))))
    image.putpalette(colours.tobytes(), mode)
    return image


def test_palettes(tmp_path, monkeypatch):
    for kind in ("PNG", "GIF", "BMP"):
        path = save(tmp_path, palette(COLOURS), kind)
        assert np.array_equal(pixels(path), COLOURS)
    shown = on_white(COLOURS, ALPHA)
    path = save(tmp_path, palette(COLOURS), transparency=ALPHA.tobytes())
    assert Image.open(path).mode == "P"
    assert np.abs(pixels(path) - shown).max() <= 1
    path = save(tmp_path, palette(COLOURS), "GIF", transparency=4)
    expected = COLOURS.copy()
    expected[1, 1] = 255
    assert np.array_equal(pixels(path), expected)
    both = palette(np.dstack([COLOURS, ALPHA]), mode="RGBA")
    assert np.abs(Opened(monkeypatch, both).pixels() - shown).max() <= 1


def test_palette_with_alpha_of_its_own(monkeypatch):
    opaque = palette(COLOURS).convert("PA")
    assert np.array_equal(Opened(monkeypatch, opaque).pixels(), COLOURS)
    image = palette(COLOURS).convert("PA")
    image.putalpha(Image.fromarray(ALPHA))
    assert image.mode == "PA"
    shown = on_white(COLOURS, ALPHA)
    assert np.abs(Opened(monkeypatch, image).pixels() - shown).max() <= 1


# --- transparency ---------------------------------------------------------------------------------


def test_what_is_transparent_is_white(tmp_path, monkeypatch):
    image = Image.fromarray(np.dstack([COLOURS, ALPHA]))
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        path = save(tmp_path, image, kind, **options)
        assert np.abs(pixels(path) - on_white(COLOURS, ALPHA)).max() <= 1
    # Colours times alpha, in 8 bits: halves of a colour lose a step.
    premultiplied = Opened(monkeypatch, image.convert("RGBa"))
    assert np.abs(premultiplied.pixels() - on_white(COLOURS, ALPHA)).max() <= 2


@pytest.mark.parametrize("mode", ["LA", "La"])
def test_grey_with_alpha(monkeypatch, mode):
    image = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)]).convert(mode)
    shown = on_white(grey_rgb(), ALPHA)
    assert np.abs(Opened(monkeypatch, image).pixels() - shown).max() <= 2


def test_a_picture_that_is_drawn_by_alpha_alone_is_kept(tmp_path):
    # Black everywhere, as logos often are: without its alpha it would be a black square.
    image = Image.fromarray(np.dstack([np.zeros_like(COLOURS), ALPHA]))
    shown = pixels(save(tmp_path, image))
    assert np.abs(shown - grey_rgb(255 - ALPHA)).max() <= 1


def test_one_transparent_colour(tmp_path):
    expected = COLOURS.copy()
    expected[0, 1] = 255
    path = save(tmp_path, Image.fromarray(COLOURS), transparency=(0, 255, 0))
    assert np.array_equal(pixels(path), expected)
    rows = [struct.pack(">3H", 1000, 40000, 2000)]
    key = struct.pack(">H", 1000)
    path = write_png(tmp_path / "grey", rows, bits=16, colour=0, transparent=key, width=3)
    # 40000 / 257 = 155.64, 2000 / 257 = 7.78.
    assert pixels(path)[0, :, 0].tolist() == [255, 156, 8]
    path = write_png(tmp_path / "bit", [b"\x60"], bits=1, colour=0, transparent=b"\0\1", width=4)
    assert pixels(path)[0, :, 0].tolist() == [0, 255, 255, 0]


def test_colours_of_16_bits(tmp_path):
    rows = [struct.pack(">6H", *(COLOURS[1, :2].reshape(-1).astype(int) * 257))]
    # Pillow reads them in 8 bits and cannot compare them with a key of 16: nothing is taken away.
    key = struct.pack(">3H", 10 * 257, 20 * 257, 30 * 257)
    for transparent in (None, key, struct.pack(">3H", 256 + 10, 256 + 20, 256 + 30)):
        path = write_png(tmp_path / "x", rows, bits=16, colour=2, transparent=transparent, width=2)
        assert np.array_equal(pixels(path)[0], COLOURS[1, :2])


# --- frames, orientation, damage ------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("WEBP", {"lossless": True})])
def test_of_an_animation_the_first_frame_is_taken(tmp_path, kind, options):
    frames = [palette(COLOURS), palette(COLOURS[::-1])]
    if kind == "WEBP":
        frames = [frame.convert("RGB") for frame in frames]
    path = save(tmp_path, frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(path).n_frames == 2
    assert np.array_equal(pixels(path), COLOURS)


# Of the EXIF standard: where row 0 and column 0 of the stored picture are shown.
STORED = {
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.swapaxes(0, 1),
    6: lambda shown: shown.swapaxes(0, 1)[::-1],
    7: lambda shown: shown[::-1, ::-1].swapaxes(0, 1),
    8: lambda shown: shown.swapaxes(0, 1)[:, ::-1],
}


@pytest.mark.parametrize("orientation", STORED)
def test_a_turned_picture_is_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](COLOURS))
    path = save(tmp_path, Image.fromarray(stored), exif=exif)
    assert np.array_equal(pixels(path), COLOURS)
    blocks = stored.repeat(64, axis=0).repeat(64, axis=1)
    path = save(tmp_path, Image.fromarray(blocks), "JPEG", exif=exif, quality=100, subsampling=0)
    small = pixels(path, at_least=2)
    # 128 x 192 by an eighth.
    assert small.shape == (16, 24, 3)
    assert np.abs(small[4::8, 4::8] - COLOURS).max() <= 10


def test_broken_notes_of_a_camera_leave_the_picture(tmp_path):
    path = save(tmp_path, Image.fromarray(COLOURS), exif=b"Exif\0\0no such thing at all")
    assert np.array_equal(pixels(path), COLOURS)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_is_cut_off_is_not_read(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    path = save(tmp_path, Image.fromarray(noise), kind)
    whole = path.read_bytes()
    assert read_rgb(path) is not None
    for part in (0.9, 0.5, 0.1, 0):
        path.write_bytes(whole[: int(len(whole) * part)])
        assert read_rgb(path) is None


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_more_pixels_than_pillow_decodes_are_not_read(tmp_path, monkeypatch):
    path = save(tmp_path, Image.fromarray(GREY))
    # Pillow refuses above twice its limit: 6 pixels pass 3, and are too many for 2.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3)
    assert read_rgb(path) is not None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    assert read_rgb(path) is None


# --- one list for both sides ----------------------------------------------------------------------


def test_what_is_downloaded_is_read():
    for kind in FORMATS:
        body = io.BytesIO()
        Image.fromarray(COLOURS).save(body, kind)
        assert decode_image(body.getvalue())[0] in IMAGE_SUFFIXES


def test_the_endings_are_named_to_users(capsys):
    from recbole_hm4sr.cli import main

    with pytest.raises(SystemExit, match="0"):
        main(["encode", "image", "--help"])
    page = Path(__file__).parents[3] / "docs" / "data" / "encode.md"
    for text in (capsys.readouterr().out, page.read_text(encoding="utf-8")):
        assert [suffix for suffix in IMAGE_SUFFIXES if suffix not in text] == []
