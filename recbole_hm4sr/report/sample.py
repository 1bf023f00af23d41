"""How many users the model was asked about, in words."""

from collections.abc import Mapping
from typing import Any


def sample_words(facts: Mapping[str, Any]) -> str:
    """Of how many test users something is, and how they were drawn.

    Args:
        facts: With ``users``, ``of_users`` and ``seed``.
    """
    if facts["users"] == facts["of_users"]:
        return f"All {facts['users']:,} test users."
    return (
        f"{facts['users']:,} of {facts['of_users']:,} test users, drawn with seed {facts['seed']}."
    )
