"""A run opened to score: its model, its items, and nothing of its training."""

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.data.feature_rows import open_feature_rows, unit_rows
from recbole_hm4sr.data.interaction_columns import read_interaction_columns
from recbole_hm4sr.data.item_table import ItemTable, read_item_table
from recbole_hm4sr.data.serving_data import (
    NeedsDatasetError,
    ServingData,
    ServingDataset,
    describe_dataset,
)
from recbole_hm4sr.model.capabilities import build_to_serve, serving_arrays, what_it_reads
from recbole_hm4sr.run.hub_folder import WEIGHTS, check_hub_folder, is_hub_folder
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import RunPlan, read_plan
from recbole_hm4sr.run.serving_file import (
    BEST,
    ServingFile,
    read_serving_file,
)
from recbole_hm4sr.train.checkpoint import read_checkpoint, refuse_foreign, set_weights

logger = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class OpenRun:
    """A model ready to score.

    Attributes:
        run_dir: Folder of the run.
        config: Its settings.
        model: At its best epoch, in evaluation mode, on the run's device.
        data: What is known of the data set.
        fingerprints: Hashes of the data set that it was trained on.
        features: Unit rows of the items' features by modality, read when they are asked for;
            empty where the model reads none. Shape ``[I, F]`` each, float16.
        checkpoint: SHA-256 of the checkpoint that its weights are of.
        serving: SHA-256 of its ``serving.npz``; empty for a run without one.
    """

    run_dir: Path
    config: Any
    model: Any
    data: ServingData
    fingerprints: Mapping[str, str]
    features: Mapping[str, Callable[[], Array]] = field(default_factory=dict)
    checkpoint: str = ""
    serving: str = ""


def open_for_serving(run_dir: str | Path) -> OpenRun:
    """Open a run to score with it.

    ``config.yaml``, ``checkpoint/best.pt`` and ``serving.npz`` of the run are enough, and the
    folder ``memory`` where the run has one. A run without ``serving.npz`` (stopped, or of an
    earlier release), or whose model reads interactions when it is built, is opened from its data
    set.

    Args:
        run_dir: Folder of the run, or one for the Hub, whose files are checked first.

    Raises:
        ConfigError: If the model cannot score histories of users it has not seen.
        DataError: If the folder holds no run, or its files do not belong together.
    """
    folder = Path(run_dir)
    if is_hub_folder(folder):
        check_hub_folder(folder)
    plan = read_plan(folder, needs_data=False)
    kept = read_serving_file(folder)
    run = None
    if kept is not None:
        try:
            run = _open_kept(folder, plan, kept)
        except NeedsDatasetError as error:
            if kept.checkpoint_file == WEIGHTS:
                raise ConfigError(
                    f"{plan.entry.name} reads its data set when it is built ({error}), so it "
                    f"cannot be served from a folder without one"
                ) from error
            if kept.checkpoint_file != BEST:
                raise ConfigError(
                    f"{plan.entry.name} reads its data set when it is built ({error}), so it "
                    f"cannot be served after an update; take it back by hm4sr update --run "
                    f"{folder} --undo"
                ) from error
            logger.info("%s is opened from its data set: %s", folder, error)
    run = run or _open_dataset(folder)
    of_file = hash_file(folder / BEST) if kept is None else kept.checkpoint
    run = replace(run, checkpoint=of_file, serving="" if kept is None else kept.sha256)
    if run.data.table is None:
        source = read_interaction_columns(Path(plan.values["data_path"]))
        run = replace(run, data=replace(run.data, table=_read_table(plan), source=source))
    run.model.eval()
    _refuse_what_cannot_serve(run)
    return run


def _read_table(plan: RunPlan) -> ItemTable:
    """The columns of the items of a run that keeps none, if its data set is here."""
    path = Path(plan.values["data_path"]) / f"{plan.dataset}.item"
    try:
        return read_item_table(path, item_field=plan.values["ITEM_ID_FIELD"], settings=plan.data)
    except DataError as error:
        logger.warning("the items have no columns: %s", error)
        return ItemTable()


def _open_kept(folder: Path, plan: RunPlan, kept: ServingFile) -> OpenRun:
    data, fingerprints = kept.data, kept.fingerprints
    # Of what was read: serving.npz may name another checkpoint by now.
    path, config = folder / kept.checkpoint_file, plan.to_recbole()
    # Initial weights, drawn and at once replaced, must not move the caller's random numbers.
    with torch.random.fork_rng(devices=[]):
        model = build_to_serve(plan.entry.model_class, config, ServingDataset(data, config))
    model = model.to(config["device"])
    state = read_checkpoint(path, config["device"])
    refuse_foreign(state, path, name=config["model"], fingerprints=fingerprints)
    set_weights(model, state, path)
    features = {
        name: functools.partial(open_feature_rows, folder, value)
        for name, value in kept.features.items()
    }
    return OpenRun(folder, config, model, data, fingerprints, features)


def _open_dataset(folder: Path) -> OpenRun:
    """Make what would have been kept, and open that: a memory knows the same then."""
    plan = read_plan(folder)
    parts = build_parts(plan, folder)
    parts.trainer.load_best()
    parts.model.eval()
    dataset = parts.train_data._dataset
    data = describe_dataset(dataset, serving_arrays(parts.model))
    kept = ServingFile(data, dict(parts.fingerprints), checkpoint="")
    try:
        run = _open_kept(folder, plan, kept)
    except NeedsDatasetError:
        run = OpenRun(folder, parts.config, parts.model, data, parts.fingerprints)
    names = dataset.modality_names if "features" in what_it_reads(parts.model) else ()
    features = {name: functools.partial(_unit_rows, dataset, name) for name in names}
    return replace(run, features=features)


def _unit_rows(dataset: Any, name: str) -> Array:
    return unit_rows(dataset.modality(name).values).astype(np.float16)


@torch.no_grad()
def _refuse_what_cannot_serve(run: OpenRun) -> None:
    """Score one history, with all that a user whom the training never saw has."""
    config, name = run.config, run.config["model"]
    suffix, length = config["LIST_SUFFIX"], config["MAX_ITEM_LIST_LENGTH"]
    windows = torch.zeros(1, length, dtype=torch.int64)
    windows[0, 0] = 1
    batch = Interaction(
        {
            config["ITEM_ID_FIELD"] + suffix: windows,
            config["TIME_FIELD"] + suffix: torch.zeros_like(windows),
            config["ITEM_LIST_LENGTH_FIELD"]: torch.ones(1, dtype=torch.int64),
        }
    )
    try:
        run.model.full_sort_predict(batch.to(config["device"]))
    except KeyError as error:
        raise ConfigError(
            f"the model must score histories alone to serve users that the training never saw, "
            f"but {name} reads the column {error} as well"
        ) from error
    except NotImplementedError as error:
        raise ConfigError(
            f"the model must score the whole catalogue (full_sort_predict), which {name} cannot"
        ) from error
