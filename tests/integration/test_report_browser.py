"""The pages in a real browser: silent, offline, readable at every width, and nothing in them runs.

Needs playwright (pip install 'recbole-hm4sr[browser]') and a Chromium of the system, as Debian's
package chromium is; skipped without them. The browser draws what a reader sees, so the screenshots
are looked at too, at their pixels.
"""

import io
import json
import shutil

import pytest

from recbole_hm4sr import cli
from recbole_hm4sr.compare.grid import read_grid
from recbole_hm4sr.compare.page import write_page
from recbole_hm4sr.compare.results import Outcome
from recbole_hm4sr.compare.summary import summarize
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
# Texts of charts that leave their picture, lie on each other, or are too small to read.
UNREADABLE = """() => {
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  const found = [];
  for (const svg of document.querySelectorAll("figure > svg")) {
    const frame = svg.getBoundingClientRect();
    const scale = frame.width / svg.viewBox.baseVal.width;
    const texts = [...svg.querySelectorAll("text")].filter((one) => one.textContent.trim());
    const title = svg.getAttribute("aria-label");
    const said = (what, text) => found.push(`${title}: ${what}: ${text.textContent}`);
    texts.forEach((text, number) => {
      const box = text.getBoundingClientRect();
      if (box.left < frame.left - 1 || box.right > frame.right + 1 ||
          box.top < frame.top - 1 || box.bottom > frame.bottom + 1) { said("outside", text); }
      if (parseFloat(getComputedStyle(text).fontSize) * scale < 11) { said("small", text); }
      if (text.hasAttribute("transform")) { return; }
      for (const other of texts.slice(number + 1)) {
        if (other.hasAttribute("transform")) { continue; }
        const there = other.getBoundingClientRect();
        if (Math.min(box.right, there.right) - Math.max(box.left, there.left) > 1 &&
            Math.min(box.bottom, there.bottom) - Math.max(box.top, there.top) > 4) {
          said("covered", text);
        }
      }
    });
  }
  return found;
}"""


def compare_page(run, out):
    """A comparison of two seeds of one model with one of another, all of them copies of a run."""
    flags = {"datasets": ["toy"], "models": ["HM4SR", "SASRec", "GRU4Rec"], "seeds": [1, 2]}
    grid = read_grid(flags={**flags, "baseline": "SASRec", "baselines": []})
    record = {"status": "done", **json.loads((run / "metrics.json").read_text(encoding="utf-8"))}
    outcomes = []
    for cell in grid.cells():
        if cell.label == "GRU4Rec":
            failed = {"status": "failed", "reason": "it needs <b>more</b> memory"}
            outcomes.append(Outcome(cell, "f", out / cell.folder, failed))
            continue
        shutil.copytree(run, out / cell.folder)
        outcomes.append(Outcome(cell, "f", out / cell.folder, record))
    return write_page(summarize(grid, outcomes), outcomes, out)


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
        "compare": compare_page(folder / "one", folder / "compare"),
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
        ("compare", 1280, "light"),
        ("compare", 390, "dark"),
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


@pytest.mark.parametrize("name", ["run", "comparison", "check", "compare"])
def test_every_text_of_every_chart_is_readable_on_a_phone(browser, pages, name):
    page, _, _ = open_page(browser, pages[name], 390, "light")
    assert page.locator("figure > svg").count() > 2
    assert page.evaluate(UNREADABLE) == []
    # A sentence for each.
    charts, sentences = page.locator("figcaption"), page.locator("figure > p.explained")
    assert charts.count() == sentences.count()
    assert all(text.strip().endswith(".") for text in sentences.all_inner_texts())
    page.context.close()


def test_a_comparison_leads_to_the_reports_of_its_runs(browser, pages):
    page, _, _ = open_page(browser, pages["compare"], 1280, "light")
    links = page.locator("#runs a")
    assert links.all_inner_texts() == [
        f"{model}, seed {seed}" for seed in (1, 2) for model in ("HM4SR", "SASRec")
    ]
    links.last.click()
    assert page.title() == "HM4SR on toy"
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
    assert page.locator("article.case .columns:visible").count() == 2
    page.locator("article.case summary").first.click()
    assert page.locator("article.case .columns:visible").count() == 3
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
