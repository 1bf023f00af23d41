"""Where HM4SR's training modes differ: the gradient of each loss, of one trained model.

In expectation every mode should follow the same gradient, and a batch should scatter around it as
little as one of RecBole's prefixes does. For each loss and part of the model the table says, beside
prefixes: the cosine of the mean gradients and the scatter over draws of dropout and placeholders,
both for the same users and targets, and the scatter over the batches of an epoch.
"""

import argparse
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import _common as common
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_hm4sr.data.loaders import TARGET_LIST, SequenceTrainDataLoader
from recbole_hm4sr.run.quick_start import open_for_evaluation

LOSSES = ("cross_entropy", "id_contrastive", "category_prediction", "placeholder_contrastive")
PARTS = (
    "item_embedding",
    "projections",
    "interactive_moe",
    "temporal_moe",
    "encoders",
    "placeholder_layers",
)
# Visits of a history an epoch; prefixes are as many visits as a history can have targets.
MODES: dict[str, int | None] = {"prefix": None, "one visit": 1, "two visits": 2, "four visits": 4}

Moments = dict[tuple[str, str], tuple[Tensor, Tensor]]


def select_mode(session: Any, mode: str) -> SequenceTrainDataLoader:
    """Switch the model to a mode, and make its loader."""
    config, visits = session.config, MODES[mode]
    model = session.model
    kind = "prefix" if visits is None else "sequence"
    model.settings = model.settings.changed(train_mode=kind)
    return SequenceTrainDataLoader(
        config,
        session.train_data._dataset,
        shuffle=True,
        visits=visits or config["MAX_ITEM_LIST_LENGTH"],
    )


def with_targets(batch: Interaction, field: str) -> Interaction:
    """A batch whose last target has a column of its own, as the samples of prefixes have."""
    return Interaction({**batch.interaction, field: batch[TARGET_LIST].amax(dim=1)})


def sum_gradients(model: Any, batches: Iterable[Any]) -> Moments:
    """Sums of the gradients and of their squares, over batches, of each loss and parameter."""
    sums: Moments = {}
    for batch in batches:
        losses = model.train().named_losses(batch)
        for loss in set(LOSSES) & set(losses):
            model.zero_grad()
            losses[loss].backward(retain_graph=True)
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    gradient = parameter.grad.double()
                    first, second = sums.get((loss, name), (0, 0))
                    sums[loss, name] = (first + gradient, second + gradient.square())
    return sums


def scatter(sums: Moments, keys: list[tuple[str, str]], n: int) -> tuple[float, float]:
    """Standard deviation of the gradient, and the length of its mean without what chance adds."""
    variance = sum(
        float((sums[key][1] - sums[key][0].square() / n).sum()) / (n - 1) for key in keys
    )
    square = sum(float((sums[key][0] / n).square().sum()) for key in keys)
    return math.sqrt(max(variance, 0)), math.sqrt(max(square - variance / n, 0))


def measure(options: argparse.Namespace) -> dict[str, tuple[Moments, Moments]]:
    """Moments of the gradients by mode: over draws for the same users, and over batches."""
    found = {}
    n = options.repeats
    with open_for_evaluation(options.run) as session:
        model = session.model
        for mode in MODES:
            loader = select_mode(session, mode)
            torch.manual_seed(options.seed)
            chosen = torch.randperm(len(loader._segments.begins))[: options.histories]
            visits = torch.isin(loader._segment_of_visit, chosen).nonzero().squeeze(1)
            same = with_targets(loader.collate_fn(visits), model.POS_ITEM_ID)
            epoch = (with_targets(batch, model.POS_ITEM_ID) for batch in loader)
            found[mode] = (
                sum_gradients(model, [same] * n),
                sum_gradients(model, (batch for batch, _ in zip(epoch, range(n), strict=False))),
            )
    return found


def compare(found: dict[str, tuple[Moments, Moments]], n: int) -> list[dict[str, Any]]:
    """Rows of the table, of the moments over ``n`` gradients each."""
    rows = []
    base = found["prefix"][0]
    for loss in LOSSES:
        for part in PARTS:
            keys = [key for key in base if key[0] == loss and key[1].startswith(part)]
            if not keys:
                continue
            length = scatter(base, keys, n)[1]
            for mode, (draws, batches) in found.items():
                deviation, own = scatter(draws, keys, n)
                product = sum(float((base[k][0] * draws[k][0]).sum()) for k in keys) / n**2
                cosine = product / (length * own or math.nan)
                rows.append(
                    {
                        "loss": loss,
                        "part": part,
                        "mode": mode,
                        # Beside itself chance would count twice.
                        "cosine": None if mode == "prefix" else cosine,
                        "sd_over_draws": deviation,
                        "sd_over_batches": scatter(batches, keys, n)[0],
                    }
                )
    return rows


def main() -> None:
    """Parse the options and run."""
    parser = common.option_parser(__doc__, repeats=24)
    parser.add_argument("--run", type=Path, required=True, help="folder of a run of HM4SR")
    parser.add_argument("--histories", type=int, default=190, help="of the same users")
    options = parser.parse_args()
    common.start(options)
    rows = compare(measure(options), options.repeats)
    headers = ["loss", "part", "mode", "cosine", "sd over draws", "sd over batches"]
    common.print_table(headers, [list(row.values()) for row in rows])
    common.write_results(options, {"rows": rows})


if __name__ == "__main__":
    main()
