"""Any packed model's memory: built from interactions, kept for serving, read with settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.event_files import map_events
from recbole_hm4sr.data.events import Interactions, sort_events, times_of_items
from recbole_hm4sr.data.features import cache_dir
from recbole_hm4sr.data.memory_files import OF_EVENTS, PREFIX, MemoryClock, MemoryRules
from recbole_hm4sr.data.neighbours import map_nearest_items, nearest_items
from recbole_hm4sr.data.serving_data import ServingDataset, remembered
from recbole_hm4sr.data.times import DAY_SECONDS, PER_SECOND, grain_of
from recbole_hm4sr.data.visits import number_visits
from recbole_hm4sr.layers.event_store import EventStore
from recbole_hm4sr.layers.item_counts import Clock, ItemCounts
from recbole_hm4sr.layers.memory import EventMemory
from recbole_hm4sr.layers.memory_scorer import MemoryScorer, relation_names
from recbole_hm4sr.model.refresh import refreshes
from recbole_hm4sr.model.requests import RequestReader, VisitReader
from recbole_hm4sr.parallel.shards import Shards

Array = np.ndarray[Any, Any]
POPULARITY_DAYS = 28
# Some 400 MB. More events are in files, which all processes and runs of a machine share.
MOST_IN_MEMORY = 1 << 25


def memory_arrays(
    dataset: Any, settings: Any, modalities: tuple[str, ...], *, in_files: bool = False
) -> dict[str, Array]:
    """The arrays of the memory: built from a training part, or as a run has kept them.

    Under one moment for all users every interaction makes events, of which a row reads those that
    were known at its request; else those of the training part do.

    Args:
        dataset: Training split of a ``MultiModalSequentialDataset``, or what serving has of one.
        settings: Of the model.
        modalities: Those whose nearest items are a relation.
        in_files: Whether events and neighbours are in files, however few, so that the processes of
            a machine hold them once.

    Raises:
        DataError: If times and items are too many for one key of both, or files cannot be written.
    """
    if isinstance(dataset, ServingDataset):
        return dataset.arrays_under(PREFIX)
    kept = getattr(dataset, "kept_arrays", None)
    if kept is None:
        return _build_arrays(dataset, settings, modalities, in_files=in_files)
    if PREFIX not in kept:
        kept[PREFIX] = _build_arrays(dataset, settings, modalities, in_files=in_files)
    return dict(kept[PREFIX])


def _build_arrays(
    dataset: Any, settings: Any, modalities: tuple[str, ...], *, in_files: bool
) -> dict[str, Array]:
    log, n_items = dataset.log, dataset.item_num
    first, last = int(log.times.min()), int(log.times.max())
    if n_items * (last - first + 2) >= 2**63:
        raise DataError(
            f"{dataset.dataset_path}: items times the span of all times must stay below 2^63 for a "
            f"memory, got {n_items} and {last - first}; give times in seconds"
        )
    users, items, times = remembered(dataset)
    starts = np.searchsorted(users, users)
    gap = gap_in_ticks(dataset)
    visits = number_visits(times, starts, gap=gap)
    grain = grain_of(log.times, dataset.timestamp_unit)
    clock = MemoryClock(first, last - first + 2, int(times.max()) + grain, grain)
    rules = MemoryRules(
        settings.memory_reach, gap, settings.memory_events, settings.request_time == "last"
    )
    arrays: dict[str, Array] = {"clock": np.array(clock), "rules": rules.to_array()}
    interactions, reach = Interactions(items, times, starts, visits), settings.memory_reach
    if in_files or interactions.count_events(reach) > MOST_IN_MEMORY:
        events = map_events(_folder(), interactions, n_items=n_items, reach=reach)
    else:
        events = sort_events(interactions, n_items=n_items, reach=reach)
    arrays |= {f"events.{name}": getattr(events, name) for name in OF_EVENTS}
    taken = times_of_items(items, times, n_items=n_items)
    arrays |= {"times": taken.times, "starts": taken.starts}
    for name in modalities:
        rows, n_near = dataset.comparable_rows(name), settings.memory_neighbours
        if in_files:
            near, cosines = map_nearest_items(_folder(), rows, n_neighbours=n_near)
        else:
            near, cosines = nearest_items(rows, n_neighbours=n_near)
        arrays |= {f"near.{name}": near, f"cosines.{name}": cosines}
    return arrays


def _folder() -> Path:
    """Of the user's cache, for arrays that the processes of a machine map."""
    return cache_dir() / "memory"


def gap_in_ticks(dataset: Any) -> int:
    """The longest time between two interactions of one visit, in the unit of the data's times."""
    return int(dataset.settings.same_visit_gap * PER_SECOND[dataset.timestamp_unit])


def _clock_of(arrays: Mapping[str, Array], settings: Any, unit: str) -> Clock:
    first, span, _, _ = MemoryClock.of_array(arrays["clock"])
    day = DAY_SECONDS * PER_SECOND[unit]
    return Clock(first, span, day, round(settings.snapshot_days * day))


def make_request_reader(
    arrays: Mapping[str, Array], settings: Any, config: Any, dataset: Any
) -> RequestReader | None:
    """The reader of what a memory knows of each request; None without a memory.

    In serving nothing after the last known interaction is looked for.

    Args:
        arrays: Of :func:`memory_arrays`; empty without a memory.
        settings: Of the model.
        config: RecBole ``Config``.
        dataset: As :func:`memory_arrays` takes it.
    """
    if not arrays:
        return None
    is_kept, clock = isinstance(dataset, ServingDataset), MemoryClock.of_array(arrays["clock"])
    log = None
    if not is_kept:
        of_log = dataset.log.items, dataset.log.times, dataset.log.starts
        items, times, starts = map(torch.from_numpy, of_log)
        log = items, times, starts
    return RequestReader(
        clock=_clock_of(arrays, settings, dataset.timestamp_unit),
        reach=settings.memory_reach,
        max_length=config["MAX_ITEM_LIST_LENGTH"],
        request_time=settings.request_time,
        refresh="none" if is_kept else refreshes(settings.memory_refresh)[0],
        frozen_at=clock.end if is_kept else dataset.ends_before,
        grain=clock.grain,
        log=log,
    )


def make_visit_reader(settings: Any, dataset: Any) -> VisitReader | None:
    """The reader of what is left of a target's visit; None where each row has one target.

    Args:
        settings: Of the model.
        dataset: As :func:`memory_arrays` takes it.
    """
    if settings.train_targets == "next" or isinstance(dataset, ServingDataset):
        return None
    log = dataset.log
    visits = number_visits(log.times, log.starts, gap=gap_in_ticks(dataset))
    visits = np.where(dataset.shown_interactions().numpy(), visits, -1)
    return VisitReader(log.items, visits, dataset.item_num)


def build_memory(
    arrays: Mapping[str, Array],
    settings: Any,
    *,
    modalities: tuple[str, ...],
    unit: str,
    shards: Shards | None = None,
) -> EventMemory:
    """The memory that arrays hold.

    Args:
        arrays: Of :func:`memory_arrays`.
        settings: Of the model.
        modalities: Those whose nearest items are a relation.
        unit: Of the times: ``s`` or ``ms``.
        shards: Which items this process holds, where several share them.
    """
    clock = _clock_of(arrays, settings, unit)
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    counts = ItemCounts(
        tensors["times"], tensors["starts"], clock, damping=settings.memory_damping, shards=shards
    )
    others, distances, known, runs = (tensors[f"events.{name}"] for name in OF_EVENTS)
    return EventMemory(
        EventStore(others, distances, known, runs, counts),
        counts,
        [(tensors[f"near.{name}"], tensors[f"cosines.{name}"]) for name in modalities],
        ages=settings.memory_ages,
        decay=settings.memory_decay,
        limit=settings.memory_events,
        popularity_days=POPULARITY_DAYS if settings.popularity else None,
    )


def build_memory_scorer(
    arrays: Mapping[str, Array],
    settings: Any,
    *,
    modalities: tuple[str, ...],
    unit: str,
    gap: int,
    shards: Shards | None = None,
) -> MemoryScorer:
    """The scorer that adds a memory to a model.

    Args:
        arrays: As :func:`build_memory` takes them.
        settings: Of the model.
        modalities: Those whose nearest items are a relation.
        unit: Of the times: ``s`` or ``ms``.
        gap: The longest time between two interactions of one visit, in that unit.
        shards: Which items this process holds, where several share them.
    """
    memory = build_memory(arrays, settings, modalities=modalities, unit=unit, shards=shards)
    names = relation_names(settings.memory_ages, modalities, popularity=settings.popularity)
    return MemoryScorer(memory, names=names, weights=settings.memory_weights, gap=gap)


def arrays_to_keep(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays under the names that a run keeps them by."""
    return {PREFIX + name: values for name, values in arrays.items()}
