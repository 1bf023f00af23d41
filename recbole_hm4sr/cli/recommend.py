"""``hm4sr recommend``, ``export``, ``serve`` and ``refresh``: a finished run at work."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.text_files import read_text
from recbole_hm4sr.cli.options import notes, out
from recbole_hm4sr.cli.preflight import check_run, require_file

if TYPE_CHECKING:
    from recbole_hm4sr.serve.recommend import Recommender
    from recbole_hm4sr.serve.recommendations import Recommendations

_FORMATS = {".csv": "csv", ".jsonl": "jsonl"}
RunOption = Annotated[Path, typer.Option("--run", help="Folder of a run.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(recommend)
    app.command()(export)
    app.command()(serve)
    app.command()(refresh)


def recommend(  # noqa: PLR0913  # an option each
    run: RunOption,
    history: Annotated[
        Path,
        typer.Option(help="CSV, Parquet or .inter file: user, item and time, named as in the run."),
    ],
    k: Annotated[int, typer.Option("-k", min=1, help="Items a user.")] = 10,
    file: Annotated[
        Path | None, typer.Option("--out", help="File to write, .csv or .jsonl; default: print.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="What is printed: csv or jsonl.")] = "csv",
    candidates: Annotated[
        Path | None, typer.Option(help="File with the items to choose from, one a line.")
    ] = None,
    exclude_seen: Annotated[
        bool,
        typer.Option("--exclude_seen/--include_seen", help="Leave out what a user has taken."),
    ] = True,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Tell why each item is recommended, and each modality's share of its score.",
        ),
    ] = False,
    at: Annotated[
        int | None,
        typer.Option(
            min=0, help="Moment of the requests, in the unit of the run's times; default: now."
        ),
    ] = None,
) -> None:
    """Recommend items to any users from their histories; the training need not have seen them.

    Unknown items are skipped and counted. A user without a known item gets the items that are most
    frequent in the training part (source: popular). A row with a user alone is one without history.
    A user who has taken every item is named in a warning, and has an empty list in JSON lines.
    Times are in the unit of the run (timestamp_unit).
    A model with a memory (memory: events) reads what was known before the moment of the requests;
    with request_time: target that is --at, with last it is a user's newest interaction. Up to when
    the memory knows is said once, on standard error.
    """
    form = _form_of(file, form)
    check_run(run, needs_data=False)
    require_file(history)
    chosen = None if candidates is None else _read_lines(candidates)
    from recbole_hm4sr.serve.recommend import Recommender

    recommender = Recommender.load(run)
    found = recommender.recommend(
        recommender.read_histories(history),
        k,
        exclude_seen=exclude_seen,
        candidates=chosen,
        explain=explain,
        at=at,
    )
    if found.known_until is not None:
        notes.print(f"the memory knows what was known before {_moment(found, recommender)}")
    text = _as_csv(found, recommender) if form == "csv" else "".join(_as_json(found, recommender))
    _give(text, found, file)


def _form_of(file: Path | None, form: str) -> str:
    """What is written: ``csv`` or ``jsonl``, by the ending of the file where there is one."""
    if file is not None:
        form = _FORMATS.get(file.suffix, "")
        if not form:
            raise ConfigError(f"--out must end in {' or '.join(_FORMATS)}, got {str(file)!r}")
    if form not in _FORMATS.values():
        raise ConfigError(f"--format must be one of {', '.join(_FORMATS.values())}, got {form!r}")
    return form


def _give(text: str, found: "Recommendations", file: Path | None) -> None:
    """Print an answer, or write it and say how many users it has."""
    if file is None:
        sys.stdout.write(text)
        return
    from recbole_hm4sr.base.files import write_text

    write_text(file, text)
    empty = len(found.users_without_items)
    note = f", {empty:,} of them without an item" if empty else ""
    out.print(f"{len(found.users):,} users{note}: {file}")


def export(
    run: RunOption,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder to write; must not exist. Default: index in the run's folder, where "
            "hm4sr refresh writes it anew.",
        ),
    ] = None,
    list_length: Annotated[
        int | None,
        typer.Option(
            "--list_length",
            min=1,
            help="With a memory: neighbours of an item that are kept; by default the fewest of 20, "
            "50, 100 and 200 that lose at most 1 % of the validation NDCG@10.",
        ),
    ] = None,
) -> None:
    """Write item vectors, the user tower as ONNX, and a page that says how to query them.

    A memory is written as lists of neighbours, as of the moment up to which it knows.

    Needs: pip install 'recbole-hm4sr[export]'.
    """
    from recbole_hm4sr.run.place import refuse_existing
    from recbole_hm4sr.serve.exported import FOLDER_NAME

    check_run(run, needs_data=False)
    folder = folder or run / FOLDER_NAME
    refuse_existing(folder)
    from recbole_hm4sr.serve.export import export_index

    index = export_index(run, folder, list_length=list_length)
    out.print(f"index: {index}; its README.md says how to query it")


def serve(
    run: RunOption,
    host: Annotated[
        str, typer.Option(help="Address to listen at; this machine alone by default.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
) -> None:
    """Answer POST /recommend, GET /health and GET /version over HTTP; /docs describes them.

    There are no users and no passwords: keep it on this machine, or behind a server that has them.
    Needs: pip install 'recbole-hm4sr[serve]'.
    """
    check_run(run, needs_data=False)
    from recbole_hm4sr.serve.recommend import Recommender
    from recbole_hm4sr.serve.service import require_packages, run_service

    require_packages()
    recommender = Recommender.load(run)
    if host not in ("127.0.0.1", "::1", "localhost"):
        out.print(f"note: whoever reaches {host} can ask; there is no password")
    run_service(recommender, host=host, port=port)


def refresh(
    run: RunOption,
    interactions: Annotated[
        Path,
        typer.Option(help="CSV, Parquet or .inter file: user, item and time, named as in the run."),
    ],
) -> None:
    """Merge new interactions into the memory of a run (memory: events), without training.

    Who bought what next, how often and when is then what a build from all interactions gives, to
    the last bit; new users and new items are included. A file that was merged before is left alone.
    A row that is among its user's newest ten already is skipped and counted; any other row older
    than its user's newest is refused. A service that runs goes on with what it has opened. An index
    that hm4sr export has written into the run's folder is written anew.
    """
    check_run(run, needs_data=False)
    require_file(interactions)
    from recbole_hm4sr.data.times import as_date
    from recbole_hm4sr.serve import refresh as refreshing

    done = refreshing.refresh(run, interactions)
    until = f"{as_date(done.known_until, done.unit)} ({done.known_until})"
    if done.is_known:
        out.print(f"{interactions} was merged before: nothing to do; known before {until}")
    else:
        out.print(
            f"{done.n_added:,} interactions merged, {done.n_skipped:,} skipped that were there; "
            f"new users: {done.n_users:,}, new items: {done.n_items:,}; known before {until}"
        )
    for index in done.indexes:
        out.print(f"index written anew: {index}")


def _moment(found: "Recommendations", recommender: "Recommender") -> str:
    from recbole_hm4sr.data.times import as_date

    assert found.known_until is not None
    return f"{as_date(found.known_until, recommender.columns.unit)} ({found.known_until})"


def _read_lines(path: Path) -> list[str]:
    lines = read_text(path, "the candidates in", DataError).split("\n")
    tokens = [line.removesuffix("\r") for line in lines]
    return [token for token in tokens if token]


def _as_csv(found: "Recommendations", recommender: "Recommender") -> str:
    columns = recommender.columns
    return str(found.table(columns.user, columns.item).to_csv(index=False, lineterminator="\n"))


def _as_json(found: "Recommendations", recommender: "Recommender") -> Iterator[str]:
    for record in found.records():
        user = {recommender.columns.user: record.pop("user")}
        yield json.dumps(user | record, ensure_ascii=False) + "\n"
