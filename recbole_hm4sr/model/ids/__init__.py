"""Models of item ids alone."""
