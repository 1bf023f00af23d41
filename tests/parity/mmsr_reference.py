"""MMSR for tests: a data set in memory, the model on it, and the authors' recorded numbers.

``fixtures/mmsr/README.md`` says how the numbers were recorded and what each array holds.
"""

from pathlib import Path

import numpy as np
import torch
from helpers import ArrayDataset, fill_parameters, model_config

from recbole_hm4sr.model.mmsr.model import MMSR

FIXTURES = Path(__file__).parent / "fixtures" / "mmsr"

# Options of ours for each configuration the authors' model was run with.
CONFIGURATIONS = {
    "L1_last_asy": {},
    "L2_last_asy": {"n_layers": 2},
    "L1_mean_asy": {"seq_pooling": "mean"},
    "L1_attention_asy": {"seq_pooling": "attention"},
    "L1_lastattention_asy": {"seq_pooling": "last_attention"},
    "L1_last_gate": {"fusion_type": "gate"},
    "L1_last_cat": {"fusion_type": "cat"},
    "L2_mean_gate": {"fusion_type": "gate", "n_layers": 2, "seq_pooling": "mean"},
}


def toy_dataset(n_items=13, modality_names=("a", "b"), width=6):
    """Features from a seeded generator; item 3 lacks the first modality, item 5 all others."""
    generator = np.random.default_rng(n_items)
    features = {}
    for name in modality_names:
        values = generator.normal(size=(n_items, width)).astype(np.float32)
        values[[0, 3 if name == modality_names[0] else 5]] = 0
        features[name] = values
    return ArrayDataset(n_items, features)


def build_model(cache, *, n_items=13, modality_names=("a", "b"), **options):
    """A small model in evaluation mode, without dropout, with weights large enough to show."""
    small = {"hidden_size": 16, "n_codes": 4, "code_cache_dir": str(cache)}
    small["MAX_ITEM_LIST_LENGTH"] = 50
    dropout = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
    config = model_config("MMSR", **{**small, **dropout, **options})
    model = MMSR(config, toy_dataset(n_items, modality_names))
    fill_parameters(model, scale=0.5)
    return model.eval()


def recorded(name):
    """The arrays of one fixture file."""
    with np.load(FIXTURES / f"{name}.npz", allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def recorded_batch(k):
    """The recorded sequences and targets, under RecBole's names."""
    graph = recorded(f"graph_k{k}")
    return {
        "item_id_list": torch.from_numpy(graph["item_seq"]),
        "item_length": torch.from_numpy(graph["seq_len"]),
        "item_id": torch.from_numpy(graph["target"].astype(np.int64)),
    }


def recorded_links(k):
    """The recorded links in the model's form: ``[I, 2, k]``, counted from 1."""
    graph = recorded(f"graph_k{k}")
    return torch.from_numpy(np.stack([graph["link_A"], graph["link_B"]], axis=1) + 1)


def build_recorded_model(cache, k, tag="L1_last_asy", **options):
    """Our model with the parameters of the authors' model."""
    graph = recorded(f"graph_k{k}")
    given = {"n_codes": int(graph["n_codes"]), "n_links": k, "MAX_ITEM_LIST_LENGTH": 10}
    model = build_model(
        cache, n_items=int(graph["n_items"]), **{**given, **CONFIGURATIONS[tag], **options}
    )
    values = {
        name[2:]: torch.from_numpy(value)
        for name, value in recorded(f"model_k{k}").items()
        if name.startswith("p_")
    }
    state = our_names(values, n_items=model.n_items, n_codes=given["n_codes"])
    state["code_links"] = recorded_links(k)
    wanted = model.state_dict()
    assert wanted.keys() <= state.keys()
    model.load_state_dict({name: state[name] for name in wanted})
    return model


def our_names(official, *, n_items, n_codes):
    """Arrays under the authors' parameter names, as our parameters; those we lack are left out."""
    rows = official["embedding.weight"]
    items, first, second = rows.split([n_items, n_codes, n_codes])
    no_code = torch.zeros_like(rows[:1])
    vectors = [official[f"local_agg.a_params.{relation}"].mT for relation in range(4)]
    ours = {
        "item_embedding.weight": items,
        "code_embeddings.0": torch.cat([no_code, first]),
        "code_embeddings.1": torch.cat([no_code, second]),
        "position_embedding.weight": official["pos_embedding.weight"][:10],
        "node_encoder.type_embedding": official["node_type_embedding.weight"][1:],
        "node_encoder.input_projection": official["w_pos_type"],
        "dual_attention.query_projection": official["local_agg.W_Q"][1:],
        "dual_attention.relation_vectors": torch.cat(vectors),
    }
    renamed = {
        "local_agg.projection.0": "dual_attention.gate.hidden",
        "local_agg.projection.2": "dual_attention.gate.score",
        "local_agg.global_local_projection.0": "dual_attention.global_gate.hidden",
        "local_agg.global_local_projection.2": "dual_attention.global_gate.score",
        "local_agg.cat_projection": "dual_attention.cat_projection",
        "glu1": "readout.local",
        "glu2": "readout.context",
        "projection.0": "readout.gate.hidden",
        "projection.2": "readout.gate.score",
    }
    for theirs, mine in renamed.items():
        for part in ("weight", "bias"):
            if f"{theirs}.{part}" in official:
                ours[f"{mine}.{part}"] = official[f"{theirs}.{part}"]
    if "w_1" in official:
        ours["readout.position_aware.projection"] = official["w_1"]
        ours["readout.score.weight"] = official["w_2"].mT
    return ours
