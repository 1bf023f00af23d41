"""DIF-SR and NOVA against numbers recorded from the authors' modules (fixtures/zoo)."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import ArrayDataset, assert_close, model_config
from recbole.data.interaction import Interaction

from recbole_hm4sr.data.attributes import ItemAttribute
from recbole_hm4sr.layers.attention import StepContext
from recbole_hm4sr.layers.blocks import FeedForward, PostNormBlock, SequenceEncoder
from recbole_hm4sr.layers.fusion import build_fusion
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.padded_rows import PaddedRows
from recbole_hm4sr.model.registry import find_model
from recbole_hm4sr.model.side.side_information import FusedInputs, FusedScores

pytestmark = pytest.mark.parity
ZOO = Path(__file__).parent / "fixtures" / "zoo"
TOLERANCE = 1e-9
N_ITEMS, LENGTH, SIZE = 29, 10, 8
MODELS = ["DIFSR", "NOVA"]
ORDERS = pytest.mark.parametrize(
    "order", [slice(None), torch.arange(11, -1, -1)], ids=["", "reversed"]
)

BLOCK = {
    "attention.query": "multi_head_attention.query",
    "attention.key": "multi_head_attention.key",
    "attention.value": "multi_head_attention.value",
    "attention.output": "multi_head_attention.dense",
    "attention_norm": "multi_head_attention.LayerNorm",
    "feed_forward.inner": "feed_forward.dense_1",
    "feed_forward.output": "feed_forward.dense_2",
    "feed_forward.norm": "feed_forward.LayerNorm",
}
GATE = {
    "attention.fusion.inner": "multi_head_attention.fusion_layer.projection.0",
    "attention.fusion.energy": "multi_head_attention.fusion_layer.projection.2",
}
FUSIONS = {"gate": GATE, "concat": {"attention.fusion": "multi_head_attention.fusion_layer"}}
STREAMS = {
    f"attention.side_{ours}.{number}": f"multi_head_attention.{theirs}"
    for ours, other in {"queries": "query", "keys": "key"}.items()
    for number, theirs in enumerate([f"{other}_layers.0", f"{other}_layers.1", f"{other}_p"])
}


def load(name):
    with np.load(ZOO / f"{name}.npz") as archive:
        return {
            key: torch.from_numpy(archive[key]) if archive[key].dtype.kind != "U" else None
            for key in archive.files
        }


def block_names(model, fusion):
    """Names of a block's modules: ours to theirs."""
    return {**BLOCK, **(STREAMS if model == "DIFSR" else {}), **FUSIONS.get(fusion, {})}


# --- encoders -------------------------------------------------------------------------------------


def encoder_of(model, fusion, numbers):
    shared = {"hidden_size": SIZE, "hidden_dropout_prob": 0.0, "layer_norm_eps": 1e-12}
    heads = {"hidden_size": SIZE, "n_heads": 2, "attn_dropout_prob": 0.0}

    def attention():
        if model == "NOVA":
            return FusedInputs(fusion=build_fusion(fusion, n_streams=4, size=SIZE), **heads)
        fused = build_fusion(fusion, n_streams=4, size=LENGTH)
        return FusedScores(fusion=fused, side_sizes=(4, 6, SIZE), **heads)

    blocks = [
        PostNormBlock(
            attention=attention(),
            feed_forward=FeedForward(inner_size=16, hidden_act="gelu", **shared),
            **shared,
        )
        for _ in range(2)
    ]
    encoder, names = SequenceEncoder(blocks).double(), {}
    for layer in range(2):
        for ours, theirs in block_names(model, fusion).items():
            for leaf in ("weight", "bias"):
                name = f"layers.{layer}.{ours}.{leaf}"
                if name in encoder.state_dict():
                    names[name] = f"layer.{layer}.{theirs}.{leaf}"
    encoder.load_state_dict({ours: numbers[f"{fusion}/param/{n}"] for ours, n in names.items()})
    return encoder, names


@pytest.mark.parametrize("padded", [0, 1])
@pytest.mark.parametrize("fusion", ["sum", "concat", "gate"])
@pytest.mark.parametrize("model", MODELS)
def test_encoders_equal_the_authors(model, fusion, padded):
    numbers = load(model.lower())
    lengths = numbers["in/item_len"]
    packing = PaddedRows(lengths, LENGTH) if padded else build_packing(lengths, LENGTH)
    encoder, names = encoder_of(model, fusion, numbers)
    side = [packing.pack(numbers[f"in/attr{number}"]) for number in range(2)]
    side.append(F.embedding(packing.position, numbers["in/pos"]))
    context, x = StepContext(packing, side=side), packing.pack(numbers["in/x"])
    users = encoder(x, context)
    assert_close(users, numbers[f"{fusion}/ours/user"], TOLERANCE)
    assert_close(encoder.at_every_position(x, context)[packing.last], users, TOLERANCE)
    (users * numbers["in/cotangent"]).sum().backward()
    for ours, theirs in names.items():
        gradient = encoder.get_parameter(ours).grad
        assert_close(gradient, numbers[f"{fusion}/ours/grad/{theirs}"], TOLERANCE)


@pytest.mark.parametrize("fusion", ["concat", "gate"])
def test_fused_scores_of_a_position_do_not_read_what_follows(fusion):
    numbers = load("difsr")
    encoder, _ = encoder_of("DIFSR", fusion, numbers)
    lengths = numbers["in/item_len"]

    def states(shift):
        # Only the newest token of each row differs.
        packing = build_packing(lengths, LENGTH)
        newest = torch.zeros(len(packing.sequence), 1, dtype=torch.float64)
        newest[packing.last] = shift
        side = [packing.pack(numbers[f"in/attr{number}"]) + newest for number in range(2)]
        side.append(F.embedding(packing.position, numbers["in/pos"]))
        x = packing.pack(numbers["in/x"]) + newest
        out = encoder.at_every_position(x, StepContext(packing, side=side))
        return out[newest[:, 0] == 0] if shift else out, packing.last

    changed, last = states(1.0)
    same, _ = states(0.0)
    earlier = torch.ones(len(same), dtype=torch.bool)
    earlier[last] = False
    assert torch.equal(changed, same[earlier])


# --- models ---------------------------------------------------------------------------------------


@dataclass
class WithAttributes(ArrayDataset):
    """A data set of arrays, two of which are attributes."""

    attributes: dict = field(default_factory=dict)

    def attribute(self, column):
        return self.attributes[column]


def names_of(model):
    """All parameters: ours to theirs."""
    blocks = {
        f"encoder.layers.{layer}.{ours}": f"trm_encoder.layer.{layer}.{theirs}"
        for layer in range(2)
        for ours, theirs in block_names(model, "gate").items()
    }
    names = {
        "item_embedding": "item_embedding",
        "position_embedding": "position_embedding",
        "input_norm": "LayerNorm",
        "predictors.0": "ap.0",
        "predictors.1": "ap.1",
        **blocks,
    }
    tables = {f"side_rows.{n}.embedding.weight": f"feature_table.{n}" for n in range(2)}
    leaves = {f"{o}.{leaf}": f"{t}.{leaf}" for o, t in names.items() for leaf in ("weight", "bias")}
    return leaves | tables


def build(name, numbers, **overrides):
    """The model with the authors' weights."""
    values = {"categories": numbers["in/categories"], "brand": numbers["in/brand"][:, None]}
    attributes = {
        name: ItemAttribute(
            array.numpy(),
            ("",) * (len(numbers[f"param/feature_table.{number}"]) - 1),
            is_single=name == "brand",
        )
        for number, (name, array) in enumerate(values.items())
    }
    sizes = {"attribute_sizes": [4, 6]} if name == "DIFSR" else {}
    config = model_config(
        name,
        hidden_size=SIZE,
        inner_size=16,
        n_layers=2,
        n_heads=int(numbers["in/heads"]),
        hidden_dropout_prob=0.0,
        attn_dropout_prob=0.0,
        attributes=["categories", "brand"],
        attribute_weights=numbers["in/lamdas"].tolist(),
        train_mode="prefix",
        **{**sizes, **overrides},
    )
    dataset = WithAttributes(N_ITEMS, attributes=attributes)
    model = find_model(name).model_class(config, dataset).double()
    names = names_of(name)
    model.load_state_dict({ours: numbers[f"param/{names[ours]}"] for ours in model.state_dict()})
    return model


def interaction(numbers, order=slice(None), padding=0):
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


@pytest.mark.parametrize("padding", [0, 3])
@ORDERS
@pytest.mark.parametrize("name", MODELS)
def test_scores_equal_the_authors(name, order, padding):
    numbers = load(f"{name.lower()}_model")
    model, batch = build(name, numbers).eval(), interaction(numbers, order, padding)
    with torch.no_grad():
        scores = model.full_sort_predict(batch)
        assert_close(scores, numbers["out/scores"][order], TOLERANCE)
        assert_close(
            model.predict(batch), scores.gather(1, batch["item_id"][:, None])[:, 0], TOLERANCE
        )


@pytest.mark.parametrize("name", MODELS)
def test_the_exported_tower_equals_the_authors(name):
    numbers = load(f"{name.lower()}_model")
    batch, tower = interaction(numbers), build(name, numbers).eval().user_tower()
    users = tower(batch["item_id_list"], batch["item_length"], batch["timestamp_list"])
    assert_close(users, numbers["out/user"], TOLERANCE)


@ORDERS
@pytest.mark.parametrize("name", MODELS)
def test_losses_and_gradients_equal_the_authors(name, order):
    numbers = load(f"{name.lower()}_model")
    model = build(name, numbers).train()
    losses = model.named_losses(interaction(numbers, order))
    assert list(losses) == ["cross_entropy", "categories", "brand"]
    assert_close(losses["cross_entropy"], numbers["out/item_loss"], TOLERANCE)
    total = sum(losses.values())
    assert_close(total, numbers["out/loss"], TOLERANCE)
    total.backward()
    names = names_of(name)
    for ours, parameter in model.named_parameters():
        assert_close(parameter.grad, numbers[f"grad/{names[ours]}"], TOLERANCE)
