"""What a packed model has of a memory: its arrays, its scorer, its views, its weight beside it.

Without a memory (``memory: none``) all of this is as if it were not there.
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_hm4sr.layers.memory_scorer import MemoryScorer
from recbole_hm4sr.layers.scorers import InnerProducts, Scorer, UserRows
from recbole_hm4sr.model.batch_reader import BatchReader
from recbole_hm4sr.model.capabilities import View
from recbole_hm4sr.model.dense_weight import DenseWeight
from recbole_hm4sr.model.memory import (
    build_memory,
    build_memory_scorer,
    gap_in_ticks,
    memory_arrays,
)
from recbole_hm4sr.model.refresh import refreshes
from recbole_hm4sr.model.sum_of_parts import SumOfParts
from recbole_hm4sr.parallel.shards import Shards

Array = np.ndarray[Any, Any]
# The weights of a memory learn so many times as fast as all others.
_FAST = 10


class WithMemory(SumOfParts):
    """Recommender whose scores may be those of a dense part and of a memory.

    Attributes:
        settings: With those of :class:`~recbole_hm4sr.model.packed_settings.PackedTraining`.
        modalities: Names of the modalities that it reads.
        timestamp_unit: ``s`` or ``ms``.
        scorer: Makes scores.
        arrange: Arranges batches; it knows the requests.
        dense_weight: How much the dense part counts in evaluation; only with a memory.
        shards: Which items this process holds.
    """

    settings: Any
    modalities: tuple[str, ...]
    timestamp_unit: str
    scorer: Scorer
    arrange: BatchReader
    shards: Shards

    def read_memory(self, config: Any, dataset: Any) -> None:
        """Read the memory's arrays, if the settings ask for one.

        Args:
            config: RecBole ``Config``.
            dataset: Training split of a ``MultiModalSequentialDataset``, or what was kept of it.
        """
        self.memory_arrays: dict[str, Array] = {}
        if self.settings.memory != "events":
            return
        self._learning_rate: float = config["learning_rate"]
        self.memory_arrays = memory_arrays(
            dataset, self.settings, self.modalities, in_files=self.shards.is_split
        )
        self.dense_weight = DenseWeight(
            self.settings.dense_weights,
            len(refreshes(self.settings.memory_refresh)),
        )

    def make_scorer(self, dataset: Any) -> Scorer:
        """What makes scores: inner products, and the memory where there is one."""
        if not self.memory_arrays:
            return InnerProducts()
        return build_memory_scorer(
            self.memory_arrays,
            self.settings,
            modalities=self.modalities,
            unit=self.timestamp_unit,
            gap=gap_in_ticks(dataset),
            shards=self.shards,
        )

    def make_memory_whole(self) -> None:
        """Hold what the memory knows of all items, where processes have shared them."""
        if isinstance(self.scorer, MemoryScorer):
            memory = build_memory(
                self.memory_arrays,
                self.settings,
                modalities=self.modalities,
                unit=self.timestamp_unit,
            )
            self.scorer.memory = memory.to(self.scorer.alpha)

    @property
    def reads_request_time(self) -> bool:
        """Whether a score depends on when it is asked for: on a row's own time."""
        return self.settings.memory == "events" and self.settings.request_time == "target"

    def views(self) -> tuple[View, ...]:
        """With a memory, one for each value of ``memory_refresh`` where there are several."""
        requests, several = self.arrange.requests, refreshes(self.settings.memory_refresh)
        return () if requests is None or len(several) < 2 else requests.views(several)

    @property
    def known_until(self) -> int | None:
        """The first moment at which all that its memory holds was known, in the run's unit.

        None without a memory.
        """
        return int(self.memory_arrays["clock"][2]) if self.memory_arrays else None

    def row_keys(self) -> dict[str, Array]:
        """What a value of the dense part's weight is for: a view, by its name."""
        if not self.memory_arrays:
            return {}
        names = np.array(refreshes(self.settings.memory_refresh), dtype=np.str_)
        return dict.fromkeys(("dense_weight.values", "dense_weight.is_chosen"), names)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The weights of a memory learn ten times as fast as all others."""
        scorer = self.scorer
        fast = list(scorer.parameters()) if isinstance(scorer, MemoryScorer) else []
        if not fast:
            return [{"params": list(self.parameters())}]
        known = set(map(id, fast))
        rest = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return [{"params": rest}, {"params": fast, "lr": _FAST * self._learning_rate}]

    def rows_to_score(self, encoded: Any) -> UserRows:
        """The rows of a batch as the scorer reads them.

        In training some are without their dense part (``dense_dropout``): the weights of the memory
        then learn to rank by themselves. In evaluation the dense part has the weight that
        validation chose.

        Args:
            encoded: Of :meth:`encode`.
        """
        users, requests = encoded.users, encoded.batch.requests
        if requests is None:
            return users
        until = requests.moments
        if encoded.batch.targets is None and self.arrange.requests is not None:  # not in training
            until = self.arrange.requests.known_until(until)
        users = users.with_side(**requests._asdict(), known_until=until)
        share, vectors = self.settings.dense_dropout, users.vectors
        if not self.training:
            return users._replace(vectors=vectors * self.weight_of_dense_part().to(vectors.dtype))
        if not share:
            return users
        draw = torch.rand(len(vectors), 1, 1, device=vectors.device)
        return users._replace(vectors=vectors * (draw >= share).to(vectors.dtype))

    def weight_of_dense_part(self) -> Tensor:
        """How much the dense part counts in evaluation. A scalar."""
        return self.dense_weight.values[self._view()]

    def removable_parts(self) -> tuple[View, ...]:
        """The dense part and the kinds of relations; none without a memory."""
        scorer = self.scorer
        if not isinstance(scorer, MemoryScorer):
            return ()
        kinds = scorer.kinds().items()
        return (
            View("dense part", self._without_dense_part),
            *(View(kind, partial(scorer.without, numbers)) for kind, numbers in kinds),
        )

    @contextlib.contextmanager
    def _without_dense_part(self) -> Iterator[None]:
        kept = self.dense_weight.values.clone()
        self.dense_weight.values.zero_()
        try:
            yield
        finally:
            self.dense_weight.values.copy_(kept)

    def _view(self) -> int:
        """Number of the view in which it is measured; served is the first."""
        several, requests = refreshes(self.settings.memory_refresh), self.arrange.requests
        assert requests is not None
        is_served = requests.log is None
        return 0 if is_served else several.index(requests.refresh)

    def choices(self) -> tuple[View, ...]:
        """What training cannot tell: how much the dense part counts beside a memory, in a view."""
        return () if self.arrange.requests is None else self.dense_weight.choices(self._view())

    def choose(self, name: str) -> None:
        """Keep one of the choices of the present view, by its name."""
        self.dense_weight.choose(self._view(), name)

    def history_parts(self, interaction: Interaction, items: Tensor) -> Tensor | None:
        """What the memory says of each of the last items, with ``[B, C]`` items: ``[B, C, K]``.

        None without a memory.
        """
        if not isinstance(self.scorer, MemoryScorer):
            return None
        users, catalogue = self.ask(interaction)
        return catalogue.by_history_item(users, items).sum(dim=2)
