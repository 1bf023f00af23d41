"""Which checkpoints a run may be resumed from."""

import json

import pytest

from recbole_hm4sr.base.errors import CheckpointError
from recbole_hm4sr.train.checkpoint_folder import CheckpointFolder


def folder(path, **settings):
    return CheckpointFolder(path, model="M", fingerprints={}, settings=json.dumps(settings))


def test_a_checkpoint_of_an_earlier_release_is_met_by_the_new_names(tmp_path):
    folder(tmp_path, visits_per_epoch=3).write_last({"epoch": 0})
    assert folder(tmp_path, passes_per_epoch=3).read(tmp_path / "last.pt")["epoch"] == 0
    with pytest.raises(CheckpointError, match="must be of a run with passes_per_epoch: 2, got 3"):
        folder(tmp_path, passes_per_epoch=2).read(tmp_path / "last.pt")
