"""A served run, and what its model says of the users of its test part."""

import pytest
from servedruns import expected_of

from recbole_hm4sr.serve.recommend import Recommender


@pytest.fixture(scope="module")
def recommender(hm4sr_run):
    return Recommender.load(hm4sr_run)


@pytest.fixture(scope="module")
def expected(hm4sr_run):
    return expected_of(hm4sr_run)
