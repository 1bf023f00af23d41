"""What a ranking owes to a modality, and to each part of a score that can be left out.

The features of one modality are shuffled among the items, and the test users are ranked again. A
component of a score says how much of a sum comes from a modality. This says what the ranking loses
without its right features, where other modalities may replace it (permutation importance). What is
no modality, such as the relations of a memory, is left out of the scores instead. The model is the
one of the best epoch. It is not trained again, and nothing is chosen by the result.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recbole_hm4sr.evaluate.ranks import Ranks, rank_samples
from recbole_hm4sr.evaluate.statistics import user_metric
from recbole_hm4sr.model.capabilities import removable_parts
from recbole_hm4sr.report.cases import draw

if TYPE_CHECKING:
    from recbole_hm4sr.run.parts import RunParts

METRIC = "NDCG@10"
# One pass each for the right features and for each modality; a large test part is sampled.
MAX_USERS = 10_000
_SCORES_AT_A_TIME = 2**24


def permutation_facts(session: "RunParts", seed: int) -> dict[str, Any] | None:
    """The test metric as it is, with each modality shuffled, and without each part of a score.

    Any model with a method ``permuted_modality(name, generator)`` is asked: a context in which the
    items have each other's features of that modality, drawn by a generator. So is any model with
    ``removable_parts()``.

    Args:
        session: The run, with its model at the best epoch.
        seed: Draws the shuffles, and the users where there are more than ``MAX_USERS``.

    Returns:
        ``metric``, ``users`` and ``of_users``, ``right``, ``shuffled`` (by modality) and
        ``left_out`` (by part): the metric by ``rank_history``, ``include`` and ``exclude``. None
        where nothing can be shuffled or left out.
    """
    dataset = session.test_data._dataset
    can_shuffle = hasattr(session.model, "permuted_modality")
    names = dataset.modality_names if can_shuffle else ()
    parts = removable_parts(session.model)
    if not names and not parts:
        return None
    rows = draw(len(dataset), MAX_USERS, seed)
    right = _metric(_rank(session, rows))
    shuffled = {}
    for name in names:
        generator = torch.Generator().manual_seed(seed)
        with session.model.permuted_modality(name, generator):
            shuffled[name] = _metric(_rank(session, rows))
    left_out = {}
    for part in parts:
        with part.entered():
            left_out[part.name] = _metric(_rank(session, rows))
    return {
        "metric": METRIC,
        "users": len(rows),
        "of_users": len(dataset),
        "right": right,
        "shuffled": shuffled,
        "left_out": left_out,
    }


def _rank(session: "RunParts", rows: list[int]) -> Ranks:
    """Ranks of the targets of some test samples."""
    loader = session.test_data
    dataset = loader._dataset
    samples = dataset.inter_feat
    size = max(1, min(_SCORES_AT_A_TIME // dataset.item_num, session.config["eval_batch_size"]))

    def score(some: list[int]) -> tuple[Any, Tensor, Tensor, Tensor]:
        interaction, scores = session.trainer.evaluator.score(loader, some)
        return (
            interaction,
            scores,
            torch.arange(len(some)),
            samples[torch.tensor(some)][dataset.iid_field],
        )

    return rank_samples(
        score,
        [rows[begin : begin + size] for begin in range(0, len(rows), size)],
        samples.select(samples.targets[torch.tensor(rows)]),
        item_field=dataset.iid_field,
    )


def _metric(ranks: Ranks) -> dict[str, float]:
    return {
        name: float(user_metric(ranks.under(name).numpy(), METRIC).mean())
        for name in ("include", "exclude")
    }
