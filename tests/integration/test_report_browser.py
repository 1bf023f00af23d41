"""The pages in a real browser: silent, offline, readable at every width, and nothing in them runs.

Needs playwright (pip install 'recbole-hm4sr[browser]') and a Chromium of the system, as Debian's
package chromium is; skipped without them. The browser draws what a reader sees, so the screenshots
are looked at too, at their pixels.
"""

import io
import shutil

import pytest

from recbole_hm4sr import cli
from recbole_hm4sr.report.finish import report_run
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.testing.toydata import QUICK_HM4SR, write_toy_dataset

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright and a browser")
pillow = pytest.importorskip("PIL.Image", reason="needs pillow")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed"),
]

ATTACK = "<script>document.title='run'</script><img src=x onerror=document.title='run'>"
BACKGROUND = {"light": (255, 255, 255), "dark": (18, 22, 29)}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Contrast of each text's colour with what is behind it, by WCAG's formula; the least of all.
CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = (spot) => {
    for (let at = spot; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) { return colour; }
    }
    return [255, 255, 255];
  };
  const names = "p,h1,h2,h3,h4,td,th,li,a,dt,dd,span,svg text,summary,figcaption";
  let worst = [99, ""];
  for (const spot of document.querySelectorAll(names)) {
    if (!spot.textContent.trim() || !spot.getClientRects().length) { continue; }
    const style = getComputedStyle(spot);
    const pair = [parse(spot.closest("svg") ? style.fill : style.color), behind(spot)].map(light);
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (ratio < worst[0]) { worst = [ratio, spot.outerHTML.slice(0, 80)]; }
  }
  return worst;
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages of a run, of two and of a data set, whose titles, categories and users hold scripts."""
    folder = tmp_path_factory.mktemp("pages")
    write_toy_dataset(folder / "toy")
    for name in ("toy.item", "toy.inter"):
        path = folder / "toy" / name
        text = path.read_text(encoding="utf-8").replace("\nu", f"\n{ATTACK.replace(' ', '')}u")
        path.write_text(text.replace("Item", ATTACK).replace("Half", ATTACK), encoding="utf-8")
    images = folder / "toy" / "images"
    images.mkdir()
    for number in range(0, 24, 2):
        pillow.new("RGB", (90, 60), (200, 9 * number, 60)).save(images / f"B{number:03d}.png")
    settings = {**QUICK_HM4SR, "data_path": str(folder)}
    quick_start.run(
        "HM4SR", "toy", overrides=settings, run_dir=folder / "one", on_finish=report_run
    )
    shutil.copytree(folder / "one", folder / "two")
    with pytest.raises(SystemExit, match="0"):
        cli.main(
            ["report", str(folder / "one"), str(folder / "two"), f"--out={folder / 'both.html'}"]
        )
    with pytest.raises(SystemExit, match="0"):
        cli.main(
            ["check", "--dataset=toy", f"--data_path={folder}", f"--out={folder / 'check.html'}"]
        )
    return {
        "run": folder / "one" / "report.html",
        "comparison": folder / "both.html",
        "check": folder / "check.html",
    }


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def open_page(browser, path, width, scheme):
    """The page in a new profile; what its console says and what it fetches."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    said, fetched = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(path.as_uri())
    return page, said, [url for url in fetched if not url.startswith("data:")]


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("run", 1280, "light"),
        ("run", 1280, "dark"),
        ("run", 390, "light"),
        ("run", 390, "dark"),
        ("comparison", 1280, "dark"),
        ("comparison", 390, "light"),
        ("check", 1280, "dark"),
        ("check", 390, "light"),
    ],
)
def test_a_page_is_whole_at_every_width_and_colour(browser, pages, name, width, scheme):
    page, said, fetched = open_page(browser, pages[name], width, scheme)
    assert said == []
    assert fetched == [pages[name].as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    ratio, where = page.evaluate(CONTRAST)
    assert ratio >= 4.5, where
    with pillow.open(io.BytesIO(page.screenshot())) as image:
        assert image.size == (width, 900)
        assert image.convert("RGB").getpixel((2, 2)) == BACKGROUND[scheme]
        assert len(image.convert("RGB").getcolors(2**20)) > 30
    page.context.close()


def test_a_title_that_holds_a_script_is_shown_and_not_run(browser, pages):
    assert pages["run"].stat().st_size < 3_000_000
    page, _, _ = open_page(browser, pages["run"], 1280, "light")
    assert page.title() == "HM4SR on toy"
    assert ATTACK in page.locator(".history .name").first.inner_text()
    assert page.locator("h3 bdi").first.inner_text().startswith("<script>")
    assert page.locator("script").count() == 1
    # Even what gets past the escaping is not run: the page allows no script but its own.
    page.evaluate(
        "document.body.appendChild(Object.assign(document.createElement('script'),"
        " {textContent: \"document.title = 'run'\"}))"
    )
    assert page.title() == "HM4SR on toy"
    page.context.close()


def test_ten_cases_with_images_and_parts(browser, pages):
    page, _, _ = open_page(browser, pages["run"], 1280, "light")
    assert page.locator("article.case").count() == 10
    drawn = page.evaluate(
        "[...document.querySelectorAll('img.thumb')].map((image) => image.naturalWidth)"
    )
    assert len(drawn) > 10
    assert set(drawn) == {72}
    assert page.locator("article.case svg.parts rect").count() % 3 == 0
    page.context.close()


def test_charts_say_their_numbers_when_pointed_at(browser, pages):
    page, _, _ = open_page(browser, pages["run"], 1280, "light")
    tip = page.locator("#tip")
    assert tip.is_hidden()
    page.locator("#training .band").first.hover()
    assert tip.inner_text().startswith("epoch: 1\ncross entropy: ")
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    page.locator("#training summary").first.click()
    assert page.locator("#training details tbody tr").first.is_visible()
    page.context.close()
