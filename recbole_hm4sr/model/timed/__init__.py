"""Models that read ids and times."""
