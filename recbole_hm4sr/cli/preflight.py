"""What a command can refuse before torch and RecBole are imported, which takes seconds.

The functions that do the work check the same, for whoever calls them from Python.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.errors import DataError


def check_training(
    model: str,
    dataset: str,
    *,
    config_files: Iterable[str | Path] = (),
    overrides: Mapping[str, Any] | None = None,
    run_dir: Path | None = None,
) -> None:
    """Refuse a run that could not begin.

    Raises:
        ConfigError: If the model, a setting or the folder of the run is wrong.
        DataError: If the interaction file is missing, or lacks a column of the settings.
    """
    from recbole_hm4sr.config.evaluation_rules import require_three_parts
    from recbole_hm4sr.data.atomic import read_header, require_columns
    from recbole_hm4sr.run.beginning import refuse_beginning
    from recbole_hm4sr.run.place import require_free_folder
    from recbole_hm4sr.run.plan import compose

    # Processes of torchrun agree on a folder, and after a restart resume in it.
    if run_dir is not None and "RANK" not in os.environ:
        require_free_folder(run_dir)
    plan = compose(model, dataset, config_files=config_files, overrides=overrides)
    refuse_beginning(plan)
    require_three_parts(plan.protocol["eval_args"])
    path = Path(plan.values["data_path"]) / f"{dataset}.inter"
    names = [plan.protocol[f"{name}_FIELD"] for name in ("USER_ID", "ITEM_ID", "TIME")]
    require_columns(path, dict(read_header(path)), names)


def check_run(run_dir: Path, *, needs_data: bool, checkpoint: str = "best.pt") -> None:
    """Refuse what is no run that could be opened.

    Args:
        run_dir: Folder of the run.
        needs_data: Whether its data set must be there too.
        checkpoint: The checkpoint that is needed; empty if none is.

    Raises:
        ConfigError: If its model or data set is not here, or a setting is wrong.
        DataError: If it is no run, or has no checkpoint.
    """
    from recbole_hm4sr.run.hub_folder import is_hub_folder, read_manifest
    from recbole_hm4sr.run.plan import read_plan

    if is_hub_folder(run_dir):
        read_manifest(run_dir)
        checkpoint = ""  # its weights are checked where they are read
    read_plan(run_dir, needs_data=needs_data)
    path = run_dir / "checkpoint" / checkpoint
    if checkpoint and not path.exists():
        raise DataError(
            f"the checkpoint {path} does not exist; a run without one is trained by "
            f"hm4sr train --resume {run_dir}"
        )


def require_file(path: Path) -> None:
    """Refuse a file that is not there.

    Raises:
        DataError: If it is not.
    """
    if not path.is_file():
        raise DataError(f"the file {path} does not exist")
