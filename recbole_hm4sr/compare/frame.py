"""Comparisons from Python: rows, seeds and settings in, all numbers as a frame out."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_hm4sr.compare.command import compare_grid
from recbole_hm4sr.compare.csv_table import csv_records


def compare_frame(  # noqa: PLR0913  # keywords only
    grid: str | Path | None = None,
    *,
    models: Sequence[str | Mapping[str, Any]] | None = None,
    datasets: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    settings: Mapping[str, Any] | None = None,
    baseline: str | None = None,
    metrics: Sequence[str] | None = None,
    out: str | Path | None = None,
    jobs: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Run what a comparison lacks, write its tables and page, and return all its numbers.

    Called again, it goes on where it was.

    >>> frame = recbole_hm4sr.compare(models=["HM4SR", "SASRec"], datasets=["sports"], seeds=[1])
    >>> frame.query("group == 'all users' and metric == 'NDCG@10'").pivot_table(
    ...     index="model", columns="rank_history", values="mean"
    ... )

    Args:
        grid: Grid file, or the name of one in ``properties/compare``; the other arguments win.
        models: Names of models, rows of the grid, or rows as a grid file has them:
            ``{"model": "HM4SR", "label": "small", "settings": {"hidden_size": 32}}``.
        datasets: Names of data sets.
        seeds: Seeds of every row.
        settings: Settings of all runs.
        baseline: The row that the others are compared with.
        metrics: As ``NDCG@10``.
        out: Folder of the comparison; by default that of the same command.
        jobs: Runs at once.
        say: Takes each line of progress, and a short table; ``print`` shows them.

    Returns:
        A row per data set, protocol (``rank_history``), model, group of users and metric: ``mean``,
        ``standard_deviation`` over the seeds, the paired test against the baseline, costs.

    Raises:
        ConfigError: If the grid is wrong; before anything runs.
        DataError: If files cannot be read or written.
    """
    given = {
        "models": models,
        "datasets": datasets,
        "seeds": seeds,
        "settings": settings,
        "baseline": baseline,
        "metrics": metrics,
    }
    flags = {
        name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for name, value in given.items()
        if value is not None
    }
    name = None if grid is None else str(grid)
    folder = None if out is None else Path(out)
    return pd.DataFrame(csv_records(compare_grid(name, flags, out=folder, jobs=jobs, say=say)))
