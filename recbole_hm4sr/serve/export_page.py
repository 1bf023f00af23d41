"""The page of an exported index: what its files are, and the lines that query them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import recbole_hm4sr
from recbole_hm4sr.data.times import PER_SECOND, UNIT_WORDS
from recbole_hm4sr.model.registry import display_name
from recbole_hm4sr.serve.export_memory import N_CANDIDATES, memory_words

_CODE = """\
import faiss, numpy as np, onnxruntime
items, tokens = np.load("items.npy"), np.load("tokens.npy").tolist()
index = faiss.IndexFlatIP(items.shape[1])
index.add(items)
tower = onnxruntime.InferenceSession("user_tower.onnx", providers=["CPUExecutionProvider"])
number = {token: row for row, token in enumerate(tokens, start=1)}
def recommend(history, k=10):  # pairs of item and time, oldest first
    known = [(number[i], t) for i, t in history if i in number][-MAX_LENGTH:]
    if not known: return []  # no item is known: show what is popular
    known = np.array(known, np.int64)
    users = tower.run(None, {
        FEED})[0]
    rows = index.search(users, k)[1][0]
    return [tokens[row] for row in rows if row >= 0]  # -1: there are no more items"""
_CODE_WITH_MEMORY = """\
import faiss, numpy as np, onnxruntime, time
items, tokens = np.load("items.npy"), np.load("tokens.npy").tolist()
memory = dict(np.load("memory.npz"))
index = faiss.IndexFlatIP(items.shape[1])
index.add(items)
tower = onnxruntime.InferenceSession("user_tower.onnx", providers=["CPUExecutionProvider"])
number = {token: row for row, token in enumerate(tokens, start=1)}
def score(known, now):  # items as numbers, and times, oldest first; the time of the request
    users, weights = tower.run(None, {
        FEED})
    last = known[::-1, 0][:REACH]
    near, values = memory["items"][last], memory["values"][last]
    decayed = DECAY ** np.arange(len(last))[:, None]
    added = np.bincount(near.ravel(), minlength=len(tokens) + 1,
        weights=(decayed * weights[0][memory["relations"][last]] * values).ravel())
    added[memory["popular_items"]] += weights[0, -1] * memory["popular_values"]
    found = np.append(index.search(users, N_CANDIDATES)[1][0] + 1, memory["popular_items"])
    found = np.setdiff1d(np.append(found, near), [0])  # 0: there are no more
    return found, items[found - 1] @ users[0] + added[found]
def recommend(history, k=10, now=None):  # pairs of item and time, oldest first
    known = [(number[i], t) for i, t in history if i in number][-MAX_LENGTH:]
    if not known: return []  # no item is known: show what is popular
    now = int(time.time() * PER_SECOND) if now is None else now
    found, scores = score(np.array(known, np.int64), now)
    return [tokens[row - 1] for row in found[np.argsort(-scores, kind="stable")[:k]]]"""
_WITHOUT_MEMORY = {
    "memory_row": "",
    "scores": "The score of an item for a user is the inner product of their vectors, so any index "
    "of inner products\nserves.",
    "memory_note": "",
}
_FEEDS = {
    "moments": "np.array([now])",
    "item_seq": "known[None, :, 0]",
    "item_seq_len": "np.array([len(known)])",
    "timestamps": "known[None, :, 1]",
}


def _code(facts: Mapping[str, Any]) -> str:
    """The lines that query an index folder."""
    feed = ",\n        ".join(f'"{name}": {_FEEDS[name]}' for name in facts["inputs"])
    values = {"MAX_LENGTH": facts["max_length"], "FEED": feed}
    code = _CODE
    if "memory" in facts:
        code = _CODE_WITH_MEMORY
        values |= {
            "N_CANDIDATES": N_CANDIDATES,
            "REACH": facts["memory"]["reach"],
            "DECAY": facts["memory"]["decay"],
            "PER_SECOND": PER_SECOND[facts["timestamp_unit"]],
        }
    for name, value in values.items():
        code = code.replace(name, str(value))
    return code


def index_page(facts: Mapping[str, Any], width: int, tolerance: float) -> str:
    """The page of an index folder.

    Args:
        facts: What the index says of itself.
        width: Of its vectors.
        tolerance: Of its scores, relative to the largest.
    """
    template = (Path(__file__).parent / "index_readme.md").read_text(encoding="utf-8")
    unit = facts["timestamp_unit"]
    note = f" Times are {UNIT_WORDS[unit]} since 1970 (UTC)."
    generated = "\n\nThe data set is GENERATED: its numbers say nothing of real shops."
    of_memory = memory_words(facts["memory"], unit) if "memory" in facts else {}
    return template.format(
        model=display_name(facts["model"]),
        **{name: facts[name] for name in ("dataset", "run", "n_items", "max_length")},
        width=width,
        code=_code(facts),
        inputs=", ".join(f"`{name}`" for name in facts["inputs"]),
        time_note=note if "timestamps" in facts["inputs"] else "",
        tolerance=tolerance,
        version=recbole_hm4sr.__version__,
        generated=generated * facts["generated"],
        **{**_WITHOUT_MEMORY, **of_memory},
    )
