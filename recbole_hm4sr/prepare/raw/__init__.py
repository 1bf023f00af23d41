"""Readers of raw material: CSV, Parquet and the Amazon files."""
