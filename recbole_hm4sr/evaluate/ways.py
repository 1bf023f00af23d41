"""Several ways to score with one model: contexts that it enters, one inside the other."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias


class Setting(Protocol):
    """A state that a model can be set to while it scores: one of its views, or of its choices."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def entered(self) -> Callable[[], AbstractContextManager[None]]:
        """Makes a context in which the model is set to it."""


# With none the model scores as it is.
Way: TypeAlias = tuple[Setting, ...]


@contextlib.contextmanager
def entered(way: Way) -> Iterator[None]:
    """A context in which a model scores in one way."""
    with contextlib.ExitStack() as stack:
        for setting in way:
            stack.enter_context(setting.entered())
        yield


def encoded_once(model: Any, interaction: Any) -> AbstractContextManager[None]:
    """A context in which a model that is asked for one batch in several ways encodes it once.

    Args:
        model: Any model; one that knows of no such thing works as ever.
        interaction: The batch.
    """
    own = getattr(model, "encoded_once", None)
    return contextlib.nullcontext() if own is None else own(interaction)
