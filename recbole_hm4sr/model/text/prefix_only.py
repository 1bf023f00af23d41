"""The refusal of models that see what comes later: they train on prefixes alone."""


def require_prefixes(train_mode: str, model: str, why: str) -> str:
    """The training mode, if it is ``prefix``.

    Args:
        train_mode: Of the settings.
        model: Its name.
        why: What sees later items, as the beginning of a sentence.

    Raises:
        ValueError: If it is ``sequence``: a position would be trained on what it has to predict.
    """
    if train_mode == "sequence":
        raise ValueError(
            f"train_mode of {model} must be prefix, got 'sequence': {why}, so a position would see "
            f"the item that it has to predict"
        )
    return train_mode
