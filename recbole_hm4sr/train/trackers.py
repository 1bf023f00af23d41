"""Where curves go: TensorBoard always, Weights & Biases and MLflow where they are asked for.

All work without a network, in the folder of the run, unless the user's environment names a server:
``WANDB_MODE=online`` or ``MLFLOW_TRACKING_URI``.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

# A value of a parameter that MLflow takes.
_LONGEST = 500


class Tracker(Protocol):
    """Takes the numbers of a run."""

    title: str

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """Keep numbers of an epoch, which is counted from 1.

        Raises:
            OSError: If a file cannot be written.
        """

    def close(self) -> None:
        """End it.

        Raises:
            OSError: If a file cannot be written.
        """


class TensorBoardTracker:
    """Writes ``tensorboard/`` in the folder of a run.

    Args:
        run_dir: Folder of the run.
        settings: Shown as text beside the curves.
    """

    title = "TensorBoard"

    def __init__(self, run_dir: Path, settings: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(run_dir / "tensorboard"))
        lines = ["| setting | value |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in settings.items()]
        self._writer.add_text("settings", "\n".join(lines))

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """Keep numbers of an epoch."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """End the writer and its thread."""
        self._writer.close()


class WandbTracker:
    """Writes ``wandb/`` in the folder of a run; ``wandb sync`` sends it later.

    A resumed run goes on in the same run of Weights & Biases.

    Args:
        run_dir: Folder of the run.
        settings: Its configuration there.
        project: Name of the project.
    """

    title = "Weights & Biases"

    def __init__(self, run_dir: Path, settings: Mapping[str, Any], *, project: str) -> None:
        import wandb

        run_dir.mkdir(parents=True, exist_ok=True)
        self._run: Any = wandb.init(
            project=project,
            name=run_dir.resolve().name,
            id=_identity(run_dir),
            resume="allow",
            dir=str(run_dir),
            mode=cast(Any, os.environ.get("WANDB_MODE", "offline")),
            config=dict(settings),
            settings=wandb.Settings(silent=True, console="off"),
        )

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """Keep numbers of an epoch."""
        # Its own step only ever rises, and the test is of an epoch that has passed.
        self._run.log({**values, "epoch": epoch})

    def close(self) -> None:
        """End the run there."""
        self._run.finish(quiet=True)


class MlflowTracker:
    """Writes ``mlruns/`` in the folder of a run, or sends to ``MLFLOW_TRACKING_URI``.

    A resumed run goes on in the same run of MLflow.

    Args:
        run_dir: Folder of the run.
        settings: Its parameters there.
    """

    title = "MLflow"
    _experiment = "recbole-hm4sr"
    _tag = "recbole_hm4sr.run"

    def __init__(self, run_dir: Path, settings: Mapping[str, Any]) -> None:
        # Without a database MLflow wants to be asked for plain files.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient

        server = os.environ.get("MLFLOW_TRACKING_URI")
        self._client: Any = MlflowClient(
            tracking_uri=server or (run_dir / "mlruns").resolve().as_uri()
        )
        self._run_id = self._find_or_create(run_dir, settings)

    def _find_or_create(self, run_dir: Path, settings: Mapping[str, Any]) -> str:
        experiment = self._client.get_experiment_by_name(self._experiment)
        if experiment is None:
            number = self._client.create_experiment(self._experiment)
        else:
            number = experiment.experiment_id
        identity = _identity(run_dir)
        known = self._client.search_runs([number], f"tags.`{self._tag}` = '{identity}'")
        if known:
            return str(known[0].info.run_id)
        run = self._client.create_run(
            number, run_name=run_dir.resolve().name, tags={self._tag: identity}
        )
        for name, value in settings.items():
            self._client.log_param(run.info.run_id, name, str(value)[:_LONGEST])
        return str(run.info.run_id)

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """Keep numbers of an epoch."""
        for name, value in values.items():
            # It takes no @ in a name.
            self._client.log_metric(self._run_id, name.replace("@", "_at_"), value, step=epoch)

    def close(self) -> None:
        """End the run there."""
        self._client.set_terminated(self._run_id)


def _identity(run_dir: Path) -> str:
    """A name that the run has each time it is resumed."""
    return hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:16]
