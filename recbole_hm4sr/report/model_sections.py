"""Sections about the modalities of a model: what they add to scores, what is lost without them."""

from collections.abc import Mapping
from typing import Any

from recbole_hm4sr.evaluate.candidates import CANDIDATES
from recbole_hm4sr.evaluate.groups import SMALL
from recbole_hm4sr.page.bar_chart import RowChart, horizontal_bars
from recbole_hm4sr.page.charts import N_COLOURS
from recbole_hm4sr.page.format import NONE, percent
from recbole_hm4sr.page.section import Section, Table
from recbole_hm4sr.report.components import Components, components_of
from recbole_hm4sr.report.sample import sample_words
from recbole_hm4sr.report.sections import SMALL_NOTE


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
    charts = _component_charts(parts, components_of(facts))
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
            sample_words(facts),
        ),
        charts,
        (Table(columns, rows, caption="All components", folded=len(rows) > N_COLOURS),),
        (
            "Users with this largest component: the share of users in the score of whose first "
            "item this modality has the largest component.",
            "In parentheses the users of a group.",
            *[SMALL_NOTE] * small,
        ),
    )


def permutation_section(facts: Mapping[str, Any], rank_history: str) -> Section | None:
    """What the ranking loses without the right features of a modality, or a part of its scores."""
    found = facts.get("permutation")  # older runs have none
    if found is None:
        return None
    metric = found["metric"]
    left_out = found.get("left_out", {})
    return Section(
        "permutation",
        f"What is lost without {_without_what(found['shuffled'], left_out)}",
        "Importance",
        (
            *[
                "The features of one modality are shuffled among the items once, in the histories "
                "and in the catalogue, and the test users are ranked again by the same model. What "
                "is lost is what the ranking owes to that modality while the others stay right."
            ]
            * bool(found["shuffled"]),
            *[
                "The other bars: a part of the scores is left out, such as a kind of relation of "
                "the memory, while all others stay. The dense part is what reads the history "
                "besides the memory."
            ]
            * bool(left_out),
            sample_words({**facts, **found}),
        ),
        (_loss_chart(found, rank_history),),
        (_loss_table(found),),
        (
            f"A bar right of zero: {metric} is lower so. The model was not trained again: one that "
            f"was trained without may lose less (--modalities leaves a modality out, hm4sr compare "
            f"sets both side by side). Nothing is chosen by these numbers.",
        ),
    )


def _without_what(shuffled: Mapping[str, Any], left_out: Mapping[str, Any]) -> str:
    found = ["the right features of a modality"] * bool(shuffled)
    return " or ".join([*found, *["a part of the scores"] * bool(left_out)])


def _changed(found: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """The metric by what was done to the model."""
    shuffled = {f"{name} shuffled": values for name, values in found["shuffled"].items()}
    left_out = found.get("left_out", {})  # older runs have none
    return shuffled | {f"without {name}": values for name, values in left_out.items()}


def _loss_chart(found: Mapping[str, Any], rank_history: str) -> RowChart:
    metric, right = found["metric"], found["right"][rank_history]
    lost = {name: right - values[rank_history] for name, values in _changed(found).items()}
    return horizontal_bars(
        f"Test {metric} that is lost, {CANDIDATES[rank_history]}",
        [(name, [value], f"{value:+.4f}") for name, value in lost.items()],
        x_title=f"{metric} lost",
        explained="A long bar is what the ranking rests on; at 0 the model does not use it.",
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
        for name, values in _changed(found).items()
    ]
    columns = ("what was changed", *(f"{metric}, {words}" for words in CANDIDATES.values()))
    columns += tuple(f"lost, {words}" for words in CANDIDATES.values())
    return Table(columns, tuple(rows))


def _loss_text(lost: float, right: float) -> str:
    share = f", {percent(lost / right)}" if right else ""
    return f"{lost:+.4f}{share}"


def _component_charts(parts: Mapping[str, Any], components: Components) -> tuple[RowChart, ...]:
    ranks = [
        (f"rank {number}", components.fold(values), f"{sum(values):.2f}")
        for number, values in enumerate(parts["ranks"], start=1)
    ]
    target = parts["target"]
    ranks.append(("the true item", components.fold(target), f"{sum(target):.2f}"))
    return (
        horizontal_bars(
            "Components of the score, by rank of the item",
            ranks,
            x_title="score",
            explained="What the scores of the items that rank first are made of, beside those of "
            "the item that the user went on to.",
            pieces=components.names,
        ),
        *(
            horizontal_bars(
                f"Components of the first item's score, by {what}",
                [
                    (
                        row["label"],
                        components.fold(row["mean"]),
                        f"{sum(row['mean']):.2f} ({row['n']:,})",
                    )
                    for row in rows
                ],
                x_title="score",
                explained=explained,
                pieces=components.names,
                faint=[number for number, row in enumerate(rows) if row["n"] < SMALL],
            )
            for what, explained, rows in (
                (
                    "length of the history",
                    "Whether a longer history shifts the weight from one modality to another.",
                    parts["groups"]["history"],
                ),
                (
                    "its interactions in training",
                    "Whether rare items are lifted by other modalities than frequent ones.",
                    parts["groups"]["popularity"],
                ),
            )
        ),
    )
