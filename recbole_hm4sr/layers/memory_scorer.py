"""The score of a dense model plus a sparse memory, whose weights depend on the situation."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from recbole_hm4sr.layers.memory import EventMemory
from recbole_hm4sr.layers.scorers import Candidates, InnerProducts, UserRows
from recbole_hm4sr.layers.situation import situation
from recbole_hm4sr.layers.sparse_scores import SparseScores

if TYPE_CHECKING:
    from recbole_hm4sr.layers.catalogue import Catalogue

MemoryWeights = Literal["equal", "learned", "situation"]
N_SITUATION = 8
_OF_EVENTS, _OF_NEIGHBOURS, _OF_POPULARITY = 1.6, 1.0, 0.1


class MemoryScorer(nn.Module):
    r"""Adds to the inner products what the memory says, as it was at the moment of the request.

    .. math:: y(t, j) = d(t, j) + \sum_r \alpha_r e^{w_r \cdot z_t + b_r} m_r(t, j)

    with :math:`z` of :func:`~recbole_hm4sr.layers.memory.situation`. It reads of the side:
    ``last_items`` and ``last_times``, newest first, shape ``[N, K]``; ``lengths``, n, ``moments``,
    T, and ``known_until``, the moment in whose place the memory is read, shape ``[N]``; all int64.

    Args:
        memory: The relations.
        names: A name for each relation.
        weights: ``equal``: :math:`\alpha` as it starts; ``learned``: :math:`\alpha` alone;
            ``situation``: all of it.
        gap: The longest time between two interactions of one visit, in the unit of the times.
    """

    part = "memory"

    def __init__(
        self, memory: EventMemory, *, names: tuple[str, ...], weights: MemoryWeights, gap: int
    ) -> None:
        super().__init__()
        self.memory, self.names, self.gap = memory, names, gap
        self._inner = InnerProducts()
        n = memory.n_relations
        has_popularity = memory.popularity_days is not None
        alpha = [_OF_EVENTS] * memory.n_event_relations + [
            _OF_NEIGHBOURS
        ] * memory.n_neighbour_lists
        alpha += [_OF_POPULARITY] * has_popularity
        self.alpha = nn.Parameter(torch.tensor(alpha), requires_grad=weights != "equal")
        by_situation = weights == "situation"
        self.w = nn.Parameter(torch.zeros(n, N_SITUATION), requires_grad=by_situation)
        self.b = nn.Parameter(torch.zeros(n), requires_grad=by_situation)
        self._left_out: tuple[int, ...] = ()

    def relation_weights(self, users: UserRows) -> Tensor:
        """a: how much each relation counts for each row. Shape ``[N, R]``."""
        side = users.side
        z = situation(
            side["last_times"],
            side["lengths"],
            side["moments"],
            gap=self.gap,
            day=self.memory.clock.day,
        ).to(self.alpha.dtype)
        with torch.autocast(z.device.type, enabled=False):
            weights = self.alpha * (z @ self.w.T + self.b).exp()
        if not self._left_out:
            return weights
        return weights.index_fill(1, weights.new_tensor(self._left_out, dtype=torch.int64), 0)

    def kinds(self) -> dict[str, tuple[int, ...]]:
        """Numbers of the relations by their kind: those of events are one kind."""
        found: dict[str, tuple[int, ...]] = {}
        for number, name in enumerate(self.names):
            kind = "events" if number < self.memory.n_event_relations else name
            found[kind] = (*found.get(kind, ()), number)
        return found

    @contextlib.contextmanager
    def without(self, relations: Sequence[int]) -> Iterator[None]:
        """A context in which some relations, by their numbers, have no weight."""
        self._left_out = tuple(relations)
        try:
            yield
        finally:
            self._left_out = ()

    def prepare(self, users: UserRows, catalogue: "Catalogue") -> UserRows:  # noqa: ARG002
        """Read the memory, and weigh what it says."""
        side = users.side
        found = self.memory.runs(side["last_items"], side["known_until"], self.alpha.dtype)
        weights = self.relation_weights(users)  # [N, R]
        weighed = (
            part.with_weights(part.weights * weights[part.rows, part.relations]) for part in found
        )
        return users._replace(sparse=SparseScores(tuple(weighed)))

    def scores(self, users: UserRows, candidates: Candidates) -> Tensor:
        """Inner products and what is added to them. Shape ``[N, K]`` or ``[N, C]``."""
        assert users.sparse is not None
        products = self._inner.scores(users, candidates)
        if candidates.items.ndim == 2:
            return products + users.sparse.on_own(candidates.items).to(products.dtype)
        return users.sparse.add_to_columns(
            products, candidates.items, ascending=candidates.ascending
        )

    def parts(self, users: UserRows, items: Tensor) -> Tensor:
        """What each relation adds to the scores of each row's own items.

        Args:
            users: Rows that :meth:`prepare` returned.
            items: Shape ``[N, C]``, int64.

        Returns:
            Shape ``[N, C, R]``.
        """
        assert users.sparse is not None
        return users.sparse.by_relation(items, len(self.names))

    def by_history_item(self, users: UserRows, items: Tensor) -> Tensor:
        """What each relation adds to the scores of each row's own items, by item of the history.

        Args:
            users: Rows that :meth:`prepare` returned.
            items: Shape ``[N, C]``, int64.

        Returns:
            The last items of the history, newest first. Their sum is the relation of :meth:`parts`,
            but for popularity, which comes from none of them and is 0 here. Shape
            ``[N, C, R, K]``.
        """
        assert users.sparse is not None
        n_relations, n_steps = len(self.names), users.side["last_items"].shape[1]
        n_cells = n_relations * n_steps  # one cell more takes what comes from no item
        by_cell = (
            replace(
                part,
                relations=(part.relations * n_steps + part.steps).where(part.steps >= 0, n_cells),
            )
            for part in users.sparse.parts
        )
        found = SparseScores(tuple(by_cell)).by_relation(items, n_cells + 1)
        return found[..., :n_cells].unflatten(2, (n_relations, n_steps))


def relation_names(
    ages: tuple[float, ...], neighbours: tuple[str, ...], *, popularity: bool
) -> tuple[str, ...]:
    """Names of the relations of an :class:`EventMemory`, in their order.

    Args:
        ages: Bounds of the ages in days.
        neighbours: Names of the modalities with neighbours.
        popularity: Whether recent popularity is one.
    """
    of_age = [*(f"{age:g}d" for age in ages), "older"]
    return (
        *(
            f"{direction}_{kind}_{age}"
            for direction in ("forward", "backward")
            for kind in ("same", "later")
            for age in of_age
        ),
        *(f"near_{name}" for name in neighbours),
        *(("popularity",) if popularity else ()),
    )
