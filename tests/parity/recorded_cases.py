"""Models in float64 on a fixed batch: the numbers that a change of structure may not move.

``python -m parity.recorded_cases`` (in ``tests/``) records them again. Do that only in a commit
that means to change them, and say so in CHANGELOG.md.
"""

import math
import zlib
from pathlib import Path

import numpy as np
import torch
from helpers import ArrayDataset, model_config
from logs import histories_in_order
from recbole.data.interaction import Interaction

from recbole_hm4sr.data.seen import FIRST_POSITION, mark_seen
from recbole_hm4sr.model.hm4sr.model import HM4SR
from recbole_hm4sr.model.mmsr.codes import ItemCodes
from recbole_hm4sr.model.mmsr.model import MMSR

FIXTURES = Path(__file__).parent / "fixtures" / "recorded"
N_ITEMS, LENGTH, N_ROWS = 23, 9, 7
DAY = 86400
SMALL = {
    "hidden_size": 8,
    "inner_size": 12,
    "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0,
    "MAX_ITEM_LIST_LENGTH": LENGTH,
}
NO_PARTS = {
    "use_interactive_moe": False,
    "use_temporal_moe": False,
    "id_contrastive_weight": 0,
    "category_prediction_weight": 0,
    "placeholder_weight": 0,
}
HM4SR_CASES = {
    "prefix": {"train_mode": "prefix"},
    "sequence": {"train_mode": "sequence"},
    "sequence-exclude": {"train_mode": "sequence", "train_history": "exclude"},
    "prefix-exclude": {"train_mode": "prefix", "train_history": "exclude"},
    "sequence-sampled": {"train_mode": "sequence", "n_negatives": 6},
    "prefix-sampled-exclude": {
        "train_mode": "prefix",
        "n_negatives": 6,
        "train_history": "exclude",
    },
    "dataset-days": {"train_mode": "sequence", "time_origin": "dataset", "time_scale": DAY},
    "no-modalities": {"train_mode": "sequence", "modalities": ()},
    "backbone-sequence": {"train_mode": "sequence", **NO_PARTS},
    "backbone-prefix-ids": {"train_mode": "prefix", "modalities": (), **NO_PARTS},
}
MMSR_CASES = {
    "released": {},
    "dense": {"graph_path": "dense"},
    "described": {"qkv_mode": "separate", "asy_second_phase": "from_homo"},
    "two-layers": {"n_layers": 2, "seq_pooling": "last_attention"},
    "no-modalities": {"modalities": ()},
}


def dataset(modalities=("text", "image")):
    """Items with two modalities, some rows missing, and four categories."""
    random = np.random.default_rng(11)
    features = {}
    for name, width in (("text", 5), ("image", 4)):
        values = random.normal(size=(N_ITEMS, width)).astype(np.float32)
        values[[0, 3]] = 0
        features[name] = values
    flags = (random.random((N_ITEMS, 4)) < 0.4).astype(np.uint8)
    flags[0] = 0
    chosen = {name: features[name] for name in modalities}
    return ArrayDataset(N_ITEMS, chosen, flags, origin=1_600_000_000)


def draw_items(random):
    """Items of all positions and one more, for the target of the last. ``[R, L + 1]``."""
    return torch.from_numpy(random.integers(1, N_ITEMS, (N_ROWS, LENGTH + 1)))


def seen_items():
    """The histories of the batch, laid flat."""
    items = draw_items(np.random.default_rng(12)).flatten()
    users = torch.arange(N_ROWS).repeat_interleave(LENGTH + 1)
    histories = histories_in_order(user=users, item=items, time=torch.arange(len(users)))
    return mark_seen(histories, "item")


def batch():
    """Histories of 1 to 9 items with repeats and ties, and the item after each position."""
    random = np.random.default_rng(12)
    lengths = torch.tensor([1, 3, 9, 6, 5, 2, 8])
    inside = torch.arange(LENGTH) < lengths[:, None]
    items = draw_items(random)
    gaps = torch.from_numpy(random.choice([0, 40, DAY, 90 * DAY], (N_ROWS, LENGTH)))
    following = items[:, 1:].masked_fill(~inside, 0)
    return Interaction(
        {
            "item_id_list": items[:, :-1].masked_fill(~inside, 0),
            "timestamp_list": (1_600_000_000 + gaps.cumsum(1)).masked_fill(~inside, 0),
            "item_length": lengths,
            "item_id": following.gather(1, lengths[:, None] - 1)[:, 0],
            "target_list": following,
            FIRST_POSITION: torch.arange(N_ROWS) * (LENGTH + 1),
        }
    )


def fill_by_name(model):
    """Set every parameter to a sine whose frequency follows from its name: no RNG, no order."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(0.3 * _sine(recorded_name(name), parameter))


def recorded_name(name):
    """The name that a parameter had when the numbers were recorded."""
    return name.replace(".attention_norm.", ".attention.norm.")


def _sine(name, tensor):
    number = 1 + zlib.crc32(name.encode()) % 1000
    steps = torch.arange(tensor.numel(), dtype=torch.float64)
    return torch.sin(steps * (1 + 1 / math.sqrt(number + 1)) + number).view(tensor.shape)


def coded_mmsr(config, data):
    """MMSR with codes that no clustering has to find."""
    codes = []
    for name in data.modality_names:
        random = np.random.default_rng(len(name))
        links = random.integers(0, 4, (N_ITEMS, config["n_links"]))
        links[[0, 3]] = -1
        codes.append(ItemCodes(links, random.normal(size=(4, config["hidden_size"]))))
    return MMSR(config, data, codes=codes)


def build(model, case):
    """A model of a case in float64, with every parameter filled."""
    cases, cls = (HM4SR_CASES, HM4SR) if model == "HM4SR" else (MMSR_CASES, coded_mmsr)
    options = dict(cases[case])
    data = dataset(options.pop("modalities", ("text", "image")))
    small = {k: v for k, v in SMALL.items() if model == "HM4SR" or k != "inner_size"}
    data.seen_items = seen_items
    if model == "HM4SR" and options.get("n_negatives"):
        data.target_counts = lambda: torch.arange(N_ITEMS)
    built = cls(model_config(model, **small, **options), data).double()
    fill_by_name(built)
    return built


def outcome(model):
    """Losses, scores, and two numbers of every gradient: its norm, and its product with a sine."""
    torch.manual_seed(5)  # placeholders and sampled negatives
    named = getattr(model, "named_losses", None)
    losses = named(batch()) if named else {"loss": model.calculate_loss(batch())}
    torch.stack(list(losses.values())).sum().backward()
    found = {f"loss/{name}": value.detach().numpy() for name, value in losses.items()}
    for name, parameter in model.named_parameters():
        name = recorded_name(name)
        if parameter.grad is not None:
            product = (parameter.grad * _sine("probe " + name, parameter)).sum()
            found[f"grad/{name}"] = torch.stack([parameter.grad.norm(), product]).numpy()
    with torch.no_grad():
        found["scores"] = model.eval().full_sort_predict(batch()).numpy()
    return found


def record():
    """Write what the models compute now."""
    for model, cases in (("HM4SR", HM4SR_CASES), ("MMSR", MMSR_CASES)):
        arrays = {}
        for case in cases:
            found = outcome(build(model, case))
            arrays[f"{case}/names"] = np.array(list(found))
            arrays[f"{case}/sizes"] = np.array([value.size for value in found.values()])
            arrays[f"{case}/values"] = np.concatenate([value.ravel() for value in found.values()])
        np.savez_compressed(FIXTURES / f"{model.lower()}.npz", **arrays)


def read_recorded(model, case):
    """What :func:`outcome` gave when it was recorded, each value flat."""
    with np.load(FIXTURES / f"{model.lower()}.npz") as archive:
        names, sizes, values = (archive[f"{case}/{x}"] for x in ("names", "sizes", "values"))
    return dict(zip(names.tolist(), np.split(values, sizes.cumsum()[:-1]), strict=True))


if __name__ == "__main__":
    record()
