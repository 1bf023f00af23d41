"""MISSRec's own: interests of a history, stacked tokens, the regulariser, the fused cosines."""

import pytest
import torch
from helpers import ArrayDataset, model_config
from recbole.data.interaction import Interaction

from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.padded_rows import PaddedRows
from recbole_hm4sr.layers.scorers import Candidates, UserRows
from recbole_hm4sr.model.text.missrec import MISSRec
from recbole_hm4sr.model.text.missrec_parts import (
    FusedModalities,
    hidden_keys,
    interests_of,
    stack_modalities,
)

LENGTHS = torch.tensor([3, 1, 2])
OWNED = torch.tensor([[4, 2], [2, 2], [1, 4], [3, 3], [1, 5], [5, 1]])  # of six tokens
DISTINCT = [{1, 2, 4}, {3}, {1, 5}]


def spread(values):
    """Values of the tokens as rows of four, with something in the padding."""
    rows = torch.full((3, 4, *values.shape[1:]), 2)
    rows[torch.arange(4) < LENGTHS[:, None]] = values
    return rows.flatten(0, 1)


@pytest.mark.parametrize("is_padded", [False, True])
def test_interests_are_those_of_the_history_each_once(is_padded):
    packing = PaddedRows(LENGTHS, 4) if is_padded else build_packing(LENGTHS, 4)
    found = interests_of(spread(OWNED) if is_padded else OWNED, packing, 5)
    assert found.packing.lengths.tolist() == [3, 1, 2]
    for row, expected in enumerate(DISTINCT):
        is_own = (found.packing.sequence == row) & (
            found.packing.position < found.packing.lengths[row]
        )
        numbers = found.numbers[is_own].tolist()
        assert sorted(numbers) == sorted(expected)


@pytest.mark.parametrize("is_padded", [False, True])
def test_stacked_tokens_come_modality_after_modality(is_padded):
    packing = PaddedRows(LENGTHS, 4) if is_padded else build_packing(LENGTHS, 4)
    stacked = stack_modalities(packing, 2)
    first = [0, 4, 8] if is_padded else [0, 3, 4]
    for row, n in enumerate(LENGTHS.tolist()):
        is_own = (stacked.packing.sequence == row) & (stacked.packing.position < 2 * n)
        assert stacked.source[is_own].tolist() == [first[row] + step for step in range(n)] * 2
        assert stacked.modality[is_own].tolist() == [0] * n + [1] * n
        newest = stacked.newest[row]
        assert stacked.source[newest] == first[row] + n - 1
        assert stacked.modality[newest] == 0


def test_a_history_of_hidden_tokens_alone_hides_none():
    packing = build_packing(LENGTHS, 4)
    hidden = torch.tensor([True, False, True, True, False, False])
    (terms,) = hidden_keys(hidden, packing)
    (bucket,) = packing.buckets
    found = {
        int(row): terms.bias[number, 0, 0, : LENGTHS[row]].tolist()
        for number, row in enumerate(bucket.sequences)
    }
    assert found == {0: [-torch.inf, 0, -torch.inf], 1: [0], 2: [0, 0]}


def test_fused_cosines_by_hand():
    torch.manual_seed(1)
    share, n_items = 0.4, 5
    scorer = FusedModalities(2, share, n_items)
    torch.nn.init.normal_(scorer.factor)
    users, rows = torch.randn(3, 3, 4), torch.randn(n_items, 3, 4)
    for items in (torch.arange(n_items), torch.tensor([[1, 4], [0, 0], [2, 3]])):
        found = scorer.scores(UserRows(users), Candidates(items, rows[items]))
        for row in range(3):
            own = items if items.ndim == 1 else items[row]
            for column, item in enumerate(own.tolist()):
                ids, *modalities = [(users[row, s] @ rows[item, s]).item() for s in range(3)]
                cosines = torch.tensor(modalities) / share
                weights = (scorer.factor[item] * cosines).softmax(dim=0)
                expected = ids + 2 * share * (weights * cosines).sum()
                assert found[row, column].item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_regulariser_is_the_mean_size_of_the_mean_interest():
    features = {name: torch.randn(12, 3).numpy() for name in ("text", "image")}
    config = model_config(
        "MISSRec", hidden_size=8, n_heads=2, inner_size=8, seed=1, interest_weight=2.0
    )
    model = MISSRec(config, ArrayDataset(12, features)).double().eval()
    batch = Interaction(
        {
            "item_id_list": torch.tensor([[3, 4, 5], [7, 0, 0]]),
            "item_length": torch.tensor([3, 1]),
            "timestamp_list": torch.zeros(2, 3, dtype=torch.int64),
            "item_id": torch.tensor([1, 2]),
        }
    )
    loss = model.named_losses(batch)["interest"]
    encoded = model(model.read(batch, train=True))
    packing, outputs = encoded.interests.packing, encoded.outputs
    means = [outputs[packing.sequence == row].mean(dim=0) for row in range(2)]
    expected = 2.0 * sum(mean.square().sum() / 8 for mean in means) / 2
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


def test_the_start_is_the_authors():
    features = {name: torch.randn(400, 64).numpy() for name in ("text", "image")}
    config = model_config("MISSRec", hidden_size=64, n_heads=2, seed=1)
    model = MISSRec(config, ArrayDataset(400, features))
    bound = (6 / (4 * 64)) ** 0.5  # xavier of [3 D, D]
    for layer in (model.encoder.layers[0].attention, model.decoder.layers[0].cross_attention):
        for linear in (layer.query, layer.key, layer.value):
            assert linear.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
        assert layer.output.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not model.item_embedding.weight[0].any()
    # Torch's own start: U(-1 / 8, 1 / 8) has the standard deviation 1 / 8 / sqrt(3) = .072.
    assert model.projections["text"].weight.std().item() == pytest.approx(0.072, rel=0.1)
