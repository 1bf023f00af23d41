"""The notebooks of docs/tutorials run to their end, each in an empty folder."""

import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
# What a notebook needs besides the package itself.
NEEDS = {"csv-to-service": ("duckdb", "fastapi", "fastapi_offline", "uvicorn")}


def executed(path, folder, monkeypatch):
    """A notebook after all its cells, run by this interpreter in a folder of the test."""
    for name in NEEDS.get(path.stem, ()):
        pytest.importorskip(name)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    book = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return book


def printed(book):
    """All that the cells printed, as one text; tables and lines of rich are displays there."""
    outputs = [it for cell in book.cells if cell.cell_type == "code" for it in cell.outputs]
    return "\n".join(it["text"] if "text" in it else it.data["text/plain"] for it in outputs)


def test_there_are_four():
    names = ["csv-to-service", "own-model", "paper-table", "sample"]
    assert [path.stem for path in NOTEBOOKS] == names


# What a reader is to see: a result, a refusal that names the setting, an answer of the service.
EXPECTED = {
    "sample": (
        "seen items removed: 0.",
        "valid.ndcg@10",
        "report.html",
        "learning_rate",
        "(because of: ",
    ),
    "csv-to-service": ("60 users", "30 items", "no error", "anna,1,P", "beat ItemKNN", '"items"'),
    "paper-table": ("rank_history  exclude  include", r"\toprule", "NDCG@10", "table_tests.tex"),
    "own-model": ("MeanRec: NDCG@10 0.0", "mean_size"),
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    text = printed(executed(path, tmp_path, monkeypatch))
    assert [word for word in EXPECTED[path.stem] if word not in text] == []
