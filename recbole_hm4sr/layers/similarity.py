"""Similarities of users and items: maps of both sides whose inner products are scores."""

from typing import Protocol

from torch import Tensor

# Shorter vectors have no direction: their similarity is 0 and they get no gradient.
_SHORTEST = 1e-6


class Similarity(Protocol):
    """Maps vectors of users and of items so that their inner products are scores.

    Items are mapped once a step or an evaluation, users once a batch.
    """

    def users(self, x: Tensor) -> Tensor:
        """Vectors of users as they enter the products. Shapes ``[..., D]`` to ``[..., D]``."""

    def items(self, x: Tensor) -> Tensor:
        """Vectors of items as they enter the products. Shapes ``[..., D]`` to ``[..., D]``."""


class Dot:
    """The inner product itself."""

    def users(self, x: Tensor) -> Tensor:
        """The vectors as they are."""
        return x

    def items(self, x: Tensor) -> Tensor:
        """The vectors as they are."""
        return x


class ScaledCosine:
    """The cosine over a temperature, of each modality by itself.

    A vector shorter than 1e-6, such as the padding row, has the cosine 0 with every other and gets
    no gradient, where a division by its length would give an enormous one.

    Args:
        temperature: Positive.

    Raises:
        ValueError: If the temperature is not positive.
    """

    def __init__(self, temperature: float) -> None:
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def users(self, x: Tensor) -> Tensor:
        """Directions over the temperature. Shapes ``[..., D]`` to ``[..., D]``."""
        return directions(x) / self.temperature

    def items(self, x: Tensor) -> Tensor:
        """Directions. Shapes ``[..., D]`` to ``[..., D]``."""
        return directions(x)


class ItemDirections:
    """The cosine of a model whose users come as directions over a temperature.

    They may then be weighed beside a memory: a cosine that normalises them itself would undo it.
    """

    def users(self, x: Tensor) -> Tensor:
        """The vectors as they are."""
        return x

    def items(self, x: Tensor) -> Tensor:
        """Directions. Shapes ``[..., D]`` to ``[..., D]``."""
        return directions(x)


def directions(x: Tensor) -> Tensor:
    """Vectors of length 1, or of zeros where there is no direction.

    Args:
        x: Shape ``[..., D]``. A vector shorter than 1e-6 has no direction and gets no gradient.
    """
    squared = x.square().sum(dim=-1, keepdim=True)
    is_short = squared < _SHORTEST**2
    # The root of a zero has no finite gradient, even where its result is not used.
    lengths = squared.masked_fill(is_short, 1).sqrt()
    return (x / lengths).masked_fill(is_short, 0)
