"""Draw results/summary.svg from the tables of results/, without measuring anything.

python benchmarks/summary_picture.py
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

RESULTS = Path(__file__).resolve().parents[1] / "results"
WIDTH = 840
MARGIN = 16
ROW, BAR = 22, 14
LABELS, LENGTH, GAP = 182, 150, 6  # widths of the labels and the longest bar; bar to number
# Widths of letters as shares of the font's size, as wide as in DejaVu Sans, the widest of the
# common fonts: what a browser takes for "sans-serif" is not known here. Capitals and digits are
# wider by CAPITAL.
LETTER, BOLD_LETTER = 0.6, 0.7
CAPITAL = 0.25
SIZE = {"t": 13, "s": 11, "g": 11, "l": 11, "v": 11, "n": 11}
BOLD = ("t", "g")
STYLE = """\
<style>.t{font-size:13px;font-weight:600;fill:#333}.g{font-size:11px;font-weight:600;fill:#444}
.s,.l,.v,.n{font-size:11px;fill:#444}.a{fill:#0072b2}.b{fill:#999}.c{fill:#e69f00}
@media (prefers-color-scheme: dark){.t{fill:#eee}.s,.g,.l,.v,.n{fill:#ccc}}</style>"""


@dataclasses.dataclass(frozen=True)
class Text:
    """A line of text: where it starts on its base line, its kind (a key of ``SIZE``)."""

    x: float
    y: float
    kind: str
    text: str

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom, at least as large as the text is drawn."""
        size = SIZE[self.kind]
        letter = BOLD_LETTER if self.kind in BOLD else LETTER
        wide = sum(sign.isupper() or sign.isdigit() for sign in self.text)
        right = self.x + size * (letter * len(self.text) + CAPITAL * wide)
        return self.x, self.y - size, right, self.y + 0.3 * size


@dataclasses.dataclass(frozen=True)
class Bar:
    """A horizontal bar; ``kind`` is its colour."""

    x: float
    y: float
    width: float
    kind: str

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom."""
        return self.x, self.y, self.x + self.width, self.y + BAR


Shape = Text | Bar
Rows = Sequence[tuple[str, float, str]]  # label, value, colour


def shapes() -> list[Shape]:
    """All that the picture shows."""
    beauty = (RESULTS / "beauty.md").read_text(encoding="utf-8")
    kept, removed = (beauty_rows(beauty, history) for history in ("include", "exclude"))
    left = [("seen items kept", kept), ("seen items removed", removed)]
    drawn = [
        *panel(
            MARGIN,
            "Test NDCG@10 on Amazon Beauty",
            "text alone, three trials for each model, seed 1",
            left,
        ),
        *panel(
            WIDTH // 2 + MARGIN,
            "Time per epoch, SASRec in RecBole = 1",
            "data of the shape of Amazon Games, AMD EPYC, two cores",
            [("", epoch_rows())],
        ),
    ]
    below = max(shape.box[3] for shape in drawn) + 24
    notes = (
        "SASRec+: SASRec backbone, HM4SR with all its components off; called all parts off in the "
        "tables of results/beauty.md.",
        "Commands, commits and machines: results/beauty.md, results/speed.md.",
    )
    return drawn + [Text(MARGIN, below + 16 * row, "n", note) for row, note in enumerate(notes)]


def beauty_rows(page: str, history: str) -> Rows:
    """NDCG@10 of the four rows shown, from the tables of one treatment of histories."""
    values = {}
    for section in re.findall(rf"`rank_history: {history}`.*?(?=\n#|\Z)", page, re.DOTALL)[:2]:
        for label, score in re.findall(
            r"^\| ([^|]+) \| \d+/\d+ \| \d+ \| \**([\d.]+)", section, re.MULTILINE
        ):
            values.setdefault(label, float(score))
    return [
        ("HM4SR", values["HM4SR"], "a"),
        ("without temporal experts", values["without temporal MoE"], "a"),
        ("SASRec+", values["all parts off"], "b"),
        ("SASRec in RecBole", values["SASRec"], "c"),
    ]


def epoch_rows() -> Rows:
    """Shares of the time of an epoch."""
    path = RESULTS / "speed" / "AMD-EPYC" / "train_step.json"
    variants = json.loads(path.read_text(encoding="utf-8"))["variants"]
    names = {
        "SASRec": ("SASRec in RecBole, padded", "c"),
        "HM4SR prefix": ("HM4SR, prefixes", "a"),
        "HM4SR two visits": ("two passes over a history", "a"),
        "HM4SR sequence": ("one pass over a history", "a"),
    }
    return [(label, variants[name]["epoch_share"], kind) for name, (label, kind) in names.items()]


def panel(x: int, title: str, subtitle: str, groups: Sequence[tuple[str, Rows]]) -> Iterator[Shape]:
    """Groups of bars on one scale, below a title."""
    yield Text(x, 28, "t", title)
    yield Text(x, 46, "s", subtitle)
    longest = max(value for _, rows in groups for _, value, _ in rows)
    top = 62
    for name, rows in groups:
        if name:
            yield Text(x, top + 8, "g", name)
            top += 18
        for label, value, kind in rows:
            bar = Bar(x + LABELS, top, LENGTH * value / longest, kind)
            number = f"{value:.2f}" if longest >= 1 else f"{value:.4f}".removeprefix("0")
            yield Text(x, top + 11, "l", label)
            yield bar
            yield Text(round(bar.x + bar.width + GAP, 1), top + 11, "v", number)
            top += ROW
        top += 14


def as_svg(drawn: Sequence[Shape]) -> str:
    """The picture as a file."""
    height = round(max(shape.box[3] for shape in drawn) + 12)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" role="img" aria-label="NDCG@10 of HM4SR and SASRec on Amazon '
        f"Beauty, seen items kept and removed, and the time per epoch of HM4SR as a share of "
        f"SASRec's in RecBole\">",
        STYLE,
    ]
    for shape in drawn:
        if isinstance(shape, Text):
            place = f'x="{shape.x:g}" y="{shape.y:g}" class="{shape.kind}"'
            lines.append(f"<text {place}>{escape(shape.text)}</text>")
        else:
            place = f'x="{shape.x:g}" y="{shape.y:g}" width="{shape.width:.1f}" height="{BAR}"'
            lines.append(f'<rect {place} class="{shape.kind}"/>')
    return "\n".join([*lines, "</svg>"]) + "\n"


if __name__ == "__main__":
    (RESULTS / "summary.svg").write_text(as_svg(shapes()), encoding="utf-8")
