"""The fast path against the whole graphs, what must not change a score, and dropout."""

import pytest
import torch
from parity.mmsr_reference import build_model

pytestmark = pytest.mark.parity

N_ITEMS = 40


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("codes")


def random_batch(*, n_distinct, seed=0, n_rows=24, length=50):
    """Sequences of 1 to ``length`` items out of ``n_distinct``; few of them means many repeats."""
    generator = torch.Generator().manual_seed(seed)
    if n_distinct is None:  # no item twice
        length = N_ITEMS - 1
        rows = [torch.randperm(length, generator=generator) + 1 for _ in range(n_rows)]
        item_seq = torch.stack(rows)
    else:
        item_seq = torch.randint(1, n_distinct + 1, (n_rows, length), generator=generator)
    lengths = torch.randint(1, length + 1, (n_rows,), generator=generator)
    lengths[:3] = torch.tensor([1, 2, length])
    item_seq = item_seq.masked_fill(torch.arange(length) >= lengths.unsqueeze(1), 0)
    targets = torch.randint(1, N_ITEMS, (n_rows,), generator=generator)
    return {"item_id_list": item_seq, "item_length": lengths, "item_id": targets}


def loss_and_gradients(model, batch):
    model.zero_grad()
    loss = model.calculate_loss(batch)
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("n_distinct", [2, 5, 30, None], ids=["2", "5", "30", "no repeats"])
@pytest.mark.parametrize("n_links", [1, 3])
@pytest.mark.parametrize("qkv_mode", ["tied", "separate"])
def test_fast_path_equals_the_whole_graphs(cache, n_distinct, n_links, qkv_mode):
    options = {"n_items": N_ITEMS, "n_links": n_links, "n_codes": 6, "qkv_mode": qkv_mode}
    fast = build_model(cache, graph_path="fast", **options).double()
    dense = build_model(cache, graph_path="dense", graph_chunk=10, **options).double()
    batch = random_batch(n_distinct=n_distinct)
    torch.testing.assert_close(
        fast.full_sort_predict(batch), dense.full_sort_predict(batch), rtol=0, atol=1e-10
    )
    fast_loss, fast_gradients = loss_and_gradients(fast, batch)
    dense_loss, dense_gradients = loss_and_gradients(dense, batch)
    torch.testing.assert_close(fast_loss, dense_loss, rtol=0, atol=1e-10)
    for name, gradient in fast_gradients.items():
        torch.testing.assert_close(
            gradient, dense_gradients[name], rtol=0, atol=1e-10, msg=f"gradient of {name} differs"
        )


def test_fast_path_handles_a_batch_of_single_items(cache):
    batch = {"item_id_list": torch.tensor([[7], [3]]), "item_length": torch.tensor([1, 1])}
    fast = build_model(cache, graph_path="fast").double()
    dense = build_model(cache, graph_path="dense").double()
    torch.testing.assert_close(
        fast.full_sort_predict(batch), dense.full_sort_predict(batch), rtol=0, atol=1e-10
    )


PATHS = pytest.mark.parametrize("options", [{"graph_path": "fast"}, {"seq_pooling": "mean"}])


@PATHS
def test_padding_changes_nothing(cache, options):
    model = build_model(cache, n_items=N_ITEMS, **options).double()
    batch = random_batch(n_distinct=8, length=20)
    expected = model.full_sort_predict(batch)
    rows, lengths = batch["item_id_list"], batch["item_length"]
    padding = torch.arange(20) >= lengths.unsqueeze(1)
    junk = {"item_id_list": rows.masked_fill(padding, 9), "item_length": lengths}
    wide = {"item_id_list": torch.nn.functional.pad(rows, (0, 30)), "item_length": lengths}
    torch.testing.assert_close(model.full_sort_predict(junk), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(model.full_sort_predict(wide), expected, rtol=0, atol=1e-12)


@PATHS
def test_a_row_does_not_depend_on_the_others(cache, options):
    model = build_model(cache, n_items=N_ITEMS, graph_chunk=5, **options).double()
    batch = random_batch(n_distinct=8, length=20)
    expected = model.full_sort_predict(batch)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(2))
    shuffled = {name: value[order] for name, value in batch.items()}
    torch.testing.assert_close(
        model.full_sort_predict(shuffled), expected[order], rtol=0, atol=1e-12
    )
    alone = {name: value[5:6] for name, value in batch.items()}
    torch.testing.assert_close(model.full_sort_predict(alone), expected[5:6], rtol=0, atol=1e-12)


@PATHS
def test_names_of_codes_mean_nothing(cache, options):
    model = build_model(cache, n_items=N_ITEMS, n_links=2, **options).double()
    batch = random_batch(n_distinct=8, length=20)
    expected = model.full_sort_predict(batch)
    new_name = torch.tensor([0, 3, 1, 4, 2])  # of code 0 (none), 1, 2, 3, 4
    with torch.no_grad():
        model.code_links[:, 0] = new_name[model.code_links[:, 0]]
        rows = model.code_embeddings[0]
        rows[new_name] = rows.clone()
    torch.testing.assert_close(model.full_sort_predict(batch), expected, rtol=0, atol=1e-12)


def test_predict_is_the_full_scores_entry(cache):
    model = build_model(cache, n_items=N_ITEMS)
    batch = random_batch(n_distinct=8, length=20)
    full = model.full_sort_predict(batch)
    assert full.shape == (24, N_ITEMS)
    expected = full.gather(1, batch["item_id"].unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(model.predict(batch), expected, rtol=1e-5, atol=1e-5)


def test_the_padding_item_is_neither_trained_nor_a_candidate(cache):
    model = build_model(cache, n_items=N_ITEMS)
    batch = random_batch(n_distinct=8, length=20)
    loss, gradients = loss_and_gradients(model, batch)
    assert gradients["item_embedding.weight"][0].abs().max() == 0
    assert gradients["code_embeddings.0"][0].abs().max() == 0
    scores = model.full_sort_predict(batch)[:, 1:]
    chosen = scores.gather(1, batch["item_id"].unsqueeze(1) - 1).squeeze(1)
    expected = (scores.logsumexp(dim=1) - chosen).mean()
    torch.testing.assert_close(loss, expected.detach())


@PATHS
def test_training_without_dropout_equals_evaluation(cache, options):
    model = build_model(cache, n_items=N_ITEMS, **options)
    batch = random_batch(n_distinct=8, length=20)
    expected = model.full_sort_predict(batch)
    assert torch.equal(model.train().full_sort_predict(batch), expected)


@pytest.mark.parametrize("graph_path", ["fast", "dense"])
def test_the_two_candidates_of_the_gate_drop_different_weights(cache, graph_path):
    """Three masks: for H, for the homogeneous attention over H, and again for H's weights."""
    model = build_model(
        cache, n_items=N_ITEMS, n_links=3, n_codes=6, graph_path=graph_path, attn_dropout_prob=0.5
    ).train()
    calls = []

    def keep(_module, arguments, output):
        calls.append((arguments[0].detach(), output.detach()))

    model.dual_attention.attn_dropout.register_forward_hook(keep)
    torch.manual_seed(0)
    batch = random_batch(n_distinct=30, length=20)
    model(batch["item_id_list"], batch["item_length"])
    first, last = {"fast": (0, 1), "dense": (0, -1)}[graph_path]
    (weights, dropped), (same_weights, dropped_again) = calls[first], calls[last]
    if graph_path == "fast":  # the first mask covers the neighbours' weights, too
        weights, dropped = weights[:, 0], dropped[:, 0]
    assert torch.equal(weights, same_weights)
    kept = dropped[weights > 0] > 0
    kept_again = dropped_again[weights > 0] > 0
    assert 0.2 < (kept == kept_again).float().mean() < 0.8  # independent halves agree by half
    expected_calls = {"fast": 3, "dense": 2 + 3}[graph_path]  # dense: a mask for each node type
    assert len(calls) == expected_calls


@pytest.mark.parametrize("graph_path", ["fast", "dense"])
def test_the_output_is_dropped_once(cache, graph_path):
    model = build_model(cache, n_items=N_ITEMS, graph_path=graph_path, hidden_dropout_prob=0.5)
    batch = random_batch(n_distinct=8, length=20)
    whole = model(batch["item_id_list"], batch["item_length"])
    torch.manual_seed(0)
    dropped = model.train()(batch["item_id_list"], batch["item_length"])
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], 2 * whole[kept])
    assert 0.3 < kept.float().mean() < 0.7


@pytest.mark.parametrize(("fusion_type", "n_masks"), [("gate", 3 + 1 + 2), ("cat", 3 + 1)])
def test_each_use_of_attention_weights_draws_its_own_mask(cache, fusion_type, n_masks):
    """Three node types' homogeneous weights, the heterogeneous ones; ``gate`` has two more."""
    model = build_model(cache, n_items=N_ITEMS, fusion_type=fusion_type, attn_dropout_prob=0.5)
    calls = []
    model.dual_attention.attn_dropout.register_forward_hook(lambda *call: calls.append(call))
    batch = random_batch(n_distinct=8, length=20)
    model(batch["item_id_list"], batch["item_length"])
    assert len(calls) == n_masks
