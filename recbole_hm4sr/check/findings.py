"""Warnings about a data set: one sentence each, and what changes it.

A sentence says first what was found, then the setting (as in a YAML file or a flag of a run) or the
command that changes it.
"""

from recbole_hm4sr.check.facts import DAY, FileFacts, InteractionFacts, LeakageFacts
from recbole_hm4sr.check.features import NEAR, CategoryFacts, FeatureFacts
from recbole_hm4sr.check.inspect import Check, ModalityFacts
from recbole_hm4sr.page.format import day, duration, percent

_EARLIEST = 315_532_800  # 1980-01-01: times before are mostly zeros that stand for "unknown"
_NOTABLE = 0.01
_MANY = 0.05
_TIES = 0.2
# With fewer ties the share of ascending ones varies too much by chance.
_ENOUGH_TIES, _TIE_BALANCE = 100, 0.1


def warnings(check: Check, *, now: float) -> tuple[str, ...]:
    """Sentences about what a run would accept, but its reader should know.

    Args:
        check: What was found.
        now: The present, in seconds since the epoch.
    """
    found = []
    if check.file is not None:
        found += _of_file(check.file, check.settings.tie_order)
    if check.log is not None:
        found += _of_log(check.log, check.settings.tie_order, now)
    if check.leakage is not None:
        found += _of_leakage(check.leakage, check.settings.tie_order)
    for modality in check.modalities:
        found += _of_modality(modality, check.dataset)
    if check.categories is not None:
        found += _of_categories(check.categories)
    return tuple(found)


def _of_file(facts: FileFacts, tie_order: str) -> list[str]:
    found = []
    if facts.n_same_rows:
        found.append(
            f"{facts.n_same_rows:,} of {facts.n_interactions:,} lines repeat the user, item and "
            f"time of an earlier line; rm_dup_inter: first keeps one line per user and item"
        )
    skewed = abs(facts.ascending_ties - 0.5) > _TIE_BALANCE
    if facts.n_ties >= _ENOUGH_TIES and skewed and tie_order == "file":
        found.append(
            f"interactions at one time are sorted by item name: of {facts.n_ties:,} neighbours, "
            f"{percent(facts.ascending_ties)} ascend by name (half is expected); a model can learn "
            f"that order, tie_order: shuffle shows how much it does"
        )
    return found


def _of_log(facts: InteractionFacts, tie_order: str, now: float) -> list[str]:
    found = []
    if facts.first < _EARLIEST:
        found.append(
            f"the earliest time is {day(facts.first)}; zeros for unknown times are read as times; "
            f"--val_interval='{{timestamp: \"[{_EARLIEST},inf)\"}}' leaves such lines out, and "
            f"timestamp_unit: s or ms must be the file's"
        )
    if facts.last > now:
        found.append(
            f"the latest time is {day(facts.last)}, which is in the future; if the times are in "
            f"milliseconds set timestamp_unit: ms, else --val_interval='{{timestamp: "
            f'"[0,{now:.0f}]"}}\' leaves later lines out'
        )
    silence = facts.silence[1] - facts.silence[0]
    if silence > 30 * DAY and silence > 0.1 * (facts.last - facts.first):
        found.append(
            f"nobody did anything from {day(facts.silence[0])} to {day(facts.silence[1])} "
            f"({duration(silence)}); part of the log may be missing; prepare the data again with "
            f"the missing part, or begin after it: --val_interval='{{timestamp: "
            f'"[{facts.silence[1]:.0f},inf)"}}\''
        )
    if facts.midnight_share > 0.99 and facts.n_interactions > 1:
        found.append(
            "the times are dates without a time of day; what happens within a day has no known "
            "order and no gap; if another column has the time of day, hm4sr prepare csv "
            "--time=<column> --unit=<s, ms or date> reads it"
        )
    if facts.zero_gaps > _TIES:
        found.append(
            f"{percent(facts.zero_gaps)} of the gaps between neighbours in a history are zero; "
            f"their order is {_order_of(tie_order)}; tie_order: file or shuffle (drawn by the "
            f"seed) chooses it"
        )
    if facts.n_short > _MANY * facts.n_users:
        found.append(
            f"{facts.n_short:,} of {facts.n_users:,} users have fewer than 3 interactions and "
            f"cannot be in training and test; user_inter_num_interval: '[3,inf)' leaves them out"
        )
    return found


def _of_leakage(facts: LeakageFacts, tie_order: str) -> list[str]:
    found = []

    def of(part: int) -> str:
        return f"{part:,} of {facts.n_targets:,} test targets ({percent(part, facts.n_targets)})"

    if facts.n_first_seen_later > _NOTABLE * facts.n_targets:
        found.append(
            f"{of(facts.n_first_seen_later)} are items that the training part has only after the "
            f"target's time; leave-one-out lets the model learn them from the future; a split at "
            f"one moment for all users does not: --eval_args='{{split: {{GT: [0.8, 0.1, 0.1]}}, "
            f"targets: first, order: TO, mode: full}}'"
        )
    if facts.n_unseen > _MANY * facts.n_targets:
        found.append(
            f"{of(facts.n_unseen)} are items without any training interaction, which a "
            f"model knows by their features alone; item_inter_num_interval: '[5,inf)' leaves rare "
            f"items out"
        )
    if facts.n_tied > _NOTABLE * facts.n_targets:
        found.append(
            f"{of(facts.n_tied)} have the very time of the item before them; which one is the "
            f"target is decided by the order of ties, here {_order_of(tie_order)}; tie_order: "
            f"shuffle with several seeds shows how much depends on it"
        )
    if facts.n_repeated > _MANY * facts.n_targets:
        found.append(
            f"{of(facts.n_repeated)} repeat an item of the user's history, so a model that "
            f"recommends seen items again scores well; rank_history: exclude removes seen items "
            f"from the candidates, rm_dup_inter: first the repeats"
        )
    if facts.n_same_row:
        found.append(
            f"{of(facts.n_same_row)} are duplicates of an interaction in the history; "
            f"rm_dup_inter: first leaves them out"
        )
    return found


def _order_of(tie_order: str) -> str:
    return "that of the file" if tie_order == "file" else "drawn by the seed"


def _of_modality(modality: ModalityFacts, dataset: str) -> list[str]:
    name = modality.name
    kind = "image" if name == "image" else "text"
    again = f"hm4sr encode {kind} --dataset={dataset}" + f" --modality={name}" * (name != kind)
    more = "more columns in text_fields" if kind == "text" else "other images"
    return [
        f"{name}: {sentence}"
        for sentence in (
            *_of_rows(modality.features, again, more),
            *_of_values(modality, again, more),
            *_of_signal(modality, again),
        )
    ]


def _of_rows(facts: FeatureFacts, again: str, more: str) -> list[str]:
    """Rows and columns without content."""
    found = []
    if facts.n_covered < facts.n_items:
        found.append(
            f"{facts.n_items - facts.n_covered:,} of {facts.n_items:,} items have no row; {again} "
            f"makes all rows, missing_features: zero lets a run go on without"
        )
    if facts.n_zero_rows:
        found.append(
            f"{facts.n_zero_rows:,} rows are zeros, as of items without a word or image; fill "
            f"them in with {more}, then {again}"
        )
    for number, word in ((facts.n_dead, "zero"), (facts.n_constant, "the same")):
        if number:
            found.append(
                f"{number:,} of {facts.width:,} columns are {word} for all items and tell nothing; "
                f"that only costs time, {again} with another --encoder makes others"
            )
    return found


def _of_values(modality: ModalityFacts, again: str, more: str) -> list[str]:
    """Rows that are equal, near each other, or far from all."""
    facts, found = modality.features, []
    apart = f"{again} with another --encoder, or {more}, tells more items apart"
    if facts.n_same_rows > _NOTABLE * facts.n_covered:
        found.append(
            f"{facts.n_same_rows:,} of {facts.n_covered:,} rows equal an earlier row; the model "
            f"cannot tell such items apart by {modality.name}; {apart}"
        )
    if facts.n_near > _NOTABLE * facts.n_queries:
        found.append(
            f"{facts.n_near:,} of {facts.n_queries:,} sampled rows have another row at a cosine "
            f"above {NEAR}; {apart}"
        )
    if facts.n_outliers:
        found.append(
            f"{facts.n_outliers:,} rows have a norm far off the median of {facts.norms[1]:.4g} "
            f"(from {facts.norms[0]:.4g} to {facts.norms[2]:.4g}); if they are damaged, {again} "
            f"makes them again"
        )
    return found


def _of_signal(modality: ModalityFacts, again: str) -> list[str]:
    signal = modality.signal
    if not signal.n_pairs or signal.low > 0:
        return []
    return [
        f"the features carry no signal that neighbours in histories show: their cosine less that "
        f"of shuffled pairs is {signal.difference:+.4f} (95 % interval {signal.low:+.4f} to "
        f"{signal.high:+.4f}); rows may belong to other items: {again} makes them by item, "
        f"--modalities leaves {modality.name} out"
    ]


def _of_categories(facts: CategoryFacts) -> list[str]:
    found = []
    if facts.n_covered < facts.n_items:
        missing = facts.n_items - facts.n_covered
        found.append(
            f"{missing:,} of {facts.n_items:,} items have no category; they take no part in the "
            f"category loss; fill the column that category_field names"
        )
    if facts.everywhere:
        names = ", ".join(repr(name) for name in facts.everywhere[:3])
        found.append(
            f"almost all items have the category {names}, which tells nothing; take it out of the "
            f"column, or name another by category_field"
        )
    return found
