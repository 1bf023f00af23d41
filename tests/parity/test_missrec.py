"""MISSRec against numbers recorded from the authors' code (fixtures/zoo/missrec*.npz)."""

import pytest
import torch
from helpers import ArrayDataset, assert_close, model_config
from parity.text_zoo import (
    NO_DROPOUT,
    TOLERANCE,
    as_the_authors_rank,
    check_adam,
    check_gradients,
    interaction,
    load,
    scores_of,
    translated,
)

from recbole_hm4sr.model.text.missrec import MISSRec

pytestmark = pytest.mark.parity
CASES = ["missrec", "missrec-stack", "missrec-inductive"]
NAMES = {
    "item_embedding": "item_embedding",
    "position_embedding": "position_embedding",
    "input_norm": "LayerNorm",
    "interest_norm": "trm_model.encoder.norm",
    "history_norm": "trm_model.decoder.norm",
    "projections.text": "text_adaptor",
    "projections.image": "img_adaptor",
}
LAYERS = {  # ours: theirs, in the layer of a stack
    "encoder": {
        "feed_forward.inner": "linear1",
        "feed_forward.output": "linear2",
        "attention_norm": "norm1",
        "feed_forward.norm": "norm2",
    },
    "decoder": {
        "feed_forward.inner": "linear1",
        "feed_forward.output": "linear2",
        "attention_norm": "norm1",
        "cross_norm": "norm2",
        "feed_forward.norm": "norm3",
    },
}


def ours(values):
    """Parameters or gradients by our names; theirs hold queries, keys and values in one matrix."""
    names, found = dict(NAMES), {}
    for stack, parts in LAYERS.items():
        root = f"trm_model.{stack}.layers.0"
        names |= {f"{stack}.layers.0.{own}": f"{root}.{theirs}" for own, theirs in parts.items()}
        attentions = {"attention": "self_attn", "cross_attention": "multihead_attn"}
        for own, theirs in attentions.items():
            for leaf in ("weight", "bias"):
                joint = values.get(f"{root}.{theirs}.in_proj_{leaf}")
                if joint is None:
                    continue
                for name, part in zip(("query", "key", "value"), joint.chunk(3), strict=True):
                    found[f"{stack}.layers.0.{own}.{name}.{leaf}"] = part
                output = values[f"{root}.{theirs}.out_proj.{leaf}"]
                found[f"{stack}.layers.0.{own}.output.{leaf}"] = output
    found["scorer.factor"] = values["fusion_factor"]
    return found | translated(values, names)


def build(numbers, **overrides):
    size = numbers["param/position_embedding.weight"].shape
    config = model_config(
        "MISSRec",
        **{
            "seed": 1,
            "MAX_ITEM_LIST_LENGTH": size[0],
            "hidden_size": size[1],
            "inner_size": len(numbers["param/trm_model.encoder.layers.0.linear1.bias"]),
            "n_heads": int(numbers["in/n_heads"]),
            "temperature": float(numbers["in/temperature"]),
            **NO_DROPOUT,
            "use_ids": "param/item_embedding.weight" in numbers,
            "seq_fusion": "stack" if "in/stack" in numbers else "add",
            "regulariser": "official",
            "interest_weight": float(numbers["in/gamma"]),
            "interest_ratio": 0.1,
            **overrides,
        },
    )
    features = {name: numbers[f"in/{name}"].numpy() for name in ("text", "image")}
    model = MISSRec(config, ArrayDataset(len(features["text"]), features)).double()
    model.interest_centres = numbers["in/interest_embeddings"]
    clusters = [numbers["in/text_interest"], numbers["in/image_interest"]]
    model.interest_of = torch.stack(clusters, dim=1)
    known = set(dict(model.named_parameters()))
    state = {name: value for name, value in ours(numbers.under("param/")).items() if name in known}
    missing, unknown = model.load_state_dict(state, strict=False)
    assert set(missing) <= {"interest_centres", "interest_of"}
    assert not unknown
    return model


@pytest.fixture(scope="module", params=CASES)
def numbers(request):
    return load(request.param)


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_scores_equal_the_authors(numbers, is_reversed, padding):
    model, n_rows = build(numbers).eval(), len(numbers["in/item_len"])
    order = torch.arange(n_rows)
    order = order.flip(0) if is_reversed else order
    batch = interaction(numbers, order, padding)
    scores = scores_of(model, batch)
    assert_close(scores, numbers["out/scores_over_temperature"][order], TOLERANCE)


def test_padded_rows_give_the_authors_users(numbers):
    """As an export would compute them; with these cosines' weights there is none."""
    model, batch = build(numbers, item_fusion="static").eval(), interaction(numbers)
    tower = model.user_tower()
    users = tower(batch["item_id_list"], batch["item_length"], batch["timestamp_list"])
    own = users.view(len(users), -1, 8)[:, -1]
    assert_close(own / own.norm(dim=1, keepdim=True), numbers["out/user"], TOLERANCE)
    assert build(numbers).user_tower() is None


@pytest.mark.parametrize("is_reversed", [False, True])
def test_losses_and_gradients_are_those_without_padding_as_a_candidate(numbers, is_reversed):
    model = build(numbers).train()
    order = torch.arange(len(numbers["in/item_len"]))
    losses = model.named_losses(interaction(numbers, order.flip(0) if is_reversed else order))
    assert list(losses) == ["cross_entropy", "interest"]
    regulariser = numbers["in/gamma"] * numbers["out/regulariser"]
    assert_close(losses["interest"], regulariser, TOLERANCE)
    loss = losses["cross_entropy"] + losses["interest"]
    assert_close(loss, numbers["no0/loss"], TOLERANCE)
    loss.backward()
    check_gradients(model, ours(numbers.under("no0/grad/")))


def test_with_padding_as_a_candidate_it_is_the_authors_loss():
    """Where its id has a direction."""
    numbers = load("missrec")
    model = as_the_authors_rank(build(numbers).train())
    loss = model.calculate_loss(interaction(numbers))
    assert_close(loss, numbers["out/loss"], TOLERANCE)
    loss.backward()
    check_gradients(model, ours(numbers.under("grad/")))
    check_adam(
        as_the_authors_rank(build(numbers).train()),
        interaction(numbers),
        numbers["out/adam_trajectory"],
    )
