"""The files of a finished run, written without training one."""

import dataclasses
import json

import numpy as np

from recbole_hm4sr.train.epochs import EpochRecord


def write_run(folder, *, facts=None, settings="dataset: toy\n", **changes):
    """Write a run of two epochs and four test users into a folder; returns it."""
    folder.mkdir(exist_ok=True)
    metrics = {
        "model": "HM4SR",
        "dataset": "toy",
        "generated": False,
        "best_epoch": 2,
        "epochs": 2,
        "seed": 1,
        "n_parameters": 1234,
        "seconds": 10.0,
        "stages": {"opening": 2.0, "testing": 1.0},
        "train_seconds_per_epoch": 1.0,
        "peak_memory_mb": 100,
        "device": "cpu",
        "machine": "x",
        "git_revision": None,
        "versions": {"torch": "2"},
        "command": "python run_hm4sr.py",
        "test_include": {"ndcg@10": 0.25, "mrr@10": 0.2},
        "test_exclude": {"ndcg@10": 0.35},
        "rank_history": "include",
        "valid": {"ndcg@10": 0.5, "mrr@10": 0.3},
        **changes,
    }
    records = [
        EpochRecord(
            n,
            3.0 - n,
            {"cross_entropy": 2.0 - n, "other": 1.0},
            0.1 * n,
            {"ndcg@10": 0.1 * n, "mrr@10": 0.1},
            True,
            1.0,
            0.5,
        )
        for n in (1, 2)
    ]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    lines = [json.dumps(dataclasses.asdict(record)) + "\n" for record in records]
    (folder / "history.jsonl").write_text("".join(lines))
    (folder / "config.yaml").write_text(settings)
    if facts is not None:
        (folder / "report.json").write_text(json.dumps(facts))
    write_ranks(folder)
    return folder


def write_ranks(folder, **changes):
    """Ranks of four users: 1, 3, 11 and 1 with the history, one better without where they can."""
    columns = {
        "user": np.array(["u1", "u2", "u3", "u4"]),
        "target": np.array(["i1", "i2", "i3", "i4"]),
        "history_length": np.array([2, 4, 4, 60]),
        "gap_seconds": np.array([0, 30, 3600, 400 * 86400]),
        "target_count": np.array([0, 5, 6, 1000]),
        "popularity": np.array(["tail", "tail", "middle", "head"]),
        "rank_include": np.array([1, 3, 11, 1]),
        "rank_exclude": np.array([1, 2, 10, 1]),
        **changes,
    }
    np.savez(folder / "test_ranks.npz", **columns)


def some_facts(**changes):
    """What ``report.json`` holds, for one case and two streams."""
    target = {
        "item": "i9",
        "time": 1_700_000_000,
        "gap": 60,
        "parts": [1.0, -0.5],
        "taken": False,
        "rank_include": 12,
        "rank_exclude": 11,
    }
    return {
        "version": 1,
        "seed": 7,
        "seconds": 0.5,
        "users": 3,
        "of_users": 4,
        "streams": ["id", "text"],
        "data": {
            "users": 4,
            "items": 9,
            "interactions": 40,
            "first": 1_600_000_000,
            "last": 1_700_000_000,
            "whole_days": False,
            "samples": [32, 4, 4],
            "modalities": [{"name": "text", "width": 5, "encoder": "test", "items": 9}],
        },
        "temporal": None,
        "interactive": None,
        "parts": None,
        "cases": [
            {
                "user": "u1",
                "length": 14,
                "history": [{"item": "i1", "time": 1_699_999_940, "gap": None}],
                "top": [{"item": "i1", "parts": [2.0, 1.0], "taken": True, "true": False}],
                "target": target,
            }
        ],
        "items": {"i1": {"title": "First", "categories": "A B"}},
        "images": {},
        "images_missing": "",
        **changes,
    }
