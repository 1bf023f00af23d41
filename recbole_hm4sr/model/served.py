"""Models built to score only: from what a run has kept, without features and interactions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_hm4sr.data.codes import ItemCodes
from recbole_hm4sr.model.hm4sr import HM4SR
from recbole_hm4sr.model.mmsr import MMSR
from recbole_hm4sr.model.mmsr_settings import MMSRSettings

Array = np.ndarray[Any, Any]


class ServedHM4SR(HM4SR):
    """HM4SR with the projected catalogue of its best epoch in place of item features."""

    kept_catalogue: Tensor

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.features = nn.ModuleDict()  # what is made of them is kept
        catalogue = torch.from_numpy(dataset.array("catalogue"))
        self.register_buffer("kept_catalogue", catalogue, persistent=False)

    def rows(self, items: Tensor | None = None, on_host: Array | None = None) -> Tensor:  # noqa: ARG002
        """All streams of some items, or of all. Shapes ``[N]``, int64, to ``[N, M, D]``."""
        return self.kept_catalogue if items is None else self.kept_catalogue[items]


class ServedMMSR(MMSR):
    """MMSR with the number of its codes in place of item features; the links are weights."""

    @staticmethod
    def _read_codes(dataset: Any, name: str, settings: MMSRSettings) -> ItemCodes:
        n_codes = int(dataset.array(f"{name}.n_codes"))
        n_links = min(n_codes, settings.n_links)
        links = np.full((dataset.item_num, n_links), -1, dtype=np.int64)
        return ItemCodes(links=links, centroids=np.zeros((n_codes, 0), dtype=np.float32))


_SERVED: dict[Any, Any] = {HM4SR: ServedHM4SR, MMSR: ServedMMSR}


def served_class(model_class: Any) -> Any:
    """The class that scores as a model does, from what its run has kept."""
    return _SERVED.get(model_class, model_class)


@torch.no_grad()
def kept_arrays(model: Any, modalities: Sequence[str]) -> dict[str, Array]:
    """What a model needs in order to score, besides its checkpoint.

    Args:
        model: Set to its best epoch.
        modalities: Names of its modalities.
    """
    if isinstance(model, HM4SR):
        head = getattr(model, "category_layer", None)
        widths = {
            f"{name}.width": np.array(model.projections[name].in_features) for name in modalities
        }
        return {
            **widths,
            "n_categories": np.array(0 if head is None else head.out_features),
            "catalogue": model.catalogue().rows.cpu().numpy(),
        }
    if isinstance(model, MMSR):
        return {
            f"{name}.n_codes": np.array(len(table) - 1)
            for name, table in zip(modalities, model.code_embeddings, strict=True)
        }
    return {}
