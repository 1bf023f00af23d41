"""PixelRec's item head against numbers recorded from the authors' code (zoo/pixelrec*.npz)."""

import pytest
import torch
from helpers import ArrayDataset, assert_close, model_config
from parity.text_zoo import (
    NO_DROPOUT,
    TOLERANCE,
    as_the_authors_rank,
    check_adam,
    check_gradients,
    count_layers,
    interaction,
    load,
    recbole_layers,
    scores_of,
    translated,
)

from recbole_hm4sr.model.text.pixelrec import PixelRec

pytestmark = pytest.mark.parity
HEAD = "pixelrec_token_aggregator"
NAMES = {
    "item_embedding": "item_embeddings",
    "position_embedding": "position_embeddings",
    "input_norm": "LayerNorm",
    **recbole_layers(prefix="item_encoder.blocks", attention="layer"),
}
# Of several tokens, and of one: then queries, keys and scores have no effect.
CHOSEN = {
    "chooser.context": f"{HEAD}.query_context",
    "chooser.key": f"{HEAD}.key_proj",
    "chooser.norm": f"{HEAD}.value_norm",
    "chooser.score": f"{HEAD}.query_score",
    **{f"projectors.tokens.{n}": f"{HEAD}.projector.{n}" for n in (0, 1, 4)},
}
POOLED = {
    "norms.token0": f"{HEAD}.value_norm",
    **{f"projectors.token0.{n}": f"{HEAD}.projector.{n}" for n in (0, 1, 4)},
}
CASES = ["pixelrec", "pixelrec-single", "pixelrec-noids"]


def ours(values, n_tokens):
    """Parameters or gradients by our names."""
    if n_tokens == 1:
        return translated(values, NAMES | POOLED)
    found = translated(values, NAMES | CHOSEN) | {"chooser.queries": values[f"{HEAD}.query_tokens"]}
    # These shift all logits of a softmax alike.
    return {k: v for k, v in found.items() if k not in ("chooser.key.bias", "chooser.score.bias")}


def build(numbers):
    n_items, n_tokens, _ = numbers["in/tokens"].shape
    queries = numbers[f"param/{HEAD}.query_tokens"]
    config = model_config(
        "PixelRec",
        MAX_ITEM_LIST_LENGTH=len(numbers["param/position_embeddings.weight"]),
        hidden_size=8,
        inner_size=32,
        n_layers=count_layers(numbers),
        n_heads=int(numbers["in/n_heads"]),
        temperature=float(numbers["in/temperature"]),
        use_ids=bool(numbers["in/with_ids"]),
        content="tokens" if n_tokens > 1 else "pooled",
        n_queries=len(queries),
        query_size=queries.shape[1],
        content_dropout_prob=0.0,
        **NO_DROPOUT,
    )
    tokens = numbers["in/tokens"].numpy()
    features = {f"token{number}": tokens[:, number] for number in range(n_tokens)}
    model = PixelRec(config, ArrayDataset(n_items, features)).double()
    model.load_state_dict(ours(numbers.under("param/"), n_tokens))
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
    # Item 0 is no candidate: without ids its row of zeros has no direction.
    assert_close(0.07 * scores[:, 1:], numbers["out/scores"][order, 1:], TOLERANCE)
    assert_close(model.catalogue().rows[1:, 0], numbers["out/table"][1:], TOLERANCE)


def test_the_mask_is_that_of_the_tokens(numbers):
    model = build(numbers)
    found = torch.stack([model.present(name, None) for name in model.modalities], dim=1)
    assert found.equal(numbers["in/token_mask"])


def test_the_exported_tower_equals_the_authors(numbers):
    model, batch = build(numbers).eval(), interaction(numbers)
    tower = model.user_tower()
    users = tower(batch["item_id_list"], batch["item_length"], batch["timestamp_list"])
    scores = 0.07 * users @ model.item_vectors().T
    assert_close(scores[:, 1:], numbers["out/scores"][:, 1:], TOLERANCE)


def test_loss_and_gradients_are_those_without_padding_as_a_candidate(numbers):
    model = build(numbers).train()
    losses = model.named_losses(interaction(numbers, torch.arange(len(numbers["in/target"])), 4))
    assert list(losses) == ["cross_entropy"]
    assert_close(losses["cross_entropy"], numbers["no0/loss"], TOLERANCE)
    losses["cross_entropy"].backward()
    check_gradients(model, ours(numbers.under("no0/grad/"), numbers["in/tokens"].shape[1]))


def with_frozen_padding(model):
    """Padding as a candidate whose row is read by no look-up, so that it is never trained."""
    item_rows, is_trained = model.item_rows, torch.ones(model.n_items, 1, 1, dtype=torch.float64)
    is_trained[0] = 0

    def rows(items=None, on_host=None):
        found = item_rows(items, on_host)
        return found * is_trained + found.detach() * (1 - is_trained)

    model.item_rows = rows
    return as_the_authors_rank(model)


@pytest.mark.parametrize("case", CASES[:2])  # without ids the padding has no direction
def test_with_padding_as_a_frozen_candidate_it_is_the_authors_loss(case):
    numbers = load(case)
    model = with_frozen_padding(build(numbers).train())
    loss = model.calculate_loss(interaction(numbers))
    assert_close(loss, numbers["out/loss"], TOLERANCE)
    loss.backward()
    check_gradients(model, ours(numbers.under("grad/"), numbers["in/tokens"].shape[1]))


def test_thirty_adam_steps_equal_the_authors():
    numbers = load("pixelrec")
    model = with_frozen_padding(build(numbers).train())
    check_adam(model, interaction(numbers), numbers["out/adam_trajectory"])
