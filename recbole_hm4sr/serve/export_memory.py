"""The memory of an exported model: lists of neighbours as of one moment, as short as may be."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from torch import Tensor

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.data.packed import send_batch
from recbole_hm4sr.data.times import whole_seconds
from recbole_hm4sr.evaluate.statistics import user_metric
from recbole_hm4sr.layers.frozen_memory import FrozenMemory, freeze_memory
from recbole_hm4sr.layers.memory import EventMemory
from recbole_hm4sr.layers.memory_scorer import MemoryScorer
from recbole_hm4sr.layers.ranking import top_k
from recbole_hm4sr.layers.scorers import InnerProducts
from recbole_hm4sr.model.user_tower import MemoryTower
from recbole_hm4sr.page.format import moment
from recbole_hm4sr.run.parts import RunParts, build_parts
from recbole_hm4sr.run.plan import read_plan

Array = np.ndarray[Any, Any]
LENGTHS = (20, 50, 100, 200)
MOST_LOSS = 0.01
N_CANDIDATES = 200
METRIC = "NDCG@10"
_RECALL_ROWS = 1000
_TOP = 10


@dataclass(frozen=True)
class ExportedMemory:
    """A memory ready to be written.

    Attributes:
        memory: As of the export's moment, with short lists.
        moment: T', in the run's unit since the epoch.
        length: Neighbours of an item at most.
        reach: How many of the last items of a history are read.
        measured: Of :func:`measure_lists`; None if nothing was measured.
    """

    memory: FrozenMemory
    moment: int
    length: int
    reach: int
    measured: dict[str, Any] | None

    def arrays(self, tower: MemoryTower) -> dict[str, Array]:
        """What ``memory.npz`` holds: padded lists, and what popularity adds."""
        nothing = torch.empty(0, dtype=torch.int64), torch.empty(0)
        popular_items, popular_values = self.memory.popular or nothing
        arrays = self.memory.padded(tower.importance())._asdict()
        arrays |= {"popular_items": popular_items, "popular_values": popular_values}
        return {name: values.cpu().numpy() for name, values in arrays.items()}

    def facts(self) -> dict[str, Any]:
        """What ``index.json`` says of it."""
        return {
            "moment": self.moment,
            "list_length": self.length,
            "n_candidates": N_CANDIDATES,
            "reach": self.reach,
            "decay": self.memory.decay,
            "measured": self.measured,
        }


def export_memory(run_dir: Path, tower: MemoryTower, list_length: int | None) -> ExportedMemory:
    """The memory of a run's model as of the moment up to which it knows.

    Args:
        run_dir: Folder of the run.
        tower: Of its model.
        list_length: Neighbours of an item at most; None for the fewest of :data:`LENGTHS` that lose
            little on the validation part.

    Raises:
        ConfigError: If the length is to be chosen, and the validation part ranks drawn candidates.
        DataError: If the length is to be chosen, and the data set is not there.
    """
    until = tower.model.known_until
    assert until is not None
    whole = freeze_memory(tower.scorer.memory, until)
    measured = None
    if list_length is None:
        measured = measure_lists(_open(run_dir))
        list_length = measured["list_length"]
    reach = tower.model.settings.memory_reach
    return ExportedMemory(
        whole.shortened(list_length, tower.importance()), until, list_length, reach, measured
    )


def _open(run_dir: Path) -> RunParts:
    try:
        parts = build_parts(read_plan(run_dir), run_dir)
    except (ConfigError, DataError) as error:
        raise DataError(
            f"the list length is chosen on the validation part of the data set, which cannot be "
            f"read: {error}; name a length with --list_length"
        ) from error
    parts.trainer.load_best()
    if not isinstance(parts.valid_data, FullSortEvalDataLoader):
        raise ConfigError(
            "the list length is chosen where all items are ranked, but this run's eval_args draw "
            "candidates; name a length with --list_length"
        )
    return parts


def measure_lists(parts: RunParts) -> dict[str, Any]:
    """What short lists lose on the validation part, as of the moment at which training ends.

    Args:
        parts: An opened run, its model at the best epoch.

    Returns:
        ``ndcg``: NDCG@10 by list length, of ``whole`` lists as well; ``list_length``: the fewest
        that lose no more than :data:`MOST_LOSS` of it, or the most tried; ``loss``: the part that
        these lose; ``recall``: how many of the ten best of the whole memory are found with them;
        ``recall_users``: of how many histories.
    """
    model = parts.model.eval()
    tower = cast(MemoryTower, model.user_tower())
    ends = parts.train_data._dataset.ends_before
    until = cast(int, model.known_until) if ends is None else ends
    whole = freeze_memory(tower.scorer.memory, until)
    shortened = {length: whole.shortened(length, tower.importance()) for length in LENGTHS}
    ndcg = {"whole": _ndcg(parts, whole)}
    ndcg |= {str(length): _ndcg(parts, memory) for length, memory in shortened.items()}
    least = (1 - MOST_LOSS) * ndcg["whole"]
    length = next((n for n in LENGTHS if ndcg[str(n)] >= least), LENGTHS[-1])
    lost = 1 - ndcg[str(length)] / ndcg["whole"] if ndcg["whole"] else 0.0
    recall, n_users = measure_recall(parts, whole, shortened[length])
    return {
        "metric": METRIC,
        "ndcg": ndcg,
        "list_length": length,
        "loss": lost,
        "recall": recall,
        "recall_users": n_users,
    }


@contextlib.contextmanager
def remembering(model: Any, memory: FrozenMemory) -> Iterator[None]:
    """A context in which a model reads another memory."""
    scorer = cast(MemoryScorer, model.scorer)
    own = scorer.memory
    scorer.memory = cast(EventMemory, memory)
    try:
        yield
    finally:
        scorer.memory = own


def _ndcg(parts: RunParts, memory: FrozenMemory) -> float:
    """NDCG@10 on the validation part, as the run ranks."""
    with remembering(parts.model, memory):
        ranks = parts.trainer.evaluator.rank(parts.valid_data)
    chosen = ranks.under(parts.plan.run.rank_history).numpy()
    return float(user_metric(chosen, METRIC).mean())


@torch.no_grad()
def measure_recall(parts: RunParts, whole: FrozenMemory, short: FrozenMemory) -> tuple[float, int]:
    """How many of the ten best items are found among the candidates, and remain the ten best.

    Args:
        parts: An opened run.
        whole: Gives the ten best.
        short: Gives candidates, besides the nearest vectors, and their scores.

    Returns:
        The share of the ten best that is found, and the number of histories, the first of the
        validation part.
    """
    model, loader = parts.model, parts.valid_data
    rows = torch.arange(min(_RECALL_ROWS, len(loader._dataset)))
    found, n_best = 0, min(_TOP, model.n_items - 1)
    for part in rows.split(128):
        made = loader.collate_fn(part.tolist())
        batch = send_batch(made[0], parts.config["device"])
        with remembering(model, whole):
            _, best = model.top_items(batch, n_best)
        with remembering(model, short):
            _, own = _best_candidates(model, batch, n_best)
        found += int((best[:, :, None] == own[:, None]).sum())
    return found / (n_best * len(rows)), len(rows)


def _best_candidates(model: Any, batch: Any, k: int) -> tuple[Tensor, Tensor]:
    """Scores and items of the best candidates: the nearest vectors, and what the memory names."""
    users, catalogue = model.ask(batch)
    dense = replace(catalogue, scorer=InnerProducts()).scores(users)
    dense[:, 0] = -torch.inf
    sparse = catalogue.prepared(users).sparse
    assert sparse is not None
    every = torch.arange(model.n_items, device=dense.device)
    added = sparse.add_to_columns(torch.zeros_like(dense), every, ascending=True)
    is_candidate = added != 0
    near = dense.topk(min(N_CANDIDATES, model.n_items - 1), dim=1).indices
    is_candidate.scatter_(1, near, value=True)
    # Equal scores by item, as the model and the lines order them: with a dense part of weight 0
    # many are equal.
    return top_k((dense + added).masked_fill(~is_candidate, -torch.inf), k)


def memory_words(facts: Mapping[str, Any], unit: str) -> dict[str, str]:
    """What the page of the folder says of the memory.

    Args:
        facts: Of :meth:`ExportedMemory.facts`.
        unit: Of the times.
    """
    length, measured = facts["list_length"], facts["measured"]
    until = moment(whole_seconds(facts["moment"], unit))
    words = f"The lists have at most {length} neighbours an item; nothing was measured."
    if measured is not None:
        by_length = ", ".join(f"{ndcg:.4f} with {name}" for name, ndcg in measured["ndcg"].items())
        words = (
            f"Validation {measured['metric']} by the length of the lists: {by_length}.\nThese have "
            f"at most {length} neighbours an item, which loses {measured['loss']:.2%}: the "
            f"shortest that lose\nat most {MOST_LOSS:.0%}, or {LENGTHS[-1]}. Of the model's ten "
            f"best items the lines find {measured['recall']:.1%} ({measured['recall_users']:,} "
            f"histories)."
        )
    return {
        "memory_row": "| `memory.npz` | for each item those that others took close to it, or that "
        f"are like it: at most {length}, each with its relation |\n",
        "scores": "The score of an item for a user is the inner product of their vectors, plus "
        f"what the memory says of it.\nThe lines score the {facts['n_candidates']} nearest "
        "vectors and all that the lists name.",
        "memory_note": f"\n\nThe memory knows what was known before {until} (UTC), and counts "
        f"ages and popularity to that moment; what each relation\ncounts for is computed for each "
        f"request. {words}",
    }
