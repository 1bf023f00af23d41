"""The toy data set cut in two: what a run is trained on, and what came after it."""

import csv

from recbole_hm4sr.testing.toydata import write_toy_dataset

HEADER = ["user_id", "item_id", "timestamp"]


def write_halves(folder, share=0.8):
    """Write the data set of the earlier interactions; returns its parent and the later rows.

    Every ninth later row is of a new user, every seventh of a new item.
    """
    write_toy_dataset(folder / "toy")
    path = folder / "toy" / "toy.inter"
    header, *lines = path.read_text().splitlines()
    rows = sorted((line.split("\t") for line in lines), key=lambda row: int(row[2]))
    cut = int(rows[int(share * len(rows))][2])
    earlier = [row for row in rows if int(row[2]) < cut]
    path.write_text("\n".join([header, *("\t".join(row) for row in earlier)]) + "\n")
    later = [row for row in rows if int(row[2]) >= cut]
    return [
        ["new" if k % 9 == 0 else user, "B777" if k % 7 == 3 else item, int(time)]
        for k, (user, item, time) in enumerate(later)
    ]


def write_csv(path, rows):
    """Write interactions; returns the path."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return path


def read_rows(path):
    """The interactions of an ``.inter`` file."""
    _, *lines = path.read_text().splitlines()
    return [[user, item, int(time)] for user, item, time in (line.split("\t") for line in lines)]
