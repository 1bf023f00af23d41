"""What tables and pages call the two settings of ``rank_history``."""

CANDIDATES = {"include": "seen items kept", "exclude": "seen items removed"}
