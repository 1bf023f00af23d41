"""``hm4sr train`` and ``hm4sr evaluate``: one run."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.cli.options import OVERRIDES, out, parse_overrides
from recbole_hm4sr.cli.preflight import check_run, check_training


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(context_settings=OVERRIDES)(train)
    app.command()(evaluate)


def train(
    context: typer.Context,
    model: Annotated[
        str, typer.Option(help="HM4SR, or any sequential model of RecBole.")
    ] = "HM4SR",
    dataset: Annotated[str, typer.Option(help="Name of a folder of atomic files.")] = "sports",
    config_files: Annotated[
        list[str] | None,
        typer.Option("--config_files", help="YAML files of settings, separated by spaces."),
    ] = None,
    run_dir: Annotated[Path | None, typer.Option("--run_dir", help="Folder to write.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Folder of a run to go on with.")] = None,
) -> None:
    """Train a model, choose its best epoch on validation, test it once, write a report.

    Any setting is a flag, as in RecBole: --learning_rate=0.001 --epochs=20 --modalities='{}'.
    """
    overrides = parse_overrides(context.args)
    files = [part for text in config_files or [] for part in text.split()]
    if resume is None:
        check_training(model, dataset, config_files=files, overrides=overrides, run_dir=run_dir)
    elif overrides or files or run_dir:
        raise ConfigError(
            "--resume must stand alone: a run goes on with the settings it began with"
        )
    else:
        check_run(resume, needs_data=True, checkpoint="")
    # Imported here: torch and RecBole take seconds, and --help and a wrong flag must not.
    from recbole_hm4sr.report.finish import report_run
    from recbole_hm4sr.run import quick_start

    progress = Progress()
    callbacks: dict[str, Any] = {
        "on_start": progress.start,
        "on_epoch": progress.epoch,
        "on_finish": report_run,
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
        progress.interrupted()
        raise typer.Exit(130) from None
    _print_result(result)
    out.print(f"report: {result.run_dir / 'report.html'}")


def evaluate(
    run: Annotated[Path, typer.Option(help="Folder of a run.")],
) -> None:
    """Test the best epoch of a run again."""
    check_run(run, needs_data=True)
    from recbole_hm4sr.run import quick_start

    out.print(_metrics_table(quick_start.evaluate(run)))


class Progress:
    """Says what a run does, a line an epoch."""

    def __init__(self) -> None:
        self._session: Any = None
        self._seconds: list[float] = []

    def start(self, session: Any) -> None:
        """Before the first epoch: what runs on what, and where."""
        self._session = session
        dataset = session.train_data._dataset
        parameters = sum(p.numel() for p in session.model.parameters() if p.requires_grad)
        out.print(
            f"{session.config['model']} on {session.config['dataset']}: "
            f"{dataset.user_num - 1:,} users, {dataset.item_num - 1:,} items, "
            f"{len(dataset.inter_feat.histories):,} interactions, {parameters:,} parameters"
        )
        if session.config["generated"]:
            out.print(
                "note: this data set is GENERATED; its numbers say nothing of real shops "
                f"(see README.md in {session.config['data_path']})"
            )
        out.print(f"run folder: {session.run_dir}")
        if session.trainer.start_epoch:
            out.print(f"going on after epoch {session.trainer.start_epoch}")

    def epoch(self, record: Any) -> None:
        """After each epoch: losses, validation, seconds, and the time left."""
        trainer = self._session.trainer
        self._seconds.append(record.train_seconds + record.valid_seconds)
        left = (trainer.epochs - record.epoch) * sum(self._seconds) / len(self._seconds)
        losses = f"loss {record.loss:.4f}"
        if len(record.losses) > 1:
            parts = ", ".join(f"{name} {value:.3f}" for name, value in record.losses.items())
            losses += f" ({parts})"
        out.print(
            f"epoch {record.epoch:>3}/{trainer.epochs}  {losses}  "
            f"valid {self._session.config['valid_metric']} {record.valid_score:.4f}"
            f"{' best' if record.is_best else '     '}  {self._seconds[-1]:.1f} s"
            f"  at most {_duration(left)} left"
        )

    def interrupted(self) -> None:
        """After Ctrl-C: what is kept and how to go on."""
        if self._session is None or not self._session.trainer.last_file.is_file():
            out.print("\ninterrupted before the first epoch ended: nothing to go on with")
            return
        folder = self._session.run_dir
        out.print(
            f"\ninterrupted; the last finished epoch is kept. Go on with: "
            f"hm4sr train --resume {folder}\n"
            f"or test the best epoch so far with: hm4sr evaluate --run {folder}"
        )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _print_result(result: Any) -> None:
    generated = ", GENERATED data" if result.generated else ""
    out.print(
        f"\n{result.model} on {result.dataset}{generated}: best epoch {result.best_epoch} of "
        f"{len(result.history)}, chosen on validation"
    )
    out.print(_metrics_table(result))


def _metrics_table(evaluation: Any) -> Table:
    """Metrics of each part, one row per cut-off."""
    from recbole_hm4sr.evaluate.candidates import CANDIDATES

    titles = {
        "valid": f"valid, {CANDIDATES[evaluation.rank_history]}",
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
