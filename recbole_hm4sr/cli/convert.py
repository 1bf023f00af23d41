"""``hm4sr convert``: feature files of other projects, in and out."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.cli.feature_files import (
    DataPathOption,
    DatasetOption,
    ModalityOption,
    find_target,
    print_report,
)
from recbole_hm4sr.cli.preflight import require_file
from recbole_hm4sr.cli.progress import progress
from recbole_hm4sr.model.registry import DEFAULT_MODEL


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(convert)


def convert(
    dataset: DatasetOption,
    source_format: Annotated[
        str, typer.Option("--from", help="npz, column, hm4sr, mmrec, unisrec or categories.")
    ],
    file: Annotated[Path, typer.Option(help="The file to convert.")],
    modality: ModalityOption,
    data_path: DataPathOption = None,
    mapping: Annotated[
        Path | None, typer.Option(help="i_id_mapping.csv of mmrec, item2index of unisrec.")
    ] = None,
    target_format: Annotated[str, typer.Option("--to", help="A format, as --from.")] = "npz",
    path: Annotated[
        Path | None,
        typer.Option("--out", help="File to write; by default one of the data set's folder."),
    ] = None,
) -> None:
    """Convert a feature file of another project, or to one.

    The order of its rows is proved by tokens, by the project's mapping, or for the authors' .pt
    files by RecBole's order of the items and their number; else the file is refused.
    """
    from recbole_hm4sr.prepare.convert.categories import convert_categories
    from recbole_hm4sr.prepare.convert.features import check_formats, convert_features
    from recbole_hm4sr.prepare.convert.row_order import read_item_order

    suffix = {"npz": f"{modality}.npz", "column": modality, "mmrec": f"{modality}_feat.npy"}
    suffix |= {"hm4sr": f"{modality}_emb.pt", "unisrec": f"{modality}.feat1CLS"}
    target = find_target(dataset, data_path, modality)
    formats = (source_format, target_format)
    if "categories" in formats:
        path = _check_categories(formats, path)
    else:
        check_formats(*formats, mapping)
    for needed in (file, *([mapping] if mapping is not None else [])):
        require_file(needed)
    with progress("nothing is written. Start the same command again") as report:
        report("reading the order of the items", 0, 0)
        item_tokens = read_item_order(_any_config(dataset, data_path))
        if "categories" in formats:
            report(f"converting {file.name}", 0, 0)
            result = convert_categories(
                file,
                cast(Path, path),
                item_tokens=item_tokens,
                item_field=target.item_field,
                column=modality,
                to_tensor=target_format == "hm4sr",
            )
        else:
            result = convert_features(
                file,
                path or target.folder / f"{dataset}.{suffix.get(target_format, '')}",
                item_tokens=item_tokens,
                columns=(target.item_field, modality),
                source_format=source_format,
                target_format=target_format,
                mapping=mapping,
                report=report,
            )
    print_report(result, target)


def _any_config(dataset: str, data_path: str | None) -> Any:
    """The RecBole ``Config`` of some run on the data set."""
    from recbole_hm4sr.run.plan import compose

    overrides = {} if data_path is None else {"data_path": data_path}
    return compose(DEFAULT_MODEL, dataset, overrides=overrides).to_recbole()


def _check_categories(formats: tuple[str, str], path: Path | None) -> Path:
    """The file to write categories to."""
    if formats not in (("hm4sr", "categories"), ("categories", "hm4sr")):
        raise ConfigError(
            f"--from and --to must be hm4sr and categories, or the other way, got "
            f"{formats[0]} and {formats[1]}"
        )
    if path is None:
        raise ConfigError("categories must have a file to write; name it with --out")
    return path
