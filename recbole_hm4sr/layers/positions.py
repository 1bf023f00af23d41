"""Positions of tokens, counted from the oldest or from the newest of a window."""

from typing import Literal

from torch import Tensor

from recbole_hm4sr.layers.padded_rows import Arrangement


def window_positions(
    packing: Arrangement, length: int, counted_from: Literal["oldest", "newest"]
) -> Tensor:
    """The position of each token in a window of L.

    From the oldest, a history begins at 0, and what a token sees does not depend on what comes
    after it. From the newest, a history ends at L - 1, however short it is.

    Args:
        packing: Arrangement of the tokens.
        length: L.
        counted_from: The end of the window that positions are counted from.

    Returns:
        Below L. Shape ``[T]``, int64.
    """
    if counted_from == "oldest":
        return packing.position
    first = length - packing.lengths.index_select(0, packing.sequence)
    # A token of the padding would come after the last position.
    return (first + packing.position).clamp(max=length - 1)
