"""Wrong inputs of ``compare``, ``prepare``, ``encode`` and ``convert``."""

import gzip
import io
import json
import pickle

import numpy as np
import torch
from faultkit import DATA, ITEMS, TINY, Fault, put
from rows_features import VALUES, Trap, npz, zipped

COMPARE = ["compare", *DATA, "--models=HM4SR", "--out=out", *TINY]
GRID = ["compare", "--grid=grid.yaml", "--data_path=data", "--out=out"]
CSV = ["prepare", "csv", "--interactions=raw.csv", "--out=shop"]
AMAZON = ["prepare", "amazon", "--reviews=raw.json", "--out=shop"]
IMAGES = ["prepare", "images", "--items=data/toy/toy.item", "--out=images"]
TEXT = ["encode", "text", *DATA, "--out=new.npz"]
IMAGE = ["encode", "image", *DATA, "--images=pictures", "--out=new.npz"]
CONVERT = ["convert", *DATA, "--modality=v", "--out=new.npz", "--file=raw"]
REVIEW = {"reviewerID": "u", "asin": "i", "unixReviewTime": 1_400_000_000, "overall": 5.0}
TABLE = "user_id,item_id,timestamp\nu1,i1,1600000000\nu1,i2,1600000100\n"


def grid(name, says, text):
    return Fault(f"compare: {name}", GRID, says, put("grid.yaml", text))


def csv(name, says, content, *flags, unfinished=True):
    return Fault(f"csv: {name}", [*CSV, *flags], says, put("raw.csv", content), unfinished)


def amazon(name, says, content, unfinished=True):
    return Fault(f"amazon: {name}", AMAZON, says, put("raw.json", content), unfinished)


def convert(name, says, content, form, *flags):
    return Fault(f"convert: {name}", [*CONVERT, f"--from={form}", *flags], says,
                 put("raw", content))  # fmt: skip


def npy(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def tensor(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def mapped(content, mapping):
    def spoil(place):
        (place / "raw").write_bytes(content)
        (place / "map").write_text(mapping)

    return spoil


def rows_of(items):
    return "".join(f"{item}\t{row}\n" for row, item in enumerate(items))


MMREC = [*CONVERT, "--from=mmrec", "--mapping=map"]
UNISREC = [*CONVERT, "--from=unisrec", "--mapping=map"]

FAULTS = [
    # --- compare -------------------------------------------------------------------------------
    Fault("compare: no models", ["compare", *DATA, "--out=out"], "models must be a list"),
    Fault("compare: no data set", ["compare", "--models=HM4SR", "--out=out"],
          "datasets must be a list"),
    Fault("compare: unknown model", [*COMPARE[:3], "--models=HM4RS", "--out=out"],
          "did you mean 'HM4SR'"),
    Fault("compare: unknown data set", ["compare", "--dataset=ty", "--data_path=data",
          "--models=HM4SR", "--out=out"], "'ty' must be a folder"),
    Fault("compare: a model twice", [*COMPARE[:3], "--models=HM4SR,HM4SR", "--out=out"],
          "must differ, got 'HM4SR' twice"),
    Fault("compare: a seed below 0", [*COMPARE, "--seeds=-1"], "a seed must be a whole number"),
    Fault("compare: a seed that is a word", [*COMPARE, "--seeds=one"], "a seed must be"),
    Fault("compare: unknown metric", [*COMPARE, "--metrics=NDGC@10"], "NDGC"),
    Fault("compare: a metric without a cut", [*COMPARE, "--metrics=NDCG"], "NDCG"),
    Fault("compare: unknown baseline", [*COMPARE, "--baseline=SASRec"], "baseline must be one of"),
    Fault("compare: no jobs", [*COMPARE, "--jobs=0"], "--jobs must be 1 or more"),
    Fault("compare: jobs that are a word", [*COMPARE, "--jobs=two"], "--jobs"),
    Fault("compare: unknown setting", [*COMPARE, "--hiden_size=3"], "did you mean 'hidden_size'"),
    Fault("compare: a seed among the settings", [*COMPARE, "--seed=3"], "leave the seed to seeds"),
    Fault("compare: a folder below a file", [*COMPARE[:4], "--out=data/toy/toy.item/x"],
          "cannot write"),
    Fault("compare: unknown grid", ["compare", "--grid=ablatoin"], "--grid must be a YAML file"),
    grid("an empty grid", "datasets must be a list", ""),
    grid("a grid that is no YAML", r"grid\.yaml, line 2 must be YAML", "models: [\n"),
    grid("a grid that is a list", "must hold lines of the form", "- HM4SR\n"),
    grid("an unknown key", "the key 'model' is unknown; did you mean 'models'",
         "datasets: [toy]\nmodels: [HM4SR]\nmodel: x\n"),
    grid("models as a word", "models must be a list", "datasets: [toy]\nmodels: HM4SR\n"),
    grid("a model without its name", "must be a name or have the key model",
         "datasets: [toy]\nmodels: [{label: x}]\n"),
    grid("settings of a model as a list", "settings must hold lines",
         "datasets: [toy]\nmodels: [{model: HM4SR, settings: [1]}]\n"),
    grid("settings as a word", "settings must hold lines",
         "datasets: [toy]\nmodels: [HM4SR]\nsettings: quick\n"),
    grid("a data set that leaves the folder", "must be the name of a folder",
         "datasets: [../../toy]\nmodels: [HM4SR]\n"),
    grid("a label that is one with another", "must differ",
         "datasets: [toy]\nmodels: [{model: HM4SR, label: a b}, {model: SASRec, label: a/b}]\n"),
    grid("a search that is not there", "must be the folder of a search by hm4sr tune",
         "datasets: [toy]\nmodels: [{model: HM4SR, tuned: runs/tune}]\n"),
    grid("data of a row's own", "must leave data_path to the grid's",
         "datasets: [toy]\nmodels: [{model: HM4SR, settings: {data_path: elsewhere}}]\n"),
    grid("a search that is a list", "must be the folder of a search",
         "datasets: [toy]\nmodels: [{model: HM4SR, tuned: [3]}]\n"),
    grid("an object of Python", "could not determine a constructor",
         "datasets: !!python/object/apply:os.system ['touch trap-was-sprung']\n"),
    # --- prepare -------------------------------------------------------------------------------
    Fault("csv: missing", CSV, "raw.csv does not exist"),
    Fault("csv: without the flag", ["prepare", "csv", "--out=shop"], "--interactions"),
    csv("empty", "must be a CSV or Parquet file, got an empty file", "", unfinished=False),
    csv("only a header", "must hold at least one interaction", "user_id,item_id,timestamp\n"),
    csv("another header", "must have the column 'user_id'", "a,b,c\n1,2,3\n"),
    csv("a near name", "did you mean 'timestamp'", TABLE, "--time=timestmp"),
    csv("binary", r"raw\.csv", bytes(range(256)) * 4),
    csv("a broken Parquet file", r"raw\.csv must be a whole Parquet file",
        b"PAR1" + bytes(100) + b"PAR1"),
    csv("cut gzip", r"raw\.csv", gzip.compress(TABLE.encode() * 500)[:-20]),
    csv("words for times", "no number|none", TABLE.replace("16000", "x")),
    csv("times in milliseconds", "time is not in s", TABLE.replace("00\n", "00000\n")),
    csv("too few for the core", "set a smaller --core", TABLE),
    csv("an unknown unit", "--unit must be one of", TABLE, "--unit=h", unfinished=False),
    csv("a core below 0", "must be 0 or more", TABLE, "--core=-1", unfinished=False),
    csv("a memory of words", "memory", TABLE, "--memory=lots"),
    Fault("csv: a folder in use", [*CSV[:3], "--out=data/toy"], "must be new or empty",
          put("raw.csv", TABLE)),
    Fault("csv: a folder below a file", [*CSV[:3], "--out=raw.csv/shop"], "cannot write",
          put("raw.csv", TABLE)),
    Fault("amazon: missing", AMAZON, "raw.json does not exist"),
    amazon("empty", r"raw\.json", "", unfinished=True),
    amazon("no JSON", r"raw\.json", "no reviews here\n" * 3),
    amazon("another record", r"raw\.json", '{"a": 1}\n'),
    amazon("code for a record", r"raw\.json",
           "__import__('os').system('touch trap-was-sprung')\n"),
    amazon("deep nesting", r"raw\.json", "[" * 100_000 + "\n"),
    amazon("cut gzip", r"raw\.json",
           gzip.compress((json.dumps(REVIEW) + "\n").encode() * 500)[:-20]),
    amazon("too few for the core", "set a smaller --core", json.dumps(REVIEW) + "\n"),
    Fault("images: no column of addresses", IMAGES, "must have the column 'image_url'"),
    Fault("images: no table", ["prepare", "images", "--items=no.item", "--out=images"],
          "no.item does not exist"),
    Fault("images: no workers", [*IMAGES, "--workers=0"], "--workers"),
    Fault("images: a pause below 0", [*IMAGES, "--pause=-1"], "--pause"),
    # --- encode --------------------------------------------------------------------------------
    Fault("encode: unknown columns", [*TEXT, "--fields=blurb"], "must have the text_fields blurb"),
    Fault("encode: no columns", [*TEXT, "--fields=,"], "--fields must name columns"),
    Fault("encode: no data set", ["encode", "text", "--dataset=nowhere"], "must be a folder"),
    Fault("encode: unknown storage", [*TEXT, "--storage=int8"], "storage"),
    # Without the extra the sentence is of that.
    Fault("encode: unknown encoder", [*TEXT, "--encoder=./no-such-folder"],
          r"no-such-folder|must have the package transformers"),
    Fault("encode: a batch of 0", [*TEXT, "--batch_size=0"], "--batch_size"),
    Fault("encode: a file below a file", [*TEXT[:4], "--out=data/toy/toy.item/x.npz"],
          "cannot write"),
    Fault("encode: no folder of images", IMAGE, "pictures"),
    Fault("encode: a folder without images", IMAGE, "image",
          lambda place: (place / "pictures").mkdir()),
    # --- convert -------------------------------------------------------------------------------
    Fault("convert: missing", [*CONVERT, "--from=npz"], "raw does not exist"),
    convert("unknown format", "a format must be one of", b"", "csv"),
    convert("unknown target", "a format must be one of", npz(), "npz", "--to=csv"),
    convert("a text as npz", "must be an .npz", b"text", "npz"),
    convert("pickled npz", "plain arrays", zipped(values=pickle.dumps(Trap())), "npz"),
    convert("tokens of another data set", "none matches",
            npz(tokens=np.array([f"B{n}" for n in range(7)])), "npz"),
    convert("a text as tensor", "must be a tensor written by torch.save", b"text", "hm4sr"),
    convert("an empty tensor file", "must be a tensor written by torch.save", b"", "hm4sr"),
    convert("a pickled tensor", "must be a tensor written by torch.save", pickle.dumps(Trap()),
            "hm4sr"),
    convert("code in a tensor", "must be a tensor written by torch.save", tensor([Trap()]),
            "hm4sr"),
    convert("a list as tensor", "must hold a tensor of shape", tensor([1, 2]), "hm4sr"),
    convert("a tensor of one dimension", "must hold a tensor of shape", tensor(torch.ones(7)),
            "hm4sr"),
    convert("a tensor of too few rows", "must have a row for each of the 7 items",
            tensor(torch.ones(3, 2)), "hm4sr"),
    convert("a tensor of NaN", "hold NaN or infinity", tensor(torch.full((7, 2), torch.nan)),
            "hm4sr"),
    convert("a sparse tensor", r"raw", tensor(torch.ones(7, 2).to_sparse()), "hm4sr"),
    convert("categories that are no flags", "must hold 0 or 1", tensor(torch.full((7, 2), 3.0)),
            "hm4sr", "--to=categories"),
    convert("a mapping one too many", "--mapping must be given for", npz(), "npz",
            "--mapping=map"),
    convert("a mapping too few", "--mapping must be given for", npy(VALUES), "mmrec"),
    Fault("convert: a mapping that is missing", MMREC, "map does not exist",
          put("raw", npy(VALUES))),
    Fault("convert: an empty mapping", MMREC, "must hold lines of token and row",
          mapped(npy(VALUES), "")),
    Fault("convert: a mapping of one column", MMREC, "line 1 must have 2 columns",
          mapped(npy(VALUES), "i0\n")),
    Fault("convert: a mapping with a row twice", MMREC, "line 2: rows must be 0 to 1",
          mapped(npy(VALUES), "i0\t0\ni1\t0\n")),
    Fault("convert: a mapping to huge rows", MMREC, "rows must be",
          mapped(npy(VALUES), f"i0\t{'9' * 5000}\n")),
    Fault("convert: a mapping of other items", MMREC, "must name the 7 items",
          mapped(npy(VALUES), rows_of(f"B{n}" for n in range(7)))),
    Fault("convert: rows too few", MMREC, "must have one row for each item",
          mapped(npy(VALUES[:5]), rows_of(ITEMS))),
    Fault("convert: objects", MMREC, "must be an .npy file of numbers",
          mapped(npy(VALUES.astype(object)), rows_of(ITEMS))),
    Fault("convert: texts", MMREC, "must hold one array of numbers",
          mapped(npy(np.array([["a"]] * 7)), rows_of(ITEMS))),
    Fault("convert: an archive as array", MMREC, "must hold one array|must be an .npy",
          mapped(npz(), rows_of(ITEMS))),
    Fault("convert: an empty raw file", UNISREC, "must be a file of float32",
          mapped(b"", rows_of(ITEMS))),
    Fault("convert: a raw file of odd length", UNISREC, "raw", mapped(b"abcde", rows_of(ITEMS))),
    Fault("convert: a raw file of too few values", UNISREC, "same number of values",
          mapped(np.ones(8, np.float32).tobytes(), rows_of(ITEMS))),
    Fault("convert: raw NaN", UNISREC, "hold NaN or infinity",
          mapped(np.full(14, np.nan, np.float32).tobytes(), rows_of(ITEMS))),
    Fault("convert: to a file below a file",
          [*CONVERT[:4], "--from=npz", "--file=raw", "--out=raw/new.npz"], "cannot write",
          put("raw", npz())),
]  # fmt: skip
