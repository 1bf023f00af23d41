"""Popular: the items that occur most often in the training part, the same for every user."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from recbole_hm4sr.model.trivial.closed_form import Array, ClosedForm
from recbole_hm4sr.model.trivial.settings import PopularSettings


class Popular(ClosedForm):
    """Scores an item by the number of its interactions in the training part.

    A model that is not better has learned nothing of its users.
    """

    settings_class = PopularSettings
    own_part = "count"

    def fit_arrays(self, data: Any, counts: Array) -> Mapping[str, Array]:  # noqa: ARG002
        """The counts."""
        return {"own": counts.astype(np.float32)}
