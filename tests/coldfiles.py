"""The toy data set with an item that nobody has interacted with."""

import numpy as np

from recbole_hm4sr.data.features import ItemFeatures, load_features, save_features
from recbole_hm4sr.testing.toydata import write_toy_dataset

# The new item has the features of this one.
TWIN, COLD = "B003", "C1"


def write_cold(path):
    """Write it into the folder ``toy`` of a folder; returns the latter."""
    write_toy_dataset(path / "toy")
    with (path / "toy" / "toy.item").open("a", encoding="utf-8") as file:
        file.write(f'{COLD}\tItem "3"\tGroup_0 Unheard\n')
    for name in ("text", "image"):
        file = path / "toy" / f"toy.{name}.npz"
        there = load_features(file)
        row = there.values[there.tokens.tolist().index(TWIN)]
        values = np.concatenate([there.values, row[None]])
        save_features(file, ItemFeatures(np.append(there.tokens, COLD), values, "test", "1", "toy"))
    return path
