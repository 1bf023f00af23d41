"""Models that are fitted once, measured beside a run: what any trained model has to beat."""

import json
import logging
from typing import Any

from recbole_hm4sr.base.errors import UserError
from recbole_hm4sr.base.files import write_text
from recbole_hm4sr.evaluate.evaluator import Evaluator
from recbole_hm4sr.model.capabilities import is_fitted_once
from recbole_hm4sr.model.registry import find_baselines
from recbole_hm4sr.run.parts import RunParts

_log = logging.getLogger(__name__)


def record_baselines(parts: RunParts) -> None:
    """Fit the models of the setting ``baselines`` to a finished run's data, and test them.

    Their test metrics join ``metrics.json``, as ``baselines``: by model, then by protocol
    (``include``, ``exclude``). Settings of theirs that are no settings of the run have their
    defaults. A model that these data do not allow is left out, with a warning. Nothing is done for
    a run of such a model, and where metrics do not follow from ranks.

    Args:
        parts: Of the run, its results written.

    Raises:
        WriteError: If ``metrics.json`` cannot be written.
    """
    names = parts.plan.run.baselines
    follow = parts.trainer.evaluator.metrics_follow_from_ranks(parts.test_data)
    if not names or not follow or is_fitted_once(parts.model):
        return
    found = {}
    for entry in find_baselines(names):
        try:
            found[entry.name] = _measure(parts, entry.model_class)
        except UserError as error:
            _log.warning("%s is not measured beside this run: %s", entry.name, error)
    path = parts.run_dir / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    write_text(path, json.dumps({**metrics, "baselines": found}, indent=2) + "\n")


def _measure(parts: RunParts, model_class: Any) -> dict[str, dict[str, float]]:
    """Test metrics by protocol."""
    model = model_class(parts.config, parts.train_data._dataset)
    model.fit(parts.train_data._dataset)
    of_run = parts.plan.run
    evaluator = Evaluator(
        parts.config,
        model,
        parts.train_data,
        rank_history=of_run.rank_history,
        candidate_items=of_run.candidate_items,
    )
    ranks = evaluator.rank(parts.test_data)
    return {
        name: {
            metric: float(value) for metric, value in evaluator.metrics(ranks.under(name)).items()
        }
        for name in ("include", "exclude")
    }
