"""One cell in a process of its own, which ``runner.py`` starts with the cell's folder.

The folder holds ``cell.json``. The process leaves the run's files there, or ``failure.json`` with
one sentence that says why there are none. It ends when its standard input is closed, so that it
never outlives the comparison that started it.
"""

import contextlib
import json
import os
import sys
import threading
import traceback
from pathlib import Path

from recbole_hm4sr.base.errors import WriteError, error_sentence
from recbole_hm4sr.base.files import write_text
from recbole_hm4sr.report.finish import report_run
from recbole_hm4sr.run.resume import run_or_resume

FAILED = 3


def run_cell(folder: Path) -> None:
    """Run the cell of a folder, or go on with it where a crash has left it.

    Args:
        folder: Holds ``cell.json``, and what an earlier attempt has left.

    Raises:
        UserError: If settings or files are wrong.
    """
    cell = json.loads((folder / "cell.json").read_text(encoding="utf-8"))
    trial = cell.get("trial")
    run_or_resume(
        folder,
        cell["model"],
        cell["dataset"],
        cell["overrides"],
        on_finish=report_run,
        trained=None if trial is None else Path(trial),
    )


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
        reason = error_sentence(error).replace(f"{folder}{os.sep}", "")
        failure = {"reason": reason, "goes_on": _is_of_the_machine(error)}
        # On a full disk there may be no room for this either, but there is in the log, perhaps.
        with contextlib.suppress(WriteError):
            write_text(folder / "failure.json", json.dumps(failure) + "\n")
        return FAILED
    return 0


def _is_of_the_machine(error: Exception) -> bool:
    """Whether the same run may end well another day: no room on the disk, memory, the GPU."""
    if isinstance(error, (OSError, MemoryError, WriteError)):
        return True
    words = ("out of memory", "can't allocate memory", "CUDA error", "NCCL")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def run() -> None:
    """Run the cell of the folder that the command line names, and end the process."""
    _end_with_parent()
    sys.exit(main(Path(sys.argv[1])))
