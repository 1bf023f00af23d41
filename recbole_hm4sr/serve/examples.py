"""What the OpenAPI page of a run shows: requests of its own items, that work as they stand."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_hm4sr.data.item_table import TextColumn
from recbole_hm4sr.data.times import PER_SECOND
from recbole_hm4sr.serve.recommend import Recommender

_N_ITEMS = 3
_DAY = 86_400
TAGS = [
    {"name": "recommendations", "description": "What to show to users, from what they took."},
    {"name": "service", "description": "Whether it is up, and what it serves."},
]


@dataclass(frozen=True)
class Examples:
    """Values of the run that its examples are made of.

    Attributes:
        tokens: A few items, the most frequent first.
        times: As many times, oldest first, in the run's unit.
        requests: Name to summary and body of a request.
        similar: The same of requests for similar items.
    """

    tokens: list[str]
    times: list[int]
    requests: dict[str, dict[str, Any]]
    similar: dict[str, dict[str, Any]]


def make_examples(recommender: Recommender) -> Examples:
    """Examples of a run's items and times."""
    data, unit = recommender.run.data, PER_SECOND[recommender.columns.unit]
    best = 1 + np.argsort(-data.popularity[1:], kind="stable")[:_N_ITEMS]
    tokens = data.item_tokens[best].tolist()
    times = [(max(0, data.first_time) + day * _DAY) * unit for day in range(len(tokens))]
    took = [
        {"item": token, "time": time} for token, time in zip(tokens[:2], times[:2], strict=True)
    ]
    requests: dict[str, dict[str, Any]] = {
        "users": {
            "summary": "Two users, one of whom is new",
            "value": {"histories": [took, []], "k": 5},
        },
        "candidates": {
            "summary": "The order of some items for a user, taken ones too",
            "value": {"histories": [took], "candidates": tokens, "exclude_seen": False},
        },
        "rules": {
            "summary": "Without an item, and no list of like ones",
            "value": {"histories": [took], "k": 3, **_rules(recommender, tokens)},
        },
        "explain": {
            "summary": "With a reason for each item",
            "value": {"histories": [took], "k": 3, "explain": True},
        },
    }
    if recommender.asks_when:  # answered alike on every day
        for request in requests.values():
            at = recommender.known_until()
            request["value"]["at"] = recommender.earliest_moment() if at is None else at
    similar = {
        "items": {"summary": "More like two items", "value": {"items": tokens[:2], "k": 3}},
        "rules": {
            "summary": "By what the last of the ways says, with rules",
            "value": {
                "items": tokens[:1],
                "k": 3,
                "by": (recommender.items.ways or ("",))[-1],
                **_rules(recommender, tokens),
            },
        },
    }
    return Examples(tokens, times, requests, similar)


def _rules(recommender: Recommender, tokens: list[str]) -> dict[str, Any]:
    """Rules on columns that the run keeps; on none if it keeps none."""
    table = recommender.items.table
    rules: dict[str, Any] = {"exclude_items": tokens[-1:]}
    if recommender.items.ways:
        rules["diversity"] = 0.3
    if table.title is not None:
        rules |= {"where": f'"{table.title}" is not null', "show": [table.title]}
    lists = [
        name for name, it in table.columns.items() if isinstance(it, TextColumn) and it.is_list
    ]
    return {**rules, "max_per": dict.fromkeys(lists[:1], 2)}


def describe(recommender: Recommender) -> str:
    """The first paragraph of the page."""
    config = recommender.run.config
    words = (
        f"Recommendations of the run `{recommender.run.run_dir.resolve().name}`: "
        f"{config['model']} trained on {config['dataset']}, {recommender.n_items - 1:,} items. The "
        f"examples are of its items, and work as they stand."
    )
    if config["generated"]:
        words += " The data set is GENERATED: its numbers say nothing of real shops."
    return words
