"""``hm4sr prepare``: from raw material to a folder of atomic files."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.cli import images
from recbole_hm4sr.cli.options import names_of, out
from recbole_hm4sr.cli.progress import progress

prepare_app = typer.Typer(
    help="Make the atomic files of a data set from raw files.", no_args_is_help=True
)
_IF_STOPPED = "finished stages are kept. Go on with the same command"
_COUNTED = ("users", "items", "interactions")
# What is dropped by a rule, by the beginning of its reason, and how to keep it.
_HINTS = {
    "the same user and item again, later": " (--keep_later keeps them)",
    "interactions of": " (--core=0 keeps all)",
}
Out = Annotated[
    Path, typer.Option("--out", help="Folder to write, new or empty; its name is the data set's.")
]
Core = Annotated[
    int | None,
    typer.Option(
        help="Fewest interactions of each user and item that is left, by default 5; 0 keeps all, "
        "as --append does."
    ),
]
Append = Annotated[
    bool,
    typer.Option(
        "--append",
        help="Add to the newest state of the data set of --out; the next state is a folder beside "
        "it, with the day in its name. Settings and fitted encoders are kept.",
    ),
]
Replace = Annotated[
    bool,
    typer.Option(
        "--replace", help="As --append, but the next state has these files alone: the whole log."
    ),
]
KeepItems = Annotated[
    str | None,
    typer.Option(
        "--keep_items",
        help="Items of the .item file: all that are described, or those interacted with, the "
        "default.",
    ),
]
KeepLater = Annotated[
    bool,
    typer.Option("--keep_later", help="Keep later interactions of the same user and item."),
]
Memory = Annotated[str, typer.Option(help="Largest memory of the tables, as 2GB.")]
Threads = Annotated[int, typer.Option(help="Threads of the tables; 0 takes all cores.")]

# The columns of hm4sr prepare csv.
TimeFormat = Annotated[
    str | None,
    typer.Option("--time_format", help="Form of dates, as %d.%m.%Y %H:%M; else ISO 8601."),
]
Event = Annotated[
    str | None, typer.Option(help="Its column that says what a row is, as view or buy.")
]
KeepEvents = Annotated[str, typer.Option("--keep_events", help="Events that count, as buy,cart.")]
ItemsItem = Annotated[
    str | None,
    typer.Option("--items_item", help="Its column of items, if not named as by --item."),
]
Categories = Annotated[
    str | None, typer.Option(help="Its column of category paths, texts or lists.")
]
Separator = Annotated[
    str | None,
    typer.Option(help="Between two categories of an item, if a text; by default |."),
]
KeepItemsOfTable = Annotated[
    str | None,
    typer.Option(
        "--keep_items",
        help="Items of the .item file: all that are described, the default, or those interacted "
        "with.",
    ),
]
LevelSeparator = Annotated[
    str | None,
    typer.Option("--level_separator", help="Between the levels of a category, as >."),
]
ImageUrl = Annotated[str | None, typer.Option("--image_url", help="Its column of image addresses.")]
Encoding = Annotated[
    str | None,
    typer.Option(help="Encoding of CSV files, such as cp1252 or utf-16; by default utf-8."),
]
ItemsEncoding = Annotated[
    str | None,
    typer.Option("--items_encoding", help="That of --items, if not as by --encoding."),
]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    images.register(prepare_app)
    app.add_typer(prepare_app, name="prepare")


@prepare_app.command()
def amazon(  # noqa: PLR0913  # a flag each
    reviews: Annotated[
        list[Path], typer.Option(help="Review file; the flag may be given several times.")
    ],
    folder: Out,
    meta: Annotated[
        list[Path] | None, typer.Option(help="Metadata file; the flag may be given several times.")
    ] = None,
    core: Core = None,
    keep_items: KeepItems = None,
    keep_later: KeepLater = False,
    append: Append = False,
    replace: Replace = False,
    memory: Memory = "2GB",
    threads: Threads = 0,
) -> None:
    """Amazon's reviews and metadata.

    The releases of 2014, 2018 and 2023, plain or gzip, are recognised by content.

    Started again after a stop, the same command goes on behind the last finished stage. With
    --append and --replace, what no flag says of what is kept is as in the state before.
    """
    from recbole_hm4sr.prepare.raw.amazon import prepare_amazon
    from recbole_hm4sr.prepare.tables.earlier import Earlier
    from recbole_hm4sr.prepare.tables.job import Preparation
    from recbole_hm4sr.prepare.tables.remembered import rules_of

    change = _change(append=append, replace=replace)
    earlier = Earlier.newest(folder, change) if change else None
    given = {"core": core, "keep_later": keep_later or None, "keep_items": keep_items}
    rules = rules_of(given, earlier, replaces=replace, keep_items="interacted")
    job = Preparation(folder, **rules, memory=memory, threads=threads, change=change)
    with progress(_IF_STOPPED) as report:
        provenance = prepare_amazon(reviews, meta or [], job, report=report)
    is_known = provenance.pop("is_known", False)
    _print_result(folder.with_name(provenance["data_set"]), provenance, is_known=is_known)


@prepare_app.command("csv")
def csv_files(  # noqa: PLR0913  # a flag each
    interactions: Annotated[Path, typer.Option(help="CSV or Parquet file of interactions.")],
    folder: Out,
    user: Annotated[str | None, typer.Option(help="Its column of users: user_id.")] = None,
    item: Annotated[str | None, typer.Option(help="Its column of items: item_id.")] = None,
    time: Annotated[str | None, typer.Option(help="Its column of times: timestamp.")] = None,
    unit: Annotated[
        str | None, typer.Option(help="What times are: s, ms or date (texts); by default s.")
    ] = None,
    time_format: TimeFormat = None,
    event: Event = None,
    keep_events: KeepEvents = "",
    items: Annotated[Path | None, typer.Option(help="CSV or Parquet file of items.")] = None,
    items_item: ItemsItem = None,
    title: Annotated[str | None, typer.Option(help="Its column of titles.")] = None,
    brand: Annotated[str | None, typer.Option(help="Its column of brands.")] = None,
    categories: Categories = None,
    separator: Separator = None,
    level_separator: LevelSeparator = None,
    description: Annotated[str | None, typer.Option(help="Its column of descriptions.")] = None,
    price: Annotated[str | None, typer.Option(help="Its column of prices.")] = None,
    image_url: ImageUrl = None,
    encoding: Encoding = None,
    items_encoding: ItemsEncoding = None,
    core: Core = None,
    keep_items: KeepItemsOfTable = None,
    keep_later: KeepLater = False,
    append: Append = False,
    replace: Replace = False,
    memory: Memory = "2GB",
    threads: Threads = 0,
) -> None:
    """A table of interactions, and one of items.

    CSV (plain or gzip; separated by a comma, tab, semicolon or bar) or Parquet, told apart by
    content. Columns of --items that no flag names are left out. With --append and --replace, what
    no flag says of the columns and of what is kept is as in the state before.
    """
    from recbole_hm4sr.prepare.command import prepare

    change = _change(append=append, replace=replace)
    with progress(_IF_STOPPED) as report:
        prepared = prepare(
            interactions,
            items,
            out=folder,
            user=user,
            item=item,
            time=time,
            unit=unit,
            time_format=time_format,
            event=event,
            keep_events=names_of(keep_events),
            items_item=items_item,
            title=title,
            brand=brand,
            categories=categories,
            description=description,
            price=price,
            image_url=image_url,
            separator=separator,
            level_separator=level_separator,
            encoding=encoding,
            items_encoding=items_encoding,
            core=core,
            keep_items=keep_items,
            keep_later=keep_later or None,
            change=change,
            memory=memory,
            threads=threads,
            report=report,
        )
    _print_result(prepared.folder, prepared.provenance, is_known=prepared.is_known)


def _change(*, append: bool, replace: bool) -> str:
    if append and replace:
        raise ConfigError("--append and --replace must not be given together")
    return "append" if append else "replace" if replace else ""


def _print_result(folder: Path, provenance: dict[str, Any], *, is_known: bool) -> None:
    """What each step left and dropped; PROVENANCE.json has the places as well."""
    if is_known:
        out.print(f"{folder} has all of it: nothing to do")
        return
    steps = provenance["steps"]
    for name, count in steps[0].get("earlier", {}).items():
        out.print(f"{count:,} interactions of {name} are kept")
    counted = [step for step in steps if "users" in step]
    table = Table("step", *_COUNTED)
    for step in counted:
        table.add_row(step["step"], *(f"{step[name]:,}" for name in _COUNTED))
    out.print(table)
    _print_dropped(steps)
    if "without_metadata" in steps[-1]:
        _print_items(steps[-1])
    numbers = ", ".join(f"{counted[-1][name]:,} {name}" for name in _COUNTED)
    out.print(f"{folder}: {numbers}")
    out.print(f"next: hm4sr check --dataset={folder.name} --data_path={folder.parent}")


def _print_dropped(steps: list[dict[str, Any]]) -> None:
    # What is appended is kept by the rule of the state before.
    hints = {} if steps[0].get("earlier") else dict(_HINTS)
    for step in steps:
        _print_reasons(f"{step['step']}: dropped", step["dropped"], hints)
        if "events" in step:
            kept = ", ".join(f"{name} ({count:,})" for name, count in step["events"].items())
            out.print(f"{step['step']}: events kept {kept}")


def _print_items(step: dict[str, Any]) -> None:
    _print_reasons("values left empty:", step["values_left_empty"], {})
    without, n_items = step["without_metadata"], step["items"]
    out.print(
        f"{without:,} of {n_items:,} items have no metadata"
        if without
        else f"all {n_items:,} items are described"
    )
    for reason, count in step["kept_without_interactions"].items():
        out.print(f"{reason}: {count:,}, their lines are kept")


def _print_reasons(what: str, drops: dict[str, Any], hints: dict[str, str]) -> None:
    """Print counts by reason, each hint once; it is taken out of the hints."""
    texts = []
    for reason, entry in drops.items():
        ruled = [name for name in hints if reason.startswith(name)]
        hint = "".join(hints.pop(name) for name in ruled)
        texts.append(f"{reason} ({entry['count']:,}){hint}")
    if texts:
        out.print(f"{what} {', '.join(texts)}")
