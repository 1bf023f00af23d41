"""Where HM4SR's parameters start, and where its dropout stands."""

import math

import numpy as np
import pytest
import torch
from helpers import ArrayDataset, model_config

from recbole_hm4sr.layers.attention import StepContext
from recbole_hm4sr.model.hm4sr.model import HM4SR

N_ITEMS, WIDTH = 400, 64
# Drawn from N(0, 0.02), as the authors' _init_weights does; 0.1 for the temporal experts.
NORMAL = {
    "item_embedding.weight": 0.02,
    "position_embedding.weight": 0.02,
    "projections.": 0.02,
    "encoders.": 0.02,
    "time_encoding.interval_embedding.weight": 0.02,
    "time_encoding.frequency": 0.02,
    "temporal_moe.gate.weight": 0.02,
    "temporal_moe.experts": 0.1,
}
# Made after it has run: PyTorch's own, uniform up to one over the root of the inputs.
UNIFORM = ("interactive_moe.experts.", "interactive_moe.gates.", "category_layer.", "placeholder_")


def build(**settings):
    generator = np.random.default_rng(0)
    features = {}
    for name, width in (("text", 48), ("image", 40)):
        features[name] = generator.normal(size=(N_ITEMS, width)).astype(np.float32)
        features[name][0] = 0
    flags = (generator.random((N_ITEMS, 20)) < 0.1).astype(np.uint8)
    torch.manual_seed(0)
    config = model_config(hidden_size=WIDTH, inner_size=4 * WIDTH, train_mode="prefix", **settings)
    return HM4SR(config, ArrayDataset(N_ITEMS, features, flags))


def is_bias(name):
    return name.endswith("bias") and "norm" not in name


def test_every_parameter_starts_where_the_authors_one_does():
    model, checked = build(), set()
    fan_in = {
        f"{name}.weight": module.in_features
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    for name, parameter in model.named_parameters():
        values = parameter.detach()
        if name.startswith(UNIFORM):
            bound = fan_in[name.replace("bias", "weight")] ** -0.5
            assert values.abs().max() <= bound, name
            if values.numel() >= 64:
                assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.25), name
        elif "norm" in name:
            assert (values == (0 if name.endswith("bias") else 1)).all(), name
        elif is_bias(name):
            assert (values == 0).all(), name
        elif name == "interactive_moe.modality_weights":
            assert values.tolist() == [0, 1, 1]  # id, text, image
        elif name == "time_encoding.phase":
            assert (values == 0).all()
        else:
            (deviation,) = {std for part, std in NORMAL.items() if name.startswith(part)}
            rows = values[1:] if name == "item_embedding.weight" else values
            # Four standard errors of a deviation of so many values.
            slack = 4 / math.sqrt(2 * rows.numel())
            assert rows.std() == pytest.approx(deviation, rel=slack), name
            assert rows.abs().max() > 1.5 * deviation, name
        checked.add(name)
    assert not model.item_embedding.weight[0].any()
    assert len(checked) == len(list(model.parameters()))


def nothing(_module, _arguments, output):
    return torch.zeros_like(output)


OFF = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}  # the hooks drop instead
BATCH = {
    "item_id_list": torch.tensor([[3, 9, 4], [7, 7, 0]]),
    "item_length": torch.tensor([3, 2]),
    "timestamp_list": torch.tensor([[10, 20, 90], [5, 9, 0]]),
}


@pytest.mark.parametrize("every_position", [False, True])
def test_dropout_drops_attention_weights_and_what_a_sub_layer_adds(every_position):
    model = build(n_layers=1, **OFF)
    encoder, layer = model.encoders["id"], model.encoders["id"].layers[0]
    attention, feed_forward = layer.attention, layer.feed_forward
    with torch.no_grad():
        attention.output.bias.normal_()
    encoded = model(model.read(BATCH, train=False))
    context, x = StepContext(encoded.batch.packing), encoded.tokens[:, 0]
    newest = x if every_position else x[context.packing.last]
    run = encoder.at_every_position if every_position else encoder

    handle = attention.attn_dropout.register_forward_hook(nothing)
    expected = feed_forward(layer.attention_norm(newest + attention.output.bias))
    torch.testing.assert_close(run(x, context), expected)
    handle.remove()

    layer.dropout.register_forward_hook(nothing)
    expected = feed_forward(layer.attention_norm(newest))
    torch.testing.assert_close(run(x, context), expected)

    feed_forward.dropout.register_forward_hook(nothing)
    expected = feed_forward.norm(layer.attention_norm(newest))
    torch.testing.assert_close(run(x, context), expected)


def test_dropout_drops_the_encoders_input_after_its_norm():
    model = build(**OFF)
    with torch.no_grad():
        for norm in model.input_norms.values():
            norm.bias.fill_(1)  # zeros before the norm would become ones
    model.dropout.register_forward_hook(nothing)
    users = model(model.read(BATCH, train=False)).users.vectors
    encoder, packing = model.encoders["text"], model.read(BATCH, train=False).packing
    tokens = torch.zeros(len(packing.sequence), WIDTH)
    torch.testing.assert_close(users[:, 1], encoder(tokens, StepContext(packing)))


def test_probabilities_of_dropout_are_those_of_the_settings():
    model = build(hidden_dropout_prob=0.25, attn_dropout_prob=0.125)
    probabilities = {
        name: module.prob for name, module in model.named_modules() if hasattr(module, "prob")
    }
    assert probabilities["dropout"] == 0.25
    of_attention = {prob for name, prob in probabilities.items() if "attn" in name}
    others = {prob for name, prob in probabilities.items() if "attn" not in name}
    assert (of_attention, others - {0.0}) == ({0.125}, {0.25})  # ids are not left out


def test_scores_are_of_the_weights_of_now_after_a_fused_step():
    """A fused optimizer leaves no trace in the versions of the weights that it changes."""
    model = build(**OFF)
    before = model.train()(model.read(BATCH, train=False))
    before.users.vectors.sum().backward()
    with torch.no_grad():
        model.eval()(model.read(BATCH, train=False))  # between the gradients and the step
    version = model.item_embedding.weight._version
    torch.optim.Adam(model.parameters(), lr=0.1, fused=True).step()
    assert model.item_embedding.weight._version == version
    with torch.no_grad():
        rows = model.eval()(model.read(BATCH, train=False)).catalogue.rows
    torch.testing.assert_close(rows[:, 0], model.item_embedding.weight)
