"""From texts and images to item features."""
