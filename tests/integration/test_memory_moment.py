"""A memory knows what was known at the moment of the request: in scores, resumed, and served."""

import shutil

import pytest
import torch
from killing import contents
from recbole.data.interaction import Interaction

from recbole_hm4sr.model.registry import find_model
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.parts import build_parts
from recbole_hm4sr.run.plan import compose, read_plan
from recbole_hm4sr.serve.opening import open_for_serving
from recbole_hm4sr.testing.toydata import QUICK, write_toy_dataset

pytestmark = pytest.mark.integration

DAY = 86400
MOMENT = 1_600_000_000 + 100 * DAY
SMALL = {**QUICK, "MAX_ITEM_LIST_LENGTH": 11, "hidden_size": 16, "inner_size": 32}
BY_MOMENT = {
    **SMALL,
    "eval_args": {
        "split": {"GT": [0.8, 0.1, 0.1]},
        "targets": "visits",
        "group_by": None,
        "order": "TO",
        "mode": "full",
    },
    "memory_refresh": "request",
    "request_time": "target",
    "popularity": True,
    "n_interactive_experts": 2,
}


def open_with(folder, more):
    """The run on the toy data and more interactions, each of user, item and time."""
    folder.mkdir()
    write_toy_dataset(folder / "toy")
    path = folder / "toy" / "toy.inter"
    with path.open("a", encoding="utf-8") as file:  # at the end: items keep their numbers
        file.writelines(f"{user}\tB{item:03d}\t{time}\n" for user, item, time in more)
    values = {**BY_MOMENT, "data_path": str(folder)}
    return build_parts(compose(find_model("Momento"), "toy", overrides=values), folder / "run")


def score(parts, weights, request):
    """Scores of all items for a user who asks at the moment."""
    parts.model.load_state_dict(weights)
    parts.model.has_id[:] = True  # which rows are trained is no matter of the memory
    numbers = {token: n for n, token in enumerate(parts.train_data._dataset.item_tokens)}
    items = torch.zeros(1, 11, dtype=torch.int64)
    times = torch.zeros_like(items)
    for place, (item, time) in enumerate(request):
        items[0, place], times[0, place] = numbers[f"B{item:03d}"], time
    batch = Interaction(
        {
            "item_id_list": items,
            "timestamp_list": times,
            "item_length": torch.tensor([len(request)]),
            "timestamp": torch.tensor([MOMENT]),
        }
    )
    with torch.no_grad():
        return parts.model.eval().full_sort_predict(batch)[0]


def test_nothing_from_the_moment_on_changes_a_bit_and_a_grain_before_does(tmp_path):
    request = [(3, MOMENT - 40 * DAY), (4, MOMENT - DAY)]
    after = [("u1", 3, MOMENT), ("u1", 9, MOMENT), ("new", 4, MOMENT + DAY), ("new", 9, MOMENT)]
    before = [("new", 4, MOMENT - 1), ("new", 9, MOMENT - 1)]
    base = open_with(tmp_path / "base", [])
    weights = base.model.state_dict()
    weights = {name: value.clone() for name, value in weights.items()}
    expected = score(base, weights, request)
    for number, rows in enumerate((after, after[::-1])):
        found = score(open_with(tmp_path / f"after-{number}", rows), weights, request)
        assert torch.equal(found, expected)
    found = score(open_with(tmp_path / "before", before), weights, request)
    assert not torch.equal(found, expected)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, and a copy of its folder after its first epoch."""
    folder = tmp_path_factory.mktemp("momento")
    write_toy_dataset(folder / "toy")
    whole, after = folder / "whole", folder / "after"

    def copy(record):
        if record.epoch == 1:
            shutil.copytree(whole, after)

    settings = {**SMALL, "data_path": str(folder), "n_interactive_experts": 2, "use_gpu": False}
    quick_start.run("Momento", "toy", overrides=settings, run_dir=whole, on_epoch=copy)
    return whole, after


def test_a_resumed_run_draws_the_ids_that_the_whole_run_dropped(run):
    whole, after = run
    quick_start.resume(after)
    assert contents(after) == contents(whole)


def test_what_is_served_scores_as_the_run(run):
    whole, _ = run
    served = open_for_serving(whole)
    parts = build_parts(read_plan(whole), whole)
    parts.trainer.load_best()
    until = served.model.arrange.requests.frozen_at
    batch = next(iter(parts.test_data))[0]
    early = batch["timestamp_list"].amax(dim=1) < until
    assert int(early.sum()) > 0
    batch = Interaction({name: values[early] for name, values in batch.interaction.items()})
    with torch.no_grad():
        expected = parts.model.eval().full_sort_predict(batch)
        found = served.model.full_sort_predict(batch)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
