"""``hm4sr recommend``, ``export``, ``serve`` and ``refresh``: a finished run at work."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.cli import answers, histories, rules
from recbole_hm4sr.cli.options import names_of, notes, out
from recbole_hm4sr.cli.preflight import check_run, require_file
from recbole_hm4sr.cli.progress import progress

if TYPE_CHECKING:
    from recbole_hm4sr.serve.recommend import Recommender
    from recbole_hm4sr.serve.recommendations import Recommendations
    from recbole_hm4sr.serve.served import Source

# The folders that hm4sr export writes; each is the name of its folder in that of a run, too.
_EXPORTS = ("index", "hub")
RunOption = Annotated[Path, typer.Option("--run", help="Folder of a run.")]
HistoryFile = Annotated[
    Path,
    typer.Option(
        help="CSV, Parquet or .inter file: user, item and time, named as in the run or as in what "
        "its data set was prepared from."
    ),
]
ExcludeSeen = Annotated[
    bool, typer.Option("--exclude_seen/--include_seen", help="Leave out what a user has taken.")
]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="Tell why each item is recommended, and each modality's share of its score.",
    ),
]
At = Annotated[
    str | None,
    typer.Option(
        help="Moment of the requests: a date, as 2026-11-30T18:00, or a number in the unit of the "
        "run's times; default: now."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(recommend)
    app.command()(export)
    app.command()(serve)
    app.command()(refresh)


def recommend(  # noqa: PLR0913  # an option each
    run: RunOption,
    history: HistoryFile,
    k: Annotated[int, typer.Option("-k", min=1, help="Items a user.")] = 10,
    file: answers.Out = None,
    printed: answers.Format = "csv",
    rows: answers.Rows = "items",
    user: histories.User = None,
    item: histories.Item = None,
    time: histories.Time = None,
    unit: histories.Unit = None,
    time_format: histories.TimeFormat = None,
    encoding: histories.Encoding = None,
    skip_bad: histories.SkipBad = False,
    candidates: rules.Candidates = None,
    exclude_items: rules.ExcludeItems = None,
    where: rules.Where = None,
    max_per: rules.MaxPer = None,
    diversity: rules.Diversity = 0.0,
    show: rules.Show = "",
    exclude_seen: ExcludeSeen = True,
    explain: Explain = False,
    at: At = None,
) -> None:
    """Recommend items to users from their histories.

    Any users: the training need not have seen them.
    Unknown items are skipped and counted. A user without a known item gets the items that are most
    frequent in the training part (source: popular). A row with a user alone is one without history.
    A user for whom no item is left is named in a warning, and has an empty list in JSON lines.
    --where knows =, !=, <, <=, >, >=, in, between, like, is null, and, or, not and brackets.
    --diversity trades scores for unlikeness to what is chosen already (MMR on the features).
    Times are numbers in the unit of the run (timestamp_unit), dates or moments. Columns, unit and
    encoding that hm4sr prepare csv was given are remembered; --user, --item, --time, --unit,
    --time_format and --encoding say otherwise.
    A model with a memory (memory: events) reads what was known before the moment of the requests;
    with request_time: target that is --at, with last it is a user's newest interaction. Up to when
    the memory knows is said once, on standard error.
    """
    form = answers.form_of(file, printed, rows)
    histories.check_given(unit, encoding)
    check_run(run, needs_data=False)
    require_file(history)
    chosen = rules.read_rules(candidates, exclude_items, where, max_per, diversity)
    from recbole_hm4sr.serve.recommend import Recommender

    recommender = Recommender.load(run)
    with progress("nothing was written") as report:
        raw = recommender.read_histories(
            history,
            user=user,
            item=item,
            time=time,
            unit=unit,
            time_format=time_format,
            encoding=encoding,
            skip_bad=skip_bad,
        )
        found = recommender.recommend(
            raw,
            k,
            exclude_seen=exclude_seen,
            show=names_of(show),
            **chosen,
            explain=explain,
            at=at,
            report=report,
        )
    _give(found, recommender, form)


def _give(found: "Recommendations", recommender: "Recommender", form: answers.Form) -> None:
    """Print or write what was found."""
    if found.known_until is not None:
        notes.print(f"the memory knows what was known before {_moment(found, recommender)}")
    columns, empty = recommender.columns, len(found.users_without_items)
    note = f", {empty:,} of them without an item" if empty else ""
    make_table = found.lists if form.rows == "lists" else found.table
    answers.give(
        form,
        lambda: make_table(columns.user, columns.item),
        lambda: _records(found, columns.user),
        f"{len(found.users):,} users{note}",
    )


def export(
    run: RunOption,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder to write; must not exist. Default: index or hub in the run's folder; "
            "hm4sr refresh writes the index there anew.",
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="index: vectors and ONNX, for a vector search. hub: a folder as the Hugging Face "
            "Hub has them.",
        ),
    ] = "index",
    license_id: Annotated[
        str | None,
        typer.Option("--license", help="With --format=hub: the Hub's name of the licence, as mit."),
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
    """Write a run for a vector search, or for the Hub.

    index: item vectors, the user tower as ONNX, and a page that says how to query them. A memory is
    written as lists of neighbours, as of the moment up to which it knows.
    Needs: pip install 'recbole-hm4sr[export]'.

    hub: weights as safetensors, settings, items, what serving reads, and a model card. The folder
    is one for --run of recommend, similar, serve and export, and for Recommender.from_pretrained.
    No user's token and no history is in it; titles and other columns of the items are.
    Needs: pip install 'recbole-hm4sr[hub]'.
    """
    from recbole_hm4sr.run.place import refuse_existing

    if form not in _EXPORTS:
        raise ConfigError(f"--format must be one of {', '.join(_EXPORTS)}, got {form!r}")
    for flag, value, of_form in (
        ("--list_length", list_length, "index"),
        ("--license", license_id, "hub"),
    ):
        if value is not None and form != of_form:
            raise ConfigError(f"{flag} goes with --format={of_form}, got --format={form}")
    check_run(run, needs_data=False)
    folder = folder or run / form
    refuse_existing(folder)
    if form == "hub":
        from recbole_hm4sr.serve.hub import save_hub_folder

        published = save_hub_folder(run, folder, license_id=license_id)
        out.print(f"folder: {published}; its README.md is the model card: read it before uploading")
        return
    from recbole_hm4sr.serve.export import export_index

    index = export_index(run, folder, list_length=list_length)
    out.print(f"index: {index}; its README.md says how to query it")


def serve(
    run: Annotated[Path | None, typer.Option("--run", help="Folder of a run.")] = None,
    onnx: Annotated[
        Path | None,
        typer.Option(
            "--onnx",
            help="In its place: a folder that hm4sr export has written; torch is not used.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; this machine alone by default.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    workers: Annotated[
        int,
        typer.Option(
            min=1, max=256, help="Processes that answer; with several, one that ends is replaced."
        ),
    ] = 1,
    reload_on_change: Annotated[
        bool,
        typer.Option(
            "--reload_on_change",
            help="Also serve what a refresh, an update or a link to another run brings later.",
        ),
    ] = False,
) -> None:
    """Answer requests for recommendations over HTTP.

    POST /recommend and POST /similar are answered; /docs describes them.
    GET /health says that the process answers, /ready that the run is loaded (503 until then),
    /version what is served, /metrics what was done, for Prometheus. Each answer names its version.
    With --reload_on_change the run's serving.npz is looked at every two seconds. Another one is
    opened beside what is served and takes its place at once; no request is lost. If it cannot be
    opened, the old state goes on and the log says why.
    With --workers=N as many processes answer at the port and one more is in reserve, which takes
    the place of one that ends. /metrics is of all of them together.
    With --onnx only an exported folder is needed. It answers /recommend with candidates,
    exclude_items, exclude_seen and at; all else needs the run.
    There are no users and no passwords: keep it on this machine, or behind a server that has them.
    Needs: pip install 'recbole-hm4sr[serve]'.
    """
    from recbole_hm4sr.serve.running import bind_port, run_service

    source = _source(run, onnx)
    if host not in ("127.0.0.1", "::1", "localhost"):
        out.print(f"note: whoever reaches {host} can ask; there is no password")
    listening = bind_port(host, port)
    run_service(source, listening, workers=workers, reload_on_change=reload_on_change)


def _source(run: Path | None, onnx: Path | None) -> "Source":
    """What is to be served, checked as far as that needs no torch."""
    from recbole_hm4sr.serve import served
    from recbole_hm4sr.serve.service import require_packages

    if (run is None) == (onnx is None):
        raise ConfigError("hm4sr serve must have either --run or --onnx")
    if onnx is not None:
        from recbole_hm4sr.serve.exported import PACKAGES, read_facts

        read_facts(onnx)
        require_packages(*PACKAGES, install=" ".join(["fastapi", "uvicorn", *PACKAGES]))
        return served.index_source(onnx)
    assert run is not None
    check_run(run, needs_data=False)
    require_packages("fastapi_offline")
    return served.run_source(run)


def refresh(
    run: RunOption,
    interactions: Annotated[
        Path | None,
        typer.Option(
            help="CSV, Parquet or .inter file: user, item and time, named as in the run or as in "
            "what its data set was prepared from."
        ),
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option(
            "--held_out",
            help="In place of a file: the validation and test part of the run's own data set.",
        ),
    ] = False,
    skip_bad: histories.SkipBad = False,
) -> None:
    """Bring a memory up to date, without training.

    New interactions are merged into the memory of a run (memory: events).
    Who bought what next, how often and when is then what a build from all interactions gives, to
    the last bit; new users and new items are included. A file that was merged before is left alone.
    A row that is among its user's newest ten already is skipped and counted; any other row older
    than its user's newest is refused, or left out with --skip_bad. A service that runs takes it
    over with --reload_on_change, and else goes on with what it has opened. An index that hm4sr
    export has written into the run's folder is written anew.
    A run is tested by a memory without its validation and test part; --held_out merges them. Do it
    once before a run is served.
    """
    if (interactions is None) != held_out:
        raise ConfigError("a refresh must have either --interactions or --held_out")
    check_run(run, needs_data=held_out)
    if interactions is not None:
        require_file(interactions)
    from recbole_hm4sr.data.times import as_date
    from recbole_hm4sr.serve import refresh as refreshing

    done = refreshing.refresh(run, interactions, held_out=held_out, skip_bad=skip_bad)
    until = f"{as_date(done.known_until, done.unit)} ({done.known_until})"
    if done.is_known:
        what = "all of the run's data set" if interactions is None else interactions
        out.print(f"{what} was merged before: nothing to do; known before {until}")
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


def _records(found: "Recommendations", user_field: str) -> Iterator[dict[str, Any]]:
    for record in found.records():
        yield {user_field: record.pop("user")} | record
