"""What the commands that write feature files share: where to, and what to say of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from recbole_hm4sr.cli.options import out
from recbole_hm4sr.model.registry import DEFAULT_MODEL

DatasetOption = Annotated[str, typer.Option(help="Name of a folder of atomic files.")]
DataPathOption = Annotated[
    str | None, typer.Option("--data_path", help="Folder above the data set.")
]
ModalityOption = Annotated[str, typer.Option(help="Name of the modality.")]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="File to write, if not <dataset>.<modality>.npz.")
]


@dataclass(frozen=True)
class Target:
    """The data set that features are for.

    Attributes:
        dataset: Its name.
        folder: Its folder.
        item_field: Its column of item tokens.
        modality: Name of the modality.
        settings: Those that its runs start from.
    """

    dataset: str
    folder: Path
    item_field: str
    modality: str
    settings: dict[str, Any]

    @property
    def modalities(self) -> dict[str, str]:
        """Modality to source."""
        return dict(self.settings["modalities"] or {})

    @property
    def file(self) -> Path:
        """The feature file that its runs find."""
        return self.folder / f"{self.dataset}.{self.modality}.npz"


def find_target(dataset: str, data_path: str | None, modality: str, **flags: object) -> Target:
    """The data set of a name.

    Args:
        dataset: Its name.
        data_path: Folder above it; None for those that are looked through.
        modality: Name of the modality.
        flags: Settings that go before the data set's own; None for those that were not given.

    Raises:
        ConfigError: If there is none, or its settings are wrong.
    """
    from recbole_hm4sr.config.compose import compose_settings

    given = {"data_path": data_path, **flags}
    overrides = {name: value for name, value in given.items() if value is not None}
    settings, _ = compose_settings(DEFAULT_MODEL, dataset, overrides=overrides, settings_class=None)
    folder, item_field = Path(settings["data_path"]), str(settings["ITEM_ID_FIELD"])
    return Target(dataset, folder, item_field, modality, settings)


def print_report(report: Any, target: Target) -> None:
    """What became of the items, and how a run reads the file if it would not."""
    for reason, tokens in report.skipped.items():
        shown = ", ".join(repr(token) for token in tokens[:3])
        out.print(f"left out, {reason}: {len(tokens):,}, e.g. {shown}")
    for note in report.notes:
        out.print(note)
    out.print(f"{report.path}: {report.n_items:,} items, {report.width} wide")
    source = target.modalities.get(target.modality)
    if report.path == target.file and source not in ("npz", "auto"):
        has = f"take {target.modality} from {source}" if source else "do not read it"
        wanted = {**target.modalities, target.modality: "npz"}
        flag = ", ".join(f"{name}: {where}" for name, where in wanted.items())
        out.print(
            f"as its settings are, runs of {target.dataset} {has}; to read this file, give them "
            f"--modalities='{{{flag}}}' or write that into {target.dataset}.yaml"
        )
