"""The verdict that a report begins with: sentences drawn from the numbers of the run alone.

Nothing is called better, or important, by less than two seeds of one model differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from recbole_hm4sr.evaluate.candidates import CANDIDATES
from recbole_hm4sr.page.format import percent
from recbole_hm4sr.report.spread import SPREAD, relative
from recbole_hm4sr.report.weak_groups import WeakGroup

RISING = 0.01  # gain of validation in the last epochs that asks for more of them
CARRIES = 0.5  # lost without a modality by which the ranking is said to rest on it
MATTERS_MOST = 0.2  # and by which it is said to matter most; below, somewhat
_LAST = 5  # of so many parts of the epochs the last one is looked at
_FEWEST = 5  # epochs that say whether validation has levelled off


@dataclass(frozen=True, kw_only=True)
class RunNumbers:
    """What the verdict is drawn from.

    Attributes:
        metric: As it is written: ``NDCG@10``.
        chosen: ``rank_history``: whose numbers the sentences on parts of the targets are of.
        quality: Test metric by protocol.
        hits: Share of the targets among the first ``cut``, by protocol; empty if not measured.
        cut: Length of the lists.
        baselines: Sentences on the baselines beside the run.
        has_epochs: Whether it was trained; not so for a model that is fitted once.
        validation: Validation metric of each epoch.
        wanted_epochs: Epochs that were asked for.
        ended_by_budget: Whether ``max_cpu_minutes`` ended it.
        shuffled: Metric with the features of each modality at the wrong items, by its name.
        left_out: Metric without each part of the scores that can be left out, by its name.
        shuffled_metric: That metric as it is written.
        right: The same of the model as it is, on the same users; None if nothing was changed.
        n_targets: Test targets whose ranks are known; 0 if they are not kept.
        weak: Groups of targets that are clearly below the mean.
    """

    metric: str
    chosen: str
    quality: Mapping[str, float]
    hits: Mapping[str, float] = field(default_factory=dict)
    cut: int = 10
    baselines: tuple[str, ...] = ()
    has_epochs: bool = True
    validation: Sequence[float] = ()
    wanted_epochs: int | None = None
    ended_by_budget: bool = False
    shuffled: Mapping[str, float] = field(default_factory=dict)
    left_out: Mapping[str, float] = field(default_factory=dict)
    shuffled_metric: str = ""
    right: float | None = None
    n_targets: int = 0
    weak: tuple[WeakGroup, ...] = ()


def verdict(numbers: RunNumbers) -> tuple[str, ...]:
    """What the numbers of a run say: quality, baselines, training, modalities, where it fails."""
    return (
        *_quality(numbers),
        *_baselines(numbers),
        *_training(numbers),
        *_modalities(numbers),
        *_left_out(numbers),
        *_failures(numbers),
    )


def _quality(numbers: RunNumbers) -> tuple[str, ...]:
    parts = [
        f"{value:.4f} with {CANDIDATES[history]}" for history, value in numbers.quality.items()
    ]
    if not parts:
        return ()
    sentence = f"Test {numbers.metric} is {' and '.join(parts)}."
    if numbers.hits.keys() == numbers.quality.keys():
        found = " and ".join(f"{100 * share:.1f}" for share in numbers.hits.values())
        sentence += f" Of 100 targets {found} are among the first {numbers.cut}."
    return (sentence,)


def _baselines(numbers: RunNumbers) -> tuple[str, ...]:
    if numbers.baselines or not numbers.has_epochs:
        return numbers.baselines
    return (
        "No baseline was measured in this run. Counts of the same data, without training, say "
        "whether the training was worth it: the setting baselines or hm4sr compare adds them.",
    )


def _training(numbers: RunNumbers) -> tuple[str, ...]:
    values = numbers.validation
    if not numbers.has_epochs or not values:
        return ()
    n_epochs = len(values)
    best = max(range(n_epochs), key=lambda number: values[number]) + 1
    budget = " It was ended by max_cpu_minutes." if numbers.ended_by_budget else ""
    if n_epochs < _FEWEST:
        count = "1 epoch" if n_epochs == 1 else f"{n_epochs} epochs"
        return (f"It was trained for {count} only: too few to say whether it has learned.{budget}",)
    last = max(2, round(n_epochs / _LAST))
    gain = relative(max(values[-last:]), max(values[:-last]))
    rise = f"the last {last} epochs brought {percent(gain)}"
    if gain > RISING:
        return (
            f"Validation was still improving at the end: {rise}. Give it more epochs than "
            f"{numbers.wanted_epochs or n_epochs}.{budget}",
        )
    if best == n_epochs:
        return (f"The last epoch is the best, but {rise} only: more would help little.{budget}",)
    return (
        f"Validation had stopped improving: the best of {n_epochs} epochs is epoch {best}, and the "
        f"{n_epochs - best} after it were not better.{budget}",
    )


def _modalities(numbers: RunNumbers) -> tuple[str, ...]:
    right = numbers.right
    if not right:
        return ()
    lost = {name: (right - value) / right for name, value in numbers.shuffled.items()}
    telling = sorted((name for name in lost if lost[name] > SPREAD), key=lambda name: -lost[name])
    idle = [name for name in lost if name not in telling]
    sentences = []
    if telling:
        listed = ", ".join(f"{name} {percent(lost[name])}" for name in telling)
        sentences.append(
            f"{_weighed(telling, lost)}: what is lost of {numbers.shuffled_metric} with the "
            f"features at the wrong items is {listed}."
        )
    if idle:
        which = "the modalities" if len(lost) == len(idle) > 1 else " and ".join(idle)
        sentences.append(
            f"It hardly uses {which}: with the features at the wrong items no more than "
            f"{percent(SPREAD)} of {numbers.shuffled_metric} is lost."
        )
    return tuple(sentences)


def _left_out(numbers: RunNumbers) -> tuple[str, ...]:
    right = numbers.right
    if not right or not numbers.left_out:
        return ()
    change = {name: (right - value) / right for name, value in numbers.left_out.items()}
    order = sorted(change, key=lambda name: -change[name])
    metric = numbers.shuffled_metric
    needed = [name for name in order if change[name] > SPREAD]
    harmful = [name for name in order if change[name] < -SPREAD]
    idle = [name for name in order if name not in needed and name not in harmful]
    sentences = []
    if needed:
        listed = ", ".join(f"{name} {percent(change[name])}" for name in needed)
        sentences.append(
            f"What is lost of {metric} when a part of its scores is left out is: {listed}."
        )
    if harmful:
        listed = ", ".join(f"{name} by {percent(-change[name])}" for name in harmful)
        sentences.append(f"{metric} is higher without some parts of its scores: {listed}.")
    if idle:
        sentences.append(
            f"It hardly uses {' and '.join(idle)}: no more than {percent(SPREAD)} of {metric} "
            f"changes without."
        )
    return tuple(sentences)


def _weighed(order: Sequence[str], lost: Mapping[str, float]) -> str:
    """How much the ranking rests on its first modality, or on some alike."""
    most = lost[order[0]]
    first = [name for name in order if lost[name] >= most - SPREAD]
    is_one = len(first) == 1
    if most >= CARRIES:
        verb = "carries the ranking" if is_one else "carry the ranking alike"
    elif most >= MATTERS_MOST:
        verb = "matters most" if is_one else "matter most, and alike"
    else:
        verb = "matters somewhat" if is_one else "matter somewhat, and alike"
    who = f"{', '.join(first[:-1])} and {first[-1]}" if not is_one else first[0]
    return f"{who[0].upper()}{who[1:]} {verb}"


def _failures(numbers: RunNumbers) -> tuple[str, ...]:
    mean = numbers.quality.get(numbers.chosen)
    if not numbers.n_targets or not mean:
        return ()
    if not numbers.weak:
        return ("No group of enough users is clearly below the mean of all targets.",)
    most, *others = numbers.weak
    sentence = (
        f"It fails most {most.place}: {percent(most.n_targets, numbers.n_targets)} of the targets, "
        f"with {numbers.metric} {most.mean:.4f}, {percent(most.mean, mean)} of the mean"
    )
    for group in others:
        sentence += f"; it is weakest {group.place} ({group.n_targets:,} targets, {group.mean:.4f})"
    return (f"{sentence}.",)
