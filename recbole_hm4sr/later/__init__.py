"""The weeks after training: judge them, learn from them, play them in order."""
