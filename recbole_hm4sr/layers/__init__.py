"""Layers and losses: torch only, no knowledge of RecBole, files or settings.

Dimension key, used in every docstring of this package:

    B batch · L padded sequence length · T valid tokens of a batch, packed · D ``hidden_size`` ·
    M streams (the id and the modalities) · E experts · F raw feature width · I items with padding
    (item 0) · C categories
"""
