"""The graph layer against the authors' layer: outputs, gradients and both switches."""

import numpy as np
import pytest
import torch
from parity.mmsr_reference import recorded

from recbole_hm4sr.model.mmsr.dual_attention import DualAttention, relation_scores
from recbole_hm4sr.model.mmsr.graph import NodeSlots, SequenceGraph

pytestmark = pytest.mark.parity

N_TYPES = 3
# float32 outputs of the authors' layer, as its fixture's README allows
CLOSE = {"rtol": 1e-4, "atol": 5e-5}


@pytest.fixture(scope="module")
def layer_arrays():
    return {name: torch.from_numpy(value) for name, value in recorded("layer").items()}


class SlotLayout:
    """The recorded nodes, whose types are mixed differently in each row, in slots by type.

    The recorded relations are arbitrary, so they also lead from type to type: one homogeneous
    block covers all slots.
    """

    def __init__(self, arrays, dtype):
        node_type = arrays["node_type"].long()
        self.dtype = dtype
        self.sizes = [int((node_type == kind + 1).sum(dim=1).max()) for kind in range(N_TYPES)]
        starts = np.cumsum([0, *self.sizes])
        n_rows, n_slots = len(node_type), int(starts[-1])
        self.slot = torch.full_like(node_type, -1)  # of each recorded node
        for row, kind in np.ndindex(n_rows, N_TYPES):
            nodes = (node_type[row] == kind + 1).nonzero().squeeze(1)
            self.slot[row, nodes] = torch.arange(len(nodes)) + int(starts[kind])
        self.real = self.slot >= 0
        row, node = self.real.nonzero(as_tuple=True)
        self.index = (row, self.slot[row, node])
        self.ids = torch.zeros(n_rows, n_slots, dtype=torch.int64)
        self.ids[self.index] = 1
        self.relations = torch.zeros(n_rows, n_slots, n_slots, dtype=torch.int64)
        for b in range(n_rows):
            nodes = self.real[b].nonzero().squeeze(1)
            slots = self.slot[b, nodes]
            block = arrays["adj"][b][nodes][:, nodes].long()
            self.relations[b, slots.unsqueeze(1), slots] = block

    def graph(self):
        ids = self.ids.split(self.sizes, dim=1)
        return SequenceGraph(
            slots=tuple(NodeSlots(part, part.unsqueeze(-1) > 0) for part in ids),
            relations=(self.relations * (self.relations <= 4),),
            neighbours=(self.relations == 1) | (self.relations >= 5),
            active=self.ids > 0,
        )

    def scatter(self, values):
        """Recorded nodes ``[B, 14, D]`` into slots."""
        slots = torch.zeros(*self.ids.shape, values.shape[-1], dtype=self.dtype)
        slots[self.index] = values.to(self.dtype)[self.real]
        return slots

    def gather(self, slots):
        """Slots back to the recorded real nodes, one row each."""
        return slots[self.index]


def build_layer(arrays, dtype=torch.float32, **options):
    defaults = {"fusion_type": "asy_mask", "qkv_mode": "tied", "second_phase": "official"}
    layer = DualAttention(
        hidden_size=16,
        n_node_types=N_TYPES,
        leaky_slope=0.1,
        attn_dropout_prob=0.2,
        hidden_dropout_prob=0.4,
        **{**defaults, **options},
    )
    values = {
        "query_projection": arrays["p_W_Q"][1:],
        "key_projection": arrays["p_W_K"][1:],
        "value_projection": arrays["p_W_V"][1:],
        "relation_vectors": arrays["p_a"],
        "gate.hidden.weight": arrays["p_g_w1"],
        "gate.hidden.bias": arrays["p_g_b1"],
        "gate.score.weight": arrays["p_g_w2"],
        "global_gate.hidden.weight": arrays["p_gg_w1"],
        "global_gate.hidden.bias": arrays["p_gg_b1"],
        "global_gate.score.weight": arrays["p_gg_w2"],
        "cat_projection.weight": arrays["p_cat_w"],
        "cat_projection.bias": arrays["p_cat_b"],
    }
    layer.load_state_dict({name: values[name] for name in layer.state_dict()})
    return layer.to(dtype).eval()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "out_asy_mask"),
        ({"fusion_type": "gate"}, "out_gate"),
        ({"fusion_type": "cat"}, "out_cat"),
        ({"qkv_mode": "separate"}, "variant_untied_out_asy_mask"),
    ],
)
def test_output_equals_the_authors(layer_arrays, options, expected):
    layout = SlotLayout(layer_arrays, torch.float32)
    layer = build_layer(layer_arrays, **options)
    output = layer(layout.scatter(layer_arrays["hidden"]), layout.graph())
    wanted = layer_arrays[expected][layout.real]
    torch.testing.assert_close(layout.gather(output), wanted, **CLOSE)


def test_output_equals_the_authors_in_float64(layer_arrays):
    layout = SlotLayout(layer_arrays, torch.float64)
    layer = build_layer(layer_arrays, torch.float64)
    output = layer(layout.scatter(layer_arrays["hidden"]), layout.graph())
    wanted = layer_arrays["out_asy_mask_f64"][layout.real]
    torch.testing.assert_close(layout.gather(output), wanted, rtol=0, atol=1e-12)


def test_from_homo_scores_the_second_phase_on_the_first(layer_arrays):
    """Both candidates of the gate are recorded; the gate mixes them as written in its paper."""
    layout = SlotLayout(layer_arrays, torch.float32)
    layer = build_layer(layer_arrays, second_phase="from_homo")
    output = layer(layout.scatter(layer_arrays["hidden"]), layout.graph())
    candidates = torch.stack([layer_arrays["variant_ABfix_output"], layer_arrays["BA_output"]])
    hidden = (candidates @ layer_arrays["p_g_w1"].mT + layer_arrays["p_g_b1"]).relu()
    weights = (hidden @ layer_arrays["p_g_w2"].mT).softmax(dim=0)
    wanted = (weights * candidates).sum(dim=0)[layout.real]
    torch.testing.assert_close(layout.gather(output), wanted, **CLOSE)


def test_gradients_equal_the_authors(layer_arrays):
    layout = SlotLayout(layer_arrays, torch.float32)
    layer = build_layer(layer_arrays)
    states = layout.scatter(layer_arrays["hidden"]).requires_grad_()
    output = layout.gather(layer(states, layout.graph()))
    (output * layer_arrays["cotangent"][layout.real]).sum().backward()
    compared = {
        "grad_hidden": (layout.gather(states.grad), layout.real),
        "grad_W_Q": (layer.query_projection.grad, slice(1, None)),
        "grad_a": (layer.relation_vectors.grad, slice(None)),
        "grad_g_w1": (layer.gate.hidden.weight.grad, slice(None)),
        "grad_g_w2": (layer.gate.score.weight.grad, slice(None)),
    }
    for name, (ours, part) in compared.items():
        torch.testing.assert_close(
            ours, layer_arrays[name][part], rtol=1e-3, atol=2e-4, msg=f"gradient of {name} differs"
        )


@pytest.mark.parametrize("phase", ["homo", "BA"])
def test_homogeneous_weights_equal_the_authors(layer_arrays, phase):
    scored = layer_arrays["q" if phase == "homo" else "hete_output"]
    relations = layer_arrays["adj"].long()
    relations = relations * (relations <= 4)
    scores = relation_scores(scored, relations, layer_arrays["p_a"])
    scores = torch.where(scores > 0, scores, 0.1 * scores)
    weights = scores.masked_fill(relations == 0, -torch.inf).softmax(dim=-1)
    real = layer_arrays["node_type"] > 0
    torch.testing.assert_close(
        weights[real], layer_arrays[f"{phase}_weights"][real], rtol=1e-4, atol=5e-5
    )


def test_padding_slots_stay_zero(layer_arrays):
    layout = SlotLayout(layer_arrays, torch.float32)
    for fusion_type in ("asy_mask", "gate", "cat"):
        layer = build_layer(layer_arrays, fusion_type=fusion_type)
        output = layer(layout.scatter(layer_arrays["hidden"]), layout.graph())
        assert (layout.ids == 0).any()
        assert output[layout.ids == 0].abs().max() == 0
