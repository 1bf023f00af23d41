"""Models of ids against the numbers of fixtures/zoo: what their tests share."""

from pathlib import Path

import numpy as np
import torch
from helpers import ArrayDataset, assert_close, model_config
from recbole.data.interaction import Interaction

from recbole_hm4sr.data.loaders import TARGET_LIST
from recbole_hm4sr.model.registry import find_model

ZOO = Path(__file__).parent / "fixtures" / "zoo"
TOLERANCE = 1e-9
REVERSED = torch.arange(11, -1, -1)
ORDERS = [slice(None), REVERSED]
JOINT = ("query", "key", "value")  # one matrix in some of the authors' code


class Recorded:
    """The numbers of a fixture, by our names of modules.

    Args:
        fixture: Name of the file.
        names: Ours to the authors', of modules (their leaves are named alike) or of parameters.
        reshape: By the leaf or name of ours, what makes our shape of theirs.
    """

    def __init__(self, fixture, names, reshape=None):
        with np.load(ZOO / f"{fixture}.npz") as archive:
            self.numbers = {
                key: torch.from_numpy(archive[key])
                for key in archive.files
                if archive[key].dtype.kind != "U"
            }
        self.names, self.reshape = names, reshape or {}
        self.lengths = self["in/item_len"]

    def __getitem__(self, key):
        return self.numbers[key]

    def of_authors(self, kind, name):
        """Their parameter or gradient by our name."""
        module, _, leaf = name.rpartition(".")
        if name in self.names:
            value = self[f"{kind}/{self.names[name]}"]
        elif isinstance(self.names[module], tuple):  # a third of one matrix
            theirs, part = self.names[module]
            value = self[f"{kind}/{theirs}_{leaf}"].chunk(3)[JOINT.index(part)]
        else:
            value = self[f"{kind}/{self.names[module]}.{leaf}"]
        change = self.reshape.get(module, self.reshape.get(name))
        return value if change is None else change(value)

    def build(self, model, n_items=29, **overrides):
        """Our model with their parameters, in double precision, without dropout."""
        without = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
        known = find_model(model).settings_class.names()
        without = {name: value for name, value in without.items() if name in known}
        config = model_config(model, hidden_size=8, **{**without, **overrides})
        built = find_model(model).model_class(config, ArrayDataset(n_items)).double()
        state = {name: self.of_authors("param", name) for name in built.state_dict()}
        built.load_state_dict(state)
        return built

    def right_padded(self, name, lengths=None):
        """Left-padded rows as right-padded ones."""
        left, lengths = self[name], self.lengths if lengths is None else lengths
        rows = torch.zeros_like(left)
        for row, n in enumerate(lengths.tolist()):
            rows[row, :n] = left[row, -n:]
        return rows

    def tokens(self, name, order=slice(None)):
        """What a fixture has at each position of left-padded rows, token after token."""
        steps = torch.arange(self[name].shape[1])
        return self.right_padded(name)[order][steps < self.lengths[order][:, None]]

    def interaction(self, order=slice(None), padding=0, keep=slice(None)):
        """The batch, in another order, of rows that are wider, or of some rows at their width."""
        if "in/seq_left_padded" in self.numbers:
            items = self.right_padded("in/seq_left_padded")
        else:
            items = self["in/item_seq"]
        columns = {
            "item_id_list": items,
            "item_length": self.lengths,
            "timestamp_list": torch.zeros_like(items),
            "item_id": self["in/target"],
        }
        if "in/labels" in self.numbers:
            columns[TARGET_LIST] = self.right_padded("in/labels")
        columns = {name: values[keep][order] for name, values in columns.items()}
        width = int(columns["item_length"].max())
        for name, values in columns.items():
            if values.ndim == 2:
                values = values[:, :width]
                columns[name] = torch.cat([values, values.new_zeros(len(values), padding)], dim=1)
        return Interaction(columns)

    def check_scores(self, model, *, expected=None, window_counts=False):
        """Packed, in another order, of more padding, and where the window counts, narrower."""
        model.eval()
        expected = self["out/scores"] if expected is None else expected
        short = self.lengths <= 6
        with torch.no_grad():
            for order in ORDERS:
                scores = model.full_sort_predict(self.interaction(order))
                assert_close(scores, expected[order], TOLERANCE)
            scores = model.full_sort_predict(self.interaction(keep=short))
            assert_close(scores, expected[short], TOLERANCE)
            if not window_counts:
                scores = model.full_sort_predict(self.interaction(padding=3))
                assert_close(scores, expected, TOLERANCE)
            batch = self.interaction()
            single = model.predict(batch)
            assert_close(single, expected.gather(1, batch["item_id"][:, None])[:, 0], TOLERANCE)

    def check_tower(self, model, expected=None):
        """The tower that is exported, on rows of one length."""
        batch, tower = self.interaction(), model.eval().user_tower()
        users = tower(batch["item_id_list"], batch["item_length"], batch["timestamp_list"])
        assert_close(users, self["out/user"] if expected is None else expected, TOLERANCE)

    def check_gradients(self, model, loss, kind="grad", leave_out=()):
        """Those of all parameters; ``leave_out`` has rows of tables that ours treats in its way."""
        model.zero_grad()
        loss.backward()
        for name, parameter in model.named_parameters():
            found, expected = parameter.grad, self.of_authors(kind, name)
            if name in leave_out:
                found, expected = found[1:], expected[1:]
            assert_close(found, expected, TOLERANCE)

    def check_trajectory(self, model, loss):
        """Thirty steps of Adam."""
        model.train()
        optimizer, found = torch.optim.Adam(model.parameters(), lr=1e-3), []
        for _ in self["out/adam_trajectory"]:
            optimizer.zero_grad()
            value = loss()
            found.append(value.item())
            value.backward()
            optimizer.step()
        assert_close(torch.tensor(found).double(), self["out/adam_trajectory"], 1e-6)


def with_leaves(prefix, theirs, parts):
    """Names of the parts of a module, ours to the authors'."""
    return {f"{prefix}.{ours}": f"{theirs}.{name}" for ours, name in parts.items()}
