"""RecBole 1.2.1 on today's torch, numpy and pandas: one function for each thing that breaks.

RecBole's last release is of February 2025. Each function here says what breaks and from which
version; ``tests/unit/base/test_compat*.py`` have a test for each that fails as soon as the
workaround is no longer needed. Nothing here is a fork, and nothing runs on import.

Some traps need no function but a habit. ``recbole.quick_start`` imports ray, which does not import
on a fresh machine: nothing in this package imports it. RecBole's data set cache, its FLOPs counter
and its trainer, which writes ``log_tensorboard`` in the working directory, are never used.
"""

import contextlib
import importlib
import os
import sys
import traceback
import types
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch

from recbole_hm4sr.base.errors import ConfigError, UserError

NUMPY_ALIASES = {
    "bool": np.bool_,
    "int": np.int_,
    "float": np.float64,
    "complex": np.complex128,
    "object": np.object_,
    "str": np.str_,
    "long": np.int_,
    "unicode": np.str_,
    "bool8": np.bool_,
    "float_": np.float64,
    "complex_": np.complex128,
    "unicode_": np.str_,
}


def restore_numpy_aliases() -> None:
    """Give numpy back the type names that RecBole's ``Config`` and ``Interaction`` read.

    ``np.float`` and its kin left in numpy 1.24, ``np.float_`` and its kin in numpy 2.0. Names that
    exist keep their meaning.
    """
    for name, scalar_type in NUMPY_ALIASES.items():
        if name not in vars(np):
            setattr(np, name, scalar_type)


def import_recbole_models() -> Any:
    """Import RecBole's sequential models without slowing every model of the process down.

    ``recbole/model/sequential_recommender/sine.py`` calls
    ``torch.autograd.set_detect_anomaly(True)`` when it is imported, and importing any sequential
    model imports it. Every backward pass then checks every gradient: steps take 1.5 to 2 times as
    long.

    Returns:
        The package ``recbole.model.sequential_recommender``.
    """
    restore_numpy_aliases()
    before = torch.is_anomaly_enabled()
    try:
        return importlib.import_module("recbole.model.sequential_recommender")
    finally:
        torch.autograd.set_detect_anomaly(before)


@contextlib.contextmanager
def isolated_config_state() -> Iterator[None]:
    """Keep RecBole's ``Config`` from reading the command line and from changing the process.

    ``Config`` turns ``sys.argv`` into settings (pytest's options too), appends to module-level
    lists of argument names with every construction, and adds a resolver to PyYAML's loader class.
    """
    from recbole.utils import argument_list  # type: ignore[attr-defined, unused-ignore]

    lists = {name: value for name, value in vars(argument_list).items() if isinstance(value, list)}
    saved = {name: list(value) for name, value in lists.items()}
    argv = sys.argv
    sys.argv = argv[:1]
    try:
        yield
    finally:
        sys.argv = argv
        for name, value in lists.items():
            value[:] = saved[name]


@contextlib.contextmanager
def recbole_errors_as_config_errors() -> Iterator[None]:
    """Turn what RecBole and torch raise for settings they cannot take into one sentence.

    RecBole finds some wrong settings only where it uses them, after the data have been read: a
    filter by a column that is not there, a width that the heads do not divide, a table larger
    than memory. An error that this package's own code raises keeps its kind and its traceback.

    Raises:
        ConfigError: With RecBole's or torch's words.
    """
    try:
        yield
    except UserError:
        raise
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        MemoryError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        frames = list(traceback.walk_tb(error.__traceback__))
        module = str(frames[-1][0].f_globals.get("__name__", ""))
        if module.split(".")[0] not in ("recbole", "torch"):
            raise
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"there is no {reason}"
        raise ConfigError(f"the model and the data must fit the settings, but: {reason}") from error


def fill_missing_values(frame: pd.DataFrame, kinds: dict[str, str]) -> pd.DataFrame:
    """Fill the gaps that joining item or user attributes to the ids left.

    RecBole fills them with ``frame[field].fillna(..., inplace=True)``, which on pandas 3 changes a
    copy: the gaps stay, and the conversion to tensors fails or keeps NaN.

    Args:
        frame: Attributes, one row an id. Not changed.
        kinds: Column name to RecBole's feature type: ``token``, ``float``, ``token_seq`` or
            ``float_seq``.

    Returns:
        A new frame: missing tokens are 0 (padding), missing floats the column's mean, missing
        sequences empty.
    """
    columns = {}
    for name in frame:
        column, kind = frame[name], kinds[name]
        if kind in ("token", "float") and not column.hasnans:
            pass  # nothing to copy
        elif kind == "token":
            column = column.fillna(0)
        elif kind == "float":
            column = column.fillna(column.mean())
        else:
            empty = np.array([], dtype=np.int64 if kind == "token_seq" else np.float64)
            values = [empty if isinstance(value, float) else value for value in column]
            column = pd.Series(values, index=frame.index, dtype=object)
        columns[name] = column
    return pd.DataFrame(columns, copy=False)


def split_like(column: pd.Series, values: "np.ndarray[Any, Any]") -> list[Any]:
    """Cut flat values into the rows of a sequence column.

    RecBole counts the parts of each row with ``column.agg(len)``, which on pandas 3 is the number
    of rows, so that no ``.item`` file with a token_seq column can be read.

    Args:
        column: One array a row.
        values: As many values as the rows have together.
    """
    lengths = np.array([len(row) for row in column], dtype=np.int64)
    return np.split(values, np.cumsum(lengths)[:-1])


def writable_columns(frame: pd.DataFrame) -> dict[str, types.SimpleNamespace]:
    """Columns whose ``values`` torch may wrap: on pandas 3, ``Series.values`` can be read-only.

    Args:
        frame: Not changed.

    Returns:
        Column name to an object with the attribute ``values``, as RecBole reads a frame.
    """
    columns = {}
    for name in frame:
        values = frame[name].to_numpy()
        columns[name] = types.SimpleNamespace(
            values=values if values.flags.writeable else values.copy()
        )
    return columns


def make_collector(config: Any) -> Any:
    """RecBole's ``Collector``, able to collect for metrics that read the training data.

    Its ``get_data_struct`` calls ``.cpu()`` on everything it holds, numbers and counters included,
    so ``ItemCoverage``, ``GiniIndex`` and their kin end in an AttributeError.

    Args:
        config: RecBole ``Config``.
    """
    from recbole.evaluator import Collector

    class WorkingCollector(Collector):  # type: ignore[misc, unused-ignore]
        def get_data_struct(self) -> Any:
            held = self.data_struct._data_dict
            tensors = {name for name, value in held.items() if isinstance(value, torch.Tensor)}
            rest = {name: held.pop(name) for name in set(held) - tensors}
            struct = super().get_data_struct()
            for part in (held, struct._data_dict):
                part.update(rest)
            return struct

    return WorkingCollector(config)


def choose_device(use_gpu: bool, gpu_id: str) -> torch.device:  # noqa: FBT001
    """The device of a run, chosen without changing the process's environment.

    RecBole's ``Config`` writes ``CUDA_VISIBLE_DEVICES``, which hides what the user has set there,
    and fixes ``nccl`` as the backend of distributed runs, so that a run on CPUs cannot be
    distributed.

    Args:
        use_gpu: Whether a GPU may be used.
        gpu_id: Number of the GPU among those that the process may see, as RecBole's setting
            ``gpu_id`` has it; empty for the CPU.

    Raises:
        ConfigError: If it is no number, or that of no GPU.
    """
    first = str(gpu_id).split(",")[0].strip()
    if first and not first.isdecimal():
        raise ConfigError(f"gpu_id must be the number of a GPU, or empty, got {gpu_id!r}")
    if not use_gpu or not first or not torch.cuda.is_available():
        return torch.device("cpu")
    visible, count = os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count()
    if int(first) >= count:
        shown = "" if visible is None else f" that CUDA_VISIBLE_DEVICES={visible} shows"
        raise ConfigError(
            f"gpu_id must be from 0 to {count - 1}, the number of a GPU among the {count}{shown}, "
            f"got {gpu_id!r}; choose one of them, or train on the CPU with --use_gpu=false"
        )
    return torch.device("cuda", int(first))


@contextlib.contextmanager
def ddp_without_buffer_sync() -> Iterator[dict[str, Any]]:
    """What ``DistributedDataParallel`` must be given to exchange no buffers, not even at its start.

    Frozen features are buffers, larger than all parameters. torch 2.13 warns of the argument,
    and its successor still exchanges them at the start.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
        yield {"broadcast_buffers": False}


def leave_out_of_ddp(module: torch.nn.Module, names: Iterable[str]) -> None:
    """Let ``DistributedDataParallel`` exchange nothing of some parameters.

    It has no argument for that; the method that names them has a leading underscore, since torch
    1.7, and torch's own ``DistributedModelParallel`` calls it.

    Args:
        module: What is given to ``DistributedDataParallel`` next.
        names: Of its parameters.
    """
    torch.nn.parallel.DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
        module, list(names)
    )
