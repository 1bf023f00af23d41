"""Sections about the experts of a model: charts of those whose routes vary."""

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_hm4sr.page.bar_chart import RowChart, horizontal_bars
from recbole_hm4sr.page.charts import LineChart, line_chart
from recbole_hm4sr.page.format import percent
from recbole_hm4sr.page.section import Section, Table
from recbole_hm4sr.report.sample import sample_words

# Weights that differ by less, or of whose variance less is explained, are level in a picture.
_VARIES = 0.01
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


def temporal_section(facts: Mapping[str, Any]) -> Section | None:
    """How the temporal mixture of experts follows gaps and the calendar."""
    temporal = facts["temporal"]
    if temporal is None:
        return None
    telling = {name: rows for name, rows in temporal["groups"].items() if len(rows) > 1}
    followed = [
        name for name, rows in telling.items() if _follows(rows, temporal["explained"][name])
    ]
    charts = tuple(_route_chart(name, telling[name], temporal["experts"]) for name in followed)
    rows = tuple((_EXPLAINED[name], percent(temporal["explained"][name])) for name in telling)
    words = [
        "Each temporal expert is a learned vector that scales an item's vector. The time of each "
        "item of a history weighs the experts; the weights of an item add up to 1. "
        "use_temporal_moe: false leaves the experts out.",
        f"{temporal['tokens']:,} items of histories. {sample_words(facts)}",
        *_level_words([_EXPLAINED[name] for name in telling if name not in followed]),
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


def _follows(rows: Sequence[Mapping[str, Any]], explained: float) -> bool:
    """Whether the weights differ between the groups, and by enough to be seen."""
    means = list(zip(*(row["mean"] for row in rows), strict=True))
    reach = max(max(values) - min(values) for values in means)
    return explained >= _VARIES and reach >= _VARIES


def _level_words(names: Sequence[str]) -> tuple[str, ...]:
    """What the weights do not follow, in place of charts of level curves."""
    if not names:
        return ()
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
    return (
        f"The weights hardly follow {listed}, so no chart shows it: less than {percent(_VARIES)} "
        f"of their variance is explained, or the means differ by less than {_VARIES}.",
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
        explained="Mean weight of each expert; where a curve rises, that expert is asked more.",
    )


def interactive_section(facts: Mapping[str, Any]) -> Section | None:
    """How the interactive mixture of experts is weighed by each modality."""
    interactive = facts["interactive"]
    if interactive is None:
        return None
    experts = [f"expert {number + 1}" for number in range(len(interactive["mean"][0]))]
    varies = _varies(interactive)
    level = "The weights are the same for all experts and items: the experts have not specialised."
    return Section(
        "interactive",
        "How each modality weighs the interactive experts",
        "Interactive experts",
        (
            "Every interactive expert reads all modalities of an item, the ids among them. Each "
            "modality weighs the experts for itself. It adds their mixture to its own vector, "
            "times a learned strength. use_interactive_moe: false leaves them out.",
            f"{interactive['tokens']:,} items of histories. {sample_words(facts)}",
            *[level] * (not varies),
        ),
        (_weights_chart(interactive, experts),) if varies else (),
        (_weights_table(interactive, experts),),
        (
            "Mean ± standard deviation over the items. A strength of 0 would leave the modality as "
            "it is; the ids start at 0, the others at 1.",
        ),
    )


def _varies(interactive: Mapping[str, Any]) -> bool:
    """Whether weights differ between experts, or from item to item, by enough to be seen."""
    between = max(max(weights) - min(weights) for weights in interactive["mean"])
    within = max(max(spreads) for spreads in interactive["deviation"])
    return max(between, within) >= _VARIES


def _weights_chart(interactive: Mapping[str, Any], experts: Sequence[str]) -> RowChart:
    return horizontal_bars(
        "Mean weight of each expert, by modality",
        [
            (name, weights, "")
            for name, weights in zip(interactive["streams"], interactive["mean"], strict=True)
        ],
        x_title="share of the weights",
        explained="Which experts each modality listens to; equal pieces are experts that have not "
        "specialised.",
        pieces=experts,
        ceiling=1.0,
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
