"""What RecBole's own models get here."""
