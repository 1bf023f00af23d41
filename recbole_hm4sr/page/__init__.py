"""Pages: charts, numbers in words, templates and one style. Knows nothing of runs or data sets."""
