"""What only a model with experts and several streams can show."""

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_hm4sr.report.bar_chart import RowChart, horizontal_bars
from recbole_hm4sr.report.charts import NONE, LineChart, line_chart
from recbole_hm4sr.report.format import CANDIDATES, Section, Table, percent

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
        "What the score of the first item is made of",
        "Scores",
        (
            "A score is a sum with one part per modality; the item ids count as one. Each part is "
            "shown as its distance from its own mean over the catalogue, since what lifts all "
            "items alike lifts none above the others.",
            "These are shares of a sum, not importance: a modality with a large part may say only "
            "what another says too, and a small part may decide. What the ranking loses without a "
            "modality is measured by shuffling it.",
            _sample_words(facts),
        ),
        _part_charts(parts),
        (
            Table(
                ("modality", "share of the first item's score", "users with this largest part"),
                rows,
            ),
        ),
        (
            "Users with this largest part: the share of users in the score of whose first item "
            "this modality has the largest part.",
        ),
    )


def permutation_section(facts: Mapping[str, Any], rank_history: str) -> Section | None:
    """What the ranking loses when the features of a modality are at the wrong items."""
    found = facts.get("permutation")  # older runs have none
    if found is None:
        return None
    metric, right = found["metric"], found["right"]
    lost = {
        name: {history: right[history] - values[history] for history in CANDIDATES}
        for name, values in found["shuffled"].items()
    }
    rows = [("none", *(f"{right[history]:.4f}" for history in CANDIDATES), NONE, NONE)]
    rows += [
        (
            name,
            *(f"{found['shuffled'][name][history]:.4f}" for history in CANDIDATES),
            *(_loss_text(losses[history], right[history]) for history in CANDIDATES),
        )
        for name, losses in lost.items()
    ]
    chart = horizontal_bars(
        f"Test {metric} that is lost, {CANDIDATES[rank_history]}",
        [
            (name, [losses[rank_history]], f"{losses[rank_history]:+.4f}")
            for name, losses in lost.items()
        ],
        x_title=f"{metric} lost when the modality is shuffled",
    )
    columns = ("shuffled modality", *(f"{metric}, {words}" for words in CANDIDATES.values()))
    columns += tuple(f"lost, {words}" for words in CANDIDATES.values())
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
        (chart,),
        (Table(columns, tuple(rows)),),
        (
            "The model was not trained again: one that was trained without the modality may lose "
            "less (--modalities leaves one out; hm4sr compare --grid=ablation does for HM4SR). "
            "Nothing is chosen by these numbers.",
        ),
    )


def _loss_text(lost: float, right: float) -> str:
    share = f", {percent(lost / right)}" if right else ""
    return f"{lost:+.4f}{share}"


def _part_charts(parts: Mapping[str, Any]) -> tuple[RowChart, ...]:
    streams = parts["streams"]
    ranks = [
        (f"rank {number}", values, f"{sum(values):.2f}")
        for number, values in enumerate(parts["ranks"], start=1)
    ]
    ranks.append(("the true item", parts["target"], f"{sum(parts['target']):.2f}"))
    return (
        horizontal_bars(
            "Parts of the score, by rank of the item", ranks, x_title="score", pieces=streams
        ),
        *(
            horizontal_bars(
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
                ("popularity", "its interactions in training"),
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
        "Each temporal expert is a learned vector that scales an item's vector. For every item of "
        "a history its time alone weighs the experts. A curve is an expert's mean weight; the "
        "weights of an item add up to 1. Curves that are level say that this time makes no "
        "difference; use_temporal_moe: false leaves the experts out.",
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
    streams, mean = interactive["streams"], interactive["mean"]
    experts = [f"expert {number + 1}" for number in range(len(mean[0]))]
    chart = horizontal_bars(
        "Mean weight of each expert, by modality",
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
            "Every interactive expert reads all modalities of an item, the ids among them. Each "
            "modality weighs the experts for itself and adds their mixture to its own vector, "
            "times a strength that was learned. use_interactive_moe: false leaves them out.",
            f"{interactive['tokens']:,} items of histories. {_sample_words(facts)}",
        ),
        (chart,),
        (Table(("modality", *experts, "strength of the mixture"), rows),),
        (
            "Mean ± standard deviation over the items. A strength of 0 would leave the modality as "
            "it is; the ids start at 0, the others at 1.",
        ),
    )


def _sample_words(facts: Mapping[str, Any]) -> str:
    if facts["users"] == facts["of_users"]:
        return f"All {facts['users']:,} test users."
    return (
        f"{facts['users']:,} of {facts['of_users']:,} test users, drawn with seed {facts['seed']}."
    )
