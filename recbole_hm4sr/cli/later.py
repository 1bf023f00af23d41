"""``hm4sr update`` and ``hm4sr replay``: the weeks after training."""

import functools
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.cli.histories import SkipBad
from recbole_hm4sr.cli.options import out
from recbole_hm4sr.cli.preflight import check_run, require_file

RunOption = Annotated[Path, typer.Option(help="Folder of a finished run.")]


Later = Annotated[
    Path | None,
    typer.Option(
        "--interactions",
        help="What came after the run's data: CSV, Parquet or .inter file, columns named as in the "
        "run. Without it the test part of a run that was split by one moment is played.",
    ),
]
Every = Annotated[
    str, typer.Option(help="Length of a piece: day, week, month or a number of days.")
]
Policies = Annotated[
    str,
    typer.Option(
        help="Of frozen, refreshed, updated, retrained, separated by commas; by default all that "
        "differ for the model."
    ),
]
Targets = Annotated[
    str, typer.Option(help="What is judged: the first interaction of all visits, or all.")
]
LooksUpTo = Annotated[
    str,
    typer.Option(
        help="Up to when a memory that is kept up may look: the beginning of the week that is "
        "judged (week), or every request (request)."
    ),
]
Epochs = Annotated[
    int, typer.Option(help="Epochs of a training from the start; 0: the run's best epoch.")
]
ReplayFolder = Annotated[
    Path | None, typer.Option("--out", help="Folder of the results; replay in the run's.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(update)
    app.command()(replay)


def update(
    run: RunOption,
    interactions: Annotated[
        Path | None,
        typer.Option(help="CSV, Parquet or .inter file: user, item and time, named as in the run."),
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option(
            "--held_out",
            help="Learn from the validation and test part of the run's own data, in place of a "
            "file.",
        ),
    ] = False,
    passes: Annotated[int, typer.Option(help="Passes over the new rows.")] = 2,
    replay: Annotated[float, typer.Option(help="Old rows mixed in for each new one.")] = 1.0,
    undo: Annotated[bool, typer.Option("--undo", help="Take the last update back.")] = False,
    skip_bad: SkipBad = False,
) -> None:
    """Learn from new interactions, in seconds.

    Users and items that the run did not know get rows.
    The memory is refreshed, and a model that is trained takes some passes over the new rows mixed
    with as many old ones; the state of its optimizer begins fresh. The run is then served with what
    it has learned; checkpoints and results of its training stay. A file that was learned from
    before is left alone. Training learns from no interaction of its validation and test part;
    --held_out does, once, before the run is served.
    """
    if (interactions is not None) + held_out + undo != 1:
        raise ConfigError("an update must have one of --interactions, --held_out and --undo")
    from recbole_hm4sr.later.options import Recipe

    recipe = Recipe(passes, replay)
    recipe.check()
    check_run(run, needs_data=not undo)
    if interactions is not None:
        require_file(interactions)
    from recbole_hm4sr.later import update as updating

    if undo:
        updating.undo(run)
        out.print(f"the last update of {run} is taken back")
        return
    done = updating.update(run, interactions, held_out=held_out, recipe=recipe, skip_bad=skip_bad)
    if done.is_known:
        what = "what training held out" if held_out else interactions
        out.print(f"{what} was learned from before: nothing to do")
        return
    out.print(
        f"{done.n_added:,} interactions added, {done.n_skipped:,} skipped that were there; "
        f"{done.n_learned:,} targets learned; new users: {done.n_users:,}, new items: "
        f"{done.n_items:,}; {done.seconds:.1f} s"
    )


def replay(  # noqa: PLR0913  # a command has as many flags as it needs
    run: RunOption,
    interactions: Later = None,
    every: Every = "week",
    policies: Policies = "",
    targets: Targets = "visits",
    memory: LooksUpTo = "week",
    passes: Annotated[int, typer.Option(help="Passes of an update over the new rows.")] = 2,
    replay: Annotated[float, typer.Option(help="Old rows mixed in for each new one.")] = 1.0,
    epochs: Epochs = 0,
    skip_bad: SkipBad = False,
    out_folder: ReplayFolder = None,
) -> None:
    """Play the weeks after training, and judge each.

    After each week the run is refreshed, updated or trained anew, or left as it is.
    No interaction is learned from before it is judged. Writes results.jsonl, from which a replay
    that was stopped goes on, replay.html and replay.svg.
    """
    from recbole_hm4sr.later.options import Recipe, ReplayOptions

    names = tuple(part.strip() for part in policies.split(",") if part.strip())
    options = ReplayOptions(every, names, targets, memory, Recipe(passes, replay), epochs)
    options.check()
    check_run(run, needs_data=True)
    if interactions is not None:
        require_file(interactions)
    from recbole_hm4sr.later import picture
    from recbole_hm4sr.later import replay as playing
    from recbole_hm4sr.run.place import read_run_settings

    model, dataset, settings = read_run_settings(run)
    metric = str(settings["valid_metric"])

    tell = functools.partial(_tell_week, metric)
    rows = playing.replay(
        run, interactions, out=out_folder, options=options, skip_bad=skip_bad, on_row=tell
    )
    folder = run / "replay" if out_folder is None else out_folder
    picture.write_pictures(rows, metric, folder, title=f"{model} on {dataset}")
    out.print(as_rich(picture.summary_table(rows, metric)))
    out.print(f"page: {folder / 'replay.html'}, picture: {folder / 'replay.svg'}")


def _tell_week(metric: str, row: dict[str, Any]) -> None:
    """Print what a policy has found in a week."""
    from recbole_hm4sr.later import picture

    value = picture.value_of(row, picture.GROUPS[0], metric)
    score = "-" if value is None else f"{value:.4f}"
    out.print(
        f"week {row['week'] + 1:>3}  {row['policy']:<9}  {row['targets']:>6,} targets  "
        f"{metric} of {picture.GROUPS[0]} {score}  learned in {row['learning_seconds']:.1f} s, "
        f"judged in {row['judging_seconds']:.1f} s"
    )


def as_rich(table: Any) -> Table:
    """A table of a page for the terminal."""
    found = Table(*table.columns, title=table.caption or None)
    for row in table.rows:
        found.add_row(*row)
    return found


def judge_later(
    run: Path, interactions: Path, *, targets: str, page: Path | None, skip_bad: bool
) -> None:
    """Judge a run on what came after it, and print a few numbers and a verdict.

    Args:
        run: Folder of the run.
        interactions: The file.
        targets: Which of its interactions are judged.
        page: Folder for a page and all numbers; None for none.
        skip_bad: Whether wrong rows are left out.
    """
    from recbole_hm4sr.later.options import CHOICES, require_choice

    require_choice("--targets", targets, CHOICES)
    from recbole_hm4sr.later import evaluation, later_page

    found = evaluation.evaluate_later(run, interactions, targets=targets, skip_bad=skip_bad)
    for words in later_page.sentences(found):
        out.print(words)
    for table in later_page.short_tables(found):
        out.print(as_rich(table))
    for words in later_page.verdict(found):
        out.print(words)
    if page is None:
        out.print("all metrics and groups, the lists and drift: again with --page=FOLDER")
        return
    later_page.write_page(found, page, title=f"{run.name} on {interactions.name}")
    out.print(f"all metrics and groups, the lists and drift: {page / 'later.html'}, later.json")
