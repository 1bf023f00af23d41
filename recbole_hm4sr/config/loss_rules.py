"""Whether a model's loss gets the negative items that it reads, before anything is read."""

from collections.abc import Mapping
from typing import Any

from recbole_hm4sr.base.recbole_files import sequential_models
from recbole_hm4sr.config.settings import require

# The losses of RecBole's models that do not have both.
_LOSSES: Mapping[str, tuple[str, ...]] = {
    "CORE": ("CE",),
    "FPMC": ("BPR",),
    "GRU4RecCPR": ("CE",),  # leaves the process without a word on any other, as SASRecCPR does
    "RepeatNet": ("CE",),
    "SASRecCPR": ("CE",),
    "SINE": ("BPR", "CE", "NLL"),
}
# Read negative items whatever their loss_type is.
_PAIRWISE = frozenset({"DIN", "FPMC", "TransRec"})
# Draws those of its loss BPR by itself.
_DRAWS_ITS_OWN = frozenset({"BERT4Rec"})
# Reads histories of negative items, which RecBole makes in a data set of its own for it.
_NEEDS_ITS_DATASET = frozenset({"DIEN"})
_NONE = (None, "None")  # of a distribution
_ADVICE = "--train_neg_sample_args='{distribution: uniform, sample_num: 1}'"
_KINDS: Mapping[str, tuple[str, Any]] = {
    "distribution": (
        "uniform or popularity",
        lambda value: value in (*_NONE, "uniform", "popularity"),
    ),
    "sample_num": ("a whole number from 1", lambda value: _is_whole(value, 1)),
    "alpha": (
        "a number",
        lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    ),
    "dynamic": ("true or false", lambda value: isinstance(value, bool)),
    "candidate_num": ("a whole number from 0", lambda value: _is_whole(value, 0)),
}


def wrong_losses(model: str, values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the loss and the negative items of a model, a sentence each.

    Args:
        model: Name of the model.
        values: All settings.
    """
    if model in _NEEDS_ITS_DATASET:
        return [f"{model} reads histories of negative items, which are not made here"]
    drawn = values.get("train_neg_sample_args")
    found = _wrong_drawing(drawn)
    loss = values.get("loss_type")
    if model in sequential_models() and "loss_type" in values:
        losses = _LOSSES.get(model, ("BPR", "CE"))
        found += require(
            loss in losses, f"loss_type of {model} must be {' or '.join(losses)}", loss
        )
    if found:
        return found
    draws = isinstance(drawn, dict) and drawn.get("distribution", "uniform") not in _NONE
    pretrains = values.get("train_stage") == "pretrain"
    reads = model in _PAIRWISE or (loss == "BPR" and not pretrains)
    if reads and not draws and model not in _DRAWS_ITS_OWN:
        why = f"loss_type {loss} of {model}" if loss else model
        return [
            f"train_neg_sample_args must say how negative items are drawn, since {why} reads them: "
            f"{_ADVICE}"
        ]
    if draws and not reads:
        why = f"loss_type {loss} of {model}" if loss else f"the loss of {model}"
        return [
            f"train_neg_sample_args must be null, since {why} reads no negative items, got {drawn}"
        ]
    return []


def _wrong_drawing(drawn: Any) -> list[str]:
    if drawn is None:
        return []
    if not isinstance(drawn, dict):
        return [f"train_neg_sample_args must be null or a mapping as in {_ADVICE}, got {drawn!r}"]
    found = [
        f"train_neg_sample_args.{name} is unknown; it takes {', '.join(_KINDS)}"
        for name in drawn
        if name not in _KINDS
    ]
    for name, (rule, fits) in _KINDS.items():
        if name in drawn:
            found += require(
                fits(drawn[name]), f"train_neg_sample_args.{name} must be {rule}", drawn[name]
            )
    if not found and drawn.get("dynamic") and not drawn.get("candidate_num"):
        found.append("train_neg_sample_args.candidate_num must be 1 or more with dynamic: true")
    return found


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
