"""Shapes of the encoders that recur (``round_tokens``), and what ``torch.compile`` makes of them.

First the shapes of an epoch's batches: how many differ as they are, and rounded; how much longer
tokens and rows of attention become. Then one encoder, forward and backward, on some batches: plain,
rounded, and rounded and compiled, with the seconds of compiling and the epochs that earn them back.
On a GPU ``--mode reduce-overhead`` captures graphs.
"""

import argparse
import dataclasses
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import _common as common
import torch

from recbole_hm4sr.layers.attention import StepContext
from recbole_hm4sr.layers.packing import Packing, with_rounded
from recbole_hm4sr.layers.transfer import send

MULTIPLES = (256, 512, 1024)


def count_shapes(packings: Sequence[Packing]) -> dict[str, dict[str, float]]:
    """How many arrangements differ, and how large they are beside the plain ones."""
    arrangements = {"plain": list(packings)}
    for multiple in MULTIPLES:
        rounded = [with_rounded(packing, multiple).rounded for packing in packings]
        arrangements[str(multiple)] = [it for it in rounded if it is not None]
    tokens, cells = _totals(packings)
    found = {}
    for name, those in arrangements.items():
        own_tokens, own_cells = _totals(those)
        found[name] = {
            "differ": len({(len(it.position), it.shapes) for it in those}),
            "of": len(those),
            "tokens": own_tokens / tokens,
            "cells": own_cells / cells,
        }
    return found


def _totals(packings: Sequence[Packing]) -> tuple[int, int]:
    """Tokens, and cells of attention's rows, of all packings."""
    cells = sum(rows * width for packing in packings for rows, width in packing.shapes)
    return sum(len(packing.position) for packing in packings), cells


def make_step(
    encode: Callable[..., Any], packings: Sequence[Packing], size: int
) -> Callable[[], None]:
    """A function that encodes tokens of each packing in turn, with the gradient."""
    numbers = itertools.cycle(range(len(packings)))
    device = packings[0].position.device
    inputs = [torch.randn(len(it.position), size, device=device) for it in packings]

    def step() -> None:
        number = next(numbers)
        x = inputs[number].detach().requires_grad_()
        encode(x, StepContext(packings[number])).sum().backward()

    return step


def time_compiling(step: Callable[[], None], n_packings: int, device: str) -> float:
    """Processor seconds of the first pass over all packings, compiling included."""
    began = time.process_time()
    for _ in range(n_packings):
        step()
    common.wait_for(device)
    return time.process_time() - began


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Count the shapes of an epoch, and time an encoder on its first batches."""
    if options.data_path is None:
        options.data_path = common.write_dataset(
            folder / "data", common.shape_of(options), options.seed
        )
    parts = common.make_session(
        options.model,
        options.data_path,
        folder / "run",
        dataset=options.dataset,
        config_files=[options.config] if options.config else [],
        device=options.device,
    )
    packings = [batch.arranged.packing for batch in parts.train_data]
    results: dict[str, Any] = {"steps": len(packings), "shapes": count_shapes(packings)}
    model = parts.model.train()
    encoder = model.encoders["id"] if hasattr(model, "encoders") else model.encoder
    encode, size = encoder.at_every_position, model.settings.hidden_size
    plain = [send(it, parts.trainer.device) for it in packings[: options.batches]]
    rounded = [
        send(with_rounded(it, options.multiple), parts.trainer.device)
        for it in packings[: options.batches]
    ]
    steps = {"plain": make_step(encode, plain, size), "rounded": make_step(encode, rounded, size)}
    if not options.no_compile:
        # The rounded packing itself: slicing off what is added would be a shape of its own.
        alone = [dataclasses.replace(it.rounded, rounded=None) for it in rounded if it.rounded]
        compiled = torch.compile(encode, mode=options.mode, dynamic=options.dynamic or None)
        steps["compiled"] = make_step(compiled, alone, size)
        results["compile_seconds"] = time_compiling(steps["compiled"], len(rounded), options.device)
    timings = common.time_alternately(
        steps, repeats=options.repeats * len(plain), device=options.device
    )
    results["encoder"] = {name: timing.seconds for name, timing in timings.items()}
    if not options.no_compile:
        of = results["encoder"]
        saved = of["plain"]["cpu_median"] - of["compiled"]["cpu_median"]
        # A stream each, and each modality once more with placeholders.
        runs = len(model.streams) + len(model.modalities) if hasattr(model, "encoders") else 1
        an_epoch = saved * runs * len(packings)
        results["epochs_to_earn"] = results["compile_seconds"] / an_epoch if saved > 0 else None
    return results


def main() -> None:
    """Parse the options and run."""
    parser = common.option_parser(__doc__, repeats=3)
    parser.add_argument("--model", default="HM4SR")
    parser.add_argument("--data_path", type=Path, help="folder above a data set; default: made")
    parser.add_argument("--dataset", default=common.DATASET)
    parser.add_argument("--config", type=Path, help="settings file of the data set")
    parser.add_argument("--batches", type=int, default=6, help="batches that are timed")
    parser.add_argument("--multiple", type=int, default=512, help="round_tokens")
    parser.add_argument("--mode", default="default", help="of torch.compile")
    parser.add_argument("--dynamic", action="store_true", help="sizes as symbols")
    parser.add_argument("--no-compile", action="store_true", help="leave compiling out")
    options = parser.parse_args()
    common.start(options)
    with tempfile.TemporaryDirectory() as name:
        results = measure(options, Path(name))
    rows = [[name, *row.values()] for name, row in results["shapes"].items()]
    common.print_table(["rounded to", "differ", "of", "tokens x", "cells x"], rows)
    rows = [
        [name, 1e3 * row["wall_median"], 1e3 * row["cpu_median"]]
        for name, row in results["encoder"].items()
    ]
    common.print_table(["an encoder", "ms", "CPU ms"], rows)
    if "compile_seconds" in results:
        earned = results["epochs_to_earn"]
        after = "never" if earned is None else f"after {earned:.1f} epochs"
        print(f"compiling: {results['compile_seconds']:.1f} CPU s, earned back {after}")
    common.write_results(options, results)


if __name__ == "__main__":
    main()
