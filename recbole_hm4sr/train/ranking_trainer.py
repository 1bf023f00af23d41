"""The half of a trainer that scores and ranks: RecBole's metrics, computed from ranks."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.trainer import Trainer as RecBoleTrainer
from torch import Tensor

from recbole_hm4sr.base import compat
from recbole_hm4sr.config.settings import RunSettings, read_settings
from recbole_hm4sr.data.packed import send_batch
from recbole_hm4sr.evaluate.ranks import Ranks, rank_samples, top_hits
from recbole_hm4sr.layers.softmax import HiddenPairs
from recbole_hm4sr.layers.transfer import send
from recbole_hm4sr.parallel import processes as distributed
from recbole_hm4sr.parallel.training import own_batches
from recbole_hm4sr.train.step_bar import StepBar


class RankingTrainer(RecBoleTrainer):  # type: ignore[misc, unused-ignore]
    """Evaluates a model as it is.

    Args:
        config: RecBole ``Config``.
        model: Any RecBole recommender.
    """

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        self.eval_collector = compat.make_collector(config)
        self.rank_history = read_settings(config, RunSettings).rank_history
        self.step_bar = StepBar()

    def measure(self, eval_data: Any, *, show_progress: bool = False) -> Any:
        """Metrics of a split by name; RecBole's evaluator computes them from the targets' ranks.

        Metrics that need more than ranks take RecBole's own way.

        Args:
            eval_data: RecBole's loader of the split.
            show_progress: Whether a bar counts the batches.
        """
        if not self.metrics_follow_from_ranks(eval_data):
            result = super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)
            return distributed.broadcast_object(result)
        ranks = self.rank(eval_data, show_progress=show_progress)
        return self.metrics(ranks.of(self.rank_history))

    def metrics_follow_from_ranks(self, eval_data: Any) -> bool:
        """Whether all metrics follow from ranks: not with drawn negatives, or ``ItemCoverage``."""
        more = ("rec.items", "rec.meanrank", "rec.score", "data.label")
        return isinstance(eval_data, FullSortEvalDataLoader) and not any(
            self.eval_collector.register.need(name) for name in more
        )

    @torch.no_grad()
    def rank(self, eval_data: Any, *, show_progress: bool = False) -> Ranks:
        """Rank the targets of a split by the model as it is.

        Args:
            eval_data: RecBole's full-sort loader of the split.
            show_progress: Whether a bar counts the batches.
        """
        self._prepare_to_score(eval_data._dataset)
        dataset = eval_data._dataset
        batches, own = own_batches(eval_data)
        samples = dataset.inter_feat
        with distributed.failing_together():
            ranks = rank_samples(
                self._full_sort_batch_eval,
                self.step_bar.over(batches, "evaluation", shown=show_progress),
                samples.select(samples.targets[own]),
                item_field=dataset.iid_field,
                rank=self._rank_batch if hasattr(self.model, "rank_targets") else None,
            )
        return Ranks(distributed.gather_rows(ranks.include), distributed.gather_rows(ranks.exclude))

    def _rank_batch(self, batch: Any, seen: HiddenPairs) -> tuple[Tensor, Tensor]:
        """Ranks of a batch by the model itself, which never holds all scores at once."""
        interaction, _, _, targets = batch
        targets, seen = send((targets, seen), self.device)
        ranks: tuple[Tensor, Tensor] = self.model.rank_targets(
            send_batch(interaction, self.device), targets, seen
        )
        return ranks

    @torch.no_grad()
    def score(self, eval_data: Any, rows: Sequence[int]) -> tuple[Any, Tensor]:
        """Score all items for some samples of a split, by the model as it is.

        Args:
            eval_data: RecBole's full-sort loader of the split.
            rows: Numbers of the samples.

        Returns:
            The batch on the model's device, and scores of shape ``[B, I]`` with the padding item
            at minus infinity.
        """
        self._prepare_to_score(eval_data._dataset)
        interaction, scores, _, _ = self._full_sort_batch_eval(eval_data.collate_fn(list(rows)))
        return send_batch(interaction, self.device), scores

    def _prepare_to_score(self, dataset: Any) -> None:
        self.model.eval()
        self.tot_item_num = dataset.item_num
        if self.item_tensor is None:  # for models that can only score pairs
            self.item_tensor: Any = dataset.get_item_feature().to(self.device)

    def metrics(self, ranks: Tensor) -> dict[str, float]:
        """Metrics of ranks, by RecBole's evaluator.

        Args:
            ranks: From 1. Shape ``[S]``, int64.
        """
        struct = copy.copy(self.eval_collector.data_struct)
        struct.set("rec.topk", top_hits(ranks, max(self.config["topk"])))
        return dict(self.evaluator.evaluate(struct))
