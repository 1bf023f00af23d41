"""A trained model at work: recommendations, an exported index, an HTTP service."""
