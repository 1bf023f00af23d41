"""``hm4sr train`` and ``hm4sr evaluate``: one run."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.cli.histories import SkipBad
from recbole_hm4sr.cli.later import judge_later
from recbole_hm4sr.cli.options import OVERRIDES, out, parse_overrides
from recbole_hm4sr.cli.preflight import check_run, check_training, require_file
from recbole_hm4sr.model.registry import DEFAULT_MODEL
from recbole_hm4sr.run.place import find_dataset


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(context_settings=OVERRIDES)(train)
    app.command()(evaluate)


def train(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="Any name that hm4sr models lists.")] = DEFAULT_MODEL,
    dataset: Annotated[
        str, typer.Option(help="Name of a data set, or the path of its folder of atomic files.")
    ] = "sports",
    config_files: Annotated[
        list[str] | None,
        typer.Option("--config_files", help="YAML files of settings, separated by spaces."),
    ] = None,
    run_dir: Annotated[Path | None, typer.Option("--run_dir", help="Folder to write.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Folder of a run to resume.")] = None,
) -> None:
    """Train a model, test its best epoch, write a report.

    The best epoch is chosen on validation, and tested once.
    Any setting is a flag, as in RecBole: --learning_rate=0.001 --epochs=20 --modalities='{}'.
    """
    dataset, overrides = find_dataset(dataset, parse_overrides(context.args))
    files = [part for text in config_files or [] for part in text.split()]
    if resume is None:
        check_training(model, dataset, config_files=files, overrides=overrides, run_dir=run_dir)
    elif overrides or files or run_dir:
        raise ConfigError(
            "--resume must stand alone: a run resumes with the settings it began with"
        )
    else:
        check_run(resume, needs_data=True, checkpoint="")
    # Imported here: torch and RecBole take seconds, and --help and a wrong flag must not.
    from recbole_hm4sr.report.finish import report_run
    from recbole_hm4sr.run import quick_start
    from recbole_hm4sr.run.baselines import record_baselines
    from recbole_hm4sr.run.lines import RunLines

    def finish(parts: Any) -> None:
        record_baselines(parts)
        report_run(parts)

    lines = RunLines(out.print)
    callbacks: dict[str, Any] = {
        "on_start": lines.start,
        "on_epoch": lines.epoch,
        "on_finish": finish,
        "show_progress": False,  # these lines are
    }
    try:
        if resume is not None:
            result = quick_start.resume(resume, **callbacks)
        else:
            result = quick_start.run(
                model,
                dataset,
                config_files=files,
                overrides=overrides,
                run_dir=run_dir,
                **callbacks,
            )
    except KeyboardInterrupt:
        lines.interrupted()
        raise typer.Exit(130) from None
    _print_end(result)


def _print_end(result: Any) -> None:
    """The result, the models without training, the report, and what to do before serving."""
    from recbole_hm4sr.serve.moments import notes_before_serving

    _print_result(result)
    for sentence in _baseline_sentences(result):
        out.print(sentence)
    out.print(f"report: {result.run_dir / 'report.html'}")
    for note in notes_before_serving(result.run_dir):
        out.print(f"note: {note}")


def evaluate(
    run: Annotated[Path, typer.Option(help="Folder of a run.")],
    interactions: Annotated[
        Path | None,
        typer.Option(help="What came after the run: judge it on that, in place of its test."),
    ] = None,
    targets: Annotated[
        str, typer.Option(help="Of these interactions: all, or the first of all visits.")
    ] = "all",
    page: Annotated[
        Path | None, typer.Option(help="Folder for later.html and later.json of these.")
    ] = None,
    skip_bad: SkipBad = False,
) -> None:
    """Test a run again, or judge it on later data.

    Without --interactions the best epoch is tested again. With --interactions: NDCG@10, MRR@10 and
    Hit@10 of the lists that the run, as it is served now, would have given before each of them,
    beside its own test and models without training. All metrics and groups, and how the
    interactions themselves have changed, are on the page (--page). Nothing is learned.
    """
    check_run(run, needs_data=True)
    if interactions is not None:
        require_file(interactions)
        judge_later(run, interactions, targets=targets, page=page, skip_bad=skip_bad)
        return
    from recbole_hm4sr.run import quick_start

    _print_metrics(quick_start.evaluate(run))


def _print_result(result: Any) -> None:
    from recbole_hm4sr.run.lines import result_sentence

    out.print(f"\n{result_sentence(result)}")
    _print_metrics(result)


def _print_metrics(evaluation: Any) -> None:
    """The metrics of the run, or of each view in which its model is measured."""
    if not evaluation.views:
        out.print(_metrics_table(evaluation, evaluation.rank_history))
    for name, view in evaluation.views.items():
        out.print(f"\n{name}: best epoch {view.best_epoch}")
        out.print(_metrics_table(view, evaluation.rank_history))


def _baseline_sentences(result: Any) -> tuple[str, ...]:
    """How the run stands to the baselines beside it."""
    from recbole_hm4sr.report.baselines import baseline_sentences
    from recbole_hm4sr.report.run_files import read_run

    run = read_run(result.run_dir)
    return baseline_sentences(run.metrics, f"ndcg@{run.cut}")


def _metrics_table(evaluation: Any, rank_history: str) -> Table:
    """Metrics of each part, one row per cut-off."""
    from recbole_hm4sr.evaluate.candidates import CANDIDATES

    titles = {
        "valid": f"valid, {CANDIDATES[rank_history]}",
        **{f"test_{name}": f"test, {words}" for name, words in CANDIDATES.items()},
    }
    names = list(dict.fromkeys(name.split("@")[0] for name in evaluation.valid))
    cuts = sorted({int(name.split("@")[1]) for name in evaluation.valid})
    table = Table("part", "@", *(name.upper() for name in names))
    for part, title in titles.items():
        for cut in cuts:
            metrics = getattr(evaluation, part)
            if not metrics:
                continue
            values = (f"{metrics[f'{name}@{cut}']:.4f}" for name in names)
            table.add_row(title, str(cut), *values)
        table.add_section()
    return table
