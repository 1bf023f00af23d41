"""A toy data set whose right answer is known: every user walks from item i to item i + 1."""

from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.data.features import ItemFeatures, save_features

N_USERS, N_ITEMS = 80, 24
DAY = 86400

SETTINGS = """\
modalities: {text: npz, image: npz}
category_field: categories
generated: true
"""

QUICK: dict[str, Any] = {
    "epochs": 2,
    "train_batch_size": 64,
    "eval_batch_size": 32,
    "MAX_ITEM_LIST_LENGTH": 8,
    "stopping_step": 5,
    "topk": [5, 10],
    "valid_metric": "NDCG@10",
    "n_threads": 1,
}
QUICK_HM4SR: dict[str, Any] = {
    **QUICK,
    "hidden_size": 16,
    "inner_size": 32,
    "n_interactive_experts": 2,
    "n_temporal_experts": 2,
}


def write_toy_dataset(folder: Path) -> None:
    """Write ``toy.inter``, ``toy.item``, two modalities and the settings of the data set.

    Args:
        folder: To be made; its name is the data set's, ``toy``.
    """
    random = np.random.default_rng(5)
    folder.mkdir()
    rows = []
    for user in range(N_USERS):
        start, length = random.integers(N_ITEMS), random.integers(3, 13)
        time = 1_600_000_000
        for step in range(length):
            time += int(random.choice([0, 40, 7 * DAY, 90 * DAY]))
            rows.append(f"u{user}\tB{(start + step) % N_ITEMS:03d}\t{time}")
    items = [
        f'B{item:03d}\tItem "{item}"\tGroup_{item % 3} Half_{item // 12}' for item in range(N_ITEMS)
    ]
    _write(folder / "toy.inter", "user_id:token\titem_id:token\ttimestamp:float", rows)
    _write(folder / "toy.item", "item_id:token\ttitle:token_seq\tcategories:token_seq", items)
    (folder / "toy.yaml").write_text(SETTINGS, encoding="utf-8")
    for modality, width in (("text", 7), ("image", 5)):
        order = random.permutation(N_ITEMS)
        save_features(
            folder / f"toy.{modality}.npz",
            ItemFeatures(
                np.array([f"B{item:03d}" for item in order]),
                random.normal(size=(N_ITEMS, width)).astype(np.float32),
                "test",
                "1",
                "toy",
            ),
        )


def _write(path: Path, header: str, rows: list[str]) -> None:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
