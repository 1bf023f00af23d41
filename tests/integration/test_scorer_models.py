"""Models with a memory and with a mix of softmaxes train, are tested and serve like any other."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from servedruns import expected_of, train_toy

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.compose import properties_dir
from recbole_hm4sr.run import quick_start
from recbole_hm4sr.serve.export import export_index
from recbole_hm4sr.serve.recommend import Recommender
from recbole_hm4sr.testing.toydata import QUICK_HM4SR

pytestmark = pytest.mark.integration
SMALL = {**QUICK_HM4SR, "epochs": 1}
# The settings of what they are made from; and the model's own name for what its scorer adds.
MODELS = {
    "MemoryRec": ("SASRecPlus", {"hidden_size": 16, "inner_size": 32, "modalities": {}}, "memory"),
    "MixRec": ("HM4SR", {"modalities": {"text": "npz"}}, "mixing"),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The toy models as a package that is installed."""
    site = tmp_path_factory.mktemp("site")
    info = site / "scorer_models-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scorer_models\nVersion: 1.0\n")
    points = "".join(f"{name} = scorer_models:{name}\n" for name in MODELS)
    (info / "entry_points.txt").write_text(f"[recbole_hm4sr.models]\n{points}")
    shutil.copy(Path(__file__).parents[1] / "scorer_models.py", site)
    for name, (base, _, _) in MODELS.items():
        shutil.copy(properties_dir() / "model" / f"{base}.yaml", site / f"{name}.yaml")
    with pytest.MonkeyPatch.context() as patch:
        sys.modules.pop("scorer_models", None)
        patch.syspath_prepend(str(site))
        yield
    sys.modules.pop("scorer_models", None)


@pytest.fixture(scope="module", params=MODELS)
def run(request, installed, toy_path, tmp_path_factory):
    name = request.param
    _, overrides, part = MODELS[name]
    own = SMALL if name == "MixRec" else {k: v for k, v in SMALL.items() if "experts" not in k}
    folder = tmp_path_factory.mktemp("runs") / name
    return train_toy(name, toy_path, folder, **{**own, **overrides}), part


def test_it_trains_and_is_tested_again(run):
    folder, _ = run
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    again = quick_start.evaluate(folder)
    assert again.test == metrics["test"]
    expected = expected_of(folder)
    assert torch.isfinite(expected.scores[:, 1:]).all()


def test_it_recommends_what_its_scores_say(run):
    folder, part = run
    recommender, expected = Recommender.load(folder), expected_of(folder)
    found = recommender.recommend(expected.histories, k=5)
    assert found.items.tolist() == expected.top(5, banned="seen")
    explained = recommender.recommend(expected.histories, k=5, explain=True)
    assert explained.streams[-1] == part
    total = torch.from_numpy(explained.shares).sum(dim=2)
    torch.testing.assert_close(total, torch.from_numpy(found.scores), rtol=1e-4, atol=1e-5)


def test_it_cannot_be_exported_as_inner_products(run, tmp_path):
    folder, _ = run
    pytest.importorskip("onnxruntime")
    with pytest.raises(ConfigError, match="models whose scores are inner products"):
        export_index(folder, tmp_path / "index")
