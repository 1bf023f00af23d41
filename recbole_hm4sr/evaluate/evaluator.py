"""Scores, ranks and metrics of a model as it is: RecBole's evaluator computes every metric."""

import contextlib
import copy
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.interaction import Interaction
from recbole.evaluator import Evaluator as MetricEvaluator
from recbole.utils import EvaluatorType
from torch import Tensor

from recbole_hm4sr.base import compat
from recbole_hm4sr.data.packed import send_batch
from recbole_hm4sr.evaluate.alive import alive_since
from recbole_hm4sr.evaluate.ranks import Ranks, rank_samples, top_hits
from recbole_hm4sr.evaluate.step_bar import StepBar
from recbole_hm4sr.evaluate.ways import Setting, Way, encoded_once, entered
from recbole_hm4sr.layers.ranking import Alive
from recbole_hm4sr.layers.softmax import HiddenPairs
from recbole_hm4sr.layers.transfer import send
from recbole_hm4sr.parallel import processes
from recbole_hm4sr.parallel.rows import gather_rows
from recbole_hm4sr.parallel.shards import shards_of
from recbole_hm4sr.parallel.training import own_batches

Array = np.ndarray[Any, Any]
# What some metrics read besides ranks: of drawn negatives, of the whole list, of labels.
_BEYOND_RANKS = ("rec.items", "rec.meanrank", "rec.score", "data.label")

# As many say a difference of 2 % of NDCG@10 apart from none.
_SOME_SAMPLES = 4096


class Evaluator:
    """Evaluates a model as it is, on any split.

    Args:
        config: RecBole ``Config``.
        model: Any RecBole recommender; put into evaluation mode by each call that scores.
        train_data: The training loader: some metrics read how often items occur there.
        rank_history: Whether a user's history stays among the candidates in :meth:`measure`:
            ``include`` or ``exclude``.
        candidate_items: Which items a target is ranked among: ``all``, or those that were
            ``alive`` at its moment.
        candidates: Which items are candidates at all, shape ``[I]``, bool; None for all.
        step_bar: Counts the batches.
    """

    def __init__(
        self,
        config: Any,
        model: Any,
        train_data: Any,
        *,
        rank_history: str,
        candidate_items: str = "all",
        candidates: Array | None = None,
        step_bar: StepBar | None = None,
    ) -> None:
        self.rank_history = rank_history
        self._ranks_alive = candidate_items == "alive"
        self._candidates = candidates
        self._config = config
        self._model = model
        self._device = config["device"]
        self._step_bar = step_bar or StepBar()
        self._collector = compat.make_collector(config)
        self._collector.data_collect(train_data)
        self._metrics = MetricEvaluator(config)
        self._all_items: Any = None

    def measure(self, eval_data: Any) -> dict[str, float]:
        """Metrics of a split by name, under ``rank_history``.

        They are computed from the targets' ranks, or, where metrics need more than ranks, from the
        scores themselves; then every process scores all batches, and the first one's metrics hold.

        Args:
            eval_data: RecBole's loader of the split.

        Raises:
            TrainingError: If a score is NaN or a target's score is infinite.
        """
        return self._measure_in(eval_data, [()])[0]

    def validate(self, eval_data: Any, views: Sequence[Setting]) -> dict[str, dict[str, float]]:
        """Metrics of a split in several views of the model, each at its best choice.

        What a view leaves to validation (``choices()`` of the model) is chosen by ``valid_metric``
        on some samples, evenly between the first and the last, and kept in the model.

        Args:
            eval_data: RecBole's loader of the split.
            views: Of the model.

        Returns:
            Metrics by the name of the view.

        Raises:
            TrainingError: If a score is NaN or a target's score is infinite.
        """
        tried = [(view, choice) for view in views for choice in self._choices_in(view)]
        rows = self._some_rows(eval_data)
        measured = self._measure_in(eval_data, tried, rows)
        found = {}
        for view in views:
            own = [number for number, way in enumerate(tried) if way[0].name == view.name]
            if not own:
                continue
            best = max(own, key=lambda number: (self._merit(measured[number]), number))
            with view.entered():
                self._model.choose(tried[best][1].name)
            found[view.name] = measured[best]
        if rows is not None:  # the choices were made by a part
            found = {}
        rest = [view for view in views if view.name not in found]
        whole = self._measure_in(eval_data, [(view,) for view in rest])
        found.update({view.name: metrics for view, metrics in zip(rest, whole, strict=True)})
        return found

    def _choices_in(self, view: Setting) -> tuple[Setting, ...]:
        """What a view leaves to validation; of equal choices the last is taken."""
        if not hasattr(self._model, "choices"):
            return ()
        with view.entered():
            return tuple(self._model.choices())

    def _merit(self, metrics: dict[str, float]) -> float:
        """More is better."""
        value = metrics[self._config["valid_metric"].lower()]
        return value if self._config["valid_metric_bigger"] else -value

    def _some_rows(self, eval_data: Any) -> Tensor | None:
        """Numbers of the samples by which choices are made; None for all of them."""
        if not self.metrics_follow_from_ranks(eval_data):
            return None
        size = len(eval_data._dataset.inter_feat)
        if size <= _SOME_SAMPLES:
            return None
        return torch.from_numpy(np.linspace(0, size - 1, _SOME_SAMPLES).astype(np.int64))

    def _measure_in(
        self, eval_data: Any, ways: Sequence[Way], rows: Tensor | None = None
    ) -> list[dict[str, float]]:
        """Metrics of a split, or of some of its samples, in each of several ways to score."""
        if not ways:
            return []
        if self.metrics_follow_from_ranks(eval_data):
            ranks = self._rank_in(eval_data, ways, rows)
            measured = [self.metrics(of_way.under(self.rank_history)) for of_way in ranks]
        else:
            measured = []
            for way in ways:
                with entered(way):
                    measured.append(self._measure_scores(eval_data))
        of_first: list[dict[str, float]] = processes.broadcast_object(measured)
        return of_first

    def metrics_follow_from_ranks(self, eval_data: Any) -> bool:
        """Whether all metrics follow from ranks: not with drawn negatives, or ``ItemCoverage``."""
        return isinstance(eval_data, FullSortEvalDataLoader) and not any(
            self._collector.register.need(name) for name in _BEYOND_RANKS
        )

    @torch.no_grad()
    def rank(self, eval_data: Any) -> Ranks:
        """Rank the targets of a split. Several processes share the batches.

        Args:
            eval_data: RecBole's full-sort loader of the split.

        Raises:
            TrainingError: If a score is NaN or a target's score is infinite.
        """
        return self._rank_in(eval_data, [()])[0]

    @torch.no_grad()
    def _rank_in(
        self, eval_data: Any, ways: Sequence[Way], rows: Tensor | None = None
    ) -> list[Ranks]:
        """Rank the targets of a split, or of some of its samples, in each of several ways.

        A model that ranks by itself reads each batch once. Processes share all samples; some
        samples are ranked by each of them.
        """
        if not hasattr(self._model, "rank_targets") and len(ways) > 1:
            return [self._rank_in(eval_data, [way], rows)[0] for way in ways]
        if rows is None:
            batches, own, join = self._own_batches(eval_data)
            with processes.failing_together():
                bar = self._step_bar.over(batches, "evaluation")
                found = self._rank_batches(eval_data, bar, own, ways)
            return [Ranks(join(one.include), join(one.exclude)) for one in found]
        step = self._config["eval_batch_size"]
        some = (
            eval_data.collate_fn(rows[begin : begin + step].tolist())
            for begin in range(0, len(rows), step)
        )
        return self._rank_batches(eval_data, some, rows, ways)

    def _rank_batches(
        self, eval_data: Any, batches: Iterable[Any], rows: Any, ways: Sequence[Way]
    ) -> list[Ranks]:
        """Rank the targets of batches, which hold some samples of a split; a row for each way."""
        dataset, score = eval_data._dataset, self._prepare_to_score(eval_data)
        samples = dataset.inter_feat
        own = samples.select(samples.targets[rows])
        rank_own = functools.partial(
            rank_samples,
            score,
            batches,
            own,
            item_field=dataset.iid_field,
            time_field=dataset.time_field,
            since=self._candidates_since(dataset),
        )
        if hasattr(self._model, "rank_targets"):
            found = rank_own(rank=functools.partial(self._rank_batch, ways))
            rows_of_ways = zip(found.include, found.exclude, strict=True)
            return [Ranks(include, exclude) for include, exclude in rows_of_ways]
        with entered(ways[0]):
            return [rank_own()]

    def _candidates_since(self, dataset: Any) -> Tensor | None:
        """After which moment each item is a candidate; None where all always are."""
        if self._candidates is None and not self._ranks_alive:
            return None
        limits = np.iinfo(np.int64)
        since = np.full(dataset.item_num, limits.min)
        if self._ranks_alive:
            since = alive_since(dataset)
        if self._candidates is not None:
            since = np.where(self._candidates, since, limits.max)
        return torch.from_numpy(since)

    @torch.no_grad()
    def target_scores(self, eval_data: Any) -> Tensor:
        """The score of each target of a split. Several processes share the batches.

        Args:
            eval_data: RecBole's full-sort loader of the split.

        Returns:
            On the CPU. Shape ``[S]``.
        """
        self._prepare_to_score(eval_data)
        batches, _, join = self._own_batches(eval_data)
        scores = [torch.empty(0)]
        with processes.failing_together():
            for interaction, _, _, targets in self._step_bar.over(batches, "evaluation"):
                asked = send_batch(interaction, self._device)
                asked.update(
                    Interaction({self._config["ITEM_ID_FIELD"]: send(targets, self._device)})
                )
                scores.append(self._model.predict(asked).cpu())
        return join(torch.cat(scores))

    def _own_batches(
        self, eval_data: Any
    ) -> tuple[Iterable[Any], slice, Callable[[Tensor], Tensor]]:
        """The batches that this process ranks, their samples, and what joins all processes'.

        Processes that share the items rank every batch together.
        """
        if shards_of(self._model) is not None:
            return eval_data, slice(None), lambda found: found
        return *own_batches(eval_data), gather_rows

    def _rank_batch(
        self, ways: Sequence[Way], batch: Any, seen: HiddenPairs, alive: Alive | None
    ) -> tuple[Tensor, Tensor]:
        """Ranks of a batch by the model itself, which never holds all scores at once: ``[W, B]``.

        In several ways it is encoded once.
        """
        interaction, _, _, targets = batch
        targets, seen, alive = send((targets, seen, alive), self._device)
        asked, found = send_batch(interaction, self._device), []
        among = () if alive is None else (alive,)  # which a model of elsewhere may not take
        with encoded_once(self._model, asked) if len(ways) > 1 else contextlib.nullcontext():
            for way in ways:
                with entered(way):
                    found.append(self._model.rank_targets(asked, targets, seen, *among))
        include, exclude = (torch.stack(parts) for parts in zip(*found, strict=True))
        return include, exclude

    @torch.no_grad()
    def score(self, eval_data: Any, rows: Sequence[int]) -> tuple[Any, Tensor]:
        """Score all items for some samples of a split.

        Args:
            eval_data: RecBole's full-sort loader of the split.
            rows: Numbers of the samples.

        Returns:
            The batch on the model's device, and scores of shape ``[B, I]`` with the padding item
            at minus infinity.
        """
        score = self._prepare_to_score(eval_data)
        interaction, scores, _, _ = score(eval_data.collate_fn(list(rows)))
        return send_batch(interaction, self._device), scores

    def metrics(self, ranks: Tensor) -> dict[str, float]:
        """Metrics of ranks, by RecBole's evaluator.

        Args:
            ranks: From 1. Shape ``[S]``, int64.
        """
        struct = copy.copy(self._collector.data_struct)
        struct.set("rec.topk", top_hits(ranks, max(self._config["topk"])))
        return dict(self._metrics.evaluate(struct))

    @torch.no_grad()
    def _measure_scores(self, eval_data: Any) -> dict[str, float]:
        """Metrics of the scores themselves, as RecBole collects them."""
        score = self._prepare_to_score(eval_data)
        for batch in self._step_bar.over(eval_data, "evaluation"):
            interaction, scores, rows, items = score(batch)
            self._collector.eval_batch_collect(scores, interaction, rows, items)
        self._collector.model_collect(self._model)
        return dict(self._metrics.evaluate(self._collector.get_data_struct()))

    def _prepare_to_score(self, eval_data: Any) -> Callable[[Any], tuple[Any, Tensor, Any, Any]]:
        """The function that scores the batches of a loader; the model no longer trains."""
        self._model.eval()
        dataset = eval_data._dataset
        if not isinstance(eval_data, FullSortEvalDataLoader):
            return lambda batch: self._score_drawn(batch, dataset.item_num)
        if self._all_items is None:  # for models that can only score pairs
            self._all_items = dataset.get_item_feature().to(self._device)
        return lambda batch: self._score_all(batch, dataset.item_num)

    def _score_all(self, batch: Any, n_items: int) -> tuple[Any, Tensor, Any, Any]:
        """Scores of all items, padding at minus infinity. Shape ``[B, I]``."""
        interaction, _, rows, targets = batch
        sent = interaction.to(self._device)
        try:
            scores = self._model.full_sort_predict(sent)
        except NotImplementedError:
            pairs = sent.repeat_interleave(n_items)  # [B * I]
            pairs.update(self._all_items.repeat(len(interaction)))
            scores = self._score_pairs(pairs)
        scores = scores.view(-1, n_items)
        scores[:, 0] = -torch.inf
        return interaction, scores, rows, targets

    def _score_drawn(self, batch: Any, n_items: int) -> tuple[Any, Tensor, Any, Any]:
        """Scores of the targets and the negatives drawn for them, all others at minus infinity.

        For metrics of single scores (AUC, RMSE) the scores alone, shape ``[N]``.
        """
        interaction, rows, users, targets = batch
        scores = self._score_pairs(interaction.to(self._device))
        if self._config["eval_type"] == EvaluatorType.VALUE:
            return interaction, scores, users, targets
        items = interaction[self._config["ITEM_ID_FIELD"]]
        matrix = torch.full((int(users[-1]) + 1, n_items), -torch.inf, device=self._device)
        matrix[rows, items] = scores
        return interaction, matrix, users, targets

    def _score_pairs(self, pairs: Interaction) -> Tensor:
        """A score a row, ``eval_batch_size`` rows at a time. Shape ``[N]``."""
        size = self._config["eval_batch_size"]
        parts = [pairs[begin : begin + size] for begin in range(0, len(pairs), size)]
        scores = [torch.atleast_1d(self._model.predict(part)) for part in parts]
        return torch.cat(scores)
