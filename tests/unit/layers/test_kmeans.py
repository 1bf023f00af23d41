"""k-means by hand, and whole however many rows it takes at a time."""

import pytest
import torch

from recbole_hm4sr.layers import kmeans as module
from recbole_hm4sr.layers.kmeans import kmeans


def test_two_clusters_by_hand():
    vectors = torch.tensor([[0.0], [1.0], [-8.0], [-10.0]])
    # Begun at 0 and 1: -8 and -10 are nearer to 0, whose centre moves to -6, and to -9 next.
    centres, nearest = kmeans(vectors, torch.tensor([0, 1]), rounds=3)
    assert centres.tolist() == [[-9.0], [0.5]]
    assert nearest.tolist() == [1, 1, 0, 0]


def test_a_centre_without_vectors_stays():
    vectors = torch.tensor([[1.0], [1.0], [4.0]])
    centres, nearest = kmeans(vectors, torch.tensor([0, 1, 2]))
    assert centres.tolist() == [[1.0], [1.0], [4.0]]
    assert nearest.tolist() == [0, 0, 2]


@pytest.mark.parametrize("at_a_time", [1, 20, 2**22])
def test_it_lowers_the_distances_whatever_is_held(at_a_time, monkeypatch):
    monkeypatch.setattr(module, "_DISTANCES_AT_A_TIME", at_a_time)
    random = torch.Generator().manual_seed(2)
    vectors = torch.randn(40, 3, generator=random, dtype=torch.float64)
    found = [kmeans(vectors, torch.arange(5), rounds=rounds) for rounds in (0, 1, 10)]
    errors = [(vectors - centres[nearest]).square().sum().item() for centres, nearest in found]
    assert errors[0] > errors[1] > errors[2]
    centres, nearest = found[2]
    distances = torch.cdist(vectors, centres)
    assert nearest.equal(distances.argmin(dim=1))
