"""Training steps of RecBole's own models, on padded batches as in RecBole and without most padding.

Both are timed in turn on the same batches of the training loader; nothing else differs. The last
column is the part of a batch that is padding.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _common as common

from recbole_hm4sr.trimming import trimmed_loss

MODELS = ("SASRec", "GRU4Rec", "NARM", "BERT4Rec")


def make_steps(session: Any, n_batches: int = 4) -> dict[str, Callable[[], None]]:
    """A step of each kind, on the same batches in turn, made before the clock runs."""
    model, optimizer = session.model.train(), session.trainer.optimizer
    batches = common.repeat_batches(session.train_data)
    waiting = [next(batches).to(session.trainer.device) for _ in range(n_batches)]

    def step_of(loss_of: Callable[[Any], Any]) -> Callable[[], None]:
        number = 0

        def step() -> None:
            nonlocal number
            batch = waiting[number % len(waiting)]
            number += 1
            optimizer.zero_grad(set_to_none=True)
            loss_of(batch).backward()
            optimizer.step()

        return step

    return {
        "padded": step_of(model.calculate_loss),
        "trimmed": step_of(trimmed_loss(model, session.config)),
    }


def measure(model: str, data_path: Path, dataset: str, options: Any) -> dict[str, Any]:
    """One model: both steps, and the part of the batches that is padding."""
    with tempfile.TemporaryDirectory() as folder:
        session = common.make_session(
            model, data_path, Path(folder), dataset=dataset, device=options.device
        )
        timings = common.time_alternately(
            make_steps(session), repeats=options.repeats, warmup=1, device=options.device
        )
        batch = next(iter(session.train_data))
    items = batch[session.model.ITEM_SEQ]
    return {
        **{name: timing.seconds for name, timing in timings.items()},
        "share": common.time_by_rounds(timings, "trimmed", "padded", "cpu"),
        "steps_per_epoch": len(session.train_data),
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
    headers = ["", "padded CPU ms", "trimmed CPU ms", "share", "1/share", "steps", "padding"]
    rows = [
        [
            model,
            1e3 * row["padded"]["cpu_median"],
            1e3 * row["trimmed"]["cpu_median"],
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
