"""``hm4sr encode text|image``: feature files from words and pictures."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.cli.feature_files import (
    DataPathOption,
    DatasetOption,
    ModalityOption,
    OutOption,
    Target,
    find_target,
    print_report,
)
from recbole_hm4sr.cli.options import out

PoolingOption = Annotated[str | None, typer.Option(help="cls, mean, model or auto.")]
BatchOption = Annotated[int, typer.Option("--batch_size", min=1, help="Items a batch.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
DtypeOption = Annotated[str, typer.Option(help="float32, or mixed precision: bfloat16, float16.")]
StorageOption = Annotated[str, typer.Option(help="float16 or float32, in the file.")]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Encode item texts or images as feature files.",
        rich_markup_mode=None,
    )
    group.command("text")(encode_text)
    group.command("image")(encode_image)
    app.add_typer(group, name="encode")


def encode_text(  # noqa: PLR0913  # a flag each
    dataset: DatasetOption,
    data_path: DataPathOption = None,
    encoder: Annotated[
        str,
        typer.Option(
            help="tfidf-svd, the file <name>.encoder.npz of one that was fitted before, paper "
            "(BERT's [CLS]), a model's name or its folder."
        ),
    ] = "tfidf-svd",
    fields: Annotated[
        str | None,
        typer.Option(help="Columns of the .item file, a,b; by default the setting text_fields."),
    ] = None,
    pooling: PoolingOption = None,
    max_length: Annotated[
        int | None, typer.Option("--max_length", help="Tokens of a text that are read.")
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(help="States to keep, 0,2,4: one vector an item and layer."),
    ] = None,
    batch_size: BatchOption = 64,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "float32",
    storage: StorageOption = "float16",
    modality: ModalityOption = "text",
    path: OutOption = None,
) -> None:
    """Encode the text of the items.

    Started again, it goes on where it was.
    """
    from recbole_hm4sr.prepare.encode.text_encoders import TEXT_PRESETS, encode_item_texts

    target = find_target(dataset, data_path, modality, text_fields=_parse_fields(fields))
    item_file = target.folder / f"{dataset}.item"
    names = _choose_fields(item_file, target)
    out.print(f"text of each item: {', '.join(names)}")
    options = _choose(
        TEXT_PRESETS,
        encoder,
        pooling=pooling,
        max_length=max_length,
        layers=_parse_layers(layers),
        dtype=dtype,
        storage=storage,
    )
    _run(
        target,
        lambda on_batch: encode_item_texts(
            item_file,
            path or target.file,
            item_field=target.item_field,
            fields=names,
            encoder=options,
            batch_size=batch_size,
            device=device,
            on_batch=on_batch,
        ),
    )


def _parse_layers(layers: str | None) -> tuple[int, ...] | None:
    if layers is None:
        return None
    try:
        return tuple(int(number) for number in layers.split(","))
    except ValueError:
        raise ConfigError(f"--layers must be numbers of layers, as 0,2,4, got {layers!r}") from None


def _parse_fields(fields: str | None) -> list[str] | None:
    if fields is None:
        return None
    names = [name.strip() for name in fields.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"--fields must name columns of the .item file, as a,b, got {fields!r}")
    return names


def _choose_fields(item_file: Path, target: Target) -> list[str]:
    """The columns whose words the source tfidf-svd takes too; unset, the paper's that are there."""
    from recbole_hm4sr.config.settings import DataSettings, read_settings
    from recbole_hm4sr.data.atomic import read_header
    from recbole_hm4sr.prepare.encode.text_encoders import PAPER_FIELDS

    columns = dict(read_header(item_file))
    names = read_settings(target.settings, DataSettings).text_fields
    names = names or tuple(name for name in PAPER_FIELDS if name in columns)
    if not names:
        raise ConfigError(
            f"text_fields of {target.dataset} (or --fields) must name columns of {item_file}, "
            f"which has {', '.join(columns)}"
        )
    return list(names)


def encode_image(  # noqa: PLR0913  # a flag each
    dataset: DatasetOption,
    images: Annotated[
        Path,
        typer.Option(help="Folder of <item token>.jpg, .jpeg, .png, .webp, .gif or .bmp."),
    ],
    data_path: DataPathOption = None,
    encoder: Annotated[
        str,
        typer.Option(
            help="paper (CLIP's ViT-B/16), efficientnet-lite0 (which needs no hub), a model's "
            "name or its folder."
        ),
    ] = "paper",
    pooling: PoolingOption = None,
    batch_size: BatchOption = 32,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "float32",
    storage: StorageOption = "float16",
    modality: ModalityOption = "image",
    path: OutOption = None,
) -> None:
    """Encode the images of the items.

    Started again, it goes on where it was.
    """
    from recbole_hm4sr.prepare.encode.feature_job import read_tokens
    from recbole_hm4sr.prepare.encode.image_encoders import IMAGE_PRESETS, encode_item_images

    target = find_target(dataset, data_path, modality)
    item_file = target.folder / f"{dataset}.item"
    tokens = read_tokens(
        item_file if item_file.is_file() else target.folder / f"{dataset}.inter", target.item_field
    )
    options = _choose(IMAGE_PRESETS, encoder, pooling=pooling, dtype=dtype, storage=storage)
    _run(
        target,
        lambda on_batch: encode_item_images(
            images,
            tokens.tolist(),
            path or target.file,
            encoder=options,
            batch_size=batch_size,
            device=device,
            on_batch=on_batch,
        ),
    )


def _choose(presets: dict[str, Any], name: str, **flags: Any) -> Any:
    """The encoder of a name: a preset, or a model; flags that were given win."""
    from recbole_hm4sr.prepare.encode.feature_job import EncoderSpec

    encoder = presets[name] if name in presets else EncoderSpec(name=name)
    given = {key: value for key, value in flags.items() if value is not None}
    return dataclasses.replace(encoder, **given)


def _run(target: Target, encode: Callable[[Callable[[int, bool, int], None]], Any]) -> None:
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
    task = bar.add_task("", total=None, speed="", visible=False)  # tfidf-svd has no batches

    def on_batch(n_items: int, kept: bool, total: int) -> None:  # noqa: FBT001
        nonlocal start
        if not n_items:  # the model is read
            start = time.monotonic()
        counts[kept] += n_items
        speed = counts[False] / max(time.monotonic() - start, 1e-9)
        bar.update(task, advance=n_items, total=total, visible=True, speed=f"{speed:,.0f} items/s")

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
    print_report(report, target)
