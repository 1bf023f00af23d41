"""One check as one page: as text for a terminal, and as HTML with charts."""

import time
from pathlib import Path

from recbole_hm4sr.base.files import write_text
from recbole_hm4sr.check.facts import FileFacts, InteractionFacts, LeakageFacts
from recbole_hm4sr.check.features import NEAR, CategoryFacts, Signal
from recbole_hm4sr.check.findings import warnings
from recbole_hm4sr.check.inspect import Check, ModalityFacts
from recbole_hm4sr.data.times import UNIT_WORDS
from recbole_hm4sr.page.bar_chart import horizontal_bars
from recbole_hm4sr.page.column_chart import column_chart, range_labels
from recbole_hm4sr.page.format import day, duration, number_text, percent
from recbole_hm4sr.page.section import Chart, Section, cell_text, facts_table
from recbole_hm4sr.page.shell import render


def as_text(check: Check, *, now: float | None = None) -> str:
    """The page for a terminal."""
    lines = [f"{check.dataset}: the data of {check.folder}", _verdict(check, now)]
    if check.settings.generated:
        lines.append(
            "note: this data set is GENERATED; its numbers say nothing of real users; hm4sr "
            "prepare makes one of your own data"
        )
    lines += [f"error: {text}" for text in check.errors]
    lines += [f"warning: {text}" for text in _warnings(check, now)]
    for section in sections(check):
        (table,) = section.tables
        lines += ["", section.title]
        rows = [(cell_text(label), cell_text(text)) for label, text in table.rows]
        width = max(len(label) for label, _ in rows)
        lines += [f"  {label:<{width}}  {text}" for label, text in rows]
    return "\n".join(lines) + "\n"


def write_page(check: Check, path: Path, *, now: float | None = None) -> Path:
    """Write the page as one HTML file.

    Returns:
        The file.

    Raises:
        DataError: If it cannot be written.
    """
    page = render(
        "check",
        "check.html",
        title=f"Data check of {check.dataset}",
        folder=check.folder,
        verdict=_verdict(check, now),
        generated=check.settings.generated,
        errors=check.errors,
        warnings=_warnings(check, now),
        sections=sections(check),
    )
    write_text(path, page)
    return path


def sections(check: Check) -> list[Section]:
    """What there is to say, one section per subject; those that an error spoiled are left out."""
    found = []
    if check.file is not None:
        found.append(_file_section(check.file))
    if check.log is not None:
        found.append(_times_section(check.log, check.settings.timestamp_unit))
        found.append(_lengths_section(check.log, check.max_length))
    if check.parts:
        found.append(_split_section(check))
    found += [_modality_section(modality) for modality in check.modalities]
    if len(check.modalities) > 1:
        found.append(_signals_section(check))
    if check.categories is not None:
        found.append(_category_section(check.categories))
    return found


def _section(
    anchor: str, title: str, link: str, rows: tuple[tuple[str, str], ...], *charts: Chart
) -> Section:
    """A heading, charts for the HTML page, and rows of a label and what there is to say."""
    return Section(anchor, title, link, charts=charts, tables=(facts_table(rows),))


def _warnings(check: Check, now: float | None) -> tuple[str, ...]:
    return warnings(check, now=time.time() if now is None else now)


def _verdict(check: Check, now: float | None) -> str:
    n_errors, n_warnings = len(check.errors), len(_warnings(check, now))
    if n_errors:
        return f"A run would stop: {_count(n_errors, 'error')}, {_count(n_warnings, 'warning')}."
    return f"A run can read it: no error, {_count(n_warnings, 'warning')}."


def _file_section(facts: FileFacts) -> Section:
    ties = f"{facts.n_ties:,} neighbours with equal times"
    if facts.n_ties:
        ties += f", {percent(facts.ascending_ties)} of them ascending by item name"
    rows = (
        ("interactions", f"{facts.n_interactions:,}"),
        ("users, items", f"{facts.n_users:,} and {facts.n_items:,}"),
        ("duplicates", f"{facts.n_same_rows:,} lines repeat user, item and time"),
        ("repeats", f"{facts.n_repeats:,} lines repeat user and item at another time"),
        ("at one time", ties),
    )
    return _section("file", "The interaction file, before filters", "File", rows)


def _times_section(facts: InteractionFacts, unit: str) -> Section:
    _, half, most, nearly, longest = (duration(value) for value in facts.gaps)
    silence = duration(facts.silence[1] - facts.silence[0])
    length = duration(facts.last - facts.first)
    rows = (
        ("range", f"{day(facts.first)} to {day(facts.last)} ({length}), UTC"),
        ("unit", f"{UNIT_WORDS[unit]}; {percent(facts.midnight_share)} are at midnight"),
        (
            "gaps in a history",
            f"half up to {half}, 90 % up to {most}, 99 % up to {nearly}, longest {longest}; "
            f"{percent(facts.zero_gaps)} zero",
        ),
        ("longest silence of all", f"{silence}, from {day(facts.silence[0])}"),
    )
    chart = column_chart(
        "Interactions over time",
        [(day(begin), number) for begin, number in facts.time_bins],
        x_title="from, UTC",
        y_title="interactions",
        explained="How many interactions there are of each part of the time; a hole is a time "
        "without any.",
    )
    return _section("times", "Times", "Times", rows, chart)


def _lengths_section(facts: InteractionFacts, max_length: int) -> Section:
    shortest, half, most, nearly, longest = (f"{value:,.0f}" for value in facts.lengths)
    rarest, usual, _, _, top = (f"{value:,.0f}" for value in facts.popularity)
    density = facts.n_interactions / (facts.n_users * facts.n_items)
    rows = (
        (
            "interactions",
            f"{facts.n_interactions:,} of {facts.n_users:,} users and {facts.n_items:,} items; "
            f"{100 * density:.3g} % of all pairs",
        ),
        (
            "length of a history",
            f"mean {facts.mean_length:.1f}, half up to {half}, 90 % up to {most}, 99 % up to "
            f"{nearly}; from {shortest} to {longest}",
        ),
        ("too short for a test", f"{facts.n_short:,} users with fewer than 3 interactions"),
        (
            "longer than MAX_ITEM_LIST_LENGTH",
            f"{facts.n_long:,} users with more than {max_length} before the last",
        ),
        (
            "interactions of an item",
            f"half up to {usual}; from {rarest} to {top}; the most frequent fifth has "
            f"{percent(facts.head_share)} of all",
        ),
    )
    labels = range_labels([low for low, _ in facts.length_bins])
    counts = [number for _, number in facts.length_bins]
    chart = column_chart(
        "Users by the length of their history",
        list(zip(labels, counts, strict=True)),
        x_title="interactions of a user",
        y_title="users",
        explained="How many users have how long a history; a model of sequences needs some that "
        "are not short.",
    )
    return _section("histories", "Histories and items, after filters", "Histories", rows, chart)


def _split_section(check: Check) -> Section:
    train, valid, test = (f"{size:,}" for size in check.parts)
    sizes = f"{train} training, {valid} validation and {test} test targets"
    if check.leakage is None:
        only = (("targets", f"{sizes}; leakage is counted for leave-one-out only"),)
        return _section("split", f"Split {check.split}", "Split", only)
    rows = (("targets", sizes), *_leakage_rows(check.leakage))
    title = f"Split {check.split}: what the test part can know"
    return _section("split", title, "Split", rows)


def _leakage_rows(facts: LeakageFacts) -> tuple[tuple[str, str], ...]:
    def of(part: int) -> str:
        return f"{part:,} ({percent(part, facts.n_targets)})"

    order = f"{percent(facts.ascending_ties)} sort after the item before by name"
    tied = f", with {facts.mean_tied:.1f} items on average; {order}" if facts.n_tied else ""
    return (
        ("item first seen in training after the test time", of(facts.n_first_seen_later)),
        ("item never seen in training", of(facts.n_unseen)),
        ("training interactions later than a target, mean", percent(facts.later_training)),
        ("at the time of the item before it", of(facts.n_tied) + tied),
        ("repeat an item of the history", of(facts.n_repeated)),
        ("repeat the item just before", of(facts.n_repeated_last)),
        ("duplicate an earlier interaction", of(facts.n_same_row)),
    )


def _modality_section(modality: ModalityFacts) -> Section:
    facts, name = modality.features, modality.name
    low, middle, high = (number_text(value) for value in facts.norms)
    sampled = f"{facts.n_queries:,} rows against {facts.n_candidates:,}"
    rows = (
        ("source", f"{modality.source}, {modality.n_rows:,} rows by {modality.encoder}"),
        (
            "coverage",
            f"{facts.n_covered:,} of {facts.n_items:,} items "
            f"({percent(facts.n_covered, facts.n_items)}), "
            f"{percent(facts.covered_interactions)} of the interactions",
        ),
        *(
            [("layers", f"{modality.n_layers}; what follows is of the last")]
            if modality.n_layers > 1
            else []
        ),
        ("columns", f"{facts.width:,}: {facts.n_dead:,} zero, {facts.n_constant:,} constant"),
        ("rows of zeros", f"{facts.n_zero_rows:,}"),
        ("equal rows", f"{facts.n_same_rows:,} equal an earlier row"),
        (
            "near-duplicates",
            f"{facts.n_near:,} with another above a cosine of {NEAR} (sampled: {sampled})",
        ),
        ("norms", f"from {low} to {high}, median {middle}; {facts.n_outliers:,} far off it"),
        ("are neighbours in histories alike?", _signal_words(modality)),
    )
    chart = column_chart(
        f"Items by the norm of their {name} features",
        [(f"{begin:.3g}", number) for begin, number in facts.norm_bins],
        x_title="norm, from",
        y_title="items",
        explained="How long the items' feature vectors are; a column far from the others is of "
        "items that differ in kind, or are wrong.",
    )
    return _section(f"modality-{name}", f"Modality {name}", name.capitalize(), rows, chart)


def _signals_section(check: Check) -> Section:
    """The modalities side by side."""
    signals = [(one.name, one.signal) for one in check.modalities]
    chart = horizontal_bars(
        "Cosine of neighbours less that of shuffled pairs",
        [(name, [signal.difference], f"{signal.difference:+.4f}") for name, signal in signals],
        x_title="difference of cosines, with its 95 % interval",
        explained="How much more alike neighbours in a history are than items drawn at random; "
        "at 0 the features say nothing of what comes next.",
        intervals=[(signal.low, signal.high) for _, signal in signals],
    )
    rows = tuple((name, _difference_words(signal)) for name, signal in signals)
    title = "Are neighbours in histories alike? The modalities side by side"
    return _section("signals", title, "Side by side", rows, chart)


def _signal_words(modality: ModalityFacts) -> str:
    signal = modality.signal
    if not signal.n_pairs:
        return "no pair of different neighbours with features to compare"
    return (
        f"cosine of neighbours {signal.consecutive:.4f}, shuffled {signal.shuffled:.4f}: "
        f"{_difference_words(signal)} ({signal.n_pairs:,} of {signal.n_possible:,} pairs of the "
        f"training part)"
    )


def _difference_words(signal: Signal) -> str:
    return f"{signal.difference:+.4f}, 95 % interval {signal.low:+.4f} to {signal.high:+.4f}"


def _category_section(facts: CategoryFacts) -> Section:
    rows = (
        (
            "coverage",
            f"{facts.n_covered:,} of {facts.n_items:,} items "
            f"({percent(facts.n_covered, facts.n_items)})",
        ),
        (
            "categories",
            f"{facts.n_categories:,}, {facts.mean_categories:.1f} per item; "
            f"{facts.n_single:,} of one item only",
        ),
        ("largest", ", ".join(f"{name} {number:,}" for name, number in facts.largest[:5])),
    )
    chart = horizontal_bars(
        "Items in the largest categories",
        [(name, [number], f"{number:,}") for name, number in facts.largest],
        x_title="items",
        explained="How many items each of the largest categories has.",
    )
    return _section("categories", "Categories", "Categories", rows, chart)


def _count(number: int, thing: str) -> str:
    return f"1 {thing}" if number == 1 else f"{number:,} {thing}s"
