"""Training steps of RecBole's own models, on padded batches as in RecBole and without most padding.

Both are timed in turn on the same eight batches of the training loader, so that BERT4Rec's two
kinds of batch (many masked items, or the last one) both count; nothing else differs. The last
column is the part of a batch that is padding.
"""

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _common as common
import torch

MODELS = ("SASRec", "GRU4Rec", "NARM", "BERT4Rec")
N_BATCHES = 8


def make_steps(session: Any, batches: list[Any]) -> Callable[[], None]:
    """A function that trains one step on each of some batches."""
    model, optimizer = session.model.train(), session.trainer.optimizer

    def steps() -> None:
        for batch in batches:
            optimizer.zero_grad(set_to_none=True)
            model.calculate_loss(batch).backward()
            optimizer.step()

    return steps


def measure(model: str, data_path: Path, dataset: str, options: Any) -> dict[str, Any]:
    """One model: both steps, and the part of the batches that is padding."""
    with tempfile.TemporaryDirectory() as folder:
        sessions = {
            name: common.make_session(
                model,
                data_path,
                Path(folder) / name,
                dataset=dataset,
                device=options.device,
                trim_padding=name == "trimmed",
            )
            for name in ("padded", "trimmed")
        }
        loader = sessions["padded"].train_data
        batches = [batch.to(options.device) for batch in itertools.islice(loader, N_BATCHES)]
        timings = common.time_alternately(
            {name: make_steps(session, batches) for name, session in sessions.items()},
            repeats=options.repeats,
            warmup=1,
            device=options.device,
        )
    items = torch.cat([batch[loader._dataset.item_id_list_field] for batch in batches])
    return {
        **{name: timing.seconds for name, timing in timings.items()},
        "share": common.time_by_rounds(timings, "trimmed", "padded", "cpu"),
        "steps_per_epoch": len(loader),
        "padding": float((items == 0).float().mean()),
    }


def main() -> None:
    """Parse the options and run."""
    parser = common.option_parser(__doc__, repeats=5)
    parser.add_argument("--data_path", type=Path, help="folder above a data set; default: made")
    parser.add_argument("--dataset", default=common.DATASET)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    options = parser.parse_args()
    common.start(options)
    with tempfile.TemporaryDirectory() as folder:
        data_path = options.data_path or common.write_dataset(
            Path(folder), common.shape_of(options), options.seed
        )
        results = {
            model: measure(model, data_path, options.dataset, options) for model in options.models
        }
    headers = ["", "padded CPU ms a step", "trimmed", "share", "1/share", "steps", "padding"]
    rows = [
        [
            model,
            1e3 * row["padded"]["cpu_median"] / N_BATCHES,
            1e3 * row["trimmed"]["cpu_median"] / N_BATCHES,
            row["share"],
            1 / row["share"],
            row["steps_per_epoch"],
            row["padding"],
        ]
        for model, row in results.items()
    ]
    common.print_table(headers, rows)
    common.write_results(options, {"models": results})


if __name__ == "__main__":
    main()
