"""Positions of tokens, counted from the oldest or from the newest of a window."""

from typing import Literal, TypeAlias

from torch import Tensor

from recbole_hm4sr.layers.padded_rows import Arrangement

PositionOrder: TypeAlias = Literal["oldest", "newest", "inverse"]


def window_positions(packing: Arrangement, length: int, counted_from: PositionOrder) -> Tensor:
    """The position of each token in a window of L.

    From the oldest, a history begins at 0, and what a token sees does not depend on what comes
    after it. From the newest, a history ends at L - 1, however short it is, as in code that pads on
    the left; with ``inverse`` its newest item has 0, and those before it count on.

    Args:
        packing: Arrangement of the tokens.
        length: L.
        counted_from: The end of the window that positions are counted from.

    Returns:
        In [0, L), in the padding of padded rows too. Shape ``[T]``, int64.
    """
    if counted_from == "oldest":
        return packing.position
    lengths = packing.lengths.index_select(0, packing.sequence)
    # A token of the padding would come after the last position, or before the first.
    if counted_from == "newest":
        return (length - lengths + packing.position).clamp(max=length - 1)
    return (lengths - 1 - packing.position).clamp(min=0)
