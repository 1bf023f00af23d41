"""DuoRec on whole histories: which states its views are."""

import pytest
import torch
from helpers import ArrayDataset, assert_close, model_config
from recbole.data.interaction import Interaction

from recbole_hm4sr.data.histories import Histories
from recbole_hm4sr.data.loaders import TARGET_LIST
from recbole_hm4sr.data.same_targets import find_same_targets
from recbole_hm4sr.data.seen import FIRST_POSITION
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.model.ids.duorec import DuoRec

# Two users; item 5 is a target of both, item 7 of the first alone.
ITEMS = torch.tensor([3, 5, 7, 1, 2, 5])
STARTS = torch.tensor([0, 0, 0, 3, 3, 3])
TARGETS = torch.tensor([1, 2, 4, 5])


class Data(ArrayDataset):
    def same_targets(self):
        columns = {"item_id": ITEMS, "timestamp": torch.arange(6)}
        return find_same_targets(Histories(columns, STARTS), TARGETS, "item_id", "timestamp", 10)


def build(**overrides):
    without = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
    config = model_config("DuoRec", hidden_size=8, **without, **overrides)
    return DuoRec(config, Data(9)).double().train()


def interaction(train_mode):
    if train_mode == "prefix":
        columns = {
            "item_id_list": [[3], [3, 5], [1], [1, 2]],
            "item_length": [1, 2, 1, 2],
            "item_id": [5, 7, 2, 5],
            FIRST_POSITION: [0, 0, 3, 3],
        }
    else:
        columns = {
            "item_id_list": [[3, 5], [1, 2]],
            "item_length": [2, 2],
            TARGET_LIST: [[5, 7], [2, 5]],
            FIRST_POSITION: [0, 3],
        }
    for name in {"item_id_list", TARGET_LIST} & set(columns):
        columns[name] = [row + [0] * (10 - len(row)) for row in columns[name]]
    batch = Interaction({name: torch.tensor(values) for name, values in columns.items()})
    batch.interaction["timestamp_list"] = torch.zeros_like(batch["item_id_list"])
    return batch


def encoded_alone(model, histories):
    lengths = torch.tensor([len(history) for history in histories])
    items = torch.tensor([item for history in histories for item in history])
    batch = PackedBatch(items, torch.zeros_like(items), build_packing(lengths, 10))
    return model(batch).views["own"]


@pytest.mark.parametrize("train_mode", ["prefix", "sequence"])
def test_each_target_has_a_second_pass_and_a_history_of_the_same_target(train_mode):
    model = build(train_mode=train_mode)
    batch = model.read(interaction(train_mode), train=True)
    assert batch.targets.tolist() == [5, 7, 2, 5]
    views = model(batch).views
    own = encoded_alone(model, [[3], [3, 5], [1], [1, 2]])
    assert_close(views["own"], own, 1e-12)
    assert_close(views["again"], own, 1e-12)
    # Of item 5 the other user's history; items 7 and 2 are a target once.
    assert_close(views["partner"], own[[3, 1, 2, 0]], 1e-12)


def test_both_training_modes_have_one_loss():
    losses = []
    model = build()
    for train_mode in ("prefix", "sequence"):
        torch.manual_seed(1)
        other = build(train_mode=train_mode)
        other.load_state_dict(model.state_dict())
        losses.append(other.calculate_loss(interaction(train_mode)).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_two_passes_alone_need_no_other_sample():
    model = build(contrast_views="un")
    assert model.arrange.partners is None
    views = model(model.read(interaction("sequence"), train=True)).views
    assert set(views) == {"own", "again"}
