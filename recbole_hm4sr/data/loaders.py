"""Training on all positions of a history at once, instead of once for each prefix of it.

RecBole turns a history of n into n − 1 samples that each encode their prefix anew. A causal encoder
gives the output of every prefix in one pass: the same targets for a fraction of the work. Between
the two: an epoch shows a history several times, and each visit trains a share of its targets, so
that a batch has targets of more users.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_hm4sr.data.histories import HistorySamples, cut_rows
from recbole_hm4sr.data.seen import FIRST_POSITION

TARGET_LIST = "target_list"


@dataclass(frozen=True)
class Segments:
    """Pieces of histories, at most L interactions each, that together train every target once.

    Attributes:
        begins: Position of the first input. Shape ``[S]``, int64.
        ends: Position after the last input. Shape ``[S]``, int64.
        first_targets: Position of the first target to train. Shape ``[S]``, int64.
    """

    begins: Tensor
    ends: Tensor
    first_targets: Tensor


def cut_segments(samples: HistorySamples, max_length: int) -> Segments:
    """Cut the histories of a split into segments.

    A history of more than ``max_length`` inputs is cut; each later segment begins with half a
    segment of inputs whose targets are trained already, so that its first target has a history.

    Args:
        samples: Training split.
        max_length: L.
    """
    starts = samples.histories.starts[samples.targets].numpy()
    order = np.lexsort((samples.targets.numpy(), starts))
    starts, targets = starts[order], samples.targets.numpy()[order]
    is_last = np.append(starts[1:] != starts[:-1], True)
    starts, lasts = starts[is_last], targets[is_last]
    stride = max_length - max_length // 2
    more = np.maximum(0, -(-(lasts - starts - max_length) // stride))
    user = np.repeat(np.arange(len(starts)), more + 1)
    number = np.arange(len(user)) - np.repeat(np.cumsum(more + 1) - (more + 1), more + 1)
    ends = np.minimum(starts[user] + max_length + number * stride, lasts[user])
    begins = np.maximum(ends - max_length, starts[user])
    trained = starts[user] + max_length + (number - 1) * stride  # last target of the one before
    first_targets = np.where(number == 0, starts[user], trained) + 1
    return Segments(*(torch.from_numpy(x) for x in (begins, ends, first_targets)))


class SequenceTrainDataLoader(AbstractDataLoader):  # type: ignore[misc, unused-ignore]
    """Batches of segments, with as many targets a step as ``train_batch_size`` samples have.

    A batch holds RecBole's columns of item and time lists and lengths, and ``target_list``: the
    item after each position, 0 where none is trained. Shape ``[B, L]``, int64. With
    ``train_history: exclude`` also ``first_position``: where in the flat histories a window begins.
    Shape ``[B]``, int64.

    Args:
        config: RecBole ``Config``.
        dataset: Training split of a ``MultiModalSequentialDataset``.
        shuffle: Whether to shuffle the visits before each epoch.
        visits: Times an epoch shows a segment, or as often as it has targets if that is less. Its
            targets are dealt out to its visits in turn; a visit ends with its last target's
            history. 1 trains all targets at once; as many as a segment can have targets, one at a
            time, as RecBole's samples do.
    """

    def __init__(self, config: Any, dataset: Any, *, shuffle: bool, visits: int = 1) -> None:
        samples = dataset.inter_feat
        self._max_length = config["MAX_ITEM_LIST_LENGTH"]
        self._segments = cut_segments(samples, self._max_length)
        is_target = torch.zeros(len(samples.histories) + 1, dtype=torch.bool)
        is_target[samples.targets] = True
        so_far = is_target.cumsum(0, dtype=torch.int32)
        before = so_far[self._segments.first_targets - 1]
        of_segment = (so_far[self._segments.ends] - before).clamp(max=visits).long()
        self._segment_of_visit = torch.arange(len(before)).repeat_interleave(of_segment)
        self._first_visit = of_segment.cumsum(0) - of_segment
        self._visits = visits
        # Targets count on through all segments, so a segment's begin at any turn.
        self._first_turn = (before + 1) % visits
        self._turn = (so_far % visits).short().masked_fill_(~is_target, -1)
        self.sample_size = len(self._segment_of_visit)
        self._targets_per_visit = len(samples) / self.sample_size
        super().__init__(config, dataset, None, shuffle=shuffle)

    def _init_batch_size_and_step(self) -> None:
        self.step = max(1, round(self.config["train_batch_size"] / self._targets_per_visit))
        self.set_batch_size(self.step)

    def collate_fn(self, index: Any) -> Interaction:
        """The visits of the given numbers, padded on the right."""
        dataset, histories = self._dataset, self._dataset.inter_feat.histories
        numbers = torch.as_tensor(index)
        segments = self._segment_of_visit[numbers]
        begins, ends = self._segments.begins[segments], self._segments.ends[segments]
        length, steps = self._max_length, torch.arange(self._max_length)
        turns = self._first_turn[segments] + numbers - self._first_visit[segments]
        turns = (turns % self._visits)[:, None]
        trained = cut_rows(self._turn, begins + 1, length) == turns  # [B, L]
        trained &= steps < (ends - begins)[:, None]
        trained &= steps >= (self._segments.first_targets[segments] - begins - 1)[:, None]
        lengths = (trained * (steps + 1)).amax(dim=1)
        outside = steps >= lengths[:, None]
        items = histories.columns[dataset.iid_field]
        times = histories.columns[dataset.time_field]
        excludes_seen = self.config["train_history"] == "exclude"
        return Interaction(
            {
                **({FIRST_POSITION: begins} if excludes_seen else {}),
                dataset.item_id_list_field: cut_rows(items, begins, length).masked_fill_(
                    outside, 0
                ),
                dataset.timestamp_list_field: cut_rows(times, begins, length).masked_fill_(
                    outside, 0
                ),
                dataset.item_list_length_field: lengths,
                TARGET_LIST: cut_rows(items, begins + 1, length).masked_fill_(~trained, 0),
            }
        )
