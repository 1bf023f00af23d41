"""Draw docs/start/report.png: the report of a short run on the sample, with generated pictures.

    python benchmarks/report_picture.py

The sample has no pictures, only vectors of an image modality. Here a picture is drawn of each
item's vector, with a shape for the item's role, and its pixels take the place of the vector. So
what the report shows is what a shop with photographs would see, of data that are made up and say
so. Needs pip install 'recbole-hm4sr[prepare,browser]' and a Chromium of the system.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from recbole_hm4sr.data.features import ItemFeatures, load_features, save_features
from recbole_hm4sr.prepare.sample import ACTIVITIES
from recbole_hm4sr.report.finish import report_run
from recbole_hm4sr.run import quick_start

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "dataset_atomic" / "sports"
WIDTH, HEIGHT = 1240, 1120
CLIP = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT}
SIDE = 64
PIXELS = 16  # a side of what the model sees
ENCODER = "generated pictures, 16 x 16 pixels"
# A cell of the background is between these two, as the item's number says.
DARK, BRIGHT = np.array([38, 70, 83]), np.array([233, 196, 106])
SHAPES = {
    "circle": [(32 + 20 * np.cos(a), 32 + 20 * np.sin(a)) for a in np.linspace(0, 6.28, 40)],
    "square": [(14, 14), (50, 14), (50, 50), (14, 50)],
    "triangle": [(32, 10), (54, 50), (10, 50)],
    "diamond": [(32, 8), (56, 32), (32, 56), (8, 32)],
    "hourglass": [(12, 12), (52, 12), (12, 52), (52, 52)],
}
# Of the page stay its head, the modalities and the first case.
HIDDEN = "section:not(#permutation):not(#cases), .case ~ .case, nav, footer { display: none }"


def main() -> None:
    """Draw the pictures, train, and take the screenshot."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "start" / "report.png")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "sports"
        with_pictures(data)
        quick_start.run(
            "HM4SR",
            data,
            overrides={"epochs": asked.epochs, "use_gpu": False},
            run_dir=Path(scratch) / "run",
            on_finish=report_run,
        )
        screenshot(Path(scratch) / "run" / "report.html", asked.out)
    print(f"{asked.out}: {asked.out.stat().st_size / 1000:.0f} kB")


def with_pictures(folder: Path) -> None:
    """Copy the sample, draw its items, and have the image modality read the drawings.

    Args:
        folder: To be made.
    """
    shutil.copytree(SAMPLE, folder)
    vectors = load_features(SAMPLE / "sports.image.npz")
    roles, numbers = roles_of_items(), vectors.values.astype(np.float64)
    numbers = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    pixels = []
    (folder / "images").mkdir()
    for token, row in zip(vectors.tokens.tolist(), numbers, strict=True):
        picture = draw(row, roles[token])
        picture.save(folder / "images" / f"{token}.png")
        small = picture.resize((PIXELS, PIXELS), Image.Resampling.BOX)
        pixels.append(np.asarray(small, dtype=np.float32).ravel() / 255)
    seen = ItemFeatures(vectors.tokens, np.stack(pixels), ENCODER, "1", source="")
    save_features(folder / "sports.image.npz", seen)


def roles_of_items() -> dict[str, int]:
    """The role of each item, as its last category tells."""
    kinds = {kind: k for _, _, names in ACTIVITIES for k, kind in enumerate(names.split())}
    lines = (SAMPLE / "sports.item").read_text(encoding="utf-8").splitlines()
    column = [name.partition(":")[0] for name in lines[0].split("\t")].index("categories")
    cells = [line.split("\t") for line in lines[1:]]
    return {row[0]: kinds[row[column].split()[-1]] for row in cells}


def draw(row: npt.NDArray[np.float64], role: int) -> Image.Image:
    """A quilt of a cell for each number, and the shape of the role upon it."""
    shares = 1 / (1 + np.exp(-row))
    cells = DARK + shares.reshape(4, 8, 1) * (BRIGHT - DARK)
    quilt = Image.fromarray(cells.round().astype(np.uint8), "RGB")
    picture = quilt.resize((SIDE, SIDE), Image.Resampling.NEAREST)
    hue = tuple(int(60 + 180 * share) for share in shares[:3])
    outline = list(SHAPES.values())[role]
    ImageDraw.Draw(picture).polygon(outline, fill=hue, outline=(255, 255, 255))
    return picture


def screenshot(page: Path, out: Path) -> None:
    """Take the head of a report, its modalities and the top of its first case, in few colours."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        view.goto(page.as_uri())
        view.add_style_tag(content=HIDDEN)
        view.screenshot(path=out, full_page=True, clip=CLIP)
        browser.close()
    with Image.open(out) as picture:
        few = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    few.save(out, optimize=True)


if __name__ == "__main__":
    main()
