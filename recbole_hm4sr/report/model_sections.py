"""What only a model with experts and several streams can show."""

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_hm4sr.report.bars import RowChart, row_chart
from recbole_hm4sr.report.charts import NONE, LineChart, line_chart
from recbole_hm4sr.report.words import Section, Table, percent

_GROUP_TITLES = {
    "gap": ("Route by the time since the purchase before", "time since the purchase before"),
    "hour": ("Route by the hour of the day", "hour of the day, UTC"),
    "weekday": ("Route by the day of the week", "day of the week, UTC"),
    "month": ("Route by the month of the year", "month, UTC"),
    "moment": ("Route over the time of the data", "part of the data's time, from"),
}
_EXPLAINED = {
    "gap": "the time since the purchase before",
    "hour": "the hour of the day",
    "weekday": "the day of the week",
    "month": "the month of the year",
    "moment": "the part of the data's time",
}


def parts_section(facts: Mapping[str, Any]) -> Section | None:
    """Each stream's share of the scores that win."""
    parts = facts["parts"]
    if parts is None:
        return None
    streams = parts["streams"]
    share = parts["share"] or [None] * len(streams)
    rows = tuple(
        (
            name,
            NONE if share[place] is None else percent(share[place]),
            percent(parts["decides"][place]),
        )
        for place, name in enumerate(streams)
    )
    return Section(
        "parts",
        "What each modality adds to the scores that win",
        "Modalities",
        (
            "A score is the sum of one part a stream. Each part is counted from that stream's "
            "mean over the catalogue: what lifts all items alike lifts none above the others.",
            _sample_words(facts),
        ),
        _part_charts(parts),
        (Table(("stream", "share of the first item's score", "largest part for"), rows),),
        ("Largest part for: the share of users whose first item owes most to this stream.",),
    )


def _part_charts(parts: Mapping[str, Any]) -> tuple[RowChart, ...]:
    streams = parts["streams"]
    ranks = [
        (f"rank {number}", values, f"{sum(values):.2f}")
        for number, values in enumerate(parts["ranks"], start=1)
    ]
    ranks.append(("the true item", parts["target"], f"{sum(parts['target']):.2f}"))
    return (
        row_chart("Parts of the score, by rank", ranks, x_title="score", pieces=streams),
        *(
            row_chart(
                f"Parts of the first item's score, by {what}",
                [
                    (row["label"], row["mean"], f"{sum(row['mean']):.2f} ({row['n']:,})")
                    for row in parts["groups"][name]
                ],
                x_title="score",
                pieces=streams,
            )
            for name, what in (
                ("history", "length of the history"),
                ("popularity", "interactions in training"),
            )
        ),
    )


def temporal_section(facts: Mapping[str, Any]) -> Section | None:
    """How the temporal mixture of experts follows gaps and the calendar."""
    temporal = facts["temporal"]
    if temporal is None:
        return None
    charts = tuple(
        _route_chart(name, rows, temporal["experts"])
        for name, rows in temporal["groups"].items()
        if len(rows) > 1
    )
    explained = temporal["explained"]
    rows = tuple(
        (_EXPLAINED[name], percent(explained[name]))
        for name in temporal["groups"]
        if len(temporal["groups"][name]) > 1
    )
    words = [
        "For every item of a history the time alone chooses how much each expert scales it. "
        "A curve is an expert's mean weight; all weights of an item add up to 1.",
        f"{temporal['tokens']:,} items of histories. {_sample_words(facts)}",
    ]
    if "hour" not in temporal["groups"]:
        words.append("All times stand at midnight, so there is nothing to say of hours.")
    return Section(
        "temporal",
        "How the temporal experts are chosen",
        "Temporal experts",
        tuple(words),
        charts,
        (Table(("the weights' variance that follows from", "share"), rows),),
        (
            "The share of the variance lies between the groups of the chart (eta squared): 100 % "
            "would mean that the group alone says the weights, 0 % that it says nothing.",
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
    """How the interactive mixture of experts is weighed by each stream."""
    interactive = facts["interactive"]
    if interactive is None:
        return None
    streams, mean = interactive["streams"], interactive["mean"]
    experts = [f"expert {number + 1}" for number in range(len(mean[0]))]
    chart = row_chart(
        "Mean weight of each expert, by stream",
        [(name, weights, "") for name, weights in zip(streams, mean, strict=True)],
        x_title="share of the weights",
        pieces=experts,
        ceiling=1.0,
    )
    rows = tuple(
        (
            name,
            *(
                f"{value:.3f} ± {spread:.3f}"
                for value, spread in zip(mean[k], interactive["deviation"][k], strict=True)
            ),
            f"{interactive['strength'][k]:+.3f}",
        )
        for k, name in enumerate(streams)
    )
    return Section(
        "interactive",
        "How each modality weighs the interactive experts",
        "Interactive experts",
        (
            "Every expert sees all streams of an item; each stream weighs the experts for itself "
            "and adds their mixture to its own vector, times a strength that was learned.",
            f"{interactive['tokens']:,} items of histories. {_sample_words(facts)}",
        ),
        (chart,),
        (Table(("stream", *experts, "strength"), rows),),
        (
            "Mean ± standard deviation over the items. A strength of 0 would leave the stream "
            "alone; the ids start at 0, the others at 1.",
        ),
    )


def _sample_words(facts: Mapping[str, Any]) -> str:
    if facts["users"] == facts["of_users"]:
        return f"All {facts['users']:,} test users."
    return (
        f"{facts['users']:,} of {facts['of_users']:,} test users, drawn with seed {facts['seed']}."
    )
