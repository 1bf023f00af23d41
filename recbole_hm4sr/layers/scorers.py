"""Scorers: what makes scores of users and items."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from recbole_hm4sr.layers.sparse_scores import SparseScores

if TYPE_CHECKING:
    from recbole_hm4sr.layers.catalogue import Catalogue


class UserRows(NamedTuple):
    """One row a question: what a score reads of a user.

    Attributes:
        vectors: A vector a modality. Shape ``[N, M, D]``.
        side: What else a scorer reads of a row, by name. Each of shape ``[N, ...]``.
        sparse: What a scorer adds to some scores; of its :meth:`Scorer.prepare`.
    """

    vectors: Tensor
    side: Mapping[str, Tensor] = MappingProxyType({})
    sparse: SparseScores | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> "UserRows":
        """The rows after one change of all their tensors, as a gathering of several processes.

        Args:
            change: Of a tensor whose first dimension is the rows.
        """
        assert self.sparse is None  # their first dimension is not the rows
        side = {name: change(values) for name, values in self.side.items()}
        return UserRows(change(self.vectors), side)

    def select(self, rows: slice | Tensor) -> "UserRows":
        """Some of the rows, by a slice or by their numbers."""
        sparse = None if self.sparse is None else self.sparse.select(rows)
        chosen = self._replace(sparse=None).map(lambda values: values[rows])
        return chosen._replace(sparse=sparse)

    def with_side(self, **more: Tensor) -> "UserRows":
        """The rows with more beside their vectors."""
        return self._replace(side={**self.side, **more})


class Candidates(NamedTuple):
    """Items to score: the same for every user, or each user's own.

    Attributes:
        items: Shape ``[K]``, or ``[N, C]`` for C items of each user; int64.
        rows: Their vectors after the similarity's map. Shape ``[K, M, D]`` or ``[N, C, M, D]``.
        ascending: Whether K items are known to be each above the one before it.
    """

    items: Tensor
    rows: Tensor
    ascending: bool = False


class Scorer(Protocol):
    """Makes scores of users and candidates.

    A scorer computes any candidate's score without the others; what it needs of all items, as a
    normaliser, it computes in :meth:`prepare`. Gradients are autograd's. A scorer with parameters
    is an ``nn.Module``, an attribute of its model.

    Attributes:
        part: Name of what it adds to the sum of the modalities' products, in explanations.
    """

    part: str

    def prepare(self, users: UserRows, catalogue: "Catalogue") -> UserRows:
        """Add to ``side`` what is computed once for a batch of users.

        Args:
            users: N rows, their vectors after the similarity's map.
            catalogue: Holds the items that will be scored.
        """

    def scores(self, users: UserRows, candidates: Candidates) -> Tensor:
        """Scores, in a tensor of their own. Shape ``[N, K]``, or ``[N, C]`` for own candidates.

        Args:
            users: Rows that :meth:`prepare` returned, or some of them.
            candidates: The items.
        """


@runtime_checkable
class HasParts(Protocol):
    """A scorer that tells what it adds to a score part by part.

    Attributes:
        names: A name for each part.
    """

    names: tuple[str, ...]

    def parts(self, users: UserRows, items: Tensor) -> Tensor:
        """What each part adds to the scores of each row's own items.

        Args:
            users: N rows that :meth:`Scorer.prepare` returned.
            items: Shape ``[N, C]``, int64.

        Returns:
            Shape ``[N, C, parts]``.
        """


@runtime_checkable
class HasHistory(Protocol):
    """A scorer that tells what each item of the history adds to a score."""

    def by_history_item(self, users: UserRows, items: Tensor) -> Tensor:
        """What each part adds to the scores of each row's own items, by item of the history.

        Args:
            users: N rows that :meth:`Scorer.prepare` returned.
            items: Shape ``[N, C]``, int64.

        Returns:
            The last items of the history, newest first. Shape ``[N, C, parts, K]``.
        """


class InnerProducts:
    """The sum of the modalities' inner products. Its cross-entropy has a fused form."""

    part: str = ""

    def prepare(self, users: UserRows, catalogue: "Catalogue") -> UserRows:  # noqa: ARG002
        """Nothing is computed before."""
        return users

    def scores(self, users: UserRows, candidates: Candidates) -> Tensor:
        """Inner products of the vectors of all modalities side by side."""
        vectors, rows = users.vectors.flatten(1), candidates.rows.flatten(-2)
        if rows.ndim == 2:
            return vectors @ rows.T  # [N, K]
        return (vectors[:, None] * rows).sum(dim=-1)  # [N, C]
