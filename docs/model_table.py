"""The table of models: what each reads, its paper, and what was measured of it on Amazon Beauty.

``docs/generate.py`` writes all rows to ``docs/models/index.md`` and the best eight into README.md.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from recbole_hm4sr.model.cards import ModelCard, model_cards
from recbole_hm4sr.model.registry import MODELS, display_name

ROOT = Path(__file__).parent.parent
_BEGIN, _END = "<!-- models: written by docs/generate.py -->", "<!-- end of models -->"
_N_SHORT = 8
_NONE = "-"
# A docstring has '"Title", VENUE YEAR, arXiv:NUMBER'; RecBole's have '"Title." In VENUE YEAR'.
_VENUE = re.compile(r'"[,.]?(?: in| In)? ((?:[A-Z][A-Za-z ]+ )?\d{4})\b')
_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{5})")
_HEAD = (
    "| model | paper | text, image | time | cold items | NDCG@10, seen removed | seen kept "
    "| weeks after | s an epoch |",
    "|---|---|---|---|---|---|---|---|---|",
)
_INDEX = """# Models

<!-- Written by docs/generate.py from the registry and results/models.yaml. -->

Every model of this package, and those of RecBole that were measured beside them. All of RecBole's
sequential models run too: [the list](../reference/recbole-models.md). NDCG@10 on Amazon Beauty
(real; ids, times and texts, no images; test part, whole catalogue, leave one out): with seen items
removed from the candidates, and kept among them. *Weeks after*: the first items of later visits,
with a memory that is kept up to the request where there is one; another split, not comparable with
the columns beside it. A dash: not measured yet. Each number's page has seeds, commit and command:
[zoo](../../results/zoo.md), [momento](../../results/momento.md), [beauty](../../results/beauty.md).

All that are trained learn a vector for each item id, but for IISAN, MoRec and WhitenRec, which by
default read features alone. *Text, image*: any number of modalities. *Cold items*: it takes
`catalogue: all`, and scores an item that nobody has interacted with yet by its features.

"""


def _numbers() -> dict[str, dict[str, Any]]:
    measured: dict[str, dict[str, Any]] = yaml.safe_load(
        (ROOT / "results" / "models.yaml").read_text(encoding="utf-8")
    )
    return measured


def _row(card: ModelCard, found: dict[str, Any], pages: str) -> str:
    shown = display_name(card.name)
    name = f"[{shown}]({pages}{card.name.lower()}.md)" if card.name in MODELS else shown
    if shown != card.name:
        name += f" (`--model={card.name}`)"
    reads_features = "features" in card.reads
    cells = [
        name,
        _paper(card),
        "yes" if reads_features else _NONE,
        "yes" if {"times", "target_time"} & set(card.reads) else _NONE,
        "yes" if _scores_cold_items(card.name) else _NONE,
        *(_score(found.get(column)) for column in ("removed", "kept", "later")),
        str(found.get("seconds", _NONE)),
    ]
    return f"| {' | '.join(cells)} |"


def _paper(card: ModelCard) -> str:
    """Where a paper was published and when, with a link where its docstring names one."""
    venue, number = _VENUE.search(card.about), _ARXIV.search(card.about)
    if venue is None:
        is_trained = card.name in MODELS and not MODELS[card.name].is_fitted_once
        return "this package" if is_trained else _NONE
    return f"[{venue[1]}](https://arxiv.org/abs/{number[1]})" if number is not None else venue[1]


def _scores_cold_items(name: str) -> bool:
    settings = MODELS[name].settings_class if name in MODELS else None
    return settings is not None and settings.new_items == "features"


def _score(value: float | None) -> str:
    return _NONE if value is None else f"{value:.4f}".removeprefix("0")


def index_page() -> str:
    """``docs/models/index.md``: all rows, the best first, then those not measured by name."""
    return "\n".join([_INDEX + _HEAD[0], _HEAD[1], *_rows(""), "", *_papers()]) + "\n"


def _rows(pages: str) -> list[str]:
    numbers, cards = _numbers(), {card.name: card for card in model_cards()}
    best = sorted(numbers, key=lambda name: -numbers[name]["removed"])
    rest = sorted((name for name in MODELS if name not in numbers), key=str.lower)
    return [_row(cards[name], numbers.get(name, {}), pages) for name in (*best, *rest)]


def _papers() -> list[str]:
    lines = ["## Papers", ""]
    own = [card for card in model_cards() if card.name in MODELS]
    lines += [f"- {display_name(card.name)}: {card.about.replace('``', '`')}" for card in own]
    return lines


def with_short_table(readme: str) -> str:
    """README.md with its rows written anew.

    Args:
        readme: The file's text.
    """
    rows = [*_HEAD, *_rows("docs/models/")[:_N_SHORT]]
    block = "\n".join([_BEGIN, *rows, _END])
    return re.sub(rf"{re.escape(_BEGIN)}.*?{re.escape(_END)}", lambda _: block, readme, flags=re.S)
