"""Use weights that the authors' HM4SR code has trained."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from recbole_hm4sr.base.errors import DataError

_STREAMS = {"id": "item", "text": "txt", "image": "img"}
_LAYER_PARTS = {
    "attention.query": "multi_head_attention.query",
    "attention.key": "multi_head_attention.key",
    "attention.value": "multi_head_attention.value",
    "attention.output": "multi_head_attention.dense",
    "attention_norm": "multi_head_attention.LayerNorm",
    "feed_forward.inner": "feed_forward.dense_1",
    "feed_forward.output": "feed_forward.dense_2",
    "feed_forward.norm": "feed_forward.LayerNorm",
}
# A layer of the authors' code that nothing reads.
_UNUSED = frozenset({"time_moe.absolute_m.weight", "time_moe.absolute_m.bias"})


def convert_authors_state(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the authors' ``state_dict`` into one for :class:`HM4SR` with text and image.

    Their temporal experts are not in their checkpoint (see :class:`TemporalMoE`): without
    ``time_moe.expert.K`` entries the result has none, and must be loaded with ``strict=False``.

    Args:
        theirs: Parameter name to tensor, for instance ``torch.load(...)["state_dict"]``. Rows of
            items are in the order of their run's item ids.

    Returns:
        Parameter name of :class:`HM4SR` to tensor.

    Raises:
        DataError: If a parameter is missing, or one is left over.
    """
    left = {name: tensor for name, tensor in theirs.items() if name not in _UNUSED}
    n_layers = _count(left, "item_seq.layer.{}.multi_head_attention.query.weight")
    n_interactive = _count(left, "start_moe.expert.{}.weight")
    n_temporal = _count(left, "time_moe.expert.{}")
    names = _parameter_names(n_layers)
    experts = [f"start_moe.expert.{number}" for number in range(n_interactive)]
    first_expert = ["start_moe.expert.0"]  # a model without interactive experts is not theirs
    _require(left, [*names.values(), *_with_leaves(experts or first_expert)])
    ours = {name: left.pop(their_name) for name, their_name in names.items()}
    ours["time_encoding.frequency"] = ours["time_encoding.frequency"].squeeze(1)
    for leaf in ("weight", "bias"):
        parts = [left.pop(f"{expert}.{leaf}") for expert in experts]
        ours[f"interactive_moe.experts.{leaf}"] = torch.cat(parts)
    if n_temporal:
        parts = [left.pop(f"time_moe.expert.{number}") for number in range(n_temporal)]
        ours["temporal_moe.experts"] = torch.cat(parts)
    if left:
        raise DataError(
            f"the weights must be of the authors' HM4SR, got {len(left)} others, e.g. "
            f"{', '.join(sorted(left)[:3])}"
        )
    return ours


def _with_leaves(modules: Iterable[str]) -> list[str]:
    return [f"{module}.{leaf}" for module in modules for leaf in ("weight", "bias")]


def _require(state: Mapping[str, Tensor], names: Iterable[str]) -> None:
    missing = [name for name in names if name not in state]
    if missing:
        raise DataError(
            f"the weights must be of the authors' HM4SR, but {len(missing)} are missing, e.g. "
            f"{', '.join(missing[:3])}"
        )


def _count(names: Mapping[str, Tensor], pattern: str) -> int:
    number = 0
    while pattern.format(number) in names:
        number += 1
    return number


def _parameter_names(n_layers: int) -> dict[str, str]:
    """Our name of each parameter that both have, to theirs."""
    layers = {"temporal_moe.gate": "time_moe.gate", "category_layer": "cat_linear"}
    for stream, prefix in _STREAMS.items():
        layers[f"input_norms.{stream}"] = f"{prefix}_ln"
        for number in range(n_layers):
            for part, their_part in _LAYER_PARTS.items():
                ours = f"encoders.{stream}.layers.{number}.{part}"
                layers[ours] = f"{prefix}_seq.layer.{number}.{their_part}"
        if stream == "id":
            layers["interactive_moe.gates.id"] = "start_moe.gate_id"
            continue
        layers[f"interactive_moe.gates.{stream}"] = f"start_moe.gate_{prefix}"
        layers[f"projections.{stream}"] = f"{prefix}_projection"
        layers[f"placeholder_layers.{stream}"] = f"placeholder_{prefix}"
    return {
        "item_embedding.weight": "item_embedding.weight",
        "position_embedding.weight": "position_embedding.weight",
        "interactive_moe.modality_weights": "start_moe.weight",
        "time_encoding.interval_embedding.weight": "time_moe.time_embedding.weight",
        "time_encoding.frequency": "time_moe.absolute_w.weight",
        "time_encoding.phase": "time_moe.absolute_w.bias",
    } | {f"{o}.{leaf}": f"{t}.{leaf}" for o, t in layers.items() for leaf in ("weight", "bias")}
