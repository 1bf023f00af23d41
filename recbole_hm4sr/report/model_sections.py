"""Sections about the experts and the modalities of a model."""

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_hm4sr.evaluate.candidates import CANDIDATES
from recbole_hm4sr.evaluate.groups import SMALL
from recbole_hm4sr.page.bar_chart import RowChart, horizontal_bars
from recbole_hm4sr.page.charts import LineChart, line_chart
from recbole_hm4sr.page.format import NONE, percent
from recbole_hm4sr.page.section import Section, Table
from recbole_hm4sr.report.sections import SMALL_NOTE

_GROUP_TITLES = {
    "gap": ("Route by the time since the interaction before", "time since the interaction before"),
    "hour": ("Route by the hour of the day", "hour of the day, UTC"),
    "weekday": ("Route by the day of the week", "day of the week, UTC"),
    "month": ("Route by the month of the year", "month, UTC"),
    "moment": ("Route over the time of the data", "part of the data's time, from"),
}
_EXPLAINED = {
    "gap": "the time since the interaction before",
    "hour": "the hour of the day",
    "weekday": "the day of the week",
    "month": "the month of the year",
    "moment": "the part of the data's time",
}


def parts_section(facts: Mapping[str, Any]) -> Section | None:
    """Each modality's share of the scores of the items that rank first."""
    parts = facts["parts"]
    if parts is None:
        return None
    names = parts["streams"]
    share = parts["share"] or [None] * len(names)
    rows = tuple(
        (name, NONE if own is None else percent(own), percent(largest))
        for name, own, largest in zip(names, share, parts["decides"], strict=True)
    )
    charts = _component_charts(parts)
    columns = ("modality", "share of the first item's score", "users with this largest component")
    small = any(row["n"] < SMALL for rows in parts["groups"].values() for row in rows)
    return Section(
        "parts",
        "Components of the score of the first item",
        "Scores",
        (
            "A score is a sum with one component per modality; the item ids count as one. Each "
            "component is shown as its distance from its own mean over the catalogue: what lifts "
            "all items alike lifts none above the others.",
            "These are shares of a sum, not importance. A modality with a large component may only "
            "repeat what another says, and a small component may decide. What the ranking loses "
            "without a modality is measured by shuffling it.",
            _sample_words(facts),
        ),
        charts,
        (Table(columns, rows),),
        (
            "Users with this largest component: the share of users in the score of whose first "
            "item this modality has the largest component.",
            "In parentheses the users of a group.",
            *[SMALL_NOTE] * small,
        ),
    )


def permutation_section(facts: Mapping[str, Any], rank_history: str) -> Section | None:
    """What the ranking loses when the features of a modality are at the wrong items."""
    found = facts.get("permutation")  # older runs have none
    if found is None:
        return None
    metric = found["metric"]
    return Section(
        "permutation",
        "What is lost without the right features of a modality",
        "Modalities",
        (
            "The features of one modality are shuffled among the items once, in the histories and "
            "in the catalogue, and the test users are ranked again by the same model. What is lost "
            "is what the ranking owes to that modality while the others stay right.",
            _sample_words({**facts, **found}),
        ),
        (_loss_chart(found, rank_history),),
        (_loss_table(found),),
        (
            f"A bar right of zero: {metric} is lower with the features shuffled. The model was not "
            f"trained again: one that was trained without the modality may lose less "
            f"(--modalities leaves one out, hm4sr compare sets both side by side). Nothing is "
            f"chosen by these numbers.",
        ),
    )


def _loss_chart(found: Mapping[str, Any], rank_history: str) -> RowChart:
    metric, right = found["metric"], found["right"][rank_history]
    lost = {name: right - values[rank_history] for name, values in found["shuffled"].items()}
    return horizontal_bars(
        f"Test {metric} that is lost, {CANDIDATES[rank_history]}",
        [(name, [value], f"{value:+.4f}") for name, value in lost.items()],
        x_title=f"{metric} lost when the modality is shuffled",
    )


def _loss_table(found: Mapping[str, Any]) -> Table:
    metric, right = found["metric"], found["right"]
    rows = [("none", *(f"{right[history]:.4f}" for history in CANDIDATES), NONE, NONE)]
    rows += [
        (
            name,
            *(f"{values[history]:.4f}" for history in CANDIDATES),
            *(
                _loss_text(right[history] - values[history], right[history])
                for history in CANDIDATES
            ),
        )
        for name, values in found["shuffled"].items()
    ]
    columns = ("shuffled modality", *(f"{metric}, {words}" for words in CANDIDATES.values()))
    columns += tuple(f"lost, {words}" for words in CANDIDATES.values())
    return Table(columns, tuple(rows))


def _loss_text(lost: float, right: float) -> str:
    share = f", {percent(lost / right)}" if right else ""
    return f"{lost:+.4f}{share}"


def _component_charts(parts: Mapping[str, Any]) -> tuple[RowChart, ...]:
    names = parts["streams"]
    ranks = [
        (f"rank {number}", values, f"{sum(values):.2f}")
        for number, values in enumerate(parts["ranks"], start=1)
    ]
    ranks.append(("the true item", parts["target"], f"{sum(parts['target']):.2f}"))
    return (
        horizontal_bars(
            "Components of the score, by rank of the item", ranks, x_title="score", pieces=names
        ),
        *(
            horizontal_bars(
                f"Components of the first item's score, by {what}",
                [
                    (row["label"], row["mean"], f"{sum(row['mean']):.2f} ({row['n']:,})")
                    for row in rows
                ],
                x_title="score",
                pieces=names,
                faint=[number for number, row in enumerate(rows) if row["n"] < SMALL],
            )
            for what, rows in (
                ("length of the history", parts["groups"]["history"]),
                ("its interactions in training", parts["groups"]["popularity"]),
            )
        ),
    )


def temporal_section(facts: Mapping[str, Any]) -> Section | None:
    """How the temporal mixture of experts follows gaps and the calendar."""
    temporal = facts["temporal"]
    if temporal is None:
        return None
    telling = {name: rows for name, rows in temporal["groups"].items() if len(rows) > 1}
    charts = tuple(_route_chart(name, rows, temporal["experts"]) for name, rows in telling.items())
    rows = tuple((_EXPLAINED[name], percent(temporal["explained"][name])) for name in telling)
    words = [
        "Each temporal expert is a learned vector that scales an item's vector. The time of each "
        "item of a history weighs the experts. A curve is an expert's mean weight; the weights of "
        "an item add up to 1. Level curves: this time makes no difference. "
        "use_temporal_moe: false leaves the experts out.",
        f"{temporal['tokens']:,} items of histories. {_sample_words(facts)}",
    ]
    if "hour" not in temporal["groups"]:
        words.append(
            "All times are at midnight, so there is nothing to say of hours. A column with the "
            "time of day would show them."
        )
    return Section(
        "temporal",
        "How the temporal experts are chosen",
        "Temporal experts",
        tuple(words),
        charts,
        (Table(("variance of the weights explained by", "share"), rows),),
        (
            "The share of the variance between the groups of the chart (eta squared): 100 % means "
            "that the group alone decides the weights, 0 % that it says nothing of them.",
        ),
    )


def _route_chart(name: str, rows: Sequence[Mapping[str, Any]], n_experts: int) -> LineChart:
    title, x_title = _GROUP_TITLES[name]
    return line_chart(
        title,
        [row["label"] for row in rows],
        {
            f"expert {number + 1}": [row["mean"][number] for row in rows]
            for number in range(n_experts)
        },
        x_title=x_title,
        y_title="mean weight",
    )


def interactive_section(facts: Mapping[str, Any]) -> Section | None:
    """How the interactive mixture of experts is weighed by each modality."""
    interactive = facts["interactive"]
    if interactive is None:
        return None
    names, mean = interactive["streams"], interactive["mean"]
    experts = [f"expert {number + 1}" for number in range(len(mean[0]))]
    chart = horizontal_bars(
        "Mean weight of each expert, by modality",
        [(name, weights, "") for name, weights in zip(names, mean, strict=True)],
        x_title="share of the weights",
        pieces=experts,
        ceiling=1.0,
    )
    return Section(
        "interactive",
        "How each modality weighs the interactive experts",
        "Interactive experts",
        (
            "Every interactive expert reads all modalities of an item, the ids among them. Each "
            "modality weighs the experts for itself. It adds their mixture to its own vector, "
            "times a learned strength. use_interactive_moe: false leaves them out.",
            f"{interactive['tokens']:,} items of histories. {_sample_words(facts)}",
        ),
        (chart,),
        (_weights_table(interactive, experts),),
        (
            "Mean ± standard deviation over the items. A strength of 0 would leave the modality as "
            "it is; the ids start at 0, the others at 1.",
        ),
    )


def _weights_table(interactive: Mapping[str, Any], experts: Sequence[str]) -> Table:
    rows = tuple(
        (
            name,
            *(f"{value:.3f} ± {spread:.3f}" for value, spread in zip(mean, deviation, strict=True)),
            f"{strength:+.3f}",
        )
        for name, mean, deviation, strength in zip(
            interactive["streams"],
            interactive["mean"],
            interactive["deviation"],
            interactive["strength"],
            strict=True,
        )
    )
    return Table(("modality", *experts, "strength of the mixture"), rows)


def _sample_words(facts: Mapping[str, Any]) -> str:
    if facts["users"] == facts["of_users"]:
        return f"All {facts['users']:,} test users."
    return (
        f"{facts['users']:,} of {facts['of_users']:,} test users, drawn with seed {facts['seed']}."
    )
