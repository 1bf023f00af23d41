"""What a service serves, and what names it."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from recbole_hm4sr.serve.exported import FACTS_FILE

if TYPE_CHECKING:
    from recbole_hm4sr.serve.metrics import Metrics

_DIGITS = 12


def version_of(sha256: str) -> str:
    """How an answer names the state that it is of: the first digits of a hash."""
    return sha256[:_DIGITS]


@dataclass(frozen=True)
class Served:
    """What names an opened state: all of an answer comes from one of these.

    Attributes:
        run: Name of the run's folder, as it was when the state was opened.
        version: Of :func:`version_of`: of ``serving.npz``, which every refresh and update writes
            anew; of the checkpoint for a run that has none.
        checkpoint: SHA-256 of the weights.
        content: SHA-256 of the file that changes with the state, as it was read.
        known_until: The moment up to which a memory knows, in seconds since 1970; None without.
    """

    run: str
    version: str
    checkpoint: str
    content: str
    known_until: float | None = None


# A state, and the ASGI application that answers by it.
Opened = tuple[Served, Any]


@dataclass(frozen=True)
class Source:
    """Where what is served comes from; it can be handed to another process.

    Attributes:
        folder: Of a run or an exported index, or a link to it.
        file_name: The file in it that is replaced when there is another state.
        opener: ``module:function`` that opens the folder; its arguments are those of :meth:`open`.
    """

    folder: Path
    file_name: str
    opener: str

    @property
    def module(self) -> str:
        """What a process must import to open it, which may take seconds."""
        return self.opener.partition(":")[0]

    @property
    def file(self) -> Path:
        """The file that is replaced when there is another state."""
        return self.folder / self.file_name

    def open(self, metrics: "Metrics", threads: int | None = None) -> "Opened":
        """Open the state that the folder has now.

        Args:
            metrics: Where its application counts.
            threads: How many may compute; None for as many as the libraries like.

        Returns:
            What names the state, and the application that answers by it alone.

        Raises:
            ConfigError: If it cannot be served.
            DataError: If the files are missing, or do not belong together.
        """
        module, name = self.opener.split(":")
        opener = cast(Callable[..., Opened], getattr(importlib.import_module(module), name))
        # All files are of one folder, also where a link to it is set elsewhere.
        return opener(self.folder.resolve(), metrics, threads)


def run_source(folder: Path) -> Source:
    """The folder of a run, with all that the package can do."""
    from recbole_hm4sr.run.serving_file import FILE_NAME  # it imports pandas

    return Source(folder, FILE_NAME, "recbole_hm4sr.serve.routes:open_run")


def index_source(folder: Path) -> Source:
    """The folder of an exported index, without torch."""
    return Source(folder, FACTS_FILE, "recbole_hm4sr.serve.onnx_only:open_index")
