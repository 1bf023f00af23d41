"""Which row of a table of positions a token of a packed batch reads."""

from typing import Literal, TypeAlias

from torch import Tensor

from recbole_hm4sr.layers.padded_rows import Arrangement

PositionOrder: TypeAlias = Literal["oldest", "newest", "inverse"]


def position_index(packing: Arrangement, max_length: int, order: PositionOrder) -> Tensor:
    """The index of each token's position.

    Args:
        packing: Arrangement of the tokens.
        max_length: L, rows of the table.
        order: ``oldest`` counts from the oldest item on; with ``newest`` the newest item of a row
            has L - 1, however short the row is, as in code that pads on the left; with ``inverse``
            it has 0 and those before it count on.

    Returns:
        In [0, L), in the padding of padded rows too. Shape ``[T]``, int64.
    """
    if order == "oldest":
        return packing.position
    lengths = packing.lengths.index_select(0, packing.sequence)
    if order == "newest":
        return (max_length - lengths + packing.position).clamp(max=max_length - 1)
    return (lengths - 1 - packing.position).clamp(min=0)
