"""Whitened and text-initialised items against recorded numbers (fixtures/zoo/textinit-*.npz).

The whitening is the model's own. The recorded encoder is another than its own: it is put together
here of the package's parts.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import ArrayDataset, assert_close, model_config
from parity.text_zoo import TOLERANCE, check_adam, check_gradients, load
from torch import nn

from recbole_hm4sr.layers.attention import SelfAttention, StepContext
from recbole_hm4sr.layers.blocks import SASRecBlock
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.padded_rows import PaddedRows
from recbole_hm4sr.layers.positions import window_positions
from recbole_hm4sr.layers.similarity import directions
from recbole_hm4sr.layers.whitening import find_whitening
from recbole_hm4sr.model.text.whitenrec import WhitenRec, initial_vectors

pytestmark = pytest.mark.parity
LENGTH = 8
NAMES = {  # ours: theirs
    "positions.weight": "positional_embeddings.weight",
    **{
        f"{ours}.{leaf}": f"{theirs}.{leaf}"
        for ours, theirs in {
            "block.attention_norm": "ln_1",
            "block.norm": "ln_2",
            "inner_norm": "feed_forward.layer_norm",
            "outer_norm": "ln_3",
            "block.attention.query": "mh_attn.linear_q",
            "block.attention.key": "mh_attn.linear_k",
            "block.attention.value": "mh_attn.linear_v",
            "block.inner": "feed_forward.w_1",
            "block.outer": "feed_forward.w_2",
            "adapter": "adapter.0",
        }.items()
        for leaf in ("weight", "bias")
    },
}


class Harness(nn.Module):
    """The recorded model: the item side, a block of SASRec's with two norms more, inner products.

    Its scores are divided by sqrt(D) whatever the heads, where the block divides by sqrt(D / h).
    """

    def __init__(self, numbers):
        super().__init__()
        self.n_heads = int(numbers["in/n_heads"])
        size = numbers["param/ln_1.weight"].shape[0]
        self.numbers = numbers
        if "param/adapter.0.weight" in numbers:
            self.adapter = nn.Linear(numbers["in/feat"].shape[1], size)
        else:
            self.ids = nn.Parameter(numbers["param/item_embeddings.ID_embeddings.weight"].clone())
        self.positions = nn.Embedding(LENGTH, size)
        attention = SelfAttention(
            hidden_size=size, n_heads=self.n_heads, attn_dropout_prob=0.0, output_map=False
        )
        self.block = SASRecBlock(
            attention=attention,
            hidden_size=size,
            hidden_dropout_prob=0.0,
            layer_norm_eps=1e-5,
            residual="normed",
            dropout_at="after",
        )
        self.inner_norm, self.outer_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.arrange = build_packing
        self.double()
        state = self.state_dict()
        self.load_state_dict(
            {
                name: numbers[f"param/{NAMES[name]}"].view(value.shape) if name in NAMES else value
                for name, value in state.items()
            }
        )

    def items(self):
        if hasattr(self, "adapter"):
            return F.gelu(self.adapter(self.numbers["in/white"]))
        return self.ids[[-1, *range(len(self.ids) - 1)]]  # item i in row i - 1, padding last

    def forward(self):
        lengths = self.numbers["in/item_len"]
        packing, items = self.arrange(lengths, LENGTH), self.items()
        x = F.embedding(packing.pack(self.numbers["in/item_seq"]), items)
        x = x + self.positions(window_positions(packing, LENGTH, "newest"))
        attention, shrink = self.block.attention, 1 / math.sqrt(self.n_heads)
        query = F.linear  # the block's own query, shrunk to their scale
        weight, bias = attention.query.weight, attention.query.bias
        attention.query.forward = lambda x: shrink * query(x, weight, bias)
        q = self.block.attention_norm(x)
        context = StepContext(packing)
        y = self.inner_norm(self.block._feed_forward(q + attention(q, x, context)))
        return self.outer_norm(y)[packing.last], items

    def scores(self):
        users, items = self.forward()
        return users, users @ items[1:].T

    def calculate_loss(self, _):
        return F.cross_entropy(self.scores()[1], self.numbers["in/target"] - 1)


@pytest.fixture(scope="module", params=["textinit-white", "textinit-init"])
def numbers(request):
    return load(request.param)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_zca_equals_the_recorded(numbers, groups):
    features = numbers["in/feat"].numpy()
    found = find_whitening(features[1:], "zca", groups=groups)
    assert_close(found(features[1:]), numbers[f"out/zca_{groups}"], TOLERANCE)
    # There the padding row is in the statistics.
    theirs = find_whitening(features, "zca", groups=groups)
    assert_close(theirs(features), numbers[f"out/zca_{groups}_with_padding_row"], TOLERANCE)


def test_pca_equals_the_recorded_but_for_signs():
    features = load("textinit-white")["in/feat"].numpy()[1:]
    white = find_whitening(features, "pca")(features)
    assert_close(white @ white.T, load("textinit-white")["out/white_gram"], TOLERANCE)
    numbers = load("textinit-init")
    features = numbers["in/feat"].numpy()[1:]
    start = initial_vectors(features, int(numbers["in/init_dim"]), "pca", np.ones(24))
    assert_close(start @ start.T, numbers["out/init_gram"], TOLERANCE)


@pytest.mark.parametrize("arrange", [build_packing, PaddedRows])
def test_scores_losses_and_gradients_equal_the_recorded(numbers, arrange):
    model = Harness(numbers)
    model.arrange = arrange
    users, scores = model.scores()
    assert_close(users, numbers["out/user"], TOLERANCE)
    assert_close(scores, numbers["out/scores"], TOLERANCE)
    items, negatives = model.items(), numbers["in/negatives"]
    drawn = torch.cat([numbers["in/target"][:, None], negatives], dim=1)
    cosines = (directions(users)[:, None] * directions(items[drawn])).sum(dim=2) / 0.07
    info_nce = F.cross_entropy(cosines, torch.zeros(len(users), dtype=torch.int64))
    assert_close(info_nce, numbers["out/info_nce"], TOLERANCE)
    loss = model.calculate_loss(None)
    assert_close(loss, numbers["out/loss"], TOLERANCE)
    loss.backward()
    expected = {
        name: numbers[f"grad/{NAMES[name]}"].view(parameter.shape)
        for name, parameter in model.named_parameters()
        if name in NAMES
    }
    if hasattr(model, "ids"):
        expected["ids"] = numbers["grad/item_embeddings.ID_embeddings.weight"]
    check_gradients(model, expected)


def test_thirty_adam_steps_equal_the_recorded(numbers):
    check_adam(Harness(numbers), None, numbers["out/adam_trajectory"])


@pytest.mark.parametrize("whitening", ["pca", "zca"])
def test_the_model_maps_what_is_whitened(whitening):
    numbers = load("textinit-white")
    features = numbers["in/feat"].numpy().copy()
    features[7] = 0  # an item without features has the mean item's vector
    config = model_config("WhitenRec", hidden_size=8, inner_size=16, whitening=whitening)
    model = WhitenRec(config, ArrayDataset(25, {"text": features})).double()
    for parameter in model.text_map.parameters():
        nn.init.normal_(parameter)
    known = np.delete(features, [0, 7], axis=0)
    white = np.zeros_like(features)
    is_there = features.any(axis=1)
    white[is_there] = find_whitening(known, whitening)(features[is_there])
    expected = F.gelu(model.text_map(torch.from_numpy(white)))
    assert_close(model.item_rows()[:, 0], expected, TOLERANCE)
    some = torch.tensor([3, 7, 0])
    assert_close(model.item_rows(some)[:, 0], expected[some], TOLERANCE)
