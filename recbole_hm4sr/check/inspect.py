"""Read everything that a run would read, and continue where a run would stop.

Each step that a broken file spoils is left out, and its error kept, so that one check names all
problems. The run's own classes do the reading: what passes here passes there.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from recbole_hm4sr.base.errors import UserError
from recbole_hm4sr.check.facts import (
    FileFacts,
    InteractionFacts,
    LeakageFacts,
    Log,
    file_facts,
    interaction_facts,
    leakage_facts,
    order_log,
    rank_names,
)
from recbole_hm4sr.check.features import (
    CategoryFacts,
    FeatureFacts,
    Signal,
    category_facts,
    feature_facts,
    feature_signal,
)
from recbole_hm4sr.config.settings import DataSettings, read_settings
from recbole_hm4sr.data.atomic import AtomicTable, read_atomic
from recbole_hm4sr.data.columns import PADDING
from recbole_hm4sr.data.features import ItemFeatures, align_features
from recbole_hm4sr.data.item_files import ItemFiles
from recbole_hm4sr.data.recbole import MultiModalSequentialDataset
from recbole_hm4sr.data.times import read_times
from recbole_hm4sr.model.registry import DEFAULT_MODEL
from recbole_hm4sr.prepare.encode.tfidf import make_missing_text_features
from recbole_hm4sr.run.plan import compose

Result = TypeVar("Result")


@dataclass(frozen=True)
class ModalityFacts:
    """One modality: where it comes from, its numbers, and its signal; of its last layer."""

    name: str
    source: str
    encoder: str
    n_rows: int
    features: FeatureFacts
    signal: Signal
    n_layers: int = 1


@dataclass(frozen=True)
class Check:
    """All that was found about a data set; None where an error left nothing to count.

    Attributes:
        dataset: Name of the data set.
        folder: Folder of its files.
        settings: How a run reads it.
        max_length: The most interactions before a target that a model sees.
        split: The split's name, as ``LS valid_and_test``.
        file: The interaction file before filters.
        log: Interactions after filters; before them if the run's reader refuses the data.
        parts: Targets of the training, validation and test part.
        leakage: The test part of a leave-one-out split.
        modalities: The modalities that could be read.
        categories: The categories.
        errors: What stops a run, one sentence each.
    """

    dataset: str
    folder: Path
    settings: DataSettings
    max_length: int
    split: str
    file: FileFacts | None = None
    log: InteractionFacts | None = None
    parts: tuple[int, ...] = ()
    leakage: LeakageFacts | None = None
    modalities: tuple[ModalityFacts, ...] = ()
    categories: CategoryFacts | None = None
    errors: tuple[str, ...] = ()


@dataclass
class _Errors:
    """Runs steps and keeps what they refuse, each once."""

    found: list[str] = field(default_factory=list)

    def attempt(self, step: Callable[[], Result]) -> Result | None:
        try:
            return step()
        except UserError as error:
            if str(error) not in self.found:
                self.found.append(str(error))
            return None


@dataclass(frozen=True)
class _Split:
    """The interactions, their items' names, and the parts of the split, if one can be made."""

    log: Log
    item_tokens: Any
    parts: tuple[int, ...]
    test_targets: Any
    in_training: Any


def check_dataset(
    dataset: str,
    *,
    model: str = DEFAULT_MODEL,
    config_files: Iterable[str | Path] = (),
    overrides: Mapping[str, Any] | None = None,
) -> Check:
    """Check the data of a run.

    Args:
        dataset: Name of the data set.
        model: Model of the run, whose settings are checked too.
        config_files: YAML files of settings, later ones win.
        overrides: Settings that win over all files.

    Raises:
        ConfigError: If settings are wrong: then it is not known what a run would read.
    """
    plan = compose(model, dataset, config_files=config_files, overrides=overrides)
    config = plan.to_recbole()
    settings = read_settings(config, DataSettings)
    errors = _Errors()
    facts: dict[str, Any] = {}
    raw = _read_file(config, settings, errors)
    split = None
    if raw is not None:
        log, tokens = raw
        facts["file"] = file_facts(log, _name_ranks(tokens))
        split = _split_by_run(config, errors) or _Split(log, tokens, (), None, None)
        facts.update(_interaction_part(split, config))
    facts["modalities"], facts["categories"] = _item_part(config, settings, split, errors)
    return Check(
        dataset=dataset,
        folder=Path(config["data_path"]),
        settings=settings,
        max_length=config["MAX_ITEM_LIST_LENGTH"],
        split=" ".join(map(str, next(iter(config["eval_args"]["split"].items())))),
        errors=tuple(errors.found),
        **facts,
    )


def _read_file(config: Any, settings: DataSettings, errors: _Errors) -> tuple[Log, Any] | None:
    """The interaction file before filters, and names by item number; all its columns' errors."""
    path = Path(config["data_path"]) / f"{config['dataset']}.inter"
    user, item, time = (config[f"{kind}_FIELD"] for kind in ("USER_ID", "ITEM_ID", "TIME"))
    table = errors.attempt(lambda: read_atomic(path, [user, item, time]))
    if table is None:
        return None
    codes = [errors.attempt(partial(_encode, table, name)) for name in (user, item)]
    times = errors.attempt(lambda: read_times(table, time, settings.timestamp_unit))
    if codes[0] is None or codes[1] is None or times is None:
        return None
    items, names = codes[1]
    # From 1, as the run counts: 0 is padding.
    log = order_log(codes[0][0], items + 1, times, unit=settings.timestamp_unit)
    return log, np.array([PADDING, *names])


def _encode(table: AtomicTable, column: str) -> tuple[Any, Any]:
    codes, names = pd.factorize(table.tokens(column))
    return codes.astype(np.int32), names


def _name_ranks(tokens: Any) -> Any:
    return np.concatenate([[0], rank_names(tokens[1:])])


def _split_by_run(config: Any, errors: _Errors) -> _Split | None:
    """The interactions that pass the filters, and the split: what a run would see."""
    dataset = errors.attempt(lambda: MultiModalSequentialDataset(config))
    if dataset is None:
        return None
    parts = errors.attempt(dataset.build)
    if isinstance(dataset.inter_feat, pd.DataFrame):
        return None
    # The log exists even where no split of it does.
    kept = dataset.log
    log = Log(kept.users, kept.items, kept.times, dataset.timestamp_unit)
    if parts is None:
        return _Split(log, dataset.item_tokens, (), None, None)
    sizes = tuple(len(part.inter_feat) for part in parts)
    for size, name in zip(sizes, ("training", "validation", "test"), strict=True):
        if not size:
            errors.found.append(
                f"eval_args.split must leave a {name} part, got none; a run chooses its best epoch "
                f"on validation and is tested on test"
            )
    in_training = parts[0].shown_interactions().numpy()
    return _Split(
        log, dataset.item_tokens, sizes, parts[-1].inter_feat.targets.numpy(), in_training
    )


def _interaction_part(split: _Split, config: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "log": interaction_facts(split.log, max_length=config["MAX_ITEM_LIST_LENGTH"]),
        "parts": split.parts,
    }
    if "LS" in config["eval_args"]["split"] and split.parts and split.parts[-1]:
        facts["leakage"] = leakage_facts(
            split.log, split.test_targets, split.in_training, _name_ranks(split.item_tokens)
        )
    return facts


def _item_part(
    config: Any, settings: DataSettings, split: _Split | None, errors: _Errors
) -> tuple[tuple[ModalityFacts, ...], CategoryFacts | None]:
    """Modalities and categories; without interactions they are read for their errors alone."""
    folder, item_field = Path(config["data_path"]), config["ITEM_ID_FIELD"]
    reader = ItemFiles(
        folder,
        config["dataset"],
        item_field=item_field,
        item_tokens=np.array([PADDING]) if split is None else split.item_tokens,
        settings=settings,
    )
    errors.attempt(
        lambda: make_missing_text_features(
            folder, config["dataset"], settings, item_field=item_field
        )
    )
    found = []
    for name in settings.modalities:
        stored = errors.attempt(partial(reader.read_modality, name))
        if stored is None or split is None:
            continue
        facts = errors.attempt(partial(_modality, name, stored, split, settings, errors))
        found += [facts] if facts is not None else []
    flags = errors.attempt(reader.categories)
    if flags is None or split is None or settings.category_field is None:
        return tuple(found), None
    return tuple(found), category_facts(*flags)


def _modality(
    name: str, stored: ItemFeatures, split: _Split, settings: DataSettings, errors: _Errors
) -> ModalityFacts:
    """Numbers of one modality; items without a row are an error only if a run says so."""
    aligned = align_features(stored, split.item_tokens, modality=name, missing="zero")
    if settings.missing_features == "error" and not aligned.present[1:].all():
        errors.attempt(
            lambda: align_features(stored, split.item_tokens, modality=name, missing="error")
        )
    counts = np.bincount(split.log.items, minlength=len(split.item_tokens))
    kept = split.in_training
    if kept is None:
        kept = np.ones(len(split.log.items), dtype=bool)
    values = aligned.values
    return ModalityFacts(
        name=name,
        source=stored.source,
        encoder=" ".join(part for part in (stored.encoder, stored.revision) if part),
        n_rows=len(stored.tokens),
        features=feature_facts(values, aligned.present, counts),
        signal=feature_signal(values, aligned.present, split.log, kept),
        n_layers=aligned.n_layers,
    )
