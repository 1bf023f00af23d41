"""Sentences below a table: how its settings were found, what makes rows less comparable."""

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_hm4sr.compare.grid import Grid, ModelSpec
from recbole_hm4sr.compare.results import Outcome
from recbole_hm4sr.config.compose import read_yaml
from recbole_hm4sr.model.registry import variant_of
from recbole_hm4sr.tune.search_result import SearchResult


def notes_of(grid: Grid, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """What a reader of a table must know.

    Args:
        grid: What was compared.
        outcomes: The cells of the table that have a result, one for each of their rows.
    """
    runs = list({outcome.cell.key: outcome for outcome in outcomes}.values())
    return (
        *_searches(grid),
        *_views(outcomes),
        *_variants(runs),
        *_trained_by_searches(runs),
        *_ended_by_budget(runs),
        *_differences(runs),
    )


def _searches(grid: Grid) -> list[str]:
    """Where the settings of the rows come from, if any were searched."""
    tuned = [(spec, spec.tuned) for spec in grid.models if spec.tuned is not None]
    notes = [_search_of(grid, spec, found) for spec, found in tuned]
    counts = {found.n_trials for _, found in tuned}
    if tuned and (len(counts) > 1 or len(tuned) < sum(not spec.added for spec in grid.models)):
        notes.append("The rows have not had the same number of trials.")
    return notes


def _search_of(grid: Grid, spec: ModelSpec, found: SearchResult) -> str:
    note = (
        f"{spec.label}: {_in_words(found.best.settings)}, the best of {found.n_trials} trials "
        f"on {found.dataset} by validation {found.metric} ({found.best.score:.4f})"
    )
    said = (*found.best.settings, *grid.settings, *spec.settings)
    fixed = {name: value for name, value in found.settings.items() if name not in said}
    note += f", all with {_in_words(fixed)}" if fixed else ""
    own = {name: v for name, v in spec.settings.items() if found.settings.get(name) != v}
    return f"{note}; the row has {_in_words(own)} besides." if own else f"{note}."


def _in_words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _views(outcomes: Sequence[Outcome]) -> list[str]:
    """Which rows come from one training."""
    views: dict[str, dict[str, None]] = {}
    for outcome in outcomes:
        if outcome.view:
            views.setdefault(outcome.cell.label, {})[outcome.view] = None
    return [
        f"{label} ({', '.join(own)}): one training a seed, each row at the best epoch of its own "
        f"validation."
        for label, own in views.items()
    ]


def _variants(outcomes: Sequence[Outcome]) -> list[str]:
    """Which of its variants a model is, where the released one is not the published one."""
    notes = {}
    for outcome in outcomes:
        cell, path = outcome.cell, outcome.folder / "config.yaml"
        by_settings = variant_of(cell.model, read_yaml(path)) if path.is_file() else ""
        by_data = (outcome.record or {}).get("variant", "")
        if text := "; ".join(filter(None, [by_settings, by_data])):
            notes[cell.label] = f"{cell.label}: {text}."
    return list(notes.values())


def _trained_by_searches(outcomes: Sequence[Outcome]) -> list[str]:
    seeds: dict[str, list[str]] = {}
    for outcome in outcomes:
        if (outcome.record or {}).get("trained_by"):
            seeds.setdefault(outcome.cell.label, []).append(str(outcome.cell.seed))
    rows = [f"{label} (seed {', '.join(own)})" for label, own in seeds.items()]
    return [f"Trained by the searches, and tested here: {', '.join(rows)}."] if rows else []


def _ended_by_budget(outcomes: Sequence[Outcome]) -> list[str]:
    """Which runs might have become better still."""
    seeds: dict[str, list[str]] = {}
    for outcome in outcomes:
        if (outcome.record or {}).get("ended_by") == "budget":
            seeds.setdefault(outcome.cell.label, []).append(str(outcome.cell.seed))
    rows = [f"{label} (seed {', '.join(own)})" for label, own in seeds.items()]
    if not rows:
        return []
    return [f"Ended by max_cpu_minutes, before validation stopped them: {', '.join(rows)}."]


def _differences(outcomes: Sequence[Outcome]) -> list[str]:
    records = [outcome.record or {} for outcome in outcomes]
    notes = []
    for name, what in (("machine", "machines or threads"), ("device", "devices")):
        kinds = sorted({str(record.get(name)) for record in records})
        if len(kinds) > 1:
            notes.append(
                f"Runs used different {what} ({'; '.join(kinds)}): seconds differ by that."
            )
    if any(record.get("jobs", 1) > 1 for record in records):
        notes.append("Several runs went at once: their seconds an epoch are longer for that.")
    revisions = sorted({str(record.get("git_revision")) for record in records})
    if len(revisions) > 1:
        notes.append(f"Runs are of different revisions of the code ({', '.join(revisions)}).")
    return notes
