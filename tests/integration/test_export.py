"""The exported index: the lines of its README give the model's own answers."""

import ast
import os
import re
import subprocess
import sys

import pytest
from servedruns import expected_of, train_toy

from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.run.plan import compose
from recbole_hm4sr.testing.toydata import QUICK_HM4SR

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra export")
pytest.importorskip("onnxscript", reason="needs the extra export")
pytest.importorskip("faiss", reason="needs the extra export")

from recbole_hm4sr.model.packed_settings import PackedTraining  # noqa: E402
from recbole_hm4sr.model.registry import MODELS  # noqa: E402
from recbole_hm4sr.serve.export import export_index  # noqa: E402
from recbole_hm4sr.serve.recommend import Recommender  # noqa: E402

pytestmark = pytest.mark.integration


def readme_lines(folder):
    page = (folder / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)\n```", page, re.DOTALL)
    return code


def run_lines(folder):
    """The function that the README's lines define, run in the folder as it says."""
    before = os.getcwd()  # noqa: PTH109
    names = {}
    try:
        os.chdir(folder)
        exec(compile(readme_lines(folder), "README.md", "exec"), names)
    finally:
        os.chdir(before)
    return names["recommend"]


def ask(recommend, histories, k=10):
    return [recommend(list(zip(*history, strict=True)), k) for history in histories]


@pytest.fixture(scope="module")
def index(hm4sr_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "index"
    with pytest.raises(SystemExit, match="0"):
        cli.main(["export", "--run", str(hm4sr_run), "--out", str(out)])
    return out


def test_the_lines_of_the_readme_give_the_models_top_ten_to_every_test_user(index, hm4sr_run):
    expected = expected_of(hm4sr_run)
    assert len(expected.histories) > 50
    assert ask(run_lines(index), expected.histories) == expected.top(10)


def test_there_are_few_lines_and_they_fit_a_page(index):
    lines = readme_lines(index).splitlines()
    assert len(lines) == 16
    assert max(map(len, lines)) <= 100


def test_no_item_is_given_twice_or_made_up(index):
    recommend = run_lines(index)
    # 24 items; faiss fills up with -1.
    best = recommend([("B001", 5)], 50)
    assert len(best) == len(set(best)) == 24
    assert recommend([("B001", 5)], 24) == best
    assert recommend([("B001", 5)], 3) == best[:3]


def test_a_history_without_a_known_item_has_no_answer(index):
    recommend = run_lines(index)
    assert recommend([], 3) == []
    assert recommend([("new", 5), ("newer", 6)], 3) == []


def test_the_lines_run_with_what_the_readme_installs_and_nothing_else(index):
    page = (index / "README.md").read_text(encoding="utf-8")
    (packages,) = re.findall(r"`pip install ([^`]*)`", page)
    assert packages.split() == ["onnxruntime", "faiss-cpu", "numpy"]
    code = readme_lines(index) + "\nimport sys\nprint(recommend([('B001', 5)], 50))"
    code += "\nprint({'torch', 'recbole', 'recbole_hm4sr'} & set(sys.modules))"
    words = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(words, cwd=index, capture_output=True, text=True, check=True)
    best, others = done.stdout.splitlines()
    assert len(set(ast.literal_eval(best))) == 24
    assert others == "set()"


def test_unknown_items_and_long_histories_do_no_harm(index, hm4sr_run):
    recommend = run_lines(index)
    long = [(f"B{place % 24:03d}", 1000 + place) for place in range(40)]
    assert recommend([("new", 5), *long], 5) == recommend(long[-8:], 5)


def test_the_index_says_what_it_is_and_nothing_of_the_machine(index, hm4sr_run):
    names = {"items.npy", "tokens.npy", "counts.npy", "user_tower.onnx", "index.json", "README.md"}
    assert {path.name for path in index.iterdir()} == names
    for path in index.iterdir():
        assert str(hm4sr_run.parent).encode() not in path.read_bytes()
        assert b"user_tower.py" not in path.read_bytes()
    assert "GENERATED" in (index / "README.md").read_text(encoding="utf-8")
    inputs = onnxruntime.InferenceSession(str(index / "user_tower.onnx")).get_inputs()
    assert [(value.name, value.shape) for value in inputs] == [
        ("item_seq", ["batch", "length"]),
        ("item_seq_len", ["batch"]),
        ("timestamps", ["batch", "length"]),
    ]


def test_a_folder_is_never_overwritten(index, hm4sr_run, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["export", "--run", str(hm4sr_run), "--out", str(index)])
    assert "--out must be a folder that does not exist yet" in capsys.readouterr().err


def test_models_of_another_form_are_refused_and_leave_nothing(toy_path, tmp_path):
    run_dir = train_toy("GRU4Rec", toy_path, tmp_path / "run", epochs=1)
    with pytest.raises(ConfigError, match=r"item vectors, with .* memory; got GRU4Rec"):
        export_index(run_dir, tmp_path / "index")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


# test_export_memory.py has those with a memory.
PACKED = [
    name
    for name, it in MODELS.items()
    if issubclass(it.settings_class, PackedTraining)
    and compose(name, "sports").model.memory == "none"
]


# Whose scores are inner products with these settings alone.
AS_PRODUCTS = {"MISSRec": {"item_fusion": "static"}}


# The fixture exports the first; the score of the other is none (test_side_and_timed_runs.py).
ELSEWHERE = {"HM4SR", "MOJITO"}


@pytest.mark.parametrize("name", sorted({*PACKED} - ELSEWHERE))
def test_every_other_packed_model_is_exported(name, toy_path, tmp_path):
    settings = AS_PRODUCTS.get(name, {})
    run_dir = train_toy(name, toy_path, tmp_path / "run", epochs=1, **settings)
    expected = expected_of(run_dir)
    recommend = run_lines(export_index(run_dir, tmp_path / "index"))
    assert ask(recommend, expected.histories) == expected.top(10)


def test_weighed_cosines_are_refused_and_recommended(toy_path, tmp_path):
    run_dir = train_toy("MISSRec", toy_path, tmp_path / "run", epochs=1, hidden_size=16)
    message = r"got MISSRec; use hm4sr recommend or hm4sr serve"
    with pytest.raises(ConfigError, match=message):
        export_index(run_dir, tmp_path / "index")
    expected = expected_of(run_dir)
    found = Recommender.load(run_dir).recommend(expected.histories, 10, exclude_seen=False)
    assert found.items.tolist() == expected.top(10)


@pytest.mark.slow
def test_sasrec_of_recbole_is_exported_too(sasrec_run, tmp_path):
    expected = expected_of(sasrec_run)
    recommend = run_lines(export_index(sasrec_run, tmp_path / "index"))
    assert ask(recommend, expected.histories) == expected.top(10)


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [{"use_temporal_moe": False}, {"modalities": {}}])
def test_ablations_are_exported_too(toy_path, tmp_path, overrides):
    run_dir = train_toy("HM4SR", toy_path, tmp_path / "run", **overrides)
    expected = expected_of(run_dir)
    recommend = run_lines(export_index(run_dir, tmp_path / "index"))
    assert ask(recommend, expected.histories) == expected.top(10)


@pytest.mark.slow
def test_every_test_user_of_the_sample_gets_the_models_top_ten(tmp_path):
    settings = {**QUICK_HM4SR, "epochs": 1, "train_batch_size": 1024, "eval_batch_size": 1024}
    settings |= {"hidden_size": 64, "inner_size": 256, "MAX_ITEM_LIST_LENGTH": 50}
    run_dir = tmp_path / "run"
    quick_start.run("HM4SR", "sports", overrides=settings, run_dir=run_dir)
    expected = expected_of(run_dir)
    top = expected.top(10)
    found = Recommender.load(run_dir).recommend(expected.histories, 10, exclude_seen=False)
    assert found.items.tolist() == top
    recommend = run_lines(export_index(run_dir, tmp_path / "index"))
    assert ask(recommend, expected.histories) == top
