"""The whole model against the authors' model: scores, losses, gradients, initial values."""

import numpy as np
import pytest
import torch
from helpers import model_config
from parity.mmsr_oracle import PlainMMSR
from parity.mmsr_reference import (
    CONFIGURATIONS,
    build_model,
    build_recorded_model,
    our_names,
    recorded,
    recorded_batch,
    toy_dataset,
)

from recbole_hm4sr.data.features import AlignedFeatures
from recbole_hm4sr.model.mmsr.codes import CodeRecipe, build_codes, initial_embeddings
from recbole_hm4sr.model.mmsr.graph import build_sequence_graph
from recbole_hm4sr.model.mmsr.model import MMSR

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("codes")


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("tag", CONFIGURATIONS)
@pytest.mark.parametrize("graph_path", ["auto", "dense"])
def test_scores_and_loss_equal_the_authors(cache, k, tag, graph_path):
    model = build_recorded_model(cache, k, tag, graph_path=graph_path, graph_chunk=7)
    reference, batch = recorded(f"model_k{k}"), recorded_batch(k)
    # Unnormalised sums of 'gate' over two layers: the recorded float32 scores of that tag are
    # themselves 2e-5 of the largest score away from the same model in float64.
    tolerance = 3e-5 if tag == "L2_mean_gate" else 1e-5
    with torch.no_grad():
        scores = model.full_sort_predict(batch)[:, 1:].numpy()
        loss = model.calculate_loss(batch).item()
        users = model(batch["item_id_list"], batch["item_length"]).numpy()
    expected = reference[f"{tag}_scores"]
    assert np.abs(scores - expected).max() < tolerance * np.abs(expected).max()
    assert loss == pytest.approx(float(reference[f"{tag}_loss"]), rel=1e-5)
    if f"{tag}_user" in reference:
        np.testing.assert_allclose(users, reference[f"{tag}_user"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("graph_path", ["fast", "dense"])
def test_gradients_equal_the_authors(cache, k, graph_path):
    model = build_recorded_model(cache, k, graph_path=graph_path)
    model.calculate_loss(recorded_batch(k)).backward()
    prefix = "L1_last_asy_grad_"
    official = {
        name.removeprefix(prefix): torch.from_numpy(value)
        for name, value in recorded(f"model_k{k}").items()
        if name.startswith(prefix) and name != f"{prefix}none"
    }
    n_codes = int(recorded(f"graph_k{k}")["n_codes"])
    expected = our_names(official, n_items=model.n_items, n_codes=n_codes)
    ours = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert ours.keys() == {name for name in expected if not name.startswith("readout")} - {
        "dual_attention.gate.score.bias"
    }
    for name, gradient in ours.items():
        torch.testing.assert_close(
            gradient, expected[name], rtol=0, atol=1e-5, msg=f"gradient of {name} differs"
        )


@pytest.mark.parametrize("tag", CONFIGURATIONS)
def test_only_parameters_that_the_options_use_exist(cache, tag):
    """The authors' model has 30 parameters without a gradient in the default configuration."""
    model = build_model(cache, **CONFIGURATIONS[tag])
    batch = {
        "item_id_list": torch.tensor([[1, 2, 1, 4], [6, 7, 8, 0]]),
        "item_length": torch.tensor([4, 3]),
        "item_id": torch.tensor([5, 9]),
    }
    model.calculate_loss(batch).backward()
    unused = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert unused == []


def sensitivity(model, batch):
    """How much each node's input moves the user's vector, for each sequence in the graph's order.

    Nodes are ordered by type, then by id, as the authors' are.
    """
    inputs = []

    def keep(_module, arguments):
        arguments[0].retain_grad()
        inputs.append(arguments[0])

    model.dual_attention.register_forward_pre_hook(keep)
    users = model(batch["item_id_list"], batch["item_length"])
    (users * torch.linspace(1, 2, users.shape[1])).sum().backward()
    order = batch["item_length"].argsort()  # as the model sorts them
    item_seq = batch["item_id_list"][order]
    active = build_sequence_graph(item_seq, model.code_links[item_seq]).active
    moved = inputs[0].grad.abs().amax(dim=-1)
    rows = {int(row): moved[place][active[place]].numpy() for place, row in enumerate(order)}
    return [rows[row] for row in range(len(rows))]


@pytest.mark.parametrize("k", [1, 3])
def test_user_depends_on_the_same_nodes_as_the_authors(cache, k):
    official, batch = recorded(f"graph_k{k}"), recorded_batch(k)
    options = {"graph_path": "dense", "graph_chunk": 1000}
    as_recorded = sensitivity(build_recorded_model(cache, k, **options).double(), batch)
    # The recorded weights are so large that attention weights underflow: with smaller ones, every
    # node that can matter does.
    mild = build_recorded_model(cache, k, **options).double()
    with torch.no_grad():
        for parameter in mild.parameters():
            parameter.mul_(0.3)
    with_small_weights = sensitivity(mild, batch)
    expected = recorded(f"model_k{k}")["receptive_field"]
    n_outside = 0
    for row, (actual, mild_row) in enumerate(zip(as_recorded, with_small_weights, strict=True)):
        inside = expected[row][official["node_type"][row] > 0]
        assert (mild_row[inside] > 0).all()
        assert (actual[~inside] < 1e-20).all()  # what their float32 run could not see
        n_outside += int((mild_row == 0).sum())
    assert n_outside > 0.2 * sum(map(len, as_recorded))  # most of the history has no influence


@pytest.mark.parametrize("tag", CONFIGURATIONS)
def test_mixed_precision_gives_nearly_the_same_loss(cache, tag):
    """RecBole's ``enable_amp`` runs the model under autocast; bfloat16 keeps 8 bits, 1/256."""
    model = build_model(cache, n_links=2, **CONFIGURATIONS[tag])
    batch = recorded_batch(1)
    expected = model.calculate_loss(batch).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model.calculate_loss(batch)
    assert loss.item() == pytest.approx(expected, rel=2e-2)


@pytest.mark.parametrize("k", [1, 3])
def test_initial_values_follow_the_authors_law(cache, k):
    """Every parameter of theirs is uniform on ±1/√D; 3-d tensors must not start at zero."""
    reference = recorded(f"model_k{k}")
    bound = 16**-0.5
    assert max(reference["init_max"]) <= bound
    assert min(reference["init_min"]) >= -bound
    torch.manual_seed(3)
    model = MMSR(model_config("MMSR", hidden_size=16, code_cache_dir=str(cache)), toy_dataset())
    for name, parameter in model.named_parameters():
        assert parameter.abs().max() <= bound, name
        assert parameter.std() > 0.3 * bound, name  # uniform: 0.58
        if parameter.numel() >= 256:
            assert parameter.max() > 0.95 * bound, name
            assert parameter.min() < -0.95 * bound, name


def test_codes_start_at_their_centroids(cache):
    dataset = toy_dataset(width=20)
    model = MMSR(
        model_config("MMSR", hidden_size=8, n_codes=4, n_links=2, code_cache_dir=str(cache)),
        dataset,
    )
    recipe = CodeRecipe(hidden_size=8, n_codes=4, n_links=2, reduction="pca", seed=2023)
    for modality, name in enumerate(dataset.modality_names):
        features = dataset.modality(name)
        codes = build_codes(features.values, features.present, recipe)
        rows = model.code_embeddings[modality].detach().numpy()
        np.testing.assert_array_equal(rows[1:], initial_embeddings(codes.centroids, 8))
        np.testing.assert_array_equal(model.code_links[:, modality].numpy(), codes.links + 1)
        assert not rows[0].any()
    assert not model.item_embedding.weight[0].any()


@pytest.mark.parametrize("zero", [[2], range(1, 9)], ids=["one item", "every item"])
@pytest.mark.parametrize("graph_path", ["auto", "dense"])
def test_an_item_whose_features_are_zeros_has_no_code(cache, zero, graph_path):
    """TF-IDF has a row for an item without words too."""
    values = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    values[[0, *zero]] = 0
    dataset = toy_dataset(9, ("a",))
    aligned = AlignedFeatures(values, np.arange(9) - (np.arange(9) == 0), "", "test")
    assert aligned.present[1:].all()
    dataset.modality = lambda name: aligned
    settings = {"hidden_size": 8, "n_codes": 3, "n_links": 2, "graph_path": graph_path}
    model = MMSR(model_config("MMSR", code_cache_dir=str(cache), **settings), dataset)
    linked = (model.code_links > 0).any(dim=2)[:, 0]
    assert linked.tolist() == [number not in (0, *zero) for number in range(9)]
    users = model(torch.tensor([[2, 4, 2]]), torch.tensor([3]))
    assert torch.isfinite(users).all()


@pytest.mark.parametrize("n_modalities", [0, 1, 2, 3])
@pytest.mark.parametrize("qkv_mode", ["tied", "separate"])
@pytest.mark.parametrize("asy_second_phase", ["official", "from_homo"])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_scores_equal_the_plain_loops(cache, n_modalities, qkv_mode, asy_second_phase, n_layers):
    model = build_model(
        cache,
        modality_names=("a", "b", "c")[:n_modalities],
        n_links=2,
        n_layers=n_layers,
        qkv_mode=qkv_mode,
        asy_second_phase=asy_second_phase,
    ).double()
    plain = PlainMMSR(
        {name: value.numpy() for name, value in model.state_dict().items()},
        n_layers=n_layers,
        from_homo=asy_second_phase == "from_homo",
    )
    assert_scores_equal(model, plain, [[3], [5, 3, 5, 5, 1], [1, 2, 3, 2, 1, 4, 1]])


@pytest.mark.parametrize("fusion_type", ["asy_mask", "gate", "cat"])
@pytest.mark.parametrize("seq_pooling", ["last", "mean", "attention", "last_attention"])
@pytest.mark.parametrize("qkv_mode", ["tied", "separate"])
def test_every_fusion_and_read_out_equals_the_plain_loops(
    cache, fusion_type, seq_pooling, qkv_mode
):
    """Three links an item and weights so small that every neighbour has a share.

    With the recorded weights nearly every heterogeneous attention is a one and zeros.
    """
    options = {"fusion_type": fusion_type, "seq_pooling": seq_pooling, "qkv_mode": qkv_mode}
    model = build_model(cache, n_links=3, n_layers=2, **options).double()
    plain = PlainMMSR(
        {name: value.numpy() for name, value in model.state_dict().items()},
        n_layers=2,
        fusion=fusion_type,
        pooling=seq_pooling,
    )
    assert_scores_equal(model, plain, [[3], [5, 3, 5, 5, 1], [1, 2, 3, 2, 1, 4, 1], [9, 8]])


def assert_scores_equal(model, plain, sequences):
    item_seq = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.int64)
    for row, items in enumerate(sequences):
        item_seq[row, : len(items)] = torch.tensor(items)
    batch = {
        "item_id_list": item_seq,
        "item_length": torch.tensor([len(items) for items in sequences]),
    }
    scores = model.full_sort_predict(batch).detach().numpy()
    expected = np.stack([plain.scores(items) for items in sequences])
    np.testing.assert_allclose(scores, expected, rtol=1e-7, atol=1e-9)
