"""The one objective that every engine minimises: a run, judged by its validation part alone."""

import gc
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from recbole_hm4sr.base.errors import error_sentence
from recbole_hm4sr.run.resume import run_or_resume
from recbole_hm4sr.train.epochs import EpochRecord
from recbole_hm4sr.tune.trials import Status, Trial, TrialStore


class HopelessTrial(Exception):  # noqa: N818  # a decision, no error
    """Ends a trial early; its message says why."""


def run_trial(
    store: TrialStore,
    number: int,
    settings: Mapping[str, Any],
    *,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> Trial:
    """Run a trial, or go on with it where a crash has left it. Nothing is read of the test part.

    Args:
        store: The folder of the search.
        number: Number of the trial, from 1.
        settings: The searched settings and its values of them.
        on_epoch: Called after every epoch; raises :class:`HopelessTrial` to end the trial.

    Returns:
        What came of it: any error of any model is a failed trial with its reason.

    Raises:
        KeyboardInterrupt: On Ctrl-C; the trial can go on.
        DataError: If the folder cannot be written.
    """
    began = time.perf_counter()
    search, folder = store.search, store.run_dir(number)

    def ended(status: Status, reason: str = "") -> Trial:
        records = store.epochs(number)
        # Over all attempts; a trial without an epoch has this one's time.
        seconds = sum(record["train_seconds"] + record["valid_seconds"] for record in records)
        scored = [record for record in records if record["is_best"]][-1:] * (status != "failed")
        best = (
            {
                "score": scored[0]["valid_score"],
                "best_epoch": scored[0]["epoch"],
                "valid": scored[0]["valid"],
            }
            if scored
            else {}
        )
        return Trial(
            number=number,
            settings=dict(settings),
            status=status,
            reason=reason,
            epochs=len(records),
            seconds=round(seconds or time.perf_counter() - began, 3),
            **best,
        )

    if reason := store.begin(number, settings):
        return ended("failed", reason)
    overrides = search.overrides(settings)
    try:
        run_or_resume(
            folder, search.model, search.dataset, overrides, test=False, on_epoch=on_epoch
        )
    except KeyboardInterrupt:
        store.interrupted(number)
        raise
    except HopelessTrial as hopeless:
        return ended("pruned", str(hopeless))
    except Exception as error:  # noqa: BLE001  # any error of any model is that trial's reason
        return ended("failed", error_sentence(error).replace(f"{folder}{os.sep}", ""))
    finally:
        gc.collect()  # a model and its optimizer refer to each other
    return ended("done")
