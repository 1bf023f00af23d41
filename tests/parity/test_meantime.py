"""MEANTIME against numbers recorded from the authors' modules (fixtures/zoo/meantime.npz)."""

import numpy as np
import pytest
import torch
from helpers import ArrayDataset, assert_close, model_config
from zoo import ORDERS, TOLERANCE, batch_of, in_tokens, load, right_padded, steps_of

from recbole_hm4sr.data.loaders import TARGET_LIST
from recbole_hm4sr.data.log import InteractionLog
from recbole_hm4sr.data.seen import FIRST_POSITION
from recbole_hm4sr.layers.kernels import KernelAttention, KernelContext, relative_kernels
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.padded_rows import PaddedRows
from recbole_hm4sr.model.timed.meantime import MEANTIME

pytestmark = pytest.mark.parity
N_ITEMS, LENGTH = 29, 10  # the mask is number 29, and the last of 10 tokens
DAY = 86400
NAMES = {
    "item_embedding.weight": "token_embedding.emb.weight",
    "item_bias": "head.bias",
    **{f"kernels.{k}.weight": f"absolute_kernel_embeddings_list.{k}.emb.weight" for k in range(2)},
}
MODULES = {"head": "head.out.0", "head_norm": "head.out.2"}
for layer in range(2):
    ours, theirs = f"encoder.layers.{layer}", f"body.transformer_blocks.{layer}"
    attention = f"{theirs}.attention"
    MODULES |= {
        f"{ours}.attention.query": f"{attention}.content_linear_layers.0",
        f"{ours}.attention.key": f"{attention}.content_linear_layers.1",
        f"{ours}.attention.value": f"{attention}.content_linear_layers.2",
        f"{ours}.attention.output": f"{attention}.output_linear",
        f"{ours}.attention_norm": f"{theirs}.input_sublayer.norm",
        f"{ours}.norm": f"{theirs}.output_sublayer.norm",
        f"{ours}.inner": f"{theirs}.feed_forward.w_1",
        f"{ours}.outer": f"{theirs}.feed_forward.w_2",
    }
    for k in range(2):
        MODULES[f"{ours}.attention.absolute_queries.{k}"] = (
            f"{attention}.abs_position_query_linear_layers.{k}"
        )
        MODULES[f"{ours}.attention.absolute_keys.{k}"] = (
            f"{attention}.abs_position_key_linear_layers.{k}"
        )
        MODULES[f"{ours}.attention.relative_keys.{k}"] = (
            f"{attention}.rel_position_key_linear_layers.{k}"
        )
        NAMES[f"{ours}.attention.relative_bias.{k}"] = f"{attention}.rel_position_bias"
NAMES |= {f"{o}.{leaf}": f"{t}.{leaf}" for o, t in MODULES.items() for leaf in ("weight", "bias")}


@pytest.fixture(scope="module")
def numbers():
    found = load("meantime")
    tokens = found["in/tokens"]
    found["lengths"] = lengths = (tokens > 0).sum(dim=1)
    found["shown"] = right_padded(tokens, lengths)
    found["labels"] = right_padded(found["in/labels"], lengths)
    found["times"] = right_padded(found["in/timestamps"], lengths)
    return found


def of_authors(numbers, kind, name):
    value = numbers[f"{kind}/{NAMES[name]}"]
    if name == "item_bias":
        return value[0]
    return value[0, int(name[-1]), 0] if "relative_bias" in name else value


class Dataset(ArrayDataset):
    """Forty days of interactions, which are those of the fixture."""

    def last_time(self):
        return 39 * DAY + 5


def build(numbers, **overrides):
    config = model_config(
        "MEANTIME",
        hidden_size=8,
        MAX_ITEM_LIST_LENGTH=LENGTH - 1,
        hidden_dropout_prob=0.0,
        attn_dropout_prob=0.0,
        kernel_dropout=0.0,
        request_time="target",
        **overrides,
    )
    dataset = Dataset(N_ITEMS)
    lengths, times = numbers["lengths"], numbers["times"]
    inside = torch.arange(LENGTH) < lengths[:, None]
    users = inside.nonzero()[:, 0].numpy()
    dataset.log = InteractionLog.of_ordered(users, np.ones_like(users), times[inside].numpy())
    model = MEANTIME(config, dataset).double()
    state = {name: of_authors(numbers, "param", name) for name in model.state_dict()}
    model.load_state_dict(state)
    return model


def history(numbers, order=slice(None), padding=0):
    """All but the last token, which is a mask, of the last one's time."""
    lengths = numbers["lengths"] - 1
    at_end = numbers["times"].gather(1, lengths[:, None])[:, 0]
    inside = torch.arange(LENGTH - 1) < lengths[:, None]
    return batch_of(
        numbers["shown"][:, :-1].masked_fill(~inside, 0),
        lengths,
        times=numbers["times"][:, :-1].masked_fill(~inside, 0),
        order=order,
        padding=padding,
        timestamp=at_end,
    )


def training(numbers, order=slice(None)):
    """The same with the items below the masks, and the last one as a target."""
    batch, lengths = history(numbers, order), numbers["lengths"]
    items = torch.where(numbers["labels"] > 0, numbers["labels"], numbers["shown"])
    inside = torch.arange(LENGTH) < lengths[:, None] - 1
    last = items.gather(1, lengths[:, None] - 1)
    batch["item_id_list"] = items.masked_fill(~inside, 0)[order, :-1]
    batch[TARGET_LIST] = last.expand(-1, LENGTH - 1)[order]  # the item after each position
    batch[FIRST_POSITION] = (lengths.cumsum(0) - lengths)[order]
    return batch


def masks(numbers, order=slice(None)):
    labels = in_tokens(numbers["labels"], numbers["lengths"], order)
    shown = in_tokens(numbers["shown"], numbers["lengths"], order)
    chosen = labels.nonzero()[:, 0]
    return chosen, shown[chosen]


@pytest.mark.parametrize("padding", [0, 3])
@ORDERS
def test_scores_equal_the_authors(numbers, order, padding):
    model = build(numbers).eval()
    with torch.no_grad():
        scores = model.full_sort_predict(history(numbers, order, padding))
    assert_close(scores, numbers["out/scores"][order], TOLERANCE)


@ORDERS
def test_loss_and_gradients_equal_the_authors(numbers, order, monkeypatch):
    model = build(numbers).train()
    monkeypatch.setattr(model, "draw_masks", lambda _: masks(numbers, order))
    losses = model.named_losses(training(numbers, order))
    assert list(losses) == ["cross_entropy"]
    assert_close(losses["cross_entropy"], numbers["out/loss"], TOLERANCE)
    losses["cross_entropy"].backward()
    for name, parameter in model.named_parameters():
        assert_close(parameter.grad, of_authors(numbers, "grad", name), TOLERANCE)


def test_thirty_adam_steps_equal_the_authors(numbers, monkeypatch):
    model = build(numbers).train()
    monkeypatch.setattr(model, "draw_masks", lambda _: masks(numbers))
    steps_of(model, training(numbers), numbers["out/adam_trajectory"])


def test_the_tower_is_the_model_at_the_newest_moment(numbers):
    model = build(numbers).eval()
    object.__setattr__(model.arrange.moments, "request_time", "last")
    batch = history(numbers)
    long = batch["item_length"] > 0
    batch = batch[long]
    with torch.no_grad():
        expected = model.full_sort_predict(batch)
        tower = model.tower_at_last()
        users = tower(batch["item_id_list"], batch["item_length"], batch["timestamp_list"])
        assert_close(users @ model.item_vectors().T, expected, TOLERANCE)
        at_target = build(numbers).eval().full_sort_predict(batch)
    assert not torch.allclose(at_target, expected)


@pytest.mark.parametrize("kinds", [[], ["e", "l", "s"]])
@pytest.mark.parametrize("arrange", [build_packing, PaddedRows])
def test_kernels_equal_a_map_of_each_pair(kinds, arrange):
    torch.manual_seed(1)
    lengths, size, n_absolute = torch.tensor([3, 1, 2]), 12, 1
    packing = arrange(lengths, 3)
    n_heads = n_absolute + len(kinds)
    layer = KernelAttention(
        hidden_size=size, n_absolute=n_absolute, n_relative=len(kinds), attn_dropout_prob=0.0
    ).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    n_tokens = len(packing.position)
    x, absolute = torch.randn(2, n_tokens, size, dtype=torch.float64)
    times = (1000 * torch.rand(n_tokens)).long()
    phi = relative_kernels(times, packing, kinds, size, 100.0)
    context = KernelContext(packing, [absolute], phi)
    actual = layer(x, context)
    at_last = layer.at_last(x[packing.last], x, context)
    starts = packing.last - lengths + 1
    for row, (start, n) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        part = slice(start, start + n)
        width = size // n_heads
        query, key, value = (
            linear(x[part]).view(n, n_heads, width)
            for linear in (layer.query, layer.key, layer.value)
        )
        outputs = []
        for head in range(n_heads):
            q, k = query[:, head], key[:, head]
            if head < n_absolute:
                q = q + layer.absolute_queries[head](absolute[part])
                scores = q @ (k + layer.absolute_keys[head](absolute[part])).T
            else:
                number = head - n_absolute
                delta = (times[part, None] - times[part]).double() / 100
                between = torch.stack(
                    [phi_of(kinds[number], one.item(), size) for one in delta.flatten()]
                )
                mapped = layer.relative_keys[number](between).view(n, n, width)
                moved = q + layer.relative_bias[number]
                scores = q @ k.T + torch.einsum("id,ijd->ij", moved, mapped)
            outputs.append((scores / width**0.5).softmax(dim=-1) @ value[:, head])
        expected = layer.output(torch.cat(outputs, dim=1))
        torch.testing.assert_close(actual[part], expected)
        torch.testing.assert_close(at_last[row], expected[-1])


def phi_of(kind, delta, size):
    """One kernel of one difference, entry by entry."""
    steps = np.arange(size)
    if kind == "s":
        frequency = 10000.0 ** (-2 * steps[: size // 2] / size)
        values = np.concatenate([np.sin(delta * frequency), np.cos(delta * frequency)])
    else:
        decay = abs(delta) * 10000.0 ** (-steps / size)
        values = np.exp(-decay) if kind == "e" else np.log(1 + decay)
    return torch.from_numpy(values)
