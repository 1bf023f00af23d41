"""One run, from settings to its folder."""
