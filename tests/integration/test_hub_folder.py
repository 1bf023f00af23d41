"""A run as a folder of the Hugging Face Hub: the same answers to the last bit, and nobody in it."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from servedruns import NOW, SMALL_MOMENTO, expected_of, train_toy

import recbole_hm4sr
from recbole_hm4sr import cli
from recbole_hm4sr.base.errors import CheckpointError, ConfigError, DataError
from recbole_hm4sr.data.vocabulary import Vocabulary
from recbole_hm4sr.serve import hub
from recbole_hm4sr.serve.recommend import Recommender

safetensors_torch = pytest.importorskip("safetensors.torch", reason="needs the extra hub")

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def momento_run(toy_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub-momento") / "run"
    return train_toy("Momento", toy_path, folder, **SMALL_MOMENTO)


@pytest.fixture(scope="module")
def published(hm4sr_run, tmp_path_factory):
    return Recommender.load(hm4sr_run).save_pretrained(
        tmp_path_factory.mktemp("hub") / "model", license="mit"
    )


@pytest.fixture
def copy(published, tmp_path):
    return shutil.copytree(published, tmp_path / "copy")


def run_command(*words, code=0):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    assert stop.value.code == code


@pytest.mark.parametrize("name", ["hm4sr_run", "momento_run"])
def test_what_comes_back_answers_bit_for_bit_as_the_run_does(name, request, tmp_path):
    run_dir = request.getfixturevalue(name)
    histories = expected_of(run_dir).histories
    run = Recommender.load(run_dir)
    at = NOW if run.asks_when else None
    expected = run.recommend(histories, 10, explain=True, at=at)
    folder = run.save_pretrained(tmp_path / "model")
    shutil.move(folder, tmp_path / "elsewhere")
    found = Recommender.from_pretrained(tmp_path / "elsewhere").recommend(
        histories, 10, explain=True, at=at
    )
    for values in ("items", "scores", "shares", "known_until"):
        np.testing.assert_array_equal(getattr(found, values), getattr(expected, values))
    np.testing.assert_array_equal(found.reasons.items, expected.reasons.items)
    np.testing.assert_array_equal(found.reasons.shares, expected.reasons.shares)


def test_the_weights_are_those_of_the_best_epoch_and_other_tools_can_read_them(
    published, hm4sr_run
):
    weights = safetensors_torch.load_file(published / "model.safetensors")
    model = Recommender.load(hm4sr_run).model
    assert weights.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(weights[name].numpy(), value.numpy())


def test_no_user_and_nothing_of_the_machine_is_in_it(momento_run, tmp_path):
    folder = Recommender.load(momento_run).save_pretrained(tmp_path / "model")
    known = Vocabulary.load(momento_run / "vocabulary.npz")
    assert Vocabulary.load(folder / "vocabulary.npz").users.tolist() == ["[PAD]"]
    np.testing.assert_array_equal(Vocabulary.load(folder / "vocabulary.npz").items, known.items)
    assert not (folder / "refresh_state").exists()
    with np.load(folder / "serving.npz") as archive:
        texts = " ".join(str(archive[name].tolist()) for name in archive.files)
    settings = (folder / "config.yaml").read_text(encoding="utf-8")
    manifest = (folder / "config.json").read_text(encoding="utf-8")
    for text in (texts, settings, manifest):
        assert str(momento_run.parent) not in text
        assert "'u17'" not in text
        assert "data_path" not in text
    assert "u17" in known.users.tolist()
    assert yaml.safe_load(settings).keys().isdisjoint({"gpu_id", "use_gpu", "n_threads"})


def test_the_card_says_what_the_hub_reads_and_that_data_are_generated(published, hm4sr_run):
    _, head, page = (published / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    facts = yaml.safe_load(head)
    metrics = json.loads((hm4sr_run / "metrics.json").read_text(encoding="utf-8"))
    assert facts["library_name"] == "recbole-hm4sr"
    assert facts["license"] == "mit"
    assert {"hm4sr", "recbole", "generated-data"} <= set(facts["tags"])
    assert facts["datasets"] == ["toy"]
    assert facts["metrics"] == ["ndcg", "mrr", "hit"]
    (result,) = facts["model-index"][0]["results"]
    assert result["dataset"]["name"] == "toy (GENERATED)"
    values = {it["name"]: it["value"] for it in result["metrics"]}
    assert values["NDCG@10, seen items removed"] == metrics["test_exclude"]["ndcg@10"]
    assert values["Hit@10, seen items kept"] == metrics["test_include"]["hit@10"]
    assert f"| seen items kept | {metrics['test_include']['ndcg@10']:.4f} |" in page
    assert "**The data are GENERATED.**" in page


def test_the_lines_of_the_card_run_in_its_folder(published, monkeypatch, capsys):
    page = (published / "README.md").read_text(encoding="utf-8")
    lines = page.split("```python\n")[1].split("```")[0].replace("user/name", str(published))
    exec(compile(lines, "README.md", "exec"), {})
    assert len(capsys.readouterr().out.split()) == 10


def test_the_hubs_own_reader_takes_the_card(published):
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    card = huggingface_hub.ModelCard.load(published / "README.md")
    assert card.data.license == "mit"
    assert card.data.eval_results[0].metric_type == "ndcg@10"


def test_commands_that_serve_take_the_folder(published, hm4sr_run, tmp_path, capsys):
    history = tmp_path / "history.csv"
    history.write_text("user_id,item_id,timestamp\na,B003,1\na,B004,50\n", encoding="utf-8")
    run_command("recommend", "--run", hm4sr_run, "--history", history)
    expected = capsys.readouterr().out
    run_command("recommend", "--run", published, "--history", history)
    assert capsys.readouterr().out == expected
    run_command("similar", "--run", published, "--items=B003", "-k", "2")
    assert "B003" in capsys.readouterr().out


def test_the_command_writes_what_python_writes(hm4sr_run, published, tmp_path, capsys):
    out = tmp_path / "model"
    run_command("export", "--run", hm4sr_run, "--format=hub", "--license=mit", "--out", out)
    assert str(out) in capsys.readouterr().out
    names = sorted(path.relative_to(published) for path in published.rglob("*"))
    assert names == sorted(path.relative_to(out) for path in out.rglob("*"))
    # An archive holds the time, and the header of the weights has no order.
    for name in ("README.md", "config.yaml"):
        assert (out / name).read_bytes() == (published / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--format=zip"], "--format must be one of index, hub, got 'zip'"),
        (["--format=hub", "--list_length=5"], "--list_length goes with --format=index"),
        (["--license=mit"], "--license goes with --format=hub, got --format=index"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(hm4sr_run, words, reason, capsys):
    run_command("export", "--run", hm4sr_run, *words, code=2)
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "kind", "reason"),
    [
        (lambda it: it / "model.safetensors", DataError, "incomplete: 1 of its"),
        (lambda it: next((it / "features").iterdir()), DataError, "incomplete: 1 of its"),
        (lambda it: it / "serving.npz", DataError, "missing, as serving.npz"),
        (lambda it: it / "config.yaml", DataError, "missing, as config.yaml"),
        (lambda it: it / "config.json", DataError, "holds no config.json"),
    ],
)
def test_a_folder_that_lacks_a_file_is_refused_in_one_sentence(copy, spoil, kind, reason):
    spoil(copy).unlink()
    with pytest.raises(kind, match=reason):
        Recommender.from_pretrained(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "serving.npz", "config.yaml"])
def test_a_file_with_one_altered_byte_is_named(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} is not the file that was published"):
        Recommender.from_pretrained(copy)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "has format 2, and this release reads 1; install a later release"),
        ({"library_name": "transformers"}, "must be of recbole-hm4sr"),
        ({"more": 1}, "is damaged"),
        ({"files": {}}, "names no model.safetensors"),
    ],
)
def test_a_folder_of_a_newer_release_or_another_library_is_refused(copy, change, reason):
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change), encoding="utf-8")
    with pytest.raises(DataError, match=reason):
        Recommender.from_pretrained(copy)


def test_weights_of_another_tool_are_refused(tmp_path):
    from recbole_hm4sr.train.checkpoint import read_checkpoint

    path = tmp_path / "model.safetensors"
    with pytest.raises(CheckpointError, match="do not exist"):
        read_checkpoint(path)
    path.write_bytes(b"\x08\0\0\0\0\0\0\0nothing!")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(path)
    safetensors_torch.save_file({}, path)
    with pytest.raises(CheckpointError, match="those of another tool"):
        read_checkpoint(path)
    safetensors_torch.save_file({}, path, {"recbole_hm4sr": '{"version": 2}'})
    with pytest.raises(CheckpointError, match="must have version 1, got 2"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "work",
    [
        lambda it: recbole_hm4sr.evaluate(it),
        lambda it: recbole_hm4sr.refresh(it, it / "config.yaml"),
        lambda it: recbole_hm4sr.update(it, it / "config.yaml"),
        lambda it: recbole_hm4sr.add_items(it, it / "config.yaml"),
        lambda it: recbole_hm4sr.replay(it),
        lambda it: recbole_hm4sr.resume(it),
    ],
)
def test_what_needs_the_interactions_says_so(copy, work):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match="was published without them"):
        work(copy)
    for path, content in before.items():
        assert path.read_bytes() == content


def test_a_later_run_begins_from_a_published_one(published, hm4sr_run, toy_path, tmp_path):
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    for folder, begun in ((theirs, published), (ours, hm4sr_run)):
        train_toy("HM4SR", toy_path, folder, init_from=str(begun), epochs=1, use_gpu=False)
    first = [
        json.loads((folder / "history.jsonl").read_text().splitlines()[0])["losses"]
        for folder in (theirs, ours)
    ]
    assert first[0] == pytest.approx(first[1], rel=0.05)


def test_a_folder_is_replaced_by_a_newer_one_and_by_nothing_else(published, hm4sr_run, tmp_path):
    run, target = Recommender.load(hm4sr_run), tmp_path / "model"
    target.mkdir()
    run.save_pretrained(target)
    assert "license: unknown" in (target / "README.md").read_text(encoding="utf-8")
    run.save_pretrained(target, license="apache-2.0")
    assert "license: apache-2.0" in (target / "README.md").read_text(encoding="utf-8")
    again = Recommender.from_pretrained(target).save_pretrained(tmp_path / "again")
    assert (again / "README.md").read_bytes() == (target / "README.md").read_bytes()
    (target / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="must be new, empty or an earlier one"):
        run.save_pretrained(target)
    with pytest.raises(ConfigError, match="must be new, empty or an earlier one"):
        run.save_pretrained(hm4sr_run)


def test_a_model_that_needs_its_data_set_is_not_published(toy_path, tmp_path):
    run_dir = train_toy(
        "FDSA", toy_path, tmp_path / "run", epochs=1, selected_features=["categories"]
    )
    with pytest.raises(ConfigError, match="so it cannot be served from a folder without one"):
        hub.save_hub_folder(run_dir, tmp_path / "model")
    assert not (tmp_path / "model").exists()


# --- the Hub itself, which no test reaches ------------------------------------------------------


@pytest.fixture
def stand_in(monkeypatch, published):
    """In the place of huggingface_hub: keeps what it is asked, and has one model."""
    asked = []

    class Api:
        def __init__(self, token=None):
            asked.append(("token", token))

        def create_repo(self, repo_id, **options):
            asked.append((repo_id, options))
            return SimpleNamespace(repo_id=repo_id if "/" in repo_id else f"me/{repo_id}")

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            names = sorted(path.name for path in hub.Path(folder_path).iterdir())
            asked.append((repo_id, commit_message, names))
            return SimpleNamespace(commit_url=f"hub/{repo_id}/commit/1")

    def download(name, **options):
        asked.append((name, options))
        if name != "user/model":
            raise RuntimeError("there is no such model. Log in or look again")
        return str(published)

    module = SimpleNamespace(HfApi=Api, snapshot_download=download)
    monkeypatch.setattr(hub, "_hub", lambda: module)
    return asked


def test_an_id_is_downloaded_and_a_folder_is_not(stand_in, published, hm4sr_run):
    Recommender.from_pretrained(published)
    assert stand_in == []
    found = Recommender.from_pretrained("user/model", revision="v1", token="secret")
    assert found.run.run_dir == published
    options = {"revision": "v1", "token": "secret", "cache_dir": None, "local_files_only": False}
    assert stand_in == [("user/model", options)]


def test_what_the_hub_refuses_is_one_sentence(stand_in):
    with pytest.raises(DataError, match=r"'user/other' is no folder here .* no such model$"):
        Recommender.from_pretrained("user/other")
    with pytest.raises(DataError, match="must be a folder that is there, or an id of the Hub"):
        Recommender.from_pretrained("runs/nothing/here")


def test_a_run_is_uploaded_with_its_card(stand_in, hm4sr_run, tmp_path):
    run = Recommender.load(hm4sr_run)
    assert run.push_to_hub("me/toy", private=True) == "hub/me/toy/commit/1"
    run.save_pretrained(tmp_path / "toy", push_to_hub=True)
    names = ["README.md", "config.json", "config.yaml", "features"]
    names += ["model.safetensors", "serving.npz", "vocabulary.npz"]
    assert stand_in == [
        ("token", None),
        ("me/toy", {"exist_ok": True, "private": True}),
        ("me/toy", "HM4SR trained on toy", names),
        ("token", None),
        ("toy", {"exist_ok": True}),
        ("me/toy", "HM4SR trained on toy", names),
    ]


def test_a_missing_package_is_named(hm4sr_run, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors.torch", None)
    with pytest.raises(ConfigError, match=r"pip install 'recbole-hm4sr\[hub\]'"):
        hub.save_hub_folder(hm4sr_run, tmp_path / "model")
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match="the Hub needs the package huggingface_hub"):
        Recommender.from_pretrained("user/model")
