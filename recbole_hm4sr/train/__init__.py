"""The trainer, its checkpoints and the search for the cause of a non-finite loss."""
