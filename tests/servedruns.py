"""Runs to serve, and what their models say of the test users by themselves."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from recbole_hm4sr.report.finish import report_run
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import read_plan
from recbole_hm4sr.testing.toydata import QUICK, QUICK_HM4SR

NOW = 1_800_000_000  # after all that the toy data hold
SMALL_MOMENTO = {
    **QUICK,
    "epochs": 1,
    "MAX_ITEM_LIST_LENGTH": 11,
    "hidden_size": 16,
    "inner_size": 32,
    "n_interactive_experts": 2,
    "request_time": "target",
    "use_gpu": False,
}


def train_toy(model, toy_path, run_dir, **overrides):
    """Train on the toy data set; returns the folder of the run."""
    settings = {**(QUICK_HM4SR if model == "HM4SR" else QUICK), **overrides}
    quick_start.run(
        model,
        "toy",
        overrides={**settings, "data_path": str(toy_path)},
        run_dir=run_dir,
        on_finish=report_run,
    )
    return run_dir


@dataclass
class Expected:
    """Histories of the test users as raw values, and the scores of RecBole's way.

    Attributes:
        tokens: Item of each column of the scores.
        histories: Items and times of each test user before the target.
        scores: ``full_sort_predict`` on the batches of the test loader, padding at -inf. [S, I].
    """

    tokens: np.ndarray
    histories: list
    scores: torch.Tensor

    def top(self, k, banned=None):
        """The k best items of each user, equal scores by column: sorted one by one."""
        rows = []
        for number, row in enumerate(self.scores.tolist()):
            out = {"[PAD]"} | (set(self.histories[number][0]) if banned == "seen" else set())
            places = sorted(range(len(row)), key=lambda place: (-row[place], place))
            names = [str(self.tokens[place]) for place in places]
            rows.append([name for name in names if name not in out][:k])
        return rows


def expected_of(run_dir):
    """Open a run the way ``evaluate`` does, and score its test users."""
    session = build_parts(read_plan(run_dir), run_dir)
    session.trainer.load_best()
    session.model.eval()
    dataset = session.test_data._dataset
    flat, targets = dataset.inter_feat.histories, dataset.inter_feat.targets
    histories = []
    for target in targets.tolist():
        part = slice(int(flat.starts[target]), target)
        items = dataset.item_tokens[flat.columns["item_id"][part].numpy()].tolist()
        histories.append((items, flat.columns["timestamp"][part].tolist()))
    with torch.no_grad():
        batches = [session.model.full_sort_predict(batch[0]) for batch in session.test_data]
    scores = torch.cat(batches)
    scores[:, 0] = -torch.inf
    return Expected(dataset.item_tokens, histories, scores)


def assert_reasons_hold(recommender, histories, found):
    """Each reason that names an item of the history: as the model scores without that item."""
    kinds, number = found.reasons.kinds, {t: n for n, t in enumerate(recommender.items.tokens)}
    assert "history" in set(kinds.flat)

    @torch.no_grad()
    def scores_of(items, times):
        one = recommender._number([(items, times)])
        batch = recommender._batch(one, torch.tensor([0]), None)
        return recommender.model.full_sort_predict(batch).view(-1)

    for user in range(12):
        window = slice(-recommender.max_length, None)
        items, times = (values[window] for values in histories[user])
        scores = scores_of(items, times)
        middle = scores[1:].sort().values[(len(scores) - 2) // 2]
        for rank in np.flatnonzero(kinds[user] == "history"):
            named, item = found.reasons.items[user, rank], number[found.items[user, rank]]
            drops = {}
            for x in set(items):
                rest = [(i, t) for i, t in zip(items, times, strict=True) if i != x]
                left = scores_of(*zip(*rest, strict=True))[item] if rest else middle
                drops[x] = float(scores[item] - left)
            lift = float(scores[item] - middle)
            assert drops[named] == pytest.approx(max(drops.values()), rel=1e-3, abs=1e-4)
            share = found.reasons.shares[user, rank]
            assert share > 0.1
            assert share == pytest.approx(drops[named] / lift, rel=1e-2, abs=1e-2)
