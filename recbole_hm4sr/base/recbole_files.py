"""What RecBole has, read from its files: models, metrics, default settings, its data set.

Importing RecBole imports torch and takes seconds. A wrong name is answered from these instead.
"""

import functools
import importlib.util
import re
from pathlib import Path

from recbole_hm4sr.base.errors import ConfigError

_CLASS = re.compile(r"^class (\w+)\(([\w., ]*)\):", re.MULTILINE)
_SEQUENTIAL = "SequentialRecommender"
_METRICS = frozenset({"AbstractMetric", "TopkMetric", "LossMetric"})


def recbole_folder() -> Path:
    """The folder of the installed package, which is not imported.

    Raises:
        ConfigError: If RecBole is not installed.
    """
    spec = importlib.util.find_spec("recbole")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "RecBole must be installed; README.md says how: pip install --no-deps recbole==1.2.1"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def properties_folder() -> Path:
    """RecBole's own default settings, as files."""
    return recbole_folder() / "properties"


def bundled_dataset_folder(name: str) -> Path | None:
    """The folder of a data set that RecBole carries in its wheel (ml-100k), or None."""
    folder = recbole_folder() / "dataset_example" / name
    return folder if folder.is_dir() else None


@functools.cache
def sequential_models() -> dict[str, str]:
    """RecBole's sequential models: name to module."""
    folder = recbole_folder() / "model" / "sequential_recommender"
    found: dict[str, tuple[str, str]] = {}  # to parent and module
    for path in sorted(folder.glob("*.py")):
        for name, parents in _CLASS.findall(path.read_text(encoding="utf-8")):
            module = f"recbole.model.sequential_recommender.{path.stem}"
            found[name] = (parents.split(",")[0].strip(), module)

    def is_model(name: str) -> bool:
        return name == _SEQUENTIAL or (name in found and is_model(found[name][0]))

    return {name: module for name, (_, module) in found.items() if is_model(name)}


@functools.cache
def _metrics() -> dict[str, tuple[str, str]]:
    """Metrics in lower case to their parents, and to the text of their classes."""
    text = (recbole_folder() / "evaluator" / "metrics.py").read_text(encoding="utf-8")
    found = list(_CLASS.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return {
        match[1].lower(): (match[2], text[match.start() : end])
        for match, end in zip(found, ends, strict=True)
        if match[2] in _METRICS
    }


def metric_names() -> frozenset[str]:
    """RecBole's metrics, in lower case."""
    return frozenset(_metrics())


def value_metrics() -> frozenset[str]:
    """Those that compare scores, not ranks."""
    return frozenset(name for name, (parent, _) in _metrics().items() if parent == "LossMetric")


def smaller_metrics() -> frozenset[str]:
    """Those of which less is better."""
    smaller = re.compile(r"^    smaller = True$", re.MULTILINE)
    return frozenset(name for name, (_, text) in _metrics().items() if smaller.search(text))
