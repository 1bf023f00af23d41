"""``hm4sr encode text|image`` and ``hm4sr convert``: feature files."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recbole_hm4sr.cli.words import out
from recbole_hm4sr.errors import ConfigError

DatasetOption = Annotated[str, typer.Option(help="Name of a folder of atomic files.")]
DataPathOption = Annotated[
    str | None, typer.Option("--data_path", help="Folder above the data set.")
]
PoolingOption = Annotated[str | None, typer.Option(help="cls, mean, model or auto.")]
BatchOption = Annotated[int, typer.Option("--batch_size", min=1, help="Items a batch.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
DtypeOption = Annotated[str, typer.Option(help="float32, or mixed precision: bfloat16, float16.")]
StorageOption = Annotated[str, typer.Option(help="float16 or float32, in the file.")]
ModalityOption = Annotated[str, typer.Option(help="Name of the modality.")]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="File to write, if not <dataset>.<modality>.npz.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Item texts or images to <dataset>.<modality>.npz.",
        rich_markup_mode=None,
    )
    group.command("text")(encode_text)
    group.command("image")(encode_image)
    app.add_typer(group, name="encode")
    app.command()(convert)


def encode_text(  # noqa: PLR0913  # a flag each
    dataset: DatasetOption,
    data_path: DataPathOption = None,
    encoder: Annotated[
        str, typer.Option(help="tfidf-svd, paper (BERT's [CLS]), a model's name or its folder.")
    ] = "tfidf-svd",
    fields: Annotated[
        str | None, typer.Option(help="Columns of the .item file, separated by commas.")
    ] = None,
    pooling: PoolingOption = None,
    max_length: Annotated[
        int | None, typer.Option("--max_length", help="Tokens of a text that are read.")
    ] = None,
    batch_size: BatchOption = 64,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "float32",
    storage: StorageOption = "float16",
    modality: ModalityOption = "text",
    path: OutOption = None,
) -> None:
    """Encode the text of the items. Started again, it goes on where it was."""
    from recbole_hm4sr.prepare.text_encoders import TEXT_PRESETS, encode_item_texts

    folder, item_field = _find_dataset(dataset, data_path)
    item_file = folder / f"{dataset}.item"
    names = _choose_fields(item_file, fields)
    out.print(f"text of each item: {', '.join(names)}")
    options = _choose(
        TEXT_PRESETS, encoder, pooling=pooling, max_length=max_length, dtype=dtype, storage=storage
    )
    _run(
        lambda on_batch: encode_item_texts(
            item_file,
            path or folder / f"{dataset}.{modality}.npz",
            item_field=item_field,
            fields=names,
            encoder=options,
            batch_size=batch_size,
            device=device,
            on_batch=on_batch,
        )
    )


def _choose_fields(item_file: Path, fields: str | None) -> list[str]:
    """The columns that were asked for, or those of the paper that the file has."""
    from recbole_hm4sr.data.atomic import read_header
    from recbole_hm4sr.prepare.text_encoders import PAPER_FIELDS

    columns = dict(read_header(item_file))
    if fields is None:
        names = [name for name in PAPER_FIELDS if name in columns]
    else:
        names = [name.strip() for name in fields.split(",") if name.strip()]
    if not names:
        raise ConfigError(
            f"--fields must name columns of {item_file}, which has {', '.join(columns)}"
        )
    return names


def encode_image(  # noqa: PLR0913  # a flag each
    dataset: DatasetOption,
    images: Annotated[Path, typer.Option(help="Folder of <item token>.jpg, .png or .webp.")],
    data_path: DataPathOption = None,
    encoder: Annotated[
        str, typer.Option(help="paper (CLIP's ViT-B/16), a model's name or its folder.")
    ] = "paper",
    pooling: PoolingOption = None,
    batch_size: BatchOption = 32,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "float32",
    storage: StorageOption = "float16",
    modality: ModalityOption = "image",
    path: OutOption = None,
) -> None:
    """Encode the images of the items. Started again, it goes on where it was."""
    from recbole_hm4sr.prepare.encode import read_tokens
    from recbole_hm4sr.prepare.image_encoders import IMAGE_PRESETS, encode_item_images

    folder, item_field = _find_dataset(dataset, data_path)
    item_file = folder / f"{dataset}.item"
    tokens = read_tokens(
        item_file if item_file.is_file() else folder / f"{dataset}.inter", item_field
    )
    options = _choose(IMAGE_PRESETS, encoder, pooling=pooling, dtype=dtype, storage=storage)
    _run(
        lambda on_batch: encode_item_images(
            images,
            tokens.tolist(),
            path or folder / f"{dataset}.{modality}.npz",
            encoder=options,
            batch_size=batch_size,
            device=device,
            on_batch=on_batch,
        )
    )


def convert(
    dataset: DatasetOption,
    source_format: Annotated[
        str, typer.Option("--from", help="npz, column, hm4sr, mmrec, unisrec or categories.")
    ],
    file: Annotated[Path, typer.Option(help="The file to convert.")],
    modality: ModalityOption,
    data_path: DataPathOption = None,
    mapping: Annotated[
        Path | None, typer.Option(help="i_id_mapping.csv of MMRec, item2index of UniSRec.")
    ] = None,
    target_format: Annotated[str, typer.Option("--to", help="A format, as --from.")] = "npz",
    path: OutOption = None,
) -> None:
    """Convert a feature file of another project, or to one.

    The order of its rows is proved by tokens, by the project's mapping, or for the authors' .pt
    files by RecBole's order of the items and their number; else the file is refused.
    """
    from recbole_hm4sr.prepare.convert import convert_features
    from recbole_hm4sr.prepare.row_order import read_item_order

    suffix = {"npz": f"{modality}.npz", "column": modality, "mmrec": f"{modality}_feat.npy"}
    suffix |= {"hm4sr": f"{modality}_emb.pt", "unisrec": f"{modality}.feat1CLS"}
    folder, item_field = _find_dataset(dataset, data_path)
    item_tokens = read_item_order(dataset, data_path)
    if "categories" in (source_format, target_format):
        formats = (source_format, target_format)
        _print_report(_convert_categories(formats, file, path, (item_field, modality), item_tokens))
        return
    report = convert_features(
        file,
        path or folder / f"{dataset}.{suffix.get(target_format, '')}",
        item_tokens=item_tokens,
        modality=modality,
        item_field=item_field,
        source_format=source_format,
        target_format=target_format,
        mapping=mapping,
    )
    _print_report(report)


def _convert_categories(
    formats: tuple[str, str],
    file: Path,
    path: Path | None,
    columns: tuple[str, str],
    item_tokens: Any,
) -> Any:
    from recbole_hm4sr.prepare.convert_categories import convert_categories

    if formats not in (("hm4sr", "categories"), ("categories", "hm4sr")):
        raise ConfigError(
            f"--from and --to must be hm4sr and categories, or the other way, got "
            f"{formats[0]} and {formats[1]}"
        )
    if path is None:
        raise ConfigError("categories must have a file to write; name it with --out")
    return convert_categories(
        file,
        path,
        item_tokens=item_tokens,
        item_field=columns[0],
        column=columns[1],
        to_tensor=formats[1] == "hm4sr",
    )


def _find_dataset(dataset: str, data_path: str | None) -> tuple[Path, str]:
    """The folder of a data set, and its column of item tokens."""
    from recbole_hm4sr.config import compose_settings

    overrides = {} if data_path is None else {"data_path": data_path}
    settings, _ = compose_settings("HM4SR", dataset, overrides=overrides)
    return Path(settings["data_path"]), str(settings["ITEM_ID_FIELD"])


def _choose(presets: dict[str, Any], name: str, **flags: Any) -> Any:
    """The encoder of a name: a preset, or a model; flags that were given win."""
    from recbole_hm4sr.prepare.encode import Encoder

    encoder = presets[name] if name in presets else Encoder(name=name)
    given = {key: value for key, value in flags.items() if value is not None}
    return dataclasses.replace(encoder, **given)


def _run(encode: Callable[[Callable[[int, bool, int], None]], Any]) -> None:
    """Encode under a bar with items a second, and say what became of the items."""
    bar = Progress(
        TextColumn("encoding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=out,
    )
    counts = {True: 0, False: 0}
    start = time.monotonic()
    task = bar.add_task("", total=None, speed="")

    def on_batch(n_items: int, kept: bool, total: int) -> None:  # noqa: FBT001
        nonlocal start
        if not n_items:  # the model is read
            start = time.monotonic()
        counts[kept] += n_items
        speed = counts[False] / max(time.monotonic() - start, 1e-9)
        bar.update(task, advance=n_items, total=total, speed=f"{speed:,.0f} items/s")

    try:
        with bar:
            report = encode(on_batch)
    except KeyboardInterrupt:
        out.print("\ninterrupted; finished batches are kept. Go on with the same command")
        raise typer.Exit(130) from None
    seconds = time.monotonic() - start
    if counts[True]:
        out.print(f"{counts[True]:,} items were encoded before the interruption")
    if counts[False]:
        out.print(
            f"{counts[False]:,} items in {seconds:.1f} s, {counts[False] / seconds:,.0f} items/s"
        )
    _print_report(report)


def _print_report(report: Any) -> None:
    for reason, tokens in report.skipped.items():
        shown = ", ".join(repr(token) for token in tokens[:3])
        out.print(f"left out, {reason}: {len(tokens):,}, e.g. {shown}")
    for note in report.notes:
        out.print(note)
    out.print(f"{report.path}: {report.n_items:,} items, {report.width} wide")
