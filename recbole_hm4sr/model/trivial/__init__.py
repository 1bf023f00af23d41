"""Models that are fitted once and have no parameters: counts, neighbours, a closed form."""
