"""What the parity tests of the multi-modal models share: fixtures, batches, checks."""

import re
from pathlib import Path

import numpy as np
import torch
from helpers import assert_close
from recbole.data.interaction import Interaction

from recbole_hm4sr.data.loaders import TARGET_LIST
from recbole_hm4sr.layers.catalogue import Catalogue

TOLERANCE = 1e-9
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}


class Numbers(dict):
    """The arrays of a fixture; those of a section without its name by :meth:`under`."""

    def under(self, prefix):
        return Numbers({k[len(prefix) :]: v for k, v in self.items() if k.startswith(prefix)})


def load(name):
    path = Path(__file__).parent / "fixtures" / "zoo" / f"{name}.npz"
    with np.load(path) as archive:
        return Numbers({key: torch.from_numpy(archive[key]) for key in archive.files})


def interaction(numbers, order=slice(None), padding=0):
    """The recorded batch, padded on the right, in some order and with more padding."""
    items = numbers["in/item_seq"][order]
    items = torch.cat([items, items.new_zeros(len(items), padding)], dim=1)
    return Interaction(
        {
            "item_id_list": items,
            "item_length": numbers["in/item_len"][order],
            "timestamp_list": torch.zeros_like(items),
            "item_id": numbers["in/target"][order],
        }
    )


def translated(values, names):
    """Values by our names, from those under the authors'; without what is not there.

    Args:
        values: By their names.
        names: Ours to theirs: modules, each with its leaves.
    """
    return {
        f"{ours}.{key[len(theirs) + 1 :]}": value
        for ours, theirs in names.items()
        for key, value in values.items()
        if key.startswith(f"{theirs}.") and "." not in key[len(theirs) + 1 :]
    }


def recbole_layers(n_layers=2, prefix="trm_encoder.layer", attention="multi_head_attention"):
    """Ours to theirs of a RecBole encoder."""
    parts = {
        "attention.query": f"{attention}.query",
        "attention.key": f"{attention}.key",
        "attention.value": f"{attention}.value",
        "attention.output": f"{attention}.dense",
        "attention_norm": f"{attention}.LayerNorm",
        "feed_forward.inner": "feed_forward.dense_1",
        "feed_forward.output": "feed_forward.dense_2",
        "feed_forward.norm": "feed_forward.LayerNorm",
    }
    return {
        f"encoder.layers.{layer}.{ours}": f"{prefix}.{layer}.{theirs}"
        for layer in range(n_layers)
        for ours, theirs in parts.items()
    }


def count_layers(numbers):
    """Layers of the recorded encoder."""
    found = {re.search(r"(?:blocks|layer)\.(\d+)\.", name) for name in numbers}
    return len({match[1] for match in found if match})


def lab_layers(n_layers=2):
    """Ours to theirs of the encoder of MoRec and IISAN, its inputs included."""
    root = "user_encoder.transformer_encoder"
    parts = {
        "attention.query": "multi_head_attention.w_Q",
        "attention.key": "multi_head_attention.w_K",
        "attention.value": "multi_head_attention.w_V",
        "attention.output": "multi_head_attention.fc",
        "attention_norm": "multi_head_attention.layer_norm",
        "feed_forward.inner": "feed_forward.w_1",
        "feed_forward.output": "feed_forward.w_2",
        "feed_forward.norm": "feed_forward.layer_norm",
    }
    layers = {
        f"encoder.layers.{layer}.{ours}": f"{root}.transformer_blocks.{layer}.{theirs}"
        for layer in range(n_layers)
        for ours, theirs in parts.items()
    }
    inputs = {"position_embedding": "position_embedding", "input_norm": "layer_norm"}
    return layers | {ours: f"{root}.{theirs}" for ours, theirs in inputs.items()}


def as_the_authors_rank(model):
    """Let the padding be a candidate, as in the authors' code."""
    model.catalogue_of = lambda rows: Catalogue(
        rows, similarity=model.similarity, scorer=model.scorer
    )
    return model


def check_gradients(model, expected, *, without=()):
    """The gradient of each parameter; those that are not expected must be of ``without``."""
    for name, parameter in model.named_parameters():
        if name in without:
            assert parameter.grad is None or not parameter.grad.abs().max() > 1e-12, name
        else:
            assert_close(parameter.grad, expected[name], TOLERANCE)


def check_adam(model, batch, expected):
    """The losses before each of the recorded steps of Adam."""
    optimizer, found = torch.optim.Adam(model.parameters(), lr=1e-3), []
    for _ in expected:
        optimizer.zero_grad()
        loss = model.calculate_loss(batch)
        found.append(loss.item())
        loss.backward()
        optimizer.step()
    assert_close(torch.tensor(found).double(), expected, 1e-6)


def windows(items, mask, order=slice(None), padding=0):
    """Recorded windows, padded on the left with a last target each, as batches of this package.

    Args:
        items: Shape ``[B, L + 1]``.
        mask: 1 where a place is real. Shape ``[B, L]``.
        order: Of the rows.
        padding: More of it.
    """
    items, lengths = items[order], mask[order].sum(dim=1).long()
    rows = items.new_zeros(len(items), items.shape[1] - 1 + padding)
    targets = torch.zeros_like(rows)
    for row, n in enumerate(lengths.tolist()):
        rows[row, :n], targets[row, :n] = items[row, -n - 1 : -1], items[row, -n:]
    return Interaction(
        {
            "item_id_list": rows,
            "item_length": lengths,
            "timestamp_list": torch.zeros_like(rows),
            "item_id": items[:, -1],
            TARGET_LIST: targets,
        }
    )


@torch.no_grad()
def scores_of(model, batch):
    """Scores of a batch, which those of each of its rows alone equal."""
    scores = model.full_sort_predict(batch)
    alone = torch.cat([model.full_sort_predict(batch[[row]]) for row in range(len(scores))])
    assert_close(alone, scores, TOLERANCE)
    return scores
