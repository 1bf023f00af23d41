"""Multi-modal, time-aware sequential recommendation for RecBole.

>>> import recbole_hm4sr
>>> result = recbole_hm4sr.run("HM4SR", "sports", on_finish=recbole_hm4sr.report_run)
>>> recbole_hm4sr.evaluate(result.run_dir).test["ndcg@10"]

Nothing is imported before it is asked for: torch and RecBole take seconds.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recbole_hm4sr.base.errors import UserError as UserError
    from recbole_hm4sr.compare.frame import compare_frame as compare
    from recbole_hm4sr.later.replay import replay as replay
    from recbole_hm4sr.later.update import update as update
    from recbole_hm4sr.model.packed import PackedRecommender as PackedRecommender
    from recbole_hm4sr.prepare.command import prepare as prepare
    from recbole_hm4sr.report.finish import report_run as report_run
    from recbole_hm4sr.run.quick_start import RunResult as RunResult
    from recbole_hm4sr.run.quick_start import evaluate as evaluate
    from recbole_hm4sr.run.quick_start import resume as resume
    from recbole_hm4sr.run.quick_start import run as run
    from recbole_hm4sr.serve.add_items import add_items as add_items
    from recbole_hm4sr.serve.recommend import Recommender as Recommender
    from recbole_hm4sr.serve.refresh import refresh as refresh
    from recbole_hm4sr.tune.command import tune_model as tune

__version__ = "0.1.0"

__all__ = [
    "PackedRecommender",
    "Recommender",
    "RunResult",
    "UserError",
    "__version__",
    "add_items",
    "compare",
    "evaluate",
    "prepare",
    "refresh",
    "replay",
    "report_run",
    "resume",
    "run",
    "tune",
    "update",
]

# Folders of the package that are also what they do: see base/callable_room.py.
_ROOMS = ("compare", "evaluate", "prepare", "run", "tune")
_NAMES = {
    "PackedRecommender": "recbole_hm4sr.model.packed",
    "Recommender": "recbole_hm4sr.serve.recommend",
    "RunResult": "recbole_hm4sr.run.quick_start",
    "UserError": "recbole_hm4sr.base.errors",
    "add_items": "recbole_hm4sr.serve.add_items",
    "refresh": "recbole_hm4sr.serve.refresh",
    "replay": "recbole_hm4sr.later.replay",
    "report_run": "recbole_hm4sr.report.finish",
    "resume": "recbole_hm4sr.run.quick_start",
    "update": "recbole_hm4sr.later.update",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
