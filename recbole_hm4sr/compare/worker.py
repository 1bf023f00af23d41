"""One cell in a process of its own: ``python -m recbole_hm4sr.compare.worker <folder>``.

The folder holds ``cell.json``. The process leaves the run's files there, or ``failure.json`` with
one sentence that says why there are none. It ends when its standard input is closed, so that it
never outlives the comparison that started it.
"""

import json
import logging
import os
import re
import shutil
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_hm4sr import quick_start
from recbole_hm4sr.errors import CheckpointError, PluginError, WriteError
from recbole_hm4sr.files import write_text

_log = logging.getLogger(__name__)

FAILED = 3
_TERMINAL_CODES = re.compile(r"\x1b\[[\d;]*m")


def run_cell(folder: Path) -> None:
    """Run the cell of a folder, or go on with it where a crash has left it.

    Args:
        folder: Holds ``cell.json``, and what an earlier attempt has left.

    Raises:
        PluginError: If settings or files are wrong.
    """
    cell = json.loads((folder / "cell.json").read_text(encoding="utf-8"))
    overrides = cell["overrides"]
    if cell["model"] == "S3Rec":
        overrides = _pretrained(folder / "pretrain", cell["dataset"], overrides)
    _run(folder, cell["model"], cell["dataset"], overrides)


def _run(folder: Path, model: str, dataset: str, overrides: Mapping[str, Any]) -> None:
    if (folder / "config.yaml").is_file():
        try:
            quick_start.resume(folder)
        except CheckpointError as error:
            _log.warning("cannot go on, training anew: %s", error)
            for name in ("config.yaml", "history.jsonl", "metrics.json", "test_ranks.npz"):
                (folder / name).unlink(missing_ok=True)
            shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        else:
            return
    quick_start.run(model, dataset, overrides=overrides, run_dir=folder)


def _pretrained(folder: Path, dataset: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of S3Rec's fine-tuning, after its pre-training; validation chooses nothing there."""
    from recbole_hm4sr.config import compose_settings

    values, _ = compose_settings("S3Rec", dataset, overrides=overrides)
    if values["train_stage"] != "finetune" or values["pre_model_path"]:
        return dict(overrides)
    n_epochs = values["pretrain_epochs"]
    stage = {"train_stage": "pretrain", "epochs": n_epochs, "stopping_step": n_epochs}
    if not (folder / "metrics.json").is_file():
        _run(folder, "S3Rec", dataset, {**overrides, **stage})
    return {**overrides, "pre_model_path": str(folder / "checkpoint" / "last.pt")}


def one_sentence(error: BaseException) -> str:
    """Why a cell has no result, in a sentence; RecBole's bare errors are named as such."""
    text = " ".join(_TERMINAL_CODES.sub("", str(error)).split()).rstrip(".")
    if isinstance(error, PluginError):
        return text
    if isinstance(error, MemoryError):
        return "there was not enough memory"
    frames = traceback.extract_tb(error.__traceback__)
    of_recbole = [f.name for f in frames if "recbole" in Path(f.filename).parts]
    place = f" (in RecBole's {of_recbole[-1]})" if of_recbole else ""
    if isinstance(error, KeyError):
        return f"the model reads {text}, which this data set or its settings do not have{place}"
    return f"{type(error).__name__}{place}: {text[:300]}".rstrip(": ")


def _end_with_parent() -> None:
    """End this process when the comparison closes the pipe, or dies."""

    def wait() -> None:
        # Not sys.stdin: its lock would be held when the interpreter shuts down.
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main(folder: Path) -> int:
    """Run the cell of a folder; 0 if it has a result, 3 if it has a reason why not."""
    try:
        run_cell(folder)
    except Exception as error:  # noqa: BLE001  # any error of any model is that row's reason
        traceback.print_exc()
        # Without the folder: seeds that fail for one reason then have one sentence.
        reason = one_sentence(error).replace(f"{folder}{os.sep}", "")
        failure = {"reason": reason, "goes_on": isinstance(error, WriteError)}
        write_text(folder / "failure.json", json.dumps(failure) + "\n")
        return FAILED
    return 0


if __name__ == "__main__":
    _end_with_parent()
    sys.exit(main(Path(sys.argv[1])))
