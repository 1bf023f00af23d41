"""``hm4sr report``: the page of a run, or one page of several."""

from pathlib import Path
from typing import Annotated

import typer

from recbole_hm4sr.base.errors import ConfigError, UserError
from recbole_hm4sr.cli.options import out


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")],
    file: Annotated[
        Path | None, typer.Option("--out", help="Where the page of several runs goes.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of item images, for the cases of one run.")
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Open the model again for what only it can show.")
    ] = False,
) -> None:
    """Write the page of a run again, or one of several runs.

    Of one run it is report.html in its folder; of several a page that compares them.
    The page is made of the run's files. The model is opened if its part, report.json, is not
    there or --anew asks for it; that needs the data and the checkpoint.
    """
    from recbole_hm4sr.report.comparison import write_comparison
    from recbole_hm4sr.report.page import write_report

    if len(runs) > 1:
        if images is not None or anew:
            raise ConfigError("--images and --anew must go with one run; leave them out")
        out.print(f"report: {write_comparison(runs, file or Path('comparison.html'))}")
        return
    if file is not None:
        raise ConfigError("--out must go with several runs; the page of a run is in its folder")
    _complete(runs[0], images, anew)
    out.print(f"report: {write_report(runs[0])}")


def _complete(run_dir: Path, images: Path | None, anew: bool) -> None:  # noqa: FBT001
    """See to it that ``report.json`` is there, with images if they were asked for."""
    from recbole_hm4sr.report.run_files import read_run

    facts = read_run(run_dir).facts
    if facts is None or anew:
        try:
            _collect(run_dir, images)
        except UserError as error:
            if anew or images is not None:
                raise
            out.print(f"note: the page is without what only the model can show: {error}")
    elif images is not None:
        from recbole_hm4sr.report.model_facts import add_images, save_facts

        updated = dict(facts)
        add_images(updated, images, required=True)
        save_facts(run_dir, updated)


def _collect(run_dir: Path, images: Path | None) -> None:
    from recbole_hm4sr.report.model_facts import write_facts
    from recbole_hm4sr.run import quick_start

    with quick_start.open_for_evaluation(run_dir) as session:
        write_facts(session, images)
