"""What tables and pages call the two settings of ``rank_history``, and say of lists."""

CANDIDATES = {"include": "seen items kept", "exclude": "seen items removed"}
LISTS_NOTE = (
    "Of the first k items of all test lists. Coverage: share of the items that are shown. Gini: "
    "how unequally, 0 for alike. Novelty: mean of -log2 of an item's share of the training. "
    "Diversity: mean of 1 - cosine of the features of two items of a list."
)
