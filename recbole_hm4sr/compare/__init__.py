"""Comparisons: many runs under one protocol, and the tables of their results."""
