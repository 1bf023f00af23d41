"""Runs and checkpoints that are broken, foreign or not there."""

import dataclasses
import pickle
import zipfile

import torch
from faultkit import EVALUATE, RESUME, Fault, put, remove, replace
from rows_features import Trap

from recbole_hm4sr.data.features import load_features, save_features
from recbole_hm4sr.train.checkpoint_file import write_checkpoint

BEST, LAST = "done/checkpoint/best.pt", "done/checkpoint/last.pt"


def best(name, says, spoil):
    return Fault(f"checkpoint: {name}", EVALUATE, says, spoil)


def last(name, says, spoil):
    return Fault(f"checkpoint to go on from: {name}", RESUME, says, spoil)


def cut(name, share):
    def spoil(place):
        content = (place / name).read_bytes()
        (place / name).write_bytes(content[: int(len(content) * share)])

    return spoil


def flipped(place):
    content = bytearray((place / BEST).read_bytes())
    content[len(content) // 3] ^= 0xFF
    (place / BEST).write_bytes(content)


def change(name, **values):
    """A checkpoint with other entries; None removes one."""

    def spoil(place):
        state = torch.load(place / name, weights_only=True)
        for key, value in values.items():
            if value is None:
                del state[key]
            else:
                state[key] = value(state[key]) if callable(value) else value
        write_checkpoint(place / name, state)

    return spoil


def saved(name, value):
    """A checkpoint with a good check sum and another content."""
    return lambda place: write_checkpoint(place / name, value)


def unsummed(name, value):
    return lambda place: torch.save(value, place / name)


def bomb_of_zip(place):
    with zipfile.ZipFile(place / BEST, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../../escaped.txt", b"x" * 1000)
        archive.writestr("archive/data.pkl", pickle.dumps(Trap()))


def poison(state):
    return {**state, "item_embedding.weight": state["item_embedding.weight"] * float("nan")}


def config(old, new):
    def spoil(place):
        path = place / "done" / "config.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return spoil


def other_features(place):
    path = place / "data" / "toy" / "toy.text.npz"
    features = load_features(path)
    save_features(path, dataclasses.replace(features, values=features.values + 1))


def without_first(state):
    return dict(list(state.items())[1:])


FAULTS = [
    Fault("run: nowhere", ["evaluate", "--run=nowhere"], "must be the folder of a run"),
    Fault("run: a file", ["evaluate", "--run=data/toy/toy.item"], "must be the folder of a run"),
    Fault("run: not begun, gone on with", ["train", "--resume=nowhere"],
          "must be the folder of a run"),
    Fault("run: gone on with, and a flag", [*RESUME, "--epochs=3"], "--resume must stand alone"),
    Fault("run: gone on with, and a folder", [*RESUME, "--run_dir=x"], "--resume must stand alone"),
    Fault("run: no settings", EVALUATE, "holds no config.yaml", remove("done/config.yaml")),
    Fault("run: empty settings", EVALUATE, "must name the dataset and the model",
          put("done/config.yaml", "")),
    Fault("run: settings that are no YAML", RESUME, r"config\.yaml, line 1 must be YAML",
          put("done/config.yaml", "model: [")),
    Fault("run: settings of an unknown model", EVALUATE, "must be one of this package",
          config("model: HM4SR", "model: HM5SR")),
    Fault("run: settings of a model that is a list", EVALUATE, "must name the model",
          config("model: HM4SR", "model: [HM4SR]")),
    Fault("run: settings of a numbered data set", EVALUATE, "must name the dataset",
          config("dataset: toy", "dataset: 5")),
    Fault("run: settings with an unknown name", RESUME, "'hiden_size' .*is unknown",
          config("model: HM4SR", "model: HM4SR\nhiden_size: 3")),
    Fault("run: its data gone", RESUME, "toy", lambda p: (p / "data").rename(p / "moved")),
    Fault("run: its interactions changed", EVALUATE, "must meet the interactions it was trained on",
          replace("toy.inter", "u0\ti0\t", "u0\ti1\t")),
    Fault("run: its features changed", RESUME, "must meet the text features it was trained on",
          other_features),
    Fault("run: another width", EVALUATE, "must be of a run with hidden_size: 16, got 8",
          config("\nhidden_size: 8", "\nhidden_size: 16")),
    Fault("run: another model's settings", EVALUATE, "must be of the model SASRec, got HM4SR",
          put("done/config.yaml", "model: SASRec\ndataset: toy\ndata_path: data\n")),
    best("missing", r"best\.pt does not exist", remove(BEST)),
    best("a folder", r"best\.pt", lambda p: ((p / BEST).unlink(), (p / BEST).mkdir())),
    best("empty", "with its check sum at the end", put(BEST, b"")),
    best("truncated", "with its check sum at the end", cut(BEST, 0.5)),
    best("without its end", "with its check sum at the end", cut(BEST, 0.99)),
    best("one altered byte", r"best\.pt", flipped),
    best("a text", "with its check sum at the end", put(BEST, "no checkpoint")),
    best("pickled", "with its check sum at the end", put(BEST, pickle.dumps(Trap()))),
    best("code inside", "Weights only load failed", saved(BEST, {"trap": Trap()})),
    best("names that leave the folder", r"best\.pt", bomb_of_zip),
    best("a tensor", "must be a checkpoint of this package", unsummed(BEST, torch.ones(3))),
    best("another project's", "must be a checkpoint of this package",
         unsummed(BEST, {"state_dict": {}, "epoch": 3})),
    best("another version", "must have version 2, got 99", change(BEST, version=99)),
    best("another model", "must be of the model HM4SR, got SASRec", change(BEST, model="SASRec")),
    best("other data", "must meet the interactions",
         change(BEST, fingerprints={"interactions": "0"})),
    best("no model named", r"best\.pt", change(BEST, model=None)),
    best("no weights", r"best\.pt", change(BEST, state_dict=None)),
    best("weights missing", "does not fit the model: .*Missing key",
         change(BEST, state_dict=without_first)),
    best("weights of another shape", "does not fit the model: .*size mismatch",
         change(BEST, state_dict=lambda s: {k: v.repeat(2, *[1] * (v.ndim - 1)) if v.ndim else v
                                            for k, v in s.items()})),
    best("weights as a list", r"best\.pt", change(BEST, state_dict=[1, 2])),
    best("weights as numbers", r"best\.pt",
         change(BEST, state_dict=lambda s: dict.fromkeys(s, 1.0))),
    best("weights of NaN", "NaN|finite", change(BEST, state_dict=poison)),
    best("fingerprints as a list", r"best\.pt", change(BEST, fingerprints=[1])),
    last("truncated", "with its check sum at the end", cut(LAST, 0.7)),
    last("code inside", "Weights only load failed", saved(LAST, {"trap": Trap()})),
    last("a best one", r"last\.pt", lambda p: (p / LAST).write_bytes((p / BEST).read_bytes())),
    last("no optimizer", r"last\.pt", change(LAST, optimizer=None)),
    last("an optimizer of another model", r"last\.pt",
         change(LAST, optimizer={"state": {}, "param_groups": []})),
    last("no random states", r"last\.pt", change(LAST, random_states=None)),
    last("random states that are none", r"last\.pt", change(LAST, random_states={"python": 1})),
    last("an epoch that is none", r"last\.pt", change(LAST, epoch="three")),
    last("a history that is none", r"last\.pt", change(LAST, history=[{"epoch": 1}])),
    last("weights of NaN", "NaN|finite", change(LAST, state_dict=poison)),
]  # fmt: skip
