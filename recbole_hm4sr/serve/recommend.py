"""Recommendations for users that the training never saw, from their histories alone.

    recommender = Recommender.load("runs/shop-HM4SR-20261123-120000")
    best = recommender.recommend([(["B001", "B007"], [1700000000, 1700000060])], k=10)
    best.items[0]  # tokens, best first

A user without a known item gets the items that occur most often in the training part, or in all
that the memory knows where the model has one.
"""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_hm4sr.base.errors import ConfigError, TrainingError
from recbole_hm4sr.config.settings import DataSettings, read_settings
from recbole_hm4sr.data.times import PER_SECOND
from recbole_hm4sr.model.capabilities import item_marks, item_vectors, tie_order
from recbole_hm4sr.model.explain import Reasons, find_reasons, median_items
from recbole_hm4sr.prepare.progress import Report, silent
from recbole_hm4sr.serve.histories import UserHistories, number_histories
from recbole_hm4sr.serve.history_table import (
    HistoryColumns,
    ListedHistory,
    RawHistories,
    histories_from_frame,
    histories_from_lists,
    read_history_file,
)
from recbole_hm4sr.serve.history_times import read_moment
from recbole_hm4sr.serve.hub import HubMixin
from recbole_hm4sr.serve.items import MODEL, Selection, ServedItems
from recbole_hm4sr.serve.moments import RequestTimes
from recbole_hm4sr.serve.opening import OpenRun, open_for_serving
from recbole_hm4sr.serve.ranking import find_identical_items
from recbole_hm4sr.serve.recommendations import NamedReasons, Recommendations, warn_of_empty
from recbole_hm4sr.serve.rules import Rules
from recbole_hm4sr.serve.similar import SimilarItems, find_similar
from recbole_hm4sr.serve.top_items import TopItems

Array = np.ndarray[Any, Any]
# On CPUs a small batch stays in the caches (benchmarks/recommend.py); a GPU wants a large one.
_CPU_BATCH, _GPU_BATCH = 128, 1024
# Scores of a batch never exceed 2^26 numbers, 256 MB.
_MOST_SCORES = 1 << 26


class Recommender(HubMixin):
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
            source=run.data.source,
            has_flags=True,
        )
        self.streams: tuple[str, ...] = ()
        if hasattr(self.model, "score_parts"):
            self.streams = tuple(self.model.part_names)
        self.items = ServedItems(run)
        self.n_items = len(self.items)
        # Frequent first; equal counts in the order of item ids.
        self._twins = find_identical_items(
            item_vectors(self.model, self.n_items), partial(item_marks, self.model)
        )
        self._ties = tie_order(self.model)
        self._counts = run.data.popularity
        self._popular = 1 + np.argsort(-self._counts[1:], kind="stable")
        # Whether scores depend on when they are asked for.
        self.asks_when: bool = getattr(self.model, "reads_request_time", False)
        self.times = RequestTimes(
            config["model"],
            self.columns.unit,
            run.data.clock,
            self.asks_when,
            grain=getattr(self.model, "moment_grain", None),
            first=run.data.first_time * PER_SECOND[self.columns.unit],
        )

    @classmethod
    def load(cls, run_dir: str | Path) -> "Recommender":
        """Open a run; see :func:`recbole_hm4sr.serve.opening.open_for_serving`.

        Raises:
            ConfigError: If its model cannot score histories of users it has not seen.
            DataError: If the folder holds no run, or its files do not belong together.
        """
        return cls(open_for_serving(run_dir))

    def recommend(  # noqa: PLR0913  # an option each
        self,
        histories: "Sequence[ListedHistory] | pd.DataFrame | RawHistories",
        k: int = 10,
        *,
        exclude_seen: bool = True,
        candidates: Sequence[str] | None = None,
        exclude_items: Sequence[str] = (),
        where: str | None = None,
        max_per: Mapping[str, int] | None = None,
        diversity: float = 0.0,
        show: Sequence[str] = (),
        explain: bool = False,
        at: int | str | datetime.datetime | None = None,
        batch_size: int | None = None,
        report: Report = silent,
    ) -> Recommendations:
        """The best items for each user.

        Items whom the model does not know are skipped, with one warning that counts them; another
        names the users for whom nothing is left. An id is looked up as it is given, then without
        the blanks at its ends, which ``hm4sr prepare`` cuts. Times need no order; equal ones keep
        theirs. The model sees the most recent ``MAX_ITEM_LIST_LENGTH`` interactions. A user without
        a known item gets the most frequent items of the training part, or of what the memory knows.
        Equal scores stand in the order of the run's items, or in that of the model where it has
        one; items that are equal to the model have equal scores, whatever else is asked for at the
        same time.

        Args:
            histories: A list of pairs, item tokens and times of one user; a data frame with a row
                an interaction, columns named as the run's or as those of the table that the data
                set was prepared from; or what :meth:`read_histories` returns. Times are numbers of
                the run's unit (in such a table: of its own), dates of ISO 8601 or moments; without
                a zone they are of UTC.
            k: Items a user; fewer where fewer are left.
            exclude_seen: Leave out what the user has taken, as a shop does. False ranks as
                RecBole and the paper do.
            candidates: Recommend these items only; None for all.
            exclude_items: Never recommend these, such as those out of stock.
            where: A condition on the columns that the run keeps, as ``price < 50 and category =
                'Shoes'``; see :mod:`recbole_hm4sr.serve.where`.
            max_per: By column, how many items of a list may have the same value. An item counts
                under each of its values.
            diversity: From 0, the order of the scores, to 1, items as unlike as they can be, by
                their features; see :mod:`recbole_hm4sr.serve.greedy`.
            show: Columns that the run keeps, to be told of each item.
            explain: Also tell why each item is recommended (:mod:`recbole_hm4sr.model.explain`),
                and the part of each modality in each score where the model tells that. Each
                history is then scored again without each of its items.
            at: The moment of the requests, in the unit of the run's times, or a date; None for
                now. Only a model with ``request_time: target`` reads it, most with a memory alone,
                rounded down to the grain of the run's times: a day where all are whole days.
            batch_size: Users scored at once; by default as the device likes. Fewer where the
                catalogue is large.
            report: Told what goes on, how many users are scored, and of how many.

        Raises:
            ConfigError: If a number is out of range, ``where`` breaks its grammar, a column is not
                kept, the model reads no moment, or the moment is before the newest that the memory
                knows.
            DataError: If a history is wrong, or no candidate is known.
            TrainingError: If the model gives NaN.
        """
        if batch_size is None:
            batch_size = _CPU_BATCH if self.device.type == "cpu" else _GPU_BATCH
        if k < 1 or batch_size < 1:
            raise ConfigError(f"k and batch_size must be 1 or more, got {k} and {batch_size}")
        rules = Rules(candidates, exclude_items, where, max_per or {}, diversity)
        selection = self._select(rules)
        self.items.require(show)
        moment = self.times.moment(read_moment(at, self.columns.unit))
        known = self._number(histories)
        shape = len(known.users), min(k, selection.size(self.n_items))
        found = TopItems(*shape, len(self.streams) if explain else None)
        if found.k:
            users = self._by_length(known)
            size = max(1, min(batch_size, _MOST_SCORES // self.n_items))
            for start in range(0, len(users), size):
                report("scoring", start, len(users))
                part = users[start : start + size]
                batch = self._batch(known, part, moment)
                taken = known.taken(part) if exclude_seen else None
                self._score(part, batch, taken, selection, found, n_rows=size)
        by_model = known.lengths.numpy() > 0
        self._fall_back(np.flatnonzero(~by_model), selection, found)
        recommended = Recommendations(
            users=known.users,
            items=self.items.tokens[found.items],
            scores=found.scores,
            by_model=by_model,
            unknown_items=known.unknown,
            streams=self.streams if explain else (),
            shares=found.shares,
            known_until=self.known_until(moment),
            reasons=self._named(found.reasons),
            details=self.items.details(show, found.items),
        )
        warn_of_empty(recommended)
        return recommended

    def similar(  # noqa: PLR0913  # an option each
        self,
        items: Sequence[str],
        k: int = 10,
        *,
        by: str = MODEL,
        candidates: Sequence[str] | None = None,
        exclude_items: Sequence[str] = (),
        where: str | None = None,
        max_per: Mapping[str, int] | None = None,
        diversity: float = 0.0,
        show: Sequence[str] = (),
    ) -> SimilarItems:
        """The items that are most like each of some items, none of them itself.

        An item without a row, such as one that came with a refresh, is like none.

        Args:
            items: Raw tokens; a warning counts those that are not known.
            k: Items for each; fewer where fewer are left.
            by: Whose cosine: ``model``, its rows of items; ``features``, the mean over the
                modalities; or a modality, as ``text``.
            candidates: As in :meth:`recommend`, and so are the other rules and ``show``.
            exclude_items: Never tell these.
            where: A condition on the columns that the run keeps.
            max_per: By column, how many items of a list may have the same value.
            diversity: From 0, most like first, to 1, as unlike one another as they can be.
            show: Columns that the run keeps, to be told of each item.

        Raises:
            ConfigError: If a number is out of range, a rule or a column is wrong, or there are no
                such rows.
            DataError: If no item, or no candidate, is known.
        """
        rules = Rules(candidates, exclude_items, where, max_per or {}, diversity)
        return find_similar(self.items, items, k, by=by, rules=rules, show=show)

    def _select(self, rules: Rules) -> Selection:
        """What rules allow, in the order in which equal scores rank."""
        selection = self.items.choose(rules)
        if self._ties is None:
            return selection
        ties = self._ties.cpu().numpy()
        ties = ties[ties > 0]
        allowed = selection.allowed
        return selection._replace(allowed=ties if allowed is None else ties[np.isin(ties, allowed)])

    @staticmethod
    def _by_length(known: UserHistories) -> Tensor:
        """The users whom the model can score; those of like length may share a batch."""
        scored = torch.nonzero(known.lengths).squeeze(1)
        return scored[known.lengths[scored].argsort(stable=True)]

    def known_until(self, moment: int | None = None) -> int | None:
        """T': the moment up to which the memory knows, in the unit of the run's times.

        Args:
            moment: Of a request; None for what is known at all.

        Returns:
            The first moment at which all that is stored is known, or that of the request if it is
            earlier; None without a memory.
        """
        return self.times.known_until(moment)

    def earliest_moment(self) -> int | None:
        """The first moment that a request may be of; None where no moment is read."""
        return self.times.earliest()

    def read_histories(
        self,
        path: str | Path,
        *,
        user: str | None = None,
        item: str | None = None,
        time: str | None = None,
        unit: str | None = None,
        time_format: str | None = None,
        encoding: str | None = None,
        skip_bad: bool = False,
    ) -> RawHistories:
        """Read a file of histories: CSV, Parquet or ``.inter``.

        Args:
            path: Written as the run's own files, or as the table that its data set was prepared
                from, but for what the others say.
            user: Column of users; the others as ``hm4sr prepare csv`` has them.
            item: Column of items.
            time: Column of times.
            unit: What times are that are no moments: ``s``, ``ms`` or ``date``.
            time_format: Form of dates.
            encoding: Of a CSV file.
            skip_bad: Leave wrong rows out; the log says how many, and why.

        Raises:
            DataError: If rows are wrong and may not be left out; the message has the first three.
        """
        said = {"user": user, "item": item, "time": time, "unit": unit}
        said |= {"time_format": time_format, "encoding": encoding}
        given = {name: value for name, value in said.items() if value is not None}
        columns = dataclasses.replace(self.columns, given=given)
        return read_history_file(Path(path), columns, skip_bad=skip_bad)

    def knows(self, items: Sequence[str]) -> Array:
        """Which raw item tokens the model knows. Shape ``[N]``, bool."""
        return self.items.numbers(items) > 0

    def _number(self, histories: Any) -> UserHistories:
        raw = histories
        if isinstance(histories, pd.DataFrame):
            raw = histories_from_frame(histories, self.columns)
        elif not isinstance(histories, RawHistories):
            raw = histories_from_lists(histories, self.columns.unit)
        return number_histories(raw, self.items.index, keep=self.run.config["rm_dup_inter"])

    @torch.no_grad()
    def _score(
        self,
        users: Tensor,
        batch: Interaction,
        taken: tuple[Tensor, Tensor] | None,
        selection: Selection,
        found: TopItems,
        *,
        n_rows: int,
    ) -> None:
        scores = self.model.full_sort_predict(batch).view(len(users), -1)[:, : self.n_items]
        self._twins.unite(scores)
        median = median_items(scores) if found.reasons is not None else None
        scores[:, 0] = -torch.inf
        if taken is not None:
            rows, items = taken
            scores[rows.to(self.device), items.to(self.device)] = -torch.inf
        values, items = selection.top(scores, found.k)
        if torch.isnan(values).any():
            raise TrainingError(
                "every score must be a number, but the model gave NaN; train it anew with a lower "
                "learning_rate"
            )
        numbers = items.cpu()
        found.put(users.numpy(), numbers.numpy(), values.float().cpu().numpy())
        if median is not None:
            found.explain(
                users.numpy(),
                find_reasons(self.model, batch, items, values, median, n_rows=n_rows),
                self._shares(batch, numbers),
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
        items = self.items.tokens[reasons.items]
        titles = self.items.titles(reasons.items)
        return NamedReasons(reasons.kinds, items, titles, reasons.shares)

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

    def _fall_back(self, users: Array, selection: Selection, found: TopItems) -> None:
        """The most frequent items, the same for all."""
        best = self._popular
        if selection.allowed is not None:
            best = best[np.isin(best, selection.allowed)]
        if not (len(users) and len(best)):
            return
        counts = torch.from_numpy(self._counts[best].astype(np.float32))[None].to(self.device)
        values, items = selection._replace(allowed=best).top(counts, found.k, is_chosen=True)
        shape = len(users), found.k
        found.put(
            users,
            np.broadcast_to(items.cpu().numpy(), shape),
            np.broadcast_to(values.cpu().numpy(), shape),
        )
