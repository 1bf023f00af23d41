"""What a user can get wrong is answered before torch and RecBole are imported."""

import json
import subprocess
import sys

import pytest

# Each command in a process of its own, forked from one that has imported the command line only.
SCRIPT = """
import json, os, sys
import pandas, scipy.stats  # once for all, not a second a command
from recbole_hm4sr.cli import main
for words in json.load(sys.stdin):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        for stream in (1, 2):
            os.dup2(writing, stream)
        code = 0
        try:
            main(words)
        except SystemExit as stop:
            code = stop.code
        sys.stdout.flush()
        late = sorted({"torch", "recbole"} & set(sys.modules))
        os.write(writing, ("\\n" + json.dumps([code, late])).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    print(json.dumps(text.rpartition("\\n")[::2]))
"""

# Command, exit code, what the answer holds. {data}: folder of the toy data; {tmp}: an empty one.
TRAIN = "train --dataset=toy --data_path={data} "
CASES = [
    ("", 2, "Usage"),
    ("--help", 0, "Usage"),
    ("nothing", 2, "No such command"),
    ("--version", 0, "hm4sr 0."),
    ("models", 0, "Self-Attentive Sequential Recommendation"),
    ("settings HM4SR", 0, "hidden_size: 64 (a whole number, 1 or more) D, width of every stream"),
    ("settings SASRec", 0, "n_heads: 2 (a whole number, 1 or more)"),
    ("settings HMSR", 2, "did you mean 'HM4SR'?"),
    ("settings", 2, "Missing argument 'model'"),
    *((f"{name} --help", 0, "Usage") for name in (
        "train", "evaluate", "compare", "tune", "report", "check", "prepare csv", "prepare amazon",
        "prepare images", "encode text", "encode image", "convert", "recommend", "export", "serve",
        "refresh", "similar", "update", "replay",
        "models", "settings",
    )),
    (TRAIN + "--model=SASREC2", 2, "did you mean 'SASRec'?"),
    (TRAIN + "--model=HMSR", 2, "did you mean 'HM4SR'?"),
    (TRAIN + "--learnig_rate=1", 2, "did you mean 'learning_rate'?"),
    (TRAIN + "--model=SASRec --hiden_size=1", 2, "did you mean 'hidden_size'?"),
    (TRAIN + "--hidden_size=many", 2, "hidden_size must be a whole number, got 'many'"),
    (TRAIN + "--hidden_size=0", 2, "hidden_size must be 1 or more, got 0"),
    (TRAIN + "--model=MMSR --seq_pooling=best", 2, "seq_pooling must be one of last, mean"),
    (TRAIN + "--epochs=0", 2, "epochs must be 1 or more, got 0"),
    (TRAIN + "--metrics=[NDGC]", 2, "metrics must be of auc, averagepopularity"),
    (TRAIN + "--loss_type=BPR --model=SASRec", 2, "train_neg_sample_args must say how"),
    (TRAIN + "stray", 2, "a flag must have the form --name=value, got 'stray'"),
    (TRAIN + "--learning_rate", 2, "the flag --learning_rate must have a value"),
    ("train --dataset=toi --data_path={data}", 2, "there is toy; name it with --dataset"),
    ("train --dataset=sprots", 2, "did you mean 'sports'?"),
    ("train --dataset=empty --data_path={tmp}", 2, "empty.inter does not exist"),
    ("train --dataset=columns --data_path={tmp}", 2, "must have the column 'timestamp'"),
    (TRAIN + "--config_files={tmp}/none.yaml", 2, "cannot read the settings file"),
    (TRAIN + "--config_files={tmp}/broken.yaml", 2, "broken.yaml, line 3 must be YAML"),
    (TRAIN + "--run_dir={tmp}/run", 2, "run_dir must not hold a run already"),
    (TRAIN + "--run_dir={tmp}/a.txt", 2, "run_dir must be a folder that can be written"),
    ("train --resume={tmp}/none", 2, "none must be the folder of a run, but does not exist; hm4sr"),
    ("train --resume={tmp}/wholly", 2, "be the folder of a run, but does not exist; did you"),
    ("train --resume={tmp}/run --epochs=3", 2, "--resume must stand alone"),
    ("train --resume={tmp}/unknown", 2, "did you mean 'HM4SR'?"),
    *((f"{name} {{tmp}}/none", 2, "must be the folder of a run") for name in (
        "evaluate --run", "export --out={tmp}/new --run", "serve --run",
        "recommend --history={tmp}/a.txt --run",
    )),
    ("serve", 2, "hm4sr serve must have either --run or --onnx"),
    ("serve --run={tmp}/whole --onnx={tmp}/none", 2, "must have either --run or --onnx"),
    ("serve --onnx={tmp}/none", 2, "must be a folder that hm4sr export has written, but"),
    ("serve --onnx={tmp}/whole --workers=0", 2, "Invalid value for '--workers'"),
    ("evaluate --run={tmp}/run", 2, "checkpoint/best.pt does not exist"),
    ("recommend --run={tmp}/whole --history={tmp}/none.csv", 2, "none.csv does not exist"),
    ("refresh --run={tmp}/whole --interactions={tmp}/none.csv", 2, "none.csv does not exist"),
    ("update --run={tmp}/whole", 2, "must have one of --interactions, --held_out and --undo"),
    ("update --run={tmp}/whole --interactions={tmp}/a.txt --passes=0", 2, "--passes must be"),
    ("replay --run={tmp}/whole --every=fortnight", 2, "--every must be one of day, week, month"),
    ("replay --run={tmp}/whole --policies=frozen,melted", 2, "--policies must be one of frozen"),
    ("replay --run={tmp}/none", 2, "must be the folder of a run"),
    (TRAIN + "--init_from={tmp}/none", 2, "must be the folder of a run"),
    ("recommend --run={tmp}/whole --history={tmp}/a.txt -k 0", 2, "Invalid value for '-k'"),
    ("recommend --run={tmp}/whole --history={tmp}/a.txt --candidates={tmp}/none.txt", 2,
     "cannot read the candidates"),
    ("recommend --run={tmp}/whole --history={tmp}/a.txt --out=x.pdf", 2, "--out must end in"),
    ("recommend --run={tmp}/whole --history={tmp}/a.txt --where=price", 2, "where, character 6: "),
    ("recommend --run={tmp}/whole --history={tmp}/a.txt --max_per=3", 2, "the form COLUMN=N"),
    ("recommend --run={tmp}/whole --history={tmp}/a.txt --unit=h", 2, "--unit must be one of s, "),
    ("similar --run={tmp}/whole --items=,", 2, "--items must name at least one item"),
    ("similar --run={tmp}/whole --items=@{tmp}/none", 2, "cannot read the items in"),
    ("export --run={tmp}/whole --out={tmp}", 2, "--out must be a folder that does not exist yet"),
    ("report {tmp}/none", 2, "must be the folder of a finished run"),
    ("report {tmp}/none {tmp}/run", 2, "must be the folder of a finished run"),
    ("compare --dataset=toy --data_path={data} --models=SASRek", 2, "did you mean 'SASRec'?"),
    ("compare --dataset=toy --data_path={data} --models=SASRec,HM4SR --hiden_size=3", 2,
     "did you mean 'hidden_size'?"),
    ("compare --dataset=toy --models=SASRec --data_path={data} --seeds=1-", 2,
     "or a range of them"),
    ("compare --dataset=toy --models=SASRec --data_path={data} --tables --out={tmp}/none", 2,
     "must hold a result of this grid"),
    ("compare --grid=none", 2, "--grid must be a YAML file or one of"),
    ("tune --dataset=toy --data_path={data} --model=SASREC2", 2, "must name a .hyper file"),
    ("tune --dataset=toy --data_path={data} --params={tmp}/none.hyper", 2, "--params must be"),
    ("tune --dataset=toy --data_path={data} --params={tmp}/wrong.hyper", 2,
     "did you mean 'learning_rate'?"),
    ("tune --dataset=toy --data_path={data} --algo=best", 2, "--algo must be one of"),
    ("tune --dataset=toy --data_path={data} --model=SASRec --stoping_step=3", 2,
     "did you mean 'stopping_step'?"),
    ("check --dataset=toi --data_path={data}", 2, "there is toy"),
    ("check --dataset=toy --data_path={data} --model=SASREC2", 2, "did you mean 'SASRec'?"),
    ("check --dataset=toy --data_path={data} --epoch=1", 2, "did you mean 'epochs'?"),
    ("prepare csv --interactions={tmp}/none.csv --out={tmp}/new", 2, "none.csv"),
    ("prepare csv --interactions={tmp}/a.txt --out={tmp}/new --unit=d", 2, "--unit must be one of"),
    ("prepare amazon --reviews={tmp}/none.json --out={tmp}/new", 2, "none.json"),
    ("encode text --dataset=toi --data_path={data}", 2, "there is toy"),
    ("encode text --dataset=toy --data_path={data} --fields=name", 2, "name"),
    ("encode image --dataset=toi --data_path={data} --images={tmp}", 2, "there is toy"),
    ("encode image --dataset=toy --data_path={data} --images={tmp}/none", 2, "none"),
    ("convert --dataset=toi --data_path={data} --from=npz --file={tmp}/a.txt --modality=x", 2,
     "there is toy"),
    ("convert --dataset=toy --data_path={data} --from=xyz --file={tmp}/a.txt --modality=x", 2,
     "a format must be one of"),
    ("convert --dataset=toy --data_path={data} --from=npz --file={tmp}/none.npz --modality=x", 2,
     "none.npz does not exist"),
]  # fmt: skip


@pytest.fixture(scope="module")
def answers(toy_path, tmp_path_factory):
    """What each command said, its exit code, and which of the two packages it had imported."""
    tmp = tmp_path_factory.mktemp("wrong")
    for name in ("empty", "columns", "run", "unknown", "whole/checkpoint"):
        (tmp / name).mkdir(parents=True)
    run = f"model: HM4SR\ndataset: toy\ndata_path: {toy_path}\n"
    files = {
        "columns/columns.inter": "user_id:token\titem_id:token\nu\ti\n",
        "broken.yaml": "epochs: 3\nepochs: [\n",
        "run/config.yaml": run,
        "whole/config.yaml": run,
        "whole/checkpoint/best.pt": "",
        "unknown/config.yaml": run.replace("HM4SR", "HM4SRR"),
        "a.txt": "a\n",
        "wrong.hyper": "learnin_rate choice [0.1]\n",
    }
    for name, text in files.items():
        (tmp / name).write_text(text, encoding="utf-8")
    commands = [
        [word.format(data=toy_path, tmp=tmp) for word in words.split()] for words, _, _ in CASES
    ]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("number", "words"), [pytest.param(n, case[0], id=case[0]) for n, case in enumerate(CASES)]
)
def test_answer_without_torch_and_recbole(answers, number, words):
    text, facts = answers[number]
    code, late = json.loads(facts)

    assert late == [], words
    assert CASES[number][2] in " ".join(text.split())
    assert code == CASES[number][1]
    assert "Traceback" not in text


def test_recbole_itself_knows_the_same_models_and_metrics():
    from recbole.evaluator import register
    from recbole.model.abstract_recommender import SequentialRecommender

    from recbole_hm4sr.base import compat, recbole_files

    package = vars(compat.import_recbole_models())
    models = {
        name
        for name, value in package.items()
        if isinstance(value, type) and issubclass(value, SequentialRecommender)
    }
    ranks = {name for name, kind in register.metric_types.items() if kind.name == "RANKING"}

    assert set(recbole_files.sequential_models()) == models - {"SequentialRecommender"}
    assert recbole_files.metric_names() == set(register.metrics_dict)
    assert recbole_files.value_metrics() == set(register.metrics_dict) - ranks
    assert recbole_files.smaller_metrics() == set(register.smaller_metrics)
