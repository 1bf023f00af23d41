"""The errors a user can cause. Everything else keeps its own type and its traceback.

Both kinds derive from ``ValueError``, as RecBole raises for the same mistakes, so code that
catches RecBole's errors catches these too. The command line turns a :class:`UserError` into one
line on standard error and exit code 2.
"""

import re
import traceback
from pathlib import Path

_TERMINAL_CODES = re.compile(r"\x1b\[[\d;]*m")


class UserError(Exception):
    """Something the user gave is wrong; the message says what, where and what to do."""


class ConfigError(UserError, ValueError):
    """A setting is unknown, missing or has a value its model or data set cannot take."""


class DataError(UserError, ValueError):
    """A file, or a value in it, breaks the data contract of ``docs/data/format.md``."""


class CheckpointError(DataError):
    """A checkpoint is damaged, or of another model, other data or other settings."""


class WriteError(DataError):
    """A file cannot be written: the disk is full, or the folder may not be written to."""


class TrainingError(UserError, ArithmeticError):
    """Training cannot go on: a loss is no finite number any more."""


def error_sentence(error: BaseException) -> str:
    """Why a run has no result, in a sentence; RecBole's bare errors are named as such."""
    text = " ".join(_TERMINAL_CODES.sub("", str(error)).split()).rstrip(".")
    if isinstance(error, UserError):
        return text
    if isinstance(error, MemoryError):
        return "there was not enough memory"
    frames = traceback.extract_tb(error.__traceback__)
    of_recbole = [f.name for f in frames if "recbole" in Path(f.filename).parts]
    place = f" (in RecBole's {of_recbole[-1]})" if of_recbole else ""
    if isinstance(error, KeyError):
        sentence = f"the model reads {text}, which this data set or its settings do not have{place}"
        if text.startswith("'neg_"):
            sentence += "; negative items come by train_neg_sample_args: {sample_num: 1}"
        return sentence
    return f"{type(error).__name__}{place}: {text[:300]}".rstrip(": ")
