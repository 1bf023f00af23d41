"""Recommendations for users that the training never saw, from their histories alone.

    recommender = Recommender.load("runs/shop-HM4SR-20261123-120000")
    best = recommender.recommend([(["B001", "B007"], [1700000000, 1700000060])], k=10)
    best.items[0]  # tokens, best first

A user without a known item gets the items that occur most often in the training part, or in all
that the memory knows where the model has one.
"""

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_hm4sr.base.errors import ConfigError, DataError, TrainingError
from recbole_hm4sr.config.settings import DataSettings, read_settings
from recbole_hm4sr.layers.ranking import top_k
from recbole_hm4sr.model.capabilities import item_vectors, tie_order
from recbole_hm4sr.model.explain import NONE, Reasons, find_reasons, median_items
from recbole_hm4sr.report.items import read_descriptions
from recbole_hm4sr.serve.histories import UserHistories, number_histories
from recbole_hm4sr.serve.history_table import (
    HistoryColumns,
    ListedHistory,
    RawHistories,
    histories_from_frame,
    histories_from_lists,
    number_items,
    read_history_file,
)
from recbole_hm4sr.serve.opening import OpenRun, open_for_serving
from recbole_hm4sr.serve.ranking import find_identical_items
from recbole_hm4sr.serve.recommendations import NamedReasons, Recommendations
from recbole_hm4sr.serve.request_moments import RequestMoments

logger = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
# On CPUs a small batch stays in the caches (benchmarks/recommend.py); a GPU wants a large one.
_CPU_BATCH, _GPU_BATCH = 128, 1024
# Scores of a batch never exceed 2^26 numbers, 256 MB.
_MOST_SCORES = 1 << 26
_NAMED_USERS = 20


class Recommender:
    """Scores histories with the model of a run. Any model that can score the whole catalogue.

    Args:
        run: An opened run.
    """

    def __init__(self, run: OpenRun) -> None:
        self.run = run
        self.model = run.model
        config = run.config
        self.device = config["device"]
        self.max_length: int = config["MAX_ITEM_LIST_LENGTH"]
        self.columns = HistoryColumns(
            user=config["USER_ID_FIELD"],
            item=config["ITEM_ID_FIELD"],
            time=config["TIME_FIELD"],
            unit=read_settings(config, DataSettings).timestamp_unit,
        )
        self.streams: tuple[str, ...] = ()
        if hasattr(self.model, "score_parts"):
            self.streams = tuple(self.model.part_names)
        tokens = run.data.item_tokens
        self.n_items = len(tokens)
        self._index = pd.Index(tokens[1:].astype(object))
        self._tokens = np.array([None, *tokens[1:].tolist()], dtype=object)
        # Frequent first; equal counts in the order of item ids.
        self._twins = find_identical_items(item_vectors(self.model, self.n_items))
        self._ties = tie_order(self.model)
        self._counts = run.data.popularity
        self._popular = 1 + np.argsort(-self._counts[1:], kind="stable")
        self._moments = RequestMoments(run, self.model, self.columns.unit)

    @property
    def asks_when(self) -> bool:
        """Whether scores depend on when they are asked for."""
        return self._moments.asks_when

    @classmethod
    def load(cls, run_dir: str | Path) -> "Recommender":
        """Open a run; see :func:`recbole_hm4sr.serve.opening.open_for_serving`.

        Raises:
            ConfigError: If its model cannot score histories of users it has not seen.
            DataError: If the folder holds no run, or its files do not belong together.
        """
        return cls(open_for_serving(run_dir))

    def recommend(
        self,
        histories: "Sequence[ListedHistory] | pd.DataFrame | RawHistories",
        k: int = 10,
        *,
        exclude_seen: bool = True,
        candidates: Sequence[str] | None = None,
        explain: bool = False,
        at: int | None = None,
        batch_size: int | None = None,
    ) -> Recommendations:
        """The best items for each user.

        Items whom the model does not know are skipped, with one warning that counts them; another
        names the users for whom nothing is left, since they have taken every item. An id is looked
        up as it is given, then without the blanks at its ends, which ``hm4sr prepare`` cuts. Times
        need no order; equal ones keep theirs. The model sees the most recent
        ``MAX_ITEM_LIST_LENGTH`` interactions. A user without a known item gets the most frequent
        items of the training part, or of what the memory knows. Equal scores stand in the order
        of the run's items, or in that of the model where it has one; items that are equal to the
        model have equal scores, whatever else is asked for at the same time.

        Args:
            histories: A list of pairs, item tokens and times of one user; a data frame with a row
                an interaction, columns named as the run's; or what
                :meth:`read_histories` returns. Times as in the run's data set.
            k: Items a user; fewer where fewer are left.
            exclude_seen: Leave out what the user has taken, as a shop does. False ranks as
                RecBole and the paper do.
            candidates: Recommend these items only; None for all.
            explain: Also tell why each item is recommended (:mod:`recbole_hm4sr.model.explain`),
                and the part of each modality in each score where the model tells that. Each
                history is then scored again without each of its items.
            at: The moment of the requests, in the unit of the run's times; None for now. Only a
                model with ``request_time: target`` reads it, most with a memory alone, rounded down
                to the grain of the run's times: a day where all of them are whole days.
            batch_size: Users scored at once; by default as the device likes. Fewer where the
                catalogue is large.

        Raises:
            ConfigError: If k or batch_size is below 1, the model reads no moment, or the moment is
                before the newest that the memory knows.
            DataError: If a history is wrong, or no candidate is known.
            TrainingError: If the model gives NaN.
        """
        if batch_size is None:
            batch_size = _CPU_BATCH if self.device.type == "cpu" else _GPU_BATCH
        if k < 1 or batch_size < 1:
            raise ConfigError(f"k and batch_size must be 1 or more, got {k} and {batch_size}")
        moment = self._moments.moment(at)
        known = self._number(histories)
        allowed = self._in_order(self._candidates(candidates))
        n_allowed = self.n_items - 1 if allowed is None else len(allowed)
        shape = len(known.users), min(k, n_allowed)
        found = _TopItems(*shape, len(self.streams) if explain else None)
        scored = torch.nonzero(known.lengths).squeeze(1)
        # Users of like length share a batch, so that models of padded rows lose little.
        scored = scored[known.lengths[scored].argsort(stable=True)]
        size = max(1, min(batch_size, _MOST_SCORES // self.n_items))
        for start in range(0, len(scored), size):
            users = scored[start : start + size]
            batch = self._batch(known, users, moment)
            self._score(known, users, batch, allowed, found, exclude_seen=exclude_seen, n_rows=size)
        by_model = known.lengths.numpy() > 0
        self._fall_back(np.flatnonzero(~by_model), allowed, found)
        recommended = Recommendations(
            users=known.users,
            items=self._tokens[found.items],
            scores=found.scores,
            by_model=by_model,
            unknown_items=known.unknown,
            streams=self.streams if explain else (),
            shares=found.shares,
            known_until=self.known_until(moment),
            reasons=self._named(found.reasons),
        )
        _warn_of_empty(recommended)
        return recommended

    def known_until(self, moment: int | None = None) -> int | None:
        """T': the moment up to which the memory knows, in the unit of the run's times.

        Args:
            moment: Of a request; None for what is known at all.

        Returns:
            The first moment at which all that is stored is known, or that of the request if it is
            earlier; None without a memory.
        """
        clock = self.run.data.clock
        if clock is None:
            return None
        return clock.end if moment is None else min(moment, clock.end)

    def earliest_moment(self) -> int | None:
        """The first moment that a request may be of; None where no moment is read."""
        return self._moments.earliest()

    def read_histories(self, path: str | Path) -> RawHistories:
        """Read a CSV or Parquet file of histories with the run's column names.

        Raises:
            DataError: If a row is wrong; the message says which.
        """
        return read_history_file(Path(path), self.columns)

    def knows(self, items: Sequence[str]) -> Array:
        """Which raw item tokens the model knows. Shape ``[N]``, bool."""
        return number_items(np.array(items, dtype=object), self._index) > 0

    def _number(self, histories: Any) -> UserHistories:
        raw = histories
        if isinstance(histories, pd.DataFrame):
            raw = histories_from_frame(histories, self.columns)
        elif not isinstance(histories, RawHistories):
            raw = histories_from_lists(histories, self.columns.unit)
        return number_histories(raw, self._index, keep=self.run.config["rm_dup_inter"])

    def _candidates(self, tokens: Sequence[str] | None) -> Tensor | None:
        """Ids of the candidates, ascending, each once."""
        if tokens is None:
            return None
        numbers = number_items(np.array(list(tokens), dtype=object), self._index)
        unknown = [token for token, number in zip(tokens, numbers, strict=True) if not number]
        named = ", ".join(repr(str(token)) for token in unknown[:3])
        if len(unknown) == len(numbers):
            raise DataError(
                f"candidates must be items of the run, but of {len(numbers)} none is known"
                + (f", e.g. {named}" if unknown else "")
            )
        if unknown:
            logger.warning(
                "%d of %d candidates are not known, e.g. %s", len(unknown), len(numbers), named
            )
        return torch.from_numpy(np.unique(numbers[numbers > 0]))

    def _in_order(self, allowed: Tensor | None) -> Tensor | None:
        """Candidates in the order in which equal scores rank; None for all, by number."""
        if self._ties is None:
            return allowed
        ties = self._ties.cpu()
        return ties[ties > 0] if allowed is None else ties[torch.isin(ties, allowed)]

    @torch.no_grad()
    def _score(
        self,
        known: UserHistories,
        users: Tensor,
        batch: Interaction,
        allowed: Tensor | None,
        found: "_TopItems",
        *,
        exclude_seen: bool,
        n_rows: int,
    ) -> None:
        scores = self.model.full_sort_predict(batch).view(len(users), -1)[:, : self.n_items]
        self._twins.unite(scores)
        median = median_items(scores) if found.reasons is not None else None
        scores[:, 0] = -torch.inf
        if exclude_seen:
            rows, items = known.taken(users)
            scores[rows.to(self.device), items.to(self.device)] = -torch.inf
        if allowed is not None:
            scores = scores.index_select(1, allowed.to(self.device))
        values, columns = top_k(scores, found.k)
        if torch.isnan(values).any():
            raise TrainingError(
                "every score must be a number, but the model gave NaN; train it anew with a lower "
                "learning_rate"
            )
        items = columns.cpu() if allowed is None else allowed[columns.cpu()]
        found.put(users.numpy(), items.numpy(), values.float().cpu().numpy())
        if median is not None:
            found.explain(
                users.numpy(),
                find_reasons(
                    self.model, batch, items.to(self.device), values, median, n_rows=n_rows
                ),
                self._shares(batch, items),
            )

    def _shares(self, batch: Interaction, items: Tensor) -> Array | None:
        if not self.streams:
            return None
        shares: Array = self.model.score_parts(batch, items.to(self.device)).cpu().numpy()
        return shares

    def _named(self, reasons: Reasons | None) -> NamedReasons | None:
        """Reasons with the tokens of their items, and with titles where the data set is here."""
        if reasons is None:
            return None
        items = self._tokens[reasons.items]
        titles = np.array([self._titles.get(token, "") for token in items.flat], dtype=object)
        return NamedReasons(reasons.kinds, items, titles.reshape(items.shape), reasons.shares)

    @functools.cached_property
    def _titles(self) -> dict[str, str]:
        """Titles of the items, from the data set's folder; none where that is not here."""
        config = self.run.config
        path = Path(config["data_path"]) / f"{config['dataset']}.item"
        try:
            found = read_descriptions(
                path,
                self._tokens[1:].tolist(),
                item_field=self.columns.item,
                settings=read_settings(config, DataSettings),
            )
        except DataError as error:
            logger.warning("reasons have no titles: %s", error)
            return {}
        return {token: texts["title"] for token, texts in found.items()}

    def _batch(self, known: UserHistories, users: Tensor, moment: int | None) -> Interaction:
        config = self.run.config
        items, times, lengths = known.windows(users, self.max_length)
        suffix = config["LIST_SUFFIX"]
        columns = {
            self.columns.item + suffix: items,
            self.columns.time + suffix: times,
            config["ITEM_LIST_LENGTH_FIELD"]: lengths,
        }
        if moment is not None:
            columns[self.columns.time] = torch.full((len(users),), moment)
        return Interaction(columns).to(self.device)

    def _fall_back(self, users: Array, allowed: Tensor | None, found: "_TopItems") -> None:
        """The most frequent items, the same for all."""
        best = self._popular
        if allowed is not None:
            best = best[np.isin(best, allowed.numpy())]
        best = best[: found.k]
        shape = len(users), len(best)
        counts = self._counts[best].astype(np.float32)
        found.put(users, np.broadcast_to(best, shape), np.broadcast_to(counts, shape))


def _warn_of_empty(found: Recommendations) -> None:
    users = found.users_without_items
    if len(users):
        named = ", ".join(repr(user) for user in users[:_NAMED_USERS])
        more = f" and {len(users) - _NAMED_USERS:,} more" if len(users) > _NAMED_USERS else ""
        logger.warning(
            "%d of %d users get no item, since they have taken every one there is: %s%s",
            len(users),
            len(found.users),
            named,
            more,
        )


class _TopItems:
    """Arrays that are filled batch by batch."""

    def __init__(self, n_users: int, k: int, n_streams: int | None) -> None:
        self.k = k
        self.items = np.zeros((n_users, k), dtype=np.int64)
        self.scores = np.full((n_users, k), np.nan, dtype=np.float32)
        self.shares = np.full((n_users, k, n_streams or 0), np.nan, dtype=np.float32)
        self.reasons: Reasons | None = None
        if n_streams is not None:
            kinds = np.full((n_users, k), NONE, dtype=object)
            nothing = np.full((n_users, k), np.nan, dtype=np.float32)
            self.reasons = Reasons(kinds, np.zeros((n_users, k), dtype=np.int64), nothing)

    def put(self, users: Array, items: Array, scores: Array) -> None:
        left = np.isfinite(scores)  # minus infinity: taken already
        self.items[users] = np.where(left, items, 0)
        self.scores[users] = np.where(left, scores, np.nan)

    def explain(self, users: Array, reasons: Reasons, shares: Array | None) -> None:
        """Say why what was put is there."""
        assert self.reasons is not None
        for whole, values in zip(self.reasons, reasons, strict=True):
            whole[users] = values
        if shares is not None:
            left = ~np.isnan(self.scores[users])
            self.shares[users] = np.where(left[..., None], shares, np.nan)
