"""Single test users as the page shows them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbole_hm4sr.evaluate.candidates import CANDIDATES
from recbole_hm4sr.model.reason_words import reason_words
from recbole_hm4sr.page.charts import N_COLOURS
from recbole_hm4sr.page.format import gap_text, moment, percent
from recbole_hm4sr.report.components import Components

_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True)
class ItemView:
    """An item as it is shown; ``image`` is a data address or empty."""

    token: str
    title: str
    categories: str
    image: str


@dataclass(frozen=True)
class Event:
    """An item of a history, the time of the interaction, and how long after the one before."""

    item: ItemView
    when: str
    gap: str


@dataclass(frozen=True)
class Segment:
    """A component of a score: where it begins and how long it is, in percent of the bar."""

    begin: float
    width: float
    colour: int
    words: str


@dataclass(frozen=True)
class Reason:
    """Why an item ranks first: words, and the item of the history that they are about."""

    item: ItemView | None
    words: str


@dataclass(frozen=True)
class Scored:
    """An item with its rank, score above the catalogue's mean, components, and reason."""

    item: ItemView
    rank: int
    score: str
    segments: tuple[Segment, ...]
    words: str
    seen: bool
    true: bool
    reason: Reason | None


@dataclass(frozen=True)
class Case:
    """One user.

    Attributes:
        user: Its token.
        n_earlier: Items of its history that are not shown.
        history: Its latest items, oldest first.
        top: What ranks first.
        true: The item it interacted with next.
        when: When it did.
        gap: How long after the last item of the history.
        ranks: The true item's rank under both protocols, in words.
        found: Whether it is among the first.
        zero: Where zero is in the bars, in percent.
    """

    user: str
    n_earlier: int
    history: tuple[Event, ...]
    top: tuple[Scored, ...]
    true: Scored
    when: str
    gap: str
    ranks: str
    found: bool
    zero: float


def view_cases(facts: Mapping[str, Any], rank_history: str, drawn: Components) -> list[Case]:
    """The cases of ``report.json``, ready for the page.

    Args:
        facts: ``report.json``.
        rank_history: ``include`` or ``exclude``: whose ranks are shown.
        drawn: Which components of a score are drawn as one.
    """
    return [
        _case(_folded(case, drawn), facts, rank_history, drawn.names) for case in facts["cases"]
    ]


def _folded(case: Mapping[str, Any], drawn: Components) -> dict[str, Any]:
    """The case with the components that are drawn."""
    top = [{**entry, "parts": drawn.fold(entry["parts"])} for entry in case["top"]]
    target = {**case["target"], "parts": drawn.fold(case["target"]["parts"])}
    return {**case, "top": top, "target": target}


def _case(
    case: Mapping[str, Any], facts: Mapping[str, Any], rank_history: str, names: Sequence[str]
) -> Case:
    target = case["target"]
    days = bool(facts["data"]["whole_days"])
    entries = [*case["top"], target]
    low = min(0.0, *(sum(min(part, 0.0) for part in entry["parts"]) for entry in entries))
    high = max(1e-9, *(sum(max(part, 0.0) for part in entry["parts"]) for entry in entries))
    rank = target[f"rank_{rank_history}"]
    return Case(
        user=case["user"],
        n_earlier=case["length"] - len(case["history"]),
        history=tuple(
            Event(
                _item(entry["item"], facts),
                moment(entry["time"], whole_days=days),
                gap_text(entry["gap"]),
            )
            for entry in case["history"]
        ),
        top=tuple(
            _scored(entry, place, facts, names, (low, high))
            for place, entry in enumerate(case["top"], start=1)
        ),
        true=_scored({**target, "true": True}, rank, facts, names, (low, high)),
        when=moment(target["time"], whole_days=days),
        gap=gap_text(target["gap"]),
        ranks=f"rank {target['rank_include']:,} with {CANDIDATES['include']}, "
        f"{target['rank_exclude']:,} with {CANDIDATES['exclude']}",
        found=rank <= len(case["top"]),
        zero=round(100 * -low / (high - low), 2),
    )


def _scored(
    entry: Mapping[str, Any],
    rank: int,
    facts: Mapping[str, Any],
    names: Sequence[str],
    span: tuple[float, float],
) -> Scored:
    parts = entry["parts"]
    return Scored(
        item=_item(entry["item"], facts),
        rank=rank,
        score=f"{sum(parts):.2f}",
        segments=_segments(parts, names, *span),
        words=", ".join(f"{name} {value:+.2f}" for name, value in zip(names, parts, strict=True)),
        seen=entry["taken"],
        true=entry["true"],
        reason=_reason(entry.get("reason"), facts),  # older runs have none
    )


def _reason(found: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> Reason | None:
    if found is None:
        return None
    share, item = found["share"], found["item"]
    note = "" if share is None else f" ({percent(share)} of what lifts it above the median item)"
    return Reason(_item(item, facts) if item else None, f"{reason_words(found['kind'])}{note}.")


def _segments(
    parts: Sequence[float], names: Sequence[str], low: float, high: float
) -> tuple[Segment, ...]:
    """Positive components to the right of zero, negative ones to the left."""
    right = left = -low
    segments = []
    for number, (name, part) in enumerate(zip(names, parts, strict=True)):
        if part < 0:
            left += part
            begin = left
        else:
            begin = right
            right += part
        segments.append(
            Segment(
                round(100 * begin / (high - low), 2),
                round(100 * abs(part) / (high - low), 2),
                number % N_COLOURS,
                f"{name} {part:+.2f}",
            )
        )
    return tuple(segments)


def _item(token: str, facts: Mapping[str, Any]) -> ItemView:
    known = facts["items"].get(token, {})
    image = facts["images"].get(token, "")
    # Only what cannot leave the attribute it is in, whoever wrote the file.
    address = f"data:image/webp;base64,{image}" if _BASE64.fullmatch(image) else ""
    return ItemView(token, known.get("title", ""), known.get("categories", ""), address)
