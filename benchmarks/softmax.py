"""The loss over a whole catalogue: plain, torch's chunked form, this package's, and a sample.

Each gives the loss of a batch and the gradients of users and items. Peak memory is of a process of
its own, beyond what it held before the step: users, items and what the imports take.
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

import _common as common
import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_hm4sr.layers.sampling import NegativeSampler
from recbole_hm4sr.layers.softmax import linear_cross_entropy, sampled_cross_entropy

BASE = "plain"
N_DRAWN = 2048


def losses() -> dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]]:
    """Each form by name; torch's chunked one where torch has it."""

    def plain(users: Tensor, items: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(users @ items.T, targets)

    def sampled(users: Tensor, items: Tensor, targets: Tensor) -> Tensor:
        sampler = NegativeSampler(torch.ones(len(items), dtype=torch.int64)).to(items.device)
        drawn = sampler(N_DRAWN).to(items.device)
        return sampled_cross_entropy(
            (users * items[targets]).sum(dim=1),
            users @ items[drawn].T,
            log_expected=sampler.log_expected(drawn),
            excluded=targets[:, None] == drawn,
        )

    forms = {BASE: plain, "ours": linear_cross_entropy, f"{N_DRAWN} drawn": sampled}
    if hasattr(F, "linear_cross_entropy"):
        chunks = torch.nn.LinearCrossEntropyOptions()

        def chunked(users: Tensor, items: Tensor, targets: Tensor) -> Tensor:
            return F.linear_cross_entropy(users, items, targets, options=chunks)

        forms["torch, chunked"] = chunked
    return forms


def make_step(name: str, options: argparse.Namespace) -> Callable[[], Tensor]:
    """Loss and gradients of one batch; returns the loss."""
    torch.manual_seed(options.seed)
    shape = {"device": options.device, "requires_grad": True}
    users = torch.randn(options.batch, options.width, **shape)
    items = torch.randn(options.items, options.width, **shape)
    targets = torch.randint(1, options.items, (options.batch,), device=options.device)
    loss_of = losses()[name]

    def step() -> Tensor:
        users.grad = items.grad = None
        loss = loss_of(users, items, targets)
        loss.backward()
        return loss.detach()

    return step


def measure_memory(name: str, options: argparse.Namespace) -> None:
    """Print the peak memory of one step as JSON."""
    step = make_step(name, options)
    before = common.peak_memory_mb()
    loss = float(step())
    print(json.dumps({"peak_mb": common.peak_memory_mb() - before, "loss": loss}))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Time all forms in turn; memory of each in its own process."""
    words = ["--items", str(options.items), "--batch", str(options.batch)]
    words += ["--width", str(options.width), "--device", options.device]
    words += ["--threads", str(options.threads)]
    names = [name for name in losses() if name != BASE or not options.no_plain]
    memory = {name: common.run_alone("softmax.py", "--memory-of", name, *words) for name in names}
    steps = {name: make_step(name, options) for name in names}
    timings = common.time_alternately(
        steps, repeats=options.repeats, warmup=1, device=options.device
    )
    return {
        name: {
            **timings[name].seconds,
            "share_wall": common.time_by_rounds(timings, name, names[0], "wall"),
            **memory[name],
        }
        for name in names
    }


def main() -> None:
    """Parse the options and run."""
    parser = common.option_parser(__doc__, items=10_672)
    parser.add_argument("--batch", type=int, default=1024, help="targets a step")
    parser.add_argument("--width", type=int, default=192, help="width of users and items")
    parser.add_argument("--no-plain", action="store_true", help="leave the plain form out")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    common.start(options)
    if options.memory_of:
        measure_memory(options.memory_of, options)
        return
    results = measure(options)
    rows = [
        [name, 1e3 * row["wall_median"], row["share_wall"], row["peak_mb"], row["loss"]]
        for name, row in results.items()
    ]
    common.print_table(["", "step ms", "share", "peak MB beyond", "loss"], rows)
    common.write_results(options, {"forms": results})


if __name__ == "__main__":
    main()
