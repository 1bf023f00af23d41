"""Runs that can be refreshed, made of drawn interactions without a training."""

import itertools

import numpy as np

from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.data.events import build_events, times_of_items
from recbole_hm4sr.data.memory_files import MemoryClock, MemoryRules, write_memory, write_whole
from recbole_hm4sr.data.refresh_state import NewRows, keep_newest
from recbole_hm4sr.data.serving_data import ServingData
from recbole_hm4sr.data.visits import number_visits
from recbole_hm4sr.run.serving_file import ServingFile, read_serving_file, save_serving_file

REACH, LIMIT, GAP, FIRST = 4, 3, 2, 1_600_000_000
COLUMNS = "user_id,item_id,timestamp"


def draw(seed, n=200, n_users=9, n_items=12):
    """Rows in the order of time: later ones are of more users and items, with repeats."""
    random = np.random.default_rng(seed)
    times = FIRST + np.sort(random.integers(n // 3, size=n))
    users = 1 + random.integers(1 + np.arange(n) * n_users // n)
    items = 1 + random.integers(1 + np.arange(n) * n_items // n)
    return NewRows(users, items, times)


def parts_of(rows, *bounds):
    ends = [0, *bounds, len(rows.users)]
    return [
        NewRows(*(column[begin:end] for column in rows)) for begin, end in itertools.pairwise(ends)
    ]


def first_come(codes):
    """Numbers by the order in which they come, as tokens are numbered."""
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    return 1 + np.argsort(np.argsort(first))[inverse]


def make_run(folder, rows, settings, *, model="Momento", reads_past=0, rows_of_items=True):
    """What a finished run leaves for a refresh; its numbers are in the order they come."""
    folder.mkdir(exist_ok=True)
    (folder / "checkpoint").mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(settings[model], encoding="utf-8")
    (folder / "checkpoint" / "best.pt").write_bytes(b"weights")
    order = np.lexsort((rows.times, rows.users))
    users, items, times = (column[order] for column in rows)
    n_users, n_items = int(users.max()) + 1, int(items.max()) + 1
    starts = np.searchsorted(users, users)
    visits = number_visits(times, starts, gap=GAP)
    runs = build_events(items, times, starts, visits, n_items=n_items, reach=REACH)
    taken = times_of_items(items, times, n_items=n_items)
    newest = int(times.max())
    clock = MemoryClock(FIRST, newest - FIRST + 2, newest + 1, 1)
    arrays = {
        "clock": np.array(clock),
        "rules": MemoryRules(REACH, GAP, LIMIT, reads_past).to_array(),
        "times": taken.times,
        "starts": taken.starts,
        "near.text": np.ones((n_items, 2), dtype=np.int32),
    }
    state = keep_newest(
        users,
        items,
        times,
        positions=np.bincount(users, minlength=n_users),
        tokens=np.array(["[PAD]", *(f"u{user}" for user in range(1, n_users))]),
        keep=10,
    )
    memory = write_memory(folder, arrays, write_whole(folder, runs), state)
    tokens = np.array(["[PAD]", *(f"i{item}" for item in range(1, n_items))])
    own = {"catalogue": np.ones((n_items, 1, 2), dtype=np.float32)} if rows_of_items else {}
    data = ServingData(tokens, np.bincount(items, minlength=n_items), n_users, FIRST, 0, own)
    checkpoint = hash_file(folder / "checkpoint" / "best.pt")
    save_serving_file(folder, ServingFile(data, {}, checkpoint, memory))
    return folder


def write_rows(path, rows):
    lines = [f"u{u},i{i},{t}" for u, i, t in zip(*rows, strict=True)]
    path.write_text("\n".join([COLUMNS, *lines]) + "\n", encoding="utf-8")
    return path


def contents(folder):
    """All that is served and kept, by name."""
    kept = read_serving_file(folder)
    arrays = {**kept.data.arrays, "tokens": kept.data.item_tokens}
    arrays |= {f"whole.{name}": it for name, it in vars(kept.memory.open_events(folder)).items()}
    arrays |= {f"state.{name}": it for name, it in vars(kept.memory.open_state(folder)).items()}
    return arrays


def with_lines(tmp_path, *lines, header=COLUMNS, name="new.csv"):
    path = tmp_path / name
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def snapshot(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
