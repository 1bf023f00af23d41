"""Find the cause of a non-finite loss or weight, after the fact: a sound step pays nothing.

A step only asks whether its losses are finite. Where one is not, its batch is computed once more
with a hook on every layer, and halved until one row is left that gives the same by itself. Weights
and the optimizer's state are looked at once an epoch, before anything is written.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recbole_hm4sr.base.errors import DataError, TrainingError

# What a layer raises for a part of a batch that it refuses, as one row for a batch norm.
_CANNOT_TAKE = (ValueError, RuntimeError, IndexError)
_SHOWN_ITEMS = 5
_REMEDY = "lower learning_rate or set clip_grad_norm: {max_norm: 1}"
_UNKNOWN = "its layer and row are found with catalogue_rows: replicated alone"
LossesOf = Callable[[Any], Mapping[str, Tensor]]


def refuse_losses(  # what a step knows
    losses: Mapping[str, Tensor],
    moment: str,
    model: nn.Module,
    batch: Any,
    losses_of: LossesOf | None,
    dataset: Any = None,
    *,
    again: str = "with other dropout",
) -> None:
    """Stop a step whose losses are not finite, and say where that comes from.

    Args:
        losses: The step's losses by name.
        moment: Epoch and step, in words.
        model: The model, in training mode, as the step left it.
        batch: RecBole's ``Interaction``.
        losses_of: Computes the named losses of a batch; each a scalar. None where no process can
            alone, since it holds a part of the items.
        dataset: Data set that knows the raw tokens; None leaves numbers.
        again: How ``losses_of`` differs from the step.

    Raises:
        TrainingError: Names the losses, the first layer and the smallest part of the batch.
    """
    bad = nonfinite_tensors(losses.items())
    if bad:
        values = ", ".join(str(float(losses[name].detach())) for name in bad)
        cause = _UNKNOWN
        if losses_of is not None:
            cause = explain_losses(model, batch, losses_of, dataset, again=again)
        raise TrainingError(
            f"every loss must be finite, but {', '.join(bad)} is {values} in {moment}: "
            f"{cause}; {_REMEDY}"
        )


def refuse_state(model: nn.Module, optimizer: torch.optim.Optimizer, moment: str) -> None:
    """Stop before a checkpoint keeps weights or gradients that are not finite.

    Raises:
        TrainingError: Names them.
    """
    bad = nonfinite_state(model, optimizer)
    if bad:
        raise TrainingError(
            f"every weight and gradient must be finite, but after {moment} these are not: "
            f"{_names(bad)}; {_REMEDY}"
        )


def refuse_weights(model: nn.Module, path: Path) -> None:
    """Refuse a checkpoint's weights that are not finite.

    Raises:
        DataError: Names them.
    """
    bad = nonfinite_tensors(model.named_parameters())
    if bad:
        raise DataError(
            f"the checkpoint {path} must hold finite weights, got NaN or infinity in "
            f"{_names(bad)}; train anew"
        )


def explain_losses(
    model: nn.Module,
    batch: Any,
    losses_of: LossesOf,
    dataset: Any = None,
    *,
    again: str = "with other dropout",
) -> str:
    """Where a batch's losses become non-finite, in words.

    Args:
        model: The model, in training mode, as the step left it.
        batch: RecBole's ``Interaction``.
        losses_of: Computes the named losses of a batch; each a scalar.
        dataset: Data set that knows the raw tokens; None leaves numbers.
        again: How ``losses_of`` differs from the step.

    Returns:
        The layer that gave the first value that is not finite, and the smallest part of the batch
        that shows it.
    """
    with torch.no_grad():
        weights = nonfinite_tensors(model.named_parameters())
        buffers = nonfinite_tensors(model.named_buffers())
        if weights or buffers:
            what = "the weights" if weights else "the frozen values"
            cause = f"{what} {_names(weights or buffers)} hold NaN or infinity before the step"
            return f"{cause}; {_describe(batch, None, dataset)}"
        cause = _first_layer(model, batch, losses_of, again)
        row = _single_row(batch, losses_of)
        return f"{cause}; {_describe(batch, row, dataset)}"


def nonfinite_tensors(tensors: Iterable[tuple[str, Any]]) -> list[str]:
    """Names of the floating-point tensors that hold NaN or infinity."""
    return [
        name
        for name, value in tensors
        if isinstance(value, Tensor) and value.is_floating_point() and not _is_finite(value)
    ]


def nonfinite_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Weights, and what the optimizer keeps of their gradients, that are not finite any more.

    A gradient that is not finite passes the check of the losses. It shows here: a NaN or an
    infinity in the weights, or a square beyond the largest float, with which the weight never
    moves again.

    Returns:
        Sentences' subjects, as ``weight a.b`` or ``gradient of a.b (exp_avg_sq)``.
    """
    names = {id(weight): name for name, weight in model.named_parameters()}
    found = [f"weight {name}" for name in nonfinite_tensors(model.named_parameters())]
    for weight, state in optimizer.state.items():
        for key in nonfinite_tensors(state.items()):
            found.append(f"gradient of {names.get(id(weight), 'a weight')} ({key})")
    return found


def _first_layer(model: nn.Module, batch: Any, losses_of: LossesOf, again: str) -> str:
    """Compute the batch again and stop at the first layer whose output is not finite."""
    bad_fields = nonfinite_tensors((name, batch[name]) for name in batch.columns)
    if bad_fields:
        return f"the batch's {_names(bad_fields)} hold NaN or infinity"
    found: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: Any, output: Any) -> None:
            if not found and not all(map(_is_finite, _tensors(output))):
                sound = all(map(_is_finite, _tensors(inputs)))
                side = "the output of" if sound else "what goes into"
                found.append(f"the first value that is not finite is in {side} {name}")

        return hook

    handles = [
        module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name
    ]
    try:
        losses = losses_of(batch)
    except _CANNOT_TAKE as error:
        return f"computed again, the batch ends in an error ({error})"
    finally:
        for handle in handles:
            handle.remove()
    if found:
        return found[0]
    bad = nonfinite_tensors(losses.items())
    if bad:
        return f"every layer's output is finite; it arises in {_names(bad)} itself"
    return f"computed again {again}, the batch is finite"


def _single_row(batch: Any, losses_of: LossesOf) -> int | None:
    """A row that gives a non-finite loss by itself, found by halving; None if none does."""
    rows = torch.arange(len(batch))
    while len(rows) > 1:
        halves = [half for half in rows.tensor_split(2) if _is_bad(batch, half, losses_of)]
        if not halves:
            return None
        rows = halves[0]
    return int(rows[0])


def _is_bad(batch: Any, rows: Tensor, losses_of: LossesOf) -> bool:
    try:
        return bool(nonfinite_tensors(losses_of(batch[rows]).items()))
    except _CANNOT_TAKE:
        return False


def _describe(batch: Any, row: int | None, dataset: Any) -> str:
    """The batch, or one row of it, by users or items."""
    if row is None:
        return f"batch of {len(batch)} rows, the first: {_row_words(batch, 0, dataset)}"
    return f"row {row + 1} of {len(batch)} gives it by itself: {_row_words(batch, row, dataset)}"


def _row_words(batch: Any, row: int, dataset: Any) -> str:
    words = []
    for name, field in (("user", "uid_field"), ("item", "item_id_list_field")):
        column = getattr(dataset, field, None)
        if column in batch.columns:
            source = dataset.uid_field if name == "user" else dataset.iid_field
            numbers = torch.atleast_1d(batch[column][row]).cpu()
            # 0 is padding.
            tokens = [repr(str(dataset.id2token(source, int(n)))) for n in numbers if n]
            more = " ..." if len(tokens) > _SHOWN_ITEMS else ""
            words.append(f"{name} {', '.join(tokens[:_SHOWN_ITEMS])}{more}")
    return ", ".join(words) or f"row {row + 1}"


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in an argument or a result of a layer."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)


def _is_finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())


def _names(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
