"""What a run begins from: nothing, or an earlier run of the same model on shorter data."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.files import write_whole
from recbole_hm4sr.data.vocabulary import FILE_NAME, Vocabulary
from recbole_hm4sr.run.place import read_run_settings
from recbole_hm4sr.run.plan import RunPlan

_log = logging.getLogger(__name__)
# In the folder of a run that began from another: the vocabulary of that one.
_BEGUN_FROM = "begun_from.npz"


@dataclass(frozen=True)
class EarlierRun:
    """A run to begin from.

    Attributes:
        folder: Its folder; may be gone once the later run has begun.
        vocabulary: What the rows of its tables stand for.
    """

    folder: Path
    vocabulary: Vocabulary

    def give_weights(self, model: Any, dataset: Any) -> None:
        """Give a model that was just built what the earlier one knows.

        Args:
            model: Of the later run.
            dataset: That it was built on.

        Raises:
            CheckpointError: If the earlier run's checkpoint cannot be read.
            ConfigError: If weights differ in width.
        """
        from recbole_hm4sr.run.serving_file import served_checkpoint
        from recbole_hm4sr.train.carry_over import TableRows, carry_over, log_carried
        from recbole_hm4sr.train.checkpoint import read_checkpoint, renamed
        from recbole_hm4sr.train.new_item_rows import NewItemRows

        state = read_checkpoint(served_checkpoint(self.folder))
        known = self.vocabulary
        before = TableRows(len(known.users), len(known.items), known.row_keys)
        weights = renamed(state["state_dict"])
        begin = NewItemRows.of(model, dataset, before.n_items)
        fresh = carry_over(model, weights, before, TableRows.of(model, dataset), begin=begin)
        log_carried(fresh, model, self.folder)


def earlier_run(plan: RunPlan, run_dir: Path) -> EarlierRun | None:
    """What a run begins from; None where it begins anew.

    Args:
        plan: Its settings.
        run_dir: Its folder, which keeps what is needed of the earlier run.

    Raises:
        DataError: If the vocabulary cannot be read.
    """
    if not plan.run.init_from:
        return None
    folder, own = Path(plan.run.init_from), run_dir / _BEGUN_FROM
    return EarlierRun(folder, Vocabulary.load(own if own.is_file() else served_vocabulary(folder)))


def served_vocabulary(run_dir: Path) -> Path:
    """The vocabulary that belongs to the checkpoint a run is served with."""
    from recbole_hm4sr.run.serving_file import BEST, served_checkpoint

    checkpoint = served_checkpoint(run_dir)
    return (run_dir if checkpoint == run_dir / BEST else checkpoint.parent) / FILE_NAME


def keep_beginning(plan: RunPlan, run_dir: Path) -> None:
    """Keep, in a run's folder, what it needs of the run it begins from.

    Raises:
        DataError: If that cannot be read.
        WriteError: If it cannot be written.
    """
    own = run_dir / _BEGUN_FROM
    if not plan.run.init_from or own.is_file():
        return
    source = served_vocabulary(Path(plan.run.init_from))
    try:
        content = source.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {source}: {error.strerror}") from error
    write_whole(own, lambda file: file.write(content))


def refuse_beginning(plan: RunPlan) -> None:
    """Refuse a run to begin from that could not be one, before anything is read.

    Raises:
        ConfigError: If it is of another model, or of one that is fitted once.
        DataError: If it is no run, or has not ended.
    """
    if not plan.run.init_from:
        return
    from recbole_hm4sr.run.serving_file import served_checkpoint

    folder, name = Path(plan.run.init_from), plan.entry.name
    model, _, _ = read_run_settings(folder)
    if model != name:
        raise ConfigError(f"init_from must be a run of {name}, got one of {model}: {folder}")
    if plan.entry.is_fitted_once:
        raise ConfigError(f"init_from must go with a model that is trained; {name} is fitted anew")
    for path in (folder / FILE_NAME, served_checkpoint(folder)):
        if not path.is_file():
            raise DataError(
                f"init_from must be a run that has ended, but {path} does not exist; a run of an "
                f"older release has saved no vocabulary, so train it again to begin from it"
            )
