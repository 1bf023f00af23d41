"""An exported index as a recommender: NumPy and onnxruntime, no torch.

It gives what :class:`recbole_hm4sr.serve.recommend.Recommender` gives, to the tolerance of the
export: the same histories, the same candidates, every item scored.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_hm4sr.base.errors import DataError, TrainingError
from recbole_hm4sr.base.files import ASCII_BLANKS
from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.data.times import TIME_LIMITS, UNIT_WORDS
from recbole_hm4sr.serve.exported import FACTS_FILE, read_facts
from recbole_hm4sr.serve.moments import RequestTimes

Array = np.ndarray[Any, Any]
TOWER, ITEMS, TOKENS, COUNTS = "user_tower.onnx", "items.npy", "tokens.npy", "counts.npy"
MEMORY = "memory.npz"
# Scores of a batch never exceed 2^22 numbers, 32 MB.
_MOST_SCORES = 1 << 22


class FrozenClock(NamedTuple):
    """Moments of an exported memory, in the run's unit.

    Attributes:
        newest: The newest time that it knows.
        end: The first moment at which all that it knows is known.
        grain: The smallest step of the run's times.
    """

    newest: int
    end: int
    grain: int


@dataclass(frozen=True)
class UserList:
    """What one user gets.

    Attributes:
        by_model: False where no item of the history is known, so that popular ones are told.
        unknown: Interactions that were skipped.
        items: Rows of the index, best first. Shape ``[K]``, int64.
        scores: As many, float32.
    """

    by_model: bool
    unknown: int
    items: Array
    scores: Array


class OnnxIndex:
    """An exported index, opened.

    Args:
        folder: The index.
        threads: How many may compute; None for as many as onnxruntime likes.

    Attributes:
        facts: What it says of itself.
        content: SHA-256 of the file with the facts.
        tokens: Raw token of each item. Shape ``[I]``, str.

    Raises:
        DataError: If a file is missing, damaged, or of another index.
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        self.facts = facts = read_facts(folder)
        self.content = _hash(folder / FACTS_FILE)
        for name, sha256 in facts["files"].items():
            if _hash(folder / name) != sha256:
                raise DataError(
                    f"{folder / name} must be the file that {FACTS_FILE} names, but it is another "
                    f"one or damaged; export the run again"
                )
        # Whoever replaces the folder meanwhile has given other facts.
        if json.dumps(read_facts(folder)) != json.dumps(facts):
            raise DataError(f"{folder} was replaced while it was read")
        # Mapped: the processes of a machine share them.
        self._items = np.asarray(np.load(folder / ITEMS, mmap_mode="r", allow_pickle=False))
        self.tokens = np.load(folder / TOKENS, allow_pickle=False)
        self._counts = np.load(folder / COUNTS, allow_pickle=False)
        self._memory: Mapping[str, Array] = {}
        if MEMORY in facts["files"]:
            with np.load(folder / MEMORY, allow_pickle=False) as kept:
                self._memory = dict(kept)
        self._tower = _open_tower(folder / TOWER, threads)
        self._rows = {token: row for row, token in enumerate(self.tokens.tolist())}
        self._popular = np.argsort(-self._counts, kind="stable")
        self._twins = _twins_of(self._items)
        clock = FrozenClock(**facts["clock"]) if facts["clock"] else None
        self.times = RequestTimes(facts["model"], self.unit, clock, facts["asks_when"])

    @property
    def unit(self) -> str:
        """Of the run's times: ``s`` or ``ms``."""
        return str(self.facts["timestamp_unit"])

    def rows(self, tokens: Sequence[str]) -> Array:
        """Rows of raw tokens, as they are or without the blanks at their ends; -1 of one unknown.

        Shape ``[N]``, int64.
        """
        found = [self._rows.get(it, self._rows.get(it.strip(ASCII_BLANKS), -1)) for it in tokens]
        return np.array(found, dtype=np.int64)

    def recommend(
        self,
        histories: Sequence[tuple[Sequence[str], Sequence[int]]],
        k: int,
        *,
        exclude_seen: bool = True,
        candidates: Sequence[str] | None = None,
        exclude_items: Sequence[str] = (),
        at: int | None = None,
    ) -> tuple[list[UserList], int | None]:
        """The best items for each user; see :meth:`recbole_hm4sr.serve.recommend.Recommender`.

        Args:
            histories: Items and times of each user, in any order.
            k: Items a user.
            exclude_seen: Leave out what the user has taken.
            candidates: Recommend these items only; None for all.
            exclude_items: Never recommend these.
            at: The moment of the requests, in the unit of the run's times; None for now.

        Returns:
            A list a user, and the moment up to which the memory knows; None without one.

        Raises:
            ConfigError: If the model reads no moment, or it is before the newest that is known.
            DataError: If a time looks like one of another unit.
            TrainingError: If the model gives NaN.
        """
        moment = self.times.moment(at)
        allowed = self._allowed(candidates, exclude_items)
        known = [self._known(number, *history) for number, history in enumerate(histories)]
        lists: list[UserList | None] = [None] * len(known)
        scored = [number for number, (rows, _, _) in enumerate(known) if len(rows)]
        size = max(1, _MOST_SCORES // len(self.tokens))
        for start in range(0, len(scored), size):
            part = scored[start : start + size]
            scores = self._scores([known[number][:2] for number in part], moment)
            for number, row in zip(part, scores, strict=True):
                rows, _, unknown = known[number]
                row[~allowed] = -np.inf
                if exclude_seen:
                    row[rows] = -np.inf
                lists[number] = UserList(True, unknown, *_best(row, k))
        popular = self._popular[allowed[self._popular]][:k]
        counts = self._counts[popular].astype(np.float32)
        found = [
            UserList(False, unknown, popular, counts) if own is None else own
            for own, (_, _, unknown) in zip(lists, known, strict=True)
        ]
        return found, self.times.known_until(moment)

    def _allowed(self, candidates: Sequence[str] | None, excluded: Sequence[str]) -> Array:
        """Which items may be recommended. Shape ``[I]``, bool."""
        allowed = np.ones(len(self.tokens), dtype=bool)
        if candidates is not None:
            rows = self.rows(candidates)
            allowed[:] = False
            allowed[rows[rows >= 0]] = True
        rows = self.rows(excluded)
        allowed[rows[rows >= 0]] = False
        return allowed

    def _known(
        self, number: int, items: Sequence[str], times: Sequence[int]
    ) -> tuple[Array, Array, int]:
        """Rows and times of a user's known items, oldest first, and how many are not known."""
        moments = np.array(times, dtype=np.int64)
        late = moments >= TIME_LIMITS[self.unit]
        if late.any():
            place = int(np.flatnonzero(late)[0])
            raise DataError(
                f"histories[{number}], interaction {place}: times must be in "
                f"{UNIT_WORDS[self.unit]}, got {moments[place]}, which is too large"
            )
        rows = self.rows(items)
        is_known = rows >= 0
        unknown = int((~is_known).sum())
        rows, moments = rows[is_known], moments[is_known]
        order = np.argsort(moments, kind="stable")
        rows, moments = rows[order], moments[order]
        stays = _first_or_last(rows, self.facts["keep"])
        return rows[stays], moments[stays], unknown

    def _scores(self, known: Sequence[tuple[Array, Array]], moment: int | None) -> Array:
        """Scores of all items for histories with at least one item. Shape ``[B, I]``, float32."""
        length = int(self.facts["max_length"])
        width = min(length, max(len(rows) for rows, _ in known))
        windows = np.zeros((2, len(known), width), dtype=np.int64)
        for window, (rows, times) in enumerate(known):
            n_last = min(width, len(rows))
            windows[0, window, :n_last] = rows[-n_last:] + 1
            windows[1, window, :n_last] = times[-n_last:]
        lengths = np.array([min(width, len(rows)) for rows, _ in known], dtype=np.int64)
        feeds = {
            "item_seq": windows[0],
            "item_seq_len": lengths,
            "timestamps": windows[1],
            "moments": np.full(len(known), 0 if moment is None else moment, dtype=np.int64),
        }
        users, *weights = self._tower.run(
            None, {name: feeds[name] for name in self.facts["inputs"]}
        )
        scores: Array = users @ self._items.T
        if len(self._twins):
            scores[:, self._twins[:, 0]] = scores[:, self._twins[:, 1]]
        if self._memory:
            facts = self.facts["memory"]
            last = last_items(windows[0], lengths, facts["reach"])
            scores += add_lists(self._memory, weights[0], last, facts["decay"])[:, 1:]
        if np.isnan(scores).any():
            raise TrainingError("every score must be a number, but the exported model gave NaN")
        return scores


def last_items(items: Array, lengths: Array, reach: int) -> Array:
    """The newest items of windows, newest first, 0 where there are no more.

    Args:
        items: Oldest first, padded with 0. Shape ``[B, L]``, int64.
        lengths: Shape ``[B]``, int64.
        reach: How many.

    Returns:
        Shape ``[B, reach]``, int64.
    """
    places = lengths[:, None] - 1 - np.arange(reach)
    found = np.take_along_axis(items, places.clip(min=0), axis=1)
    return np.where(places < 0, 0, found)


def add_lists(
    arrays: Mapping[str, Array], weights: Array, last_items: Array, decay: float
) -> Array:
    """What the lists of a memory add to the scores of all items.

    Args:
        arrays: Of ``memory.npz``.
        weights: Of the relations, for each history. Shape ``[N, R]``.
        last_items: Newest first, 0 where there are no more. Shape ``[N, K]``, int64.
        decay: q.

    Returns:
        Shape ``[N, I]``, float64; the first column is of padding.
    """
    added = np.zeros((len(weights), len(arrays["items"])))
    rows = np.arange(len(weights))
    for step, items in enumerate(last_items.T):
        values = np.take_along_axis(weights, arrays["relations"][items].astype(np.int64), axis=1)
        values = values * arrays["values"][items] * decay**step
        np.add.at(added, (rows[:, None], arrays["items"][items]), values)
    added[:, arrays["popular_items"]] += weights[:, -1:] * arrays["popular_values"]
    return added


def _best(scores: Array, k: int) -> tuple[Array, Array]:
    """The k best items, equal scores by their row; fewer where fewer are left."""
    k = min(k, int(np.isfinite(scores).sum()))
    if not k:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    places = np.flatnonzero(scores >= least)
    best = places[np.argsort(-scores[places], kind="stable")[:k]]
    return best, scores[best]


def _first_or_last(rows: Array, keep: str | None) -> Array:
    """Which interactions stay of a user and an item, as the run has it. Shape ``[N]``, bool."""
    stays = np.ones(len(rows), dtype=bool)
    if keep is None:
        return stays
    order = slice(None) if keep == "first" else slice(None, None, -1)
    _, places = np.unique(rows[order], return_index=True)
    stays[:] = False
    stays[order][places] = True
    return stays


def _twins_of(items: Array) -> Array:
    """Rows that equal an earlier one, and the first of each. Shape ``[T, 2]``, int64.

    A matrix product may sum some columns in another order, so that their scores would differ in the
    last bit.
    """
    digests = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in items]
    first: dict[bytes, int] = {}
    pairs = [(row, first.setdefault(it, row)) for row, it in enumerate(digests)]
    found = np.array([pair for pair in pairs if pair[0] != pair[1]], dtype=np.int64)
    return found.reshape(-1, 2)


def _open_tower(path: Path, threads: int | None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )


def _hash(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
