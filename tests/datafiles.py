"""Small atomic files, and the configuration and data set over them."""

import numpy as np

from recbole_hm4sr.data.features import ItemFeatures, save_features
from recbole_hm4sr.data.recbole import MultiModalSequentialDataset
from recbole_hm4sr.run.plan import compose

INTER = "user_id:token\titem_id:token\ttimestamp:float"
DAY = 86400
# Midnight of 2024-01-01. A multiple of 128, and a day is 675 * 128 seconds, so float32, whose
# step is 128 from 2**30 to 2**31, holds this moment and all whole days around it exactly.
NEW_YEAR = 1_704_067_200


def write_lines(path, header, rows, end="\n"):
    """Write an atomic file; rows are lists of cells. Returns its path."""
    lines = [header, *("\t".join(str(cell) for cell in row) for row in rows)]
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def write_bytes(path, content):
    path.write_bytes(content)
    return path


def write_dataset(folder, inter, header=INTER, **files):
    """Write ``toy.inter`` and further files (suffix: (header, rows)). Returns the folder above."""
    folder.mkdir()
    write_lines(folder / "toy.inter", header, inter)
    for suffix, (file_header, rows) in files.items():
        write_lines(folder / f"toy.{suffix}", file_header, rows)
    return folder.parent


def write_features(folder, modality, rows):
    """Write ``toy.<modality>.npz`` from a mapping of token to values."""
    values = np.array(list(rows.values()), dtype=np.float32)
    features = ItemFeatures(np.array(list(rows)), values, "test", "1", "")
    save_features(folder / f"toy.{modality}.npz", features)


def read_config(data_path, **overrides):
    overrides = {"data_path": str(data_path), **overrides}
    if overrides.get("train_neg_sample_args"):  # HM4SR has no loss that reads them
        return config_of("SASRec", "toy", **overrides, loss_type="BPR")
    return config_of("HM4SR", "toy", **overrides)


def config_of(model, dataset, files=(), **overrides):
    """RecBole's config of a run."""
    return compose(model, dataset, config_files=files, overrides=overrides).to_recbole()


def read_dataset(data_path, **overrides):
    return MultiModalSequentialDataset(read_config(data_path, **overrides))


def walks(lengths, first=NEW_YEAR, step=DAY):
    """Histories of given lengths over items i0, i1, ...: one a user, a step apart."""
    return [
        (f"u{user}", f"i{place % 7}", first + place * step)
        for user, length in enumerate(lengths)
        for place in range(length)
    ]


def write_text(path, text):
    """Write a text file; returns its path."""
    path.write_text(text, encoding="utf-8")
    return path


def hm4sr_config(folder, files=(), **flags):
    """RecBole's config of HM4SR on the toy data set below a folder."""
    return config_of("HM4SR", "toy", files, **{"data_path": str(folder), **flags})
