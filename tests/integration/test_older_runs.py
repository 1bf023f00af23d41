"""The folder of a run of an older release: tested, resumed and served with the current code."""

import json
import shutil
from pathlib import Path

import pytest

from recbole_hm4sr.base.errors import UserError
from recbole_hm4sr.data.vocabulary import FILE_NAME, Vocabulary
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.testing.toydata import QUICK

pytestmark = pytest.mark.integration

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def folder(tmp_path):
    """The run's folder, and its data beside it."""
    shutil.copytree(FIXTURES / "data", tmp_path / "data")
    run_dir = shutil.copytree(FIXTURES / "runs" / "hm4sr-toy-0", tmp_path / "run")
    settings = run_dir / "config.yaml"
    text = settings.read_text(encoding="utf-8")
    assert "data_path: tests/fixtures/data\n" in text
    settings.write_text(
        text.replace("data_path: tests/fixtures/data", f"data_path: {tmp_path / 'data'}"),
        encoding="utf-8",
    )
    return run_dir


def test_its_best_epoch_has_the_metrics_that_it_wrote(folder):
    written = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    found = quick_start.evaluate(folder)
    for part in ("valid", "test_include", "test_exclude"):
        assert getattr(found, part) == written[part]


def test_it_has_no_vocabulary_and_the_sentence_says_what_to_do(folder):
    with pytest.raises(UserError, match="has saved no vocabulary, so train it again to begin"):
        Vocabulary.load(folder / FILE_NAME)


def test_data_that_have_changed_are_refused(folder):
    path = folder.parent / "data" / "toy" / "toy.inter"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0], *lines[2:], lines[1]]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="interactions"):
        quick_start.evaluate(folder)


def test_a_run_saves_the_vocabulary_of_its_tables(toy_path, tmp_path):
    settings = {**QUICK, "epochs": 1, "data_path": str(toy_path), "use_gpu": False}
    parts = []
    quick_start.run(
        "SASRec", "toy", overrides=settings, run_dir=tmp_path / "run", on_start=parts.append
    )
    saved = Vocabulary.load(tmp_path / "run" / FILE_NAME)
    dataset = parts[0].train_data._dataset
    assert saved.items.tolist() == dataset.item_tokens.tolist()
    assert saved.users.tolist() == dataset.field2id_token["user_id"].tolist()
    assert len(saved.items) == parts[0].model.item_embedding.num_embeddings
