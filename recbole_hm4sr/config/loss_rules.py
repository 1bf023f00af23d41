"""Whether a model's loss gets the negative items that it reads, before anything is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recbole_hm4sr.config.settings import require

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


@dataclass(frozen=True)
class LossFacts:
    """What is known of a model's loss.

    Attributes:
        types: What ``loss_type`` may be; empty where the model has no such setting.
        is_pairwise: Whether it reads negative items whatever ``loss_type`` is.
        draws_its_own: Whether it draws the negative items of ``BPR`` by itself.
        reads_negative_histories: Whether it needs histories of negative items, which RecBole makes
            in a data set of its own for it.
    """

    types: tuple[str, ...] = ()
    is_pairwise: bool = False
    draws_its_own: bool = False
    reads_negative_histories: bool = False

    def reads_negatives(self, values: Mapping[str, Any]) -> bool:
        """Whether the loss that the settings choose reads negative items."""
        pretrains = values.get("train_stage") == "pretrain"
        return self.is_pairwise or (values.get("loss_type") == "BPR" and not pretrains)


def wrong_losses(model: str, facts: LossFacts, values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the loss and the negative items of a model, one sentence each.

    Args:
        model: Name of the model.
        facts: What is known of its loss.
        values: All settings.
    """
    if facts.reads_negative_histories:
        return [f"{model} reads histories of negative items, which are not made here"]
    drawn, loss = values.get("train_neg_sample_args"), values.get("loss_type")
    found = _wrong_drawing(drawn)
    if facts.types and "loss_type" in values:
        rule = f"loss_type of {model} must be {' or '.join(facts.types)}"
        found += require(loss in facts.types, rule, loss)
    return found or _wrong_need(model, facts, values)


def _wrong_need(model: str, facts: LossFacts, values: Mapping[str, Any]) -> list[str]:
    """Negative items that a loss lacks, or that nothing reads."""
    drawn, loss = values.get("train_neg_sample_args"), values.get("loss_type")
    draws = isinstance(drawn, dict) and drawn.get("distribution", "uniform") not in _NONE
    reads = facts.reads_negatives(values)
    if reads and not draws and not facts.draws_its_own:
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
