"""For authors of models: the contract that a model must keep, and a data set to test with.

Needs pytest.
"""

from recbole_hm4sr.testing.contract import ModelContract
from recbole_hm4sr.testing.toydata import write_toy_dataset

__all__ = ["ModelContract", "write_toy_dataset"]
