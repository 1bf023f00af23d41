"""What a search has found, read back from its folder by what goes on from it."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.compose import read_yaml
from recbole_hm4sr.config.fingerprint import settings_hash
from recbole_hm4sr.model.registry import settings_with
from recbole_hm4sr.tune.space import same_text
from recbole_hm4sr.tune.trials import Trial, read_trials, run_dir


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search has found so far.

    Attributes:
        folder: Folder of the search.
        model: Name of the model.
        dataset: Name of the data set.
        metric: Validation metric that has chosen, as ``NDCG@20``.
        n_trials: Settings that were tried, failed and pruned ones among them.
        best: The best trial.
        settings: Its settings that win over the YAML files, searched and fixed, without the seed
            and what no result depends on.
        fingerprint: Hash of the data and of all settings that were not searched.
    """

    folder: Path
    model: str
    dataset: str
    metric: str
    n_trials: int
    best: Trial
    settings: Mapping[str, Any]
    fingerprint: str

    def run_with(
        self, model: str, dataset: str, data: str, settings: Mapping[str, Any]
    ) -> Path | None:
        """The folder of the best trial's run, if a run of these settings would be the same run.

        Args:
            model: Name of the model.
            dataset: Name of the data set.
            data: Hash of its files.
            settings: All settings of the run.
        """
        searched = {name: settings.get(name) for name in self.best.settings}
        rest = {name: value for name, value in settings.items() if name not in searched}
        folder = run_dir(self.folder, self.best.number)
        same = (
            same_text(searched) == same_text(dict(self.best.settings))
            and settings_hash(model, dataset, data, rest, left_out=settings_with("machine"))
            == self.fingerprint
            and (folder / "checkpoint" / "last.pt").is_file()
        )
        return folder if same else None


def read_found(folder: Path) -> SearchResult:
    """What the search of a folder has found.

    Raises:
        ConfigError: If the folder holds no search, or none of its trials has a score.
    """
    names, about = _read_search(folder)
    # Before the trials: a search that goes on meanwhile writes a trial's line first.
    settings = read_yaml(folder / "best.yaml") if (folder / "best.yaml").is_file() else {}
    trials = read_trials(folder, names).values()
    searched = same_text({name: settings.get(name) for name in names})
    best = [
        trial
        for trial in trials
        if trial.status == "done" and same_text(dict(trial.settings)) == searched
    ]
    if not best:
        raise ConfigError(
            f"{folder} must have a best.yaml with the settings of a finished trial; go on with: "
            f"hm4sr tune --model={about['model']} --dataset={about['dataset']} --out={folder}"
        )
    left_out = settings_with("machine") | {"seed"}
    return SearchResult(
        folder=folder,
        # A failed trial may have been tried again under another number.
        n_trials=len({same_text(dict(trial.settings)) for trial in trials}),
        best=best[0],
        settings={name: value for name, value in settings.items() if name not in left_out},
        **about,
    )


def _read_search(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Names of the searched settings, and what was searched for."""
    try:
        search = json.loads((folder / "search.json").read_text(encoding="utf-8"))
        names = [str(dimension[0]) for dimension in search["space"]]
        about = {name: str(search[name]) for name in ("model", "dataset", "metric", "fingerprint")}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(
            f"{folder} must be the folder of a search by hm4sr tune, but has no readable "
            f"search.json"
        ) from error
    return names, about
