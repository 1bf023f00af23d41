"""A small data set for the settings of a run."""

import pytest
from datafiles import walks, write_dataset


@pytest.fixture
def data_path(tmp_path):
    """The folder above a data set of one user."""
    return write_dataset(tmp_path / "toy", walks([4]))
