"""``hm4sr prepare images``: the pictures that an item table names."""

from pathlib import Path
from typing import Annotated, Any

import typer

from recbole_hm4sr.cli.options import out
from recbole_hm4sr.cli.progress import progress


def register(prepare_app: typer.Typer) -> None:
    """Add the command to the group ``hm4sr prepare``."""
    prepare_app.command()(images)


def images(  # noqa: PLR0913  # a flag each
    items: Annotated[Path, typer.Option(help="The .item file.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder of the images; may hold some.")],
    column: Annotated[str, typer.Option(help="Its column of addresses.")] = "image_url",
    item_field: Annotated[
        str, typer.Option("--item_field", help="Its column of items.")
    ] = "item_id",
    workers: Annotated[int, typer.Option(min=1, help="Downloads at once.")] = 8,
    per_host: Annotated[
        int, typer.Option("--per_host", min=1, help="Downloads at once from one host.")
    ] = 2,
    pause: Annotated[
        float, typer.Option(min=0, help="Seconds between two downloads from one host.")
    ] = 0.1,
    tries: Annotated[int, typer.Option(min=1, help="Most tries of an address.")] = 4,
    max_mb: Annotated[
        float, typer.Option("--max_mb", min=0.001, help="Largest image in MB.")
    ] = 20.0,
    seconds: Annotated[float, typer.Option(min=0.1, help="Longest time of one download.")] = 60.0,
    redirect_hosts: Annotated[
        str,
        typer.Option(
            "--redirect_hosts", help="Hosts outside the table that a redirect may lead to: a,b."
        ),
    ] = "",
    allow_private: Annotated[
        bool, typer.Option("--allow_private", help="Allow addresses of private networks.")
    ] = False,
) -> None:
    """Download the images of an item table.

    Few at once, each checked by decoding it, saved as <item>.<jpg, png, ...>. Asks no address but
    the table's (http and https). Started again, it asks for what is missing.
    """
    from recbole_hm4sr.prepare.images.download import ImageOptions, download_images

    options = ImageOptions(
        workers=workers,
        per_host=per_host,
        pause=pause,
        tries=tries,
        max_bytes=int(max_mb * 2**20),
        total_seconds=seconds,
        allow_private=allow_private,
        redirect_hosts=tuple(host.strip() for host in redirect_hosts.split(",") if host.strip()),
    )

    with progress("what is fetched is kept. Go on with the same command") as report:
        result = download_images(
            items,
            folder,
            column=column,
            item_field=item_field,
            options=options,
            report=lambda done, jobs: report(f"downloading {jobs:,} images", done, jobs),
        )
    _print_report(result)


def _print_report(result: Any) -> None:
    there = result.n_kept + result.n_fetched
    out.print(
        f"{there:,} of {result.n_items:,} items have an image ({result.n_fetched:,} new) in "
        f"{result.folder}",
    )
    for reason, number in result.missing.items():
        out.print(f"  {number:>7,} missing: {reason}")
    if result.missing:
        out.print(f"  each by name in {result.folder / 'missing.tsv'}")
