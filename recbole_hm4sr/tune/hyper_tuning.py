"""RecBole's ``HyperTuning`` on today's hyperopt: what breaks, as ``compat.py`` has for the rest.

``tests/unit/test_compat_tuning.py`` has a test for each fault that fails once it is mended.
"""

import contextlib
import io
from collections.abc import Callable
from typing import Any


def make_hyper_tuning(
    evaluate: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    space: dict[str, Any],
    algo: Callable[..., list[Any]],
    max_evals: int,
    early_stop: int,
) -> Any:
    """RecBole's ``HyperTuning`` that prints nothing and asks ``algo`` for every proposal.

    Left to itself it evaluates the file of the space as code; its exhaustive search draws from
    numpy's ``RandomState``, which hyperopt 0.2.7 and later cannot use, so that it ends before the
    first trial; and it prints each trial and the test part of the best.

    Args:
        evaluate: From settings to ``model``, ``best_valid_score``, ``valid_score_bigger``,
            ``best_valid_result`` and ``test_result``; the last may be empty. May print.
        space: hyperopt's nodes by name.
        algo: Proposes trials, as hyperopt's ``suggest`` functions do.
        max_evals: Number of trials.
        early_stop: Trials without a better score after which it ends.
    """
    from recbole.trainer.hyper_tuning import HyperTuning

    class QuietHyperTuning(HyperTuning):  # type: ignore[misc, unused-ignore]
        def trial(self, params: dict[str, Any]) -> Any:
            result = evaluate(params)
            self.objective_function = lambda *_: result
            with contextlib.redirect_stdout(io.StringIO()):
                return super().trial(params)

    return QuietHyperTuning(
        None, space=space, algo=algo, max_evals=max_evals, early_stop=early_stop
    )


def run_hyper_tuning(tuning: Any) -> None:
    """Run RecBole's ``HyperTuning`` without the bar of hyperopt, which takes all of stdout over.

    Args:
        tuning: What :func:`make_hyper_tuning` has made.
    """
    from hyperopt import progress

    original = progress.default_callback
    progress.default_callback = progress.no_progress_callback
    try:
        tuning.run()
    finally:
        progress.default_callback = original
