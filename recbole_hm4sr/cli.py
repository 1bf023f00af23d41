"""The commands. The only module that prints or ends the process."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from recbole_hm4sr.errors import ConfigError, PluginError

app = typer.Typer(
    name="hm4sr",
    help="Multi-modal, time-aware sequential recommendation for RecBole.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}
_out = Console(highlight=False, soft_wrap=True)


@app.command(context_settings=_OVERRIDES)
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
    # Imported here: torch and RecBole take seconds, and --help must not.
    from recbole_hm4sr import quick_start
    from recbole_hm4sr.report.page import write_report

    overrides = parse_overrides(context.args)
    if resume is not None and (overrides or config_files or run_dir):
        raise ConfigError(
            "--resume must stand alone: a run goes on with the settings it began with"
        )
    progress = _Progress()
    callbacks: dict[str, Any] = {"on_start": progress.start, "on_epoch": progress.epoch}
    try:
        if resume is not None:
            result = quick_start.resume(resume, **callbacks)
        else:
            files = [part for text in config_files or [] for part in text.split()]
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
    _out.print(f"report: {write_report(result.run_dir)}")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Option(help="Folder of a run.")],
) -> None:
    """Test the best epoch of a run again."""
    from recbole_hm4sr import quick_start

    _out.print(_metrics_table(quick_start.evaluate(run)))


@app.command(context_settings=_OVERRIDES)
def compare(  # noqa: PLR0913  # a flag each
    context: typer.Context,
    dataset: Annotated[str | None, typer.Option(help="Data sets, separated by commas.")] = None,
    models: Annotated[str | None, typer.Option(help="Models, separated by commas.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, separated by commas.")] = None,
    grid: Annotated[
        str | None, typer.Option(help="Grid file, or its name in properties/compare.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="Row to compare the others with.")] = None,
    metrics: Annotated[str | None, typer.Option(help="Metrics, as NDCG@10,MRR@10.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write, and to go on in.")] = None,
    jobs: Annotated[int, typer.Option(help="Runs at once.")] = 1,
    retry: Annotated[bool, typer.Option("--retry", help="Try failed runs again.")] = False,
) -> None:
    """Run models × data sets × seeds on one protocol, each once, and print the tables.

    Started again, it goes on where it was. Any setting is a flag for all runs: --epochs=20.
    """
    from recbole_hm4sr.compare.command import compare_grid

    lists = {"datasets": dataset, "models": models, "seeds": seeds, "metrics": metrics}
    flags = {name: text and parse_list(text) for name, text in lists.items()}
    settings = parse_overrides(context.args)
    try:
        compare_grid(
            grid,
            {**flags, "baseline": baseline, "settings": settings},
            out=out,
            jobs=jobs,
            retry=retry,
            say=print,
            bold=_out.is_terminal,
        )
    except KeyboardInterrupt:
        _out.print("\ninterrupted; what is finished is kept. Go on with the same command")
        raise typer.Exit(130) from None


def parse_list(text: str) -> list[Any]:
    """The parts of ``a,b,c``, numbers as numbers."""
    from recbole_hm4sr.config import parse_value

    return [parse_value(part) for part in text.split(",") if part.strip()]


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """Settings from flags: ``--name=value``, or ``--name value``.

    Raises:
        ConfigError: If a word is no flag, a flag has no value, or a name is given twice.
    """
    from recbole_hm4sr.config import parse_value

    settings: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or len(word) < 3:
            raise ConfigError(f"a flag must have the form --name=value, got {word!r}")
        name, equals, text = word[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ConfigError(f"the flag --{name} must have a value, as in --{name}=...")
            text = rest.pop(0)
        if name in settings:
            raise ConfigError(f"the flag --{name} must be given once")
        settings[name] = parse_value(text)
    return settings


class _Progress:
    """Says what a run does, a line an epoch."""

    def __init__(self) -> None:
        self._session: Any = None
        self._seconds: list[float] = []

    def start(self, session: Any) -> None:
        self._session = session
        dataset = session.train_data._dataset
        parameters = sum(p.numel() for p in session.model.parameters() if p.requires_grad)
        _out.print(
            f"{session.config['model']} on {session.config['dataset']}: "
            f"{dataset.user_num - 1:,} users, {dataset.item_num - 1:,} items, "
            f"{len(dataset.inter_feat.histories):,} interactions, {parameters:,} parameters"
        )
        if session.config["generated"]:
            _out.print(
                "note: this data set is GENERATED; its numbers say nothing of real shops "
                f"(see README.md in {session.config['data_path']})"
            )
        _out.print(f"run folder: {session.run_dir}")
        if session.trainer.start_epoch:
            _out.print(f"going on after epoch {session.trainer.start_epoch}")

    def epoch(self, record: Any) -> None:
        trainer = self._session.trainer
        self._seconds.append(record.train_seconds + record.valid_seconds)
        left = (trainer.epochs - record.epoch) * sum(self._seconds) / len(self._seconds)
        losses = f"loss {record.loss:.4f}"
        if len(record.losses) > 1:
            parts = ", ".join(f"{name} {value:.3f}" for name, value in record.losses.items())
            losses += f" ({parts})"
        _out.print(
            f"epoch {record.epoch:>3}/{trainer.epochs}  {losses}  "
            f"valid {self._session.config['valid_metric']} {record.valid_score:.4f}"
            f"{' best' if record.is_best else '     '}  {self._seconds[-1]:.1f} s"
            f"  at most {_duration(left)} left"
        )

    def interrupted(self) -> None:
        if self._session is None or not self._session.trainer.last_file.is_file():
            _out.print("\ninterrupted before the first epoch ended: nothing to go on with")
            return
        folder = self._session.run_dir
        _out.print(
            f"\ninterrupted; the last finished epoch is kept. Go on with: --resume {folder}\n"
            f"or test the best epoch so far with: hm4sr evaluate --run {folder}"
        )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _print_result(result: Any) -> None:
    generated = ", GENERATED data" if result.generated else ""
    _out.print(
        f"\n{result.model} on {result.dataset}{generated}: best epoch {result.best_epoch} of "
        f"{len(result.history)}, chosen on validation"
    )
    _out.print(_metrics_table(result))


def _metrics_table(evaluation: Any) -> Table:
    """Metrics of each part, a row a cut-off."""
    titles = {
        "valid": f"valid, history {evaluation.rank_history}d",
        "test_include": "test, history included",
        "test_exclude": "test, history excluded",
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what the user can mend is one line on stderr and exit code 2."""
    try:
        app(args=None if arguments is None else list(arguments))
    except PluginError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", markup=False)
        sys.exit(2)


def main_train() -> None:
    """``python run_hm4sr.py ...`` is ``hm4sr train ...``."""
    main(["train", *sys.argv[1:]])
