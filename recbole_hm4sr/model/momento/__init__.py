"""Momento: modalities, a memory, and the moment of the request."""
