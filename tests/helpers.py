"""What several tests build: settings and data sets without files, weights without RNG."""

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from recbole_hm4sr.config.compose import properties_dir, read_yaml
from recbole_hm4sr.data.features import AlignedFeatures
from recbole_hm4sr.layers.losses import PlaceholderPlan
from recbole_hm4sr.model.hm4sr import batch as hm4sr_batch
from recbole_hm4sr.model.registry import find_model

RECBOLE_NAMES = {
    "USER_ID_FIELD": "user_id",
    "ITEM_ID_FIELD": "item_id",
    "TIME_FIELD": "timestamp",
    "LIST_SUFFIX": "_list",
    "ITEM_LIST_LENGTH_FIELD": "item_length",
    "NEG_PREFIX": "neg_",
    "device": torch.device("cpu"),
}

# Trained before one moment, tested on the first item of each later visit.
LATER_VISITS = {
    "split": {"GT": [0.6, 0.2, 0.2]},
    "targets": "visits",
    "group_by": None,
    "order": "TO",
    "mode": "full",
}


def model_config(model="HM4SR", **overrides):
    """The settings a model reads, as RecBole's ``Config`` would hold them."""
    values = find_model(model).settings_class.defaults()
    path = properties_dir() / "model" / f"{model}.yaml"
    values |= read_yaml(path) if path.is_file() else {}
    return {**RECBOLE_NAMES, "MAX_ITEM_LIST_LENGTH": 10, **values, **overrides}


@dataclass
class ArrayDataset:
    """The part of ``MultiModalSequentialDataset`` that a model reads, over arrays."""

    n_items: int
    features: dict = field(default_factory=dict)
    flags: np.ndarray | None = None
    gap: int = 10**7
    origin: int = 0
    timestamp_unit: str = "s"

    @property
    def modality_names(self):
        return tuple(self.features)

    def num(self, name):
        return self.n_items

    def modality(self, name):
        values = np.asarray(self.features[name])
        rows = np.where(values.any(axis=1), np.arange(len(values)), -1)
        return AlignedFeatures(values, rows, "", "test")

    def categories(self):
        if self.flags is None:
            return np.zeros((self.n_items, 0), dtype=np.uint8), ()
        return self.flags, tuple(str(number) for number in range(self.flags.shape[1]))

    def longest_gap(self):
        return self.gap

    def first_time(self):
        return self.origin

    def same_targets(self):
        return None


def replace_at(monkeypatch, chosen):
    """Make placeholders of certain tokens, in place of drawn ones.

    ``chosen`` takes the packing and returns True where a token is replaced.
    """

    def plan(packing, *_, **__):
        # Each token is a group of its own: nothing is exchanged.
        return PlaceholderPlan(
            torch.arange(len(packing.sequence)), chosen(packing).nonzero().squeeze(1)
        )

    monkeypatch.setattr(hm4sr_batch, "plan_placeholders", plan)


def fill_parameters(module, scale=0.3):
    """Set parameter number i to a sine of its own frequency: no RNG, every path shows."""
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters(), start=1):
            places = torch.arange(parameter.numel(), dtype=torch.float64)
            values = scale * torch.sin(places * (1 + 1 / math.sqrt(number + 1)) + number)
            parameter.copy_(values.view(parameter.shape))


def assert_close(actual, expected, tolerance):
    """Equal within a tolerance, relative to the largest expected entry where that exceeds 1."""
    actual, expected = torch.as_tensor(actual).detach(), torch.as_tensor(expected).detach()
    assert actual.shape == expected.shape
    bound = tolerance * max(1.0, expected.abs().max().item())
    difference = (actual - expected).abs().max().item()
    assert difference <= bound, f"differs by {difference:.3g}, allowed {bound:.3g}"


class count_operators(TorchDispatchMode):  # noqa: N801  # read as a function
    """Counts what torch computes meanwhile, by the operators' names without overload.

    ``index`` and ``index_put_`` by flags count as ``index by flags``: how many flags are set is
    asked of the device, as ``nonzero`` does.
    """

    def __enter__(self):
        self.counts = Counter()
        super().__enter__()
        return self.counts

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().split("::")[1].split(".")[0]
        if name in ("index", "index_put_", "index_put", "_index_put_impl_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        ):
            name = "index by flags"
        self.counts[name] += 1
        return func(*args, **(kwargs or {}))
