"""The errors a user can cause. Everything else keeps its own type and its traceback.

Both kinds derive from ``ValueError``, as RecBole raises for the same mistakes, so code that
catches RecBole's errors catches these too. The command line turns a :class:`PluginError` into one
line on standard error and exit code 2.
"""


class PluginError(Exception):
    """Something the user gave is wrong; the message says what, where and what to do."""


class ConfigError(PluginError, ValueError):
    """A setting is unknown, missing or has a value its model or data set cannot take."""


class DataError(PluginError, ValueError):
    """A file, or a value in it, breaks the data contract of ``dataset_atomic/README.md``."""


class CheckpointError(DataError):
    """A checkpoint is damaged, or of another model, other data or other settings."""


class WriteError(DataError):
    """A file cannot be written: the disk is full, or the folder may not be written to."""


class TrainingError(PluginError, ArithmeticError):
    """Training cannot go on: a loss is no finite number any more."""
