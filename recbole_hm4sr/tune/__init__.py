"""Searches for settings: spaces, trials, engines."""
