"""Similarities of users and items."""

import pytest
import torch

from recbole_hm4sr.layers.similarity import Dot, ItemDirections, ScaledCosine, directions


def test_the_inner_product_changes_nothing():
    x = torch.randn(3, 2)
    assert Dot().users(x) is x
    assert Dot().items(x) is x


def test_a_cosine_by_hand():
    users, items = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0], [8.0, 6.0]])
    cosine = ScaledCosine(0.5)
    scores = cosine.users(users) @ cosine.items(items).T
    # (3·0 + 4·2) / (5·2) and (3·8 + 4·6) / (5·10), over the temperature.
    torch.testing.assert_close(scores, torch.tensor([[0.8 / 0.5, 0.96 / 0.5]]))


def test_its_gradient_is_across_the_direction():
    x = torch.tensor([[3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(ScaledCosine(1.0).items(x)[0, 0], x)
    # d(x/|x|)/dx = (1 - u u^T) / |x|
    torch.testing.assert_close(gradient, torch.tensor([[0.64, -0.48]], dtype=torch.float64) / 5)


@pytest.mark.parametrize("short", [0.0, 1e-8])
def test_a_vector_without_direction_scores_zero_and_gets_no_gradient(short):
    x = torch.full((2, 3), short, requires_grad=True)
    for mapped in (ScaledCosine(0.1).users(x), ScaledCosine(0.1).items(x)):
        assert mapped.tolist() == [[0.0] * 3] * 2
        (gradient,) = torch.autograd.grad(mapped.sum(), x)
        assert gradient.tolist() == [[0.0] * 3] * 2


def test_directions_of_items_leave_the_users_their_lengths():
    users, items = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0], [8.0, 6.0]])
    cosine = ItemDirections()
    scores = cosine.users(0.5 * directions(users)) @ cosine.items(items).T
    torch.testing.assert_close(scores, torch.tensor([[0.5 * 0.8, 0.5 * 0.96]]))


@pytest.mark.parametrize("temperature", [0, -1, float("nan")])
def test_a_temperature_is_positive(temperature):
    with pytest.raises(ValueError, match="temperature must be positive"):
        ScaledCosine(temperature)
