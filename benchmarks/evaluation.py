"""Ranking the whole catalogue for every test user: RecBole's evaluation against this package's.

RecBole's side is RecBole's own: its data set, loader, ``Trainer.evaluate`` and evaluator, with its
SASRec. This package's side evaluates the same SASRec, weights copied, with all of the padding and
without most of it, and HM4SR. The metrics of the SASRec evaluations must be equal to the last
digit; the table says whether they are.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import _common as common
import torch
from recbole.data import data_preparation
from recbole.data.dataset import SequentialDataset
from recbole.trainer import trainer as recbole_trainer

THEIRS = "SASRec, RecBole's evaluation"
PADDED = "SASRec, ours, padded"
SAME = "SASRec, ours"


def recbole_evaluation(config: Any, model: Any, folder: Path) -> Any:
    """A function that evaluates a model the way RecBole's ``quick_start`` does."""
    dataset = SequentialDataset(config)
    train_data, _, test_data = data_preparation(config, dataset)
    config["checkpoint_dir"] = str(folder / "checkpoints")
    with mock.patch.object(recbole_trainer, "get_tensorboard"):  # a folder beside the command
        trainer = recbole_trainer.Trainer(config, model)
    trainer.eval_collector.data_collect(train_data)
    return lambda: dict(trainer.evaluate(test_data, load_best_model=False))


def own_evaluation(session: Any) -> Any:
    """A function that ranks the test part and computes the metrics."""
    evaluator = session.trainer.evaluator
    # The catalogue's projection is part of an evaluation: a training step made it stale.
    weight = session.model.item_embedding.weight

    def evaluate() -> dict[str, float]:
        with torch.no_grad():
            weight.mul_(1)
        return dict(evaluator.metrics(evaluator.rank(session.test_data).include))

    return evaluate


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Evaluate alternately; then compare the metrics."""
    shape = common.shape_of(options)
    data_path = common.write_dataset(folder / "data", shape, options.seed)
    device = options.device
    sasrec = common.make_session("SASRec", data_path, folder / "sasrec", device=device)
    padded = common.make_session(
        "SASRec", data_path, folder / "padded", device=device, trim_padding=False
    )
    padded.model.load_state_dict(sasrec.model.state_dict())
    hm4sr = common.make_session("HM4SR", data_path, folder / "hm4sr", device=device)
    things = {
        THEIRS: recbole_evaluation(padded.config, padded.model, folder),
        PADDED: own_evaluation(padded),
        SAME: own_evaluation(sasrec),
        "HM4SR, ours": own_evaluation(hm4sr),
    }
    metrics = {name: evaluate() for name, evaluate in things.items()}
    timings = common.time_alternately(things, repeats=options.repeats, warmup=0, device=device)
    return {
        "variants": {
            name: {
                **timings[name].seconds,
                "share": common.time_by_rounds(timings, name, THEIRS, "cpu"),
                "share_wall": common.time_by_rounds(timings, name, THEIRS, "wall"),
                "metrics": {key: float(value) for key, value in metrics[name].items()},
            }
            for name in things
        },
        "users": len(sasrec.test_data._dataset.inter_feat),
        "metrics_equal": metrics[THEIRS] == metrics[PADDED] == metrics[SAME],
    }


def main() -> None:
    """Parse the options and run."""
    options = common.option_parser(__doc__, repeats=5).parse_args()
    common.start(options)
    with tempfile.TemporaryDirectory() as folder:
        results = measure(options, Path(folder))
    rows = [
        [
            name,
            row["wall_median"],
            row["share_wall"],
            row["cpu_median"],
            row["share"],
            row["metrics"]["ndcg@20"],
        ]
        for name, row in results["variants"].items()
    ]
    common.print_table(["", "seconds", "share", "CPU s", "share", "NDCG@20"], rows)
    print(f"{results['users']:,} users; metrics of the SASRec evaluations equal: ", end="")
    print(results["metrics_equal"])
    common.write_results(options, results)


if __name__ == "__main__":
    main()
