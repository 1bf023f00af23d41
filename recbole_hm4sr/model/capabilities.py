"""What a model can do besides training, with defaults for one that says nothing.

A model of this package or of another answers by methods of these names. Nothing here knows a model.

| method | what it says |
|---|---|
| ``serving_arrays()`` | what it needs to score, besides its checkpoint |
| ``from_serving(config, dataset)`` (class) | the model built from those, without features |
| ``rows_of_new(features)`` | rows of items that the training does not have, of features alone |
| ``arrays_of_new(features)`` | what else it keeps of each of these, by name in ``serving_arrays`` |
| ``item_vectors()`` | rows of items whose inner products with a user's vector are scores |
| ``item_marks(items)`` | numbers that differ where scores read more of two items than that |
| ``user_tower()`` | a module from padded histories to user vectors, which ONNX can hold |
| ``probes()`` | what its layers decide while it scores, for the report |
| ``score_parts(interaction, items)``, ``part_names`` | what each modality adds to a score |
| ``history_parts(interaction, items)`` | what each interaction of a history adds to a score |
| ``dense_scores(interaction, items)`` | the rest of a score that depends on the history |
| ``permuted_modality(name, generator)`` | a context in which items have each other's features |
| ``removable_parts()`` | parts of a score that can be left out, each with a context without it |
| ``parameter_groups()`` | groups of parameters with learning rates of their own |
| ``begin_epoch(epoch, data)`` | called before each training epoch |
| ``fit(data)`` | fits it to the training part, in place of epochs: it has no parameters |
| ``tie_order()`` | the items in the order in which equal scores rank; by number without it |
| ``as_fitted(data)`` | a context in which it scores by all that was fitted, where it keeps less |
| ``views()`` | several ways in which it is measured after one training, each with its best epoch |
| ``variant()`` | which form of it the data allows, where a table must say so |
| ``choices()``, ``choose(name)`` | what each validation of each view chooses, and keeps |
| ``row_keys()``, also of a layer | what the rows of tables stand for that are no users or items |
| ``learned_buffers()``, also of a layer | buffers that training finds and that go on with weights |
| ``assign_new(first)``, also of a layer | gives new items what training has given the others |
| ``encoded_once(interaction)`` | a context in which a batch is encoded once, in all views |

The class of a model's settings may have more, ``variant(settings)``, ``view_labels(settings)`` and
``reads_moment(settings)``: see ``registry.py``.
"""

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

Array = np.ndarray[Any, Any]


class Probe(NamedTuple):
    """A decision that a layer takes for every token, which a report can show.

    Attributes:
        module: The layer.
        read: From the layer's inputs to what it decides. Shape ``[T, E]`` or ``[T, M, E]`` for T
            tokens, M modalities and E experts; each row of E values sums to 1.
        names: Of the M modalities; empty where there is no such axis.
        strength: How much of the decision each modality takes up; None if it has no such factor.
            Shape ``[M]``.
    """

    module: nn.Module
    read: Callable[..., Tensor]
    names: tuple[str, ...] = ()
    strength: Tensor | None = None


# The decisions that a report has a section for.
TIME_ROUTES = "time routes"  # [T, E]: experts chosen by the time of each token
MODALITY_WEIGHTS = "modality weights"  # [T, M, E]: how each modality weighs its experts


def probes(model: Any) -> Mapping[str, Probe]:
    """What a model's layers decide while it scores, by the name of the decision.

    Args:
        model: Any model; one without ``probes()`` has none.

    Returns:
        :data:`TIME_ROUTES`, :data:`MODALITY_WEIGHTS` or both, or names of other decisions, which
        the report leaves out.
    """
    own = getattr(model, "probes", None)
    return {} if own is None else own()


def serving_arrays(model: Any) -> Mapping[str, Array]:
    """What a model needs in order to score, besides its checkpoint.

    Args:
        model: Set to its best epoch.
    """
    own = getattr(model, "serving_arrays", None)
    return {} if own is None else own()


class View(NamedTuple):
    """One way in which a trained model is measured.

    Attributes:
        name: Part of file names: letters, digits, ``-`` and ``_``.
        entered: A context in which the model is set to it while it scores.
    """

    name: str
    entered: Callable[[], AbstractContextManager[None]]


AS_IT_IS = View("", contextlib.nullcontext)


def views(model: Any) -> tuple[View, ...]:
    """The ways in which a model is measured. Training is the same in all of them.

    The first is what the model is set to by itself: it chooses the run's best epoch, which is
    served and reported. Each other has a best epoch and test metrics of its own.

    Args:
        model: Any model; one without ``views()`` is measured as it is.
    """
    own = getattr(model, "views", None)
    return (() if own is None else tuple(own())) or (AS_IT_IS,)


def removable_parts(model: Any) -> tuple[View, ...]:
    """Parts of a model's scores that can be left out, each with a context in which it is.

    Args:
        model: Any model; one without ``removable_parts()`` has none.
    """
    own = getattr(model, "removable_parts", None)
    return () if own is None else tuple(own())


def build_to_serve(model_class: Any, config: Any, dataset: Any) -> Any:
    """A model with initial weights that can score, from what its run has kept.

    Args:
        model_class: Of the run.
        config: The run's settings.
        dataset: A :class:`~recbole_hm4sr.data.serving_data.ServingDataset`.
    """
    return getattr(model_class, "from_serving", model_class)(config, dataset)


def what_it_reads(model: Any) -> frozenset[str]:
    """What a model reads besides items; with a memory it reads the time of a request too.

    Args:
        model: Any model; one that says nothing reads nothing that is known of.

    Returns:
        Of ``times``, ``target_time``, ``features``, ``categories``.
    """
    own = frozenset(getattr(model, "reads", ()))
    has_memory = getattr(getattr(model, "settings", None), "memory", "none") == "events"
    return own | {"times", "target_time"} if has_memory else own


def row_keys(model: nn.Module) -> dict[str, Array]:
    """What the rows of a model's tables stand for, besides those of users and items.

    Args:
        model: Any model; its layers are asked too.

    Returns:
        By the name of a weight its keys: names, or whole numbers at which each row begins, rising.
        Shape ``[R]`` each.
    """
    found: dict[str, Array] = {}
    for prefix, module in model.named_modules():
        own = getattr(module, "row_keys", None)
        for name, keys in ({} if own is None else own()).items():
            found[f"{prefix}.{name}" if prefix else name] = keys
    return found


def learned_buffers(model: nn.Module) -> tuple[str, ...]:
    """Buffers that training finds, as weights are found; the others are made of the data.

    Args:
        model: Any model; its layers are asked too.

    Returns:
        Their names. Rows of users and items are carried over by token, as those of weights.
    """
    found: list[str] = []
    for prefix, module in model.named_modules():
        own = getattr(module, "learned_buffers", None)
        found += [f"{prefix}.{name}" if prefix else name for name in (() if own is None else own())]
    return tuple(found)


def assign_new(model: nn.Module, first: int) -> None:
    """Give new items what training has given the others, by their features.

    Args:
        model: That has taken over what an earlier one has learned; its layers are asked too.
        first: The number of the first item that the earlier one did not have.
    """
    for module in model.modules():
        own = getattr(module, "assign_new", None)
        if own is not None:
            own(first)


def is_fitted_once(model: Any) -> bool:
    """Whether a model is fitted to the training part in one go; it has no parameters."""
    return hasattr(model, "fit")


def tie_order(model: Any) -> Tensor | None:
    """The items in the order in which equal scores rank; None for that of their numbers.

    Args:
        model: At its best epoch.

    Returns:
        Each item once, padding included. Shape ``[I]``, int64.
    """
    own = getattr(model, "tie_order", None)
    return None if own is None else own()


def item_vectors(model: Any, n_items: int) -> Tensor:
    """What a model's scores read of each item; empty if that is not known.

    Args:
        model: At its best epoch.
        n_items: I, padding included.

    Returns:
        Shape ``[I, V]``, or ``[0, 0]``.
    """
    own = getattr(model, "item_vectors", None)
    if own is not None:
        vectors: Tensor = own()
        return vectors
    # Most models of RecBole have one table of items, which is also what they score with.
    weight = getattr(getattr(model, "item_embedding", None), "weight", torch.empty(0, 0))
    return weight[:n_items] if weight.ndim == 2 else torch.empty(0, 0)


def item_marks(model: Any, items: Tensor) -> Tensor | None:
    """Numbers that are equal where scores read the same of two items besides ``item_vectors``.

    Args:
        model: At its best epoch.
        items: Each once. Shape ``[K]``, int64.

    Returns:
        Shape ``[K]``, int64; None for a model that reads no more.
    """
    own = getattr(model, "item_marks", None)
    return None if own is None else own(items)


def user_tower(model: Any) -> nn.Module | None:
    """A module from padded histories to user vectors; None if the model has none.

    The inner products of its outputs with the model's ``item_vectors`` are the model's scores.

    Args:
        model: At its best epoch.
    """
    own = getattr(model, "user_tower", None)
    return None if own is None else own()


def history_parts(model: Any, interaction: Interaction, items: Tensor) -> Tensor | None:
    """What each interaction of a history adds to the scores of some items by itself.

    Args:
        model: At its best epoch.
        interaction: A batch.
        items: Items of each row. Shape ``[B, C]``, int64.

    Returns:
        Of as many interactions as are read, newest first, 0 where there is none. Shape
        ``[B, C, K]``. None for a model whose scores have no such part.
    """
    own = getattr(model, "history_parts", None)
    return None if own is None else own(interaction, items)


def dense_scores(model: Any, interaction: Interaction, items: Tensor) -> Tensor | None:
    """The scores of some items without :func:`history_parts`.

    Args:
        model: At its best epoch.
        interaction: A batch.
        items: Items of each row. Shape ``[B, C]``, int64.

    Returns:
        Shape ``[B, C]``; None if they do not depend on the history.
    """
    own = getattr(model, "dense_scores", None)
    if own is not None:
        scores: Tensor | None = own(interaction, items)
        return scores
    return model.full_sort_predict(interaction).view(len(items), -1).gather(1, items)
