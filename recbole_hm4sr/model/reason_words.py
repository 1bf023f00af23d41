"""Kinds of reasons for a recommendation, and what each says. Nothing here needs torch."""

NONE = ""
MEMORY = "memory"
HISTORY = "history"
WHOLE_HISTORY = "whole history"
POPULARITY = "popularity"


def reason_words(kind: str) -> str:
    """What a reason says after the name of its item, or by itself.

    Args:
        kind: Of :class:`~recbole_hm4sr.model.explain.Reasons`, not :data:`NONE`.
    """
    words = {
        MEMORY: "others took both close together",
        HISTORY: "without it, the score would fall most",
        WHOLE_HISTORY: "Because of the whole history; no single item decides",
        POPULARITY: "Because many take it",
    }
    return words.get(kind, f"Because of its {kind}")
