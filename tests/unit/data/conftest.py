"""Data sets that several files of this folder read."""

import pytest
from datafiles import walks, write_dataset


@pytest.fixture
def folder(tmp_path):
    """A data set of three users with four interactions each; its folder."""
    write_dataset(tmp_path / "toy", walks([4, 4, 4]))
    return tmp_path / "toy"
