r"""Loaders: batches that are cut from the histories when they are asked for.

:func:`make_loaders` gives any sequential model of RecBole the batches that RecBole's own
preparation would, as ordinary ``Interaction``\ s.

RecBole turns a history of n into n − 1 samples that each encode their prefix anew. A causal encoder
gives the output of every prefix in one pass: the same targets for a fraction of the work. Between
the two: an epoch shows a history several times, and each pass trains a share of its targets, so
that a batch has targets of more users (:class:`SequenceTrainDataLoader`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import (
    FullSortEvalDataLoader,
    NegSampleEvalDataLoader,
    TrainDataLoader,
)
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from recbole.data.transform import construct_transform
from recbole.sampler import RepeatableSampler
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from recbole_hm4sr.data.histories import HistorySamples, cut_rows
from recbole_hm4sr.data.seen import FIRST_POSITION, READS_FIRST_POSITION

TARGET_LIST = "target_list"


def make_loaders(config: Any, dataset: Any, parts: Sequence[Any]) -> tuple[Any, Any, Any]:
    """The loaders of training, validation and test.

    Args:
        config: RecBole ``Config``.
        dataset: The whole data set, by whose items negatives are drawn.
        parts: What its ``build`` returned.
    """
    train, valid, test = parts
    return (
        make_train_loader(config, dataset, train),
        _make_eval_loader(config, dataset, valid, "valid"),
        _make_eval_loader(config, dataset, test, "test"),
    )


def make_train_loader(config: Any, dataset: Any, part: Any) -> Any:
    """The loader of a training part.

    Args:
        config: RecBole ``Config``.
        dataset: The whole data set, by whose items negatives are drawn.
        part: Its training part.
    """
    if config["train_mode"] == "sequence":
        return SequenceTrainDataLoader(
            config, part, shuffle=config["shuffle"], passes=config["passes_per_epoch"]
        )
    sampler = _make_sampler(config, dataset, "train")
    return PrefixTrainDataLoader(config, part, sampler, shuffle=config["shuffle"])


def make_ranking_loader(config: Any, part: Any) -> Any:
    """The loader of a part whose targets are ranked among all items."""
    return FullEvalDataLoader(config, part, None, shuffle=False)


def _make_eval_loader(config: Any, dataset: Any, part: Any, phase: str) -> Any:
    is_full = config["eval_args"]["mode"][phase] == "full"
    loader_class = FullEvalDataLoader if is_full else SampledEvalDataLoader
    return loader_class(config, part, _make_sampler(config, dataset, phase), shuffle=False)


def _make_sampler(config: Any, dataset: Any, phase: str) -> Any:
    """RecBole's sampler of the negatives of a part; None where it has none."""
    distribution = config[f"{phase}_neg_sample_args"]["distribution"]
    if distribution == "none":
        return None
    training = config["train_neg_sample_args"]
    # As RecBole does: where training draws negatives, its exponent is that of the others too.
    alpha = training["alpha"] if training["distribution"] != "none" else 1.0
    return _NegativeSampler(["train", "valid", "test"], dataset, distribution, alpha).set_phase(
        phase
    )


class _NegativeSampler(RepeatableSampler):  # type: ignore[misc, unused-ignore]
    """RecBole's sampler, which makes an empty set a user and replaces it before it reads one."""

    def get_used_ids(self) -> "np.ndarray[Any, Any]":
        """Nothing: each call to sample brings its own."""
        return np.empty(0, dtype=object)


class _SampleNumbers(Dataset[int]):
    """The numbers of all samples as torch's ``DataLoader`` reads them: a batch is its numbers."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> int:
        return index

    def __getitems__(self, indices: list[int]) -> list[int]:
        return indices


class _LeanDataLoader(AbstractDataLoader):  # type: ignore[misc, unused-ignore]
    """RecBole's loader that holds nothing for each sample.

    Stands before ``AbstractDataLoader`` in the order of the classes below, so that theirs call this
    constructor in place of its: that one hands torch ``list(range(n))``, 36 bytes a sample and a
    look-up for each sample of a batch. The batches, their order and their random numbers are the
    same.
    """

    def __init__(self, config: Any, dataset: Any, sampler: Any, *, shuffle: bool = False) -> None:
        self.shuffle = shuffle
        self.config = config
        self._dataset = dataset
        self._sampler = sampler
        self._batch_size = self.step = self.model = None
        self._init_batch_size_and_step()
        self.generator = torch.Generator()
        self.generator.manual_seed(config["seed"])
        self.transform = construct_transform(config)
        DataLoader.__init__(
            self,
            dataset=_SampleNumbers(self.sample_size),
            batch_size=self.step,
            collate_fn=self.collate_fn,
            num_workers=config["worker"],
            shuffle=shuffle,
            generator=self.generator,
        )


class PrefixTrainDataLoader(TrainDataLoader, _LeanDataLoader):  # type: ignore[misc, unused-ignore]
    """Training samples, each a target and the window before it, with negatives if asked for."""


class FullEvalDataLoader(FullSortEvalDataLoader, _LeanDataLoader):  # type: ignore[misc, unused-ignore]
    """Samples to be ranked among all items."""


class SampledEvalDataLoader(NegSampleEvalDataLoader, _LeanDataLoader):  # type: ignore[misc, unused-ignore]
    """Samples to be ranked among drawn items."""


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


class SequenceTrainDataLoader(_LeanDataLoader):  # type: ignore[misc, unused-ignore]
    """Batches of segments, with as many targets a step as ``train_batch_size`` samples have.

    A batch holds RecBole's columns of item and time lists and lengths, and ``target_list``: the
    item after each position, 0 where none is trained. Shape ``[B, L]``, int64. Packed models get
    ``first_position`` too: where in the flat histories a window begins. Shape ``[B]``, int64.

    Args:
        config: RecBole ``Config``.
        dataset: Training split of a ``MultiModalSequentialDataset``.
        shuffle: Whether to shuffle the passes before each epoch.
        passes: Over a segment per epoch, or as many as it has targets if that is less. Its targets
            are dealt out to its passes in turn; a pass ends with its last target's history. 1
            trains all targets at once; as many as a segment can have targets, one at a time, as
            RecBole's samples do.
    """

    def __init__(self, config: Any, dataset: Any, *, shuffle: bool, passes: int = 1) -> None:
        samples = dataset.inter_feat
        self._max_length = config["MAX_ITEM_LIST_LENGTH"]
        self._segments = cut_segments(samples, self._max_length)
        is_target = torch.zeros(len(samples.histories) + 1, dtype=torch.bool)
        is_target[samples.targets] = True
        so_far = is_target.cumsum(0, dtype=torch.int32)
        before = so_far[self._segments.first_targets - 1]
        of_segment = (so_far[self._segments.ends] - before).clamp(max=passes).long()
        self._segment_of_pass = torch.arange(len(before)).repeat_interleave(of_segment)
        self._first_pass = of_segment.cumsum(0) - of_segment
        self._passes = passes
        # Targets count on through all segments, so a segment's begin at any turn.
        self._first_turn = (before + 1) % passes
        self._turn = (so_far % passes).short().masked_fill_(~is_target, -1)
        self.sample_size = len(self._segment_of_pass)
        self._targets_per_pass = len(samples) / self.sample_size
        super().__init__(config, dataset, None, shuffle=shuffle)

    def _init_batch_size_and_step(self) -> None:
        self.step = max(1, round(self.config["train_batch_size"] / self._targets_per_pass))
        self.set_batch_size(self.step)

    def collate_fn(self, index: Any) -> Interaction:
        """The passes of the given numbers, padded on the right."""
        dataset, histories = self._dataset, self._dataset.inter_feat.histories
        numbers = torch.as_tensor(index)
        segments = self._segment_of_pass[numbers]
        begins, ends = self._segments.begins[segments], self._segments.ends[segments]
        length, steps = self._max_length, torch.arange(self._max_length)
        turns = self._first_turn[segments] + numbers - self._first_pass[segments]
        turns = (turns % self._passes)[:, None]
        trained = cut_rows(self._turn, begins + 1, length) == turns  # [B, L]
        trained &= steps < (ends - begins)[:, None]
        trained &= steps >= (self._segments.first_targets[segments] - begins - 1)[:, None]
        lengths = (trained * (steps + 1)).amax(dim=1)
        outside = steps >= lengths[:, None]
        items = histories.columns[dataset.iid_field]
        times = histories.columns[dataset.time_field]
        return Interaction(
            {
                **({FIRST_POSITION: begins} if self.config[READS_FIRST_POSITION] else {}),
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
