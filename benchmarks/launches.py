"""What a training step starts on the device, what it copies, and what it waits for.

A profile of some steps of the trainer, batches included. On a GPU the runtime's calls are counted:
launches of kernels, copies, synchronisations. On a CPU, where there are none, the operators that
would make a GPU be waited for stand in their place.
"""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import _common as common
from torch.profiler import ProfilerActivity, profile
from train_step import VARIANTS, make_session

from recbole_hm4sr.data.packed import send_batch
from recbole_hm4sr.parallel.training import rows_of_step

# Calls of the CUDA runtime and driver, by what they do.
CALLS = {
    "launches": ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch"),
    "copies": ("cudaMemcpyAsync", "cudaMemcpy"),
    "waits": (
        "cudaStreamSynchronize",
        "cudaDeviceSynchronize",
        "cudaEventSynchronize",
        "cudaMemcpy",
    ),
}
# Operators whose result, or the shape of it, depends on values.
ASKING = (
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::unique_consecutive",
    "aten::masked_select",
)


def count_calls(session: Any, device: str, n_steps: int) -> dict[str, float]:
    """Calls of each kind a step, as means over some steps after two that warm up."""
    step, loader = session.trainer.step, session.train_data
    batches = common.repeat_batches(loader)
    session.model.train()

    def train(n: int) -> None:
        for _ in range(n):
            batch = send_batch(next(batches), session.trainer.device)
            _, finite = step.find_gradients(batch, rows_of_step(loader, 1))
            assert finite
            step.move_weights()
        common.wait_for(device)

    train(2)
    activities = [ProfilerActivity.CPU]
    if device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiled:
        train(n_steps)
    counts = Counter(event.name for event in profiled.events())
    counted = {"operators": sum(n for name, n in counts.items() if name.startswith("aten::"))}
    if device == "cuda":
        counted |= {
            kind: sum(n for name, n in counts.items() if name.startswith(calls))
            for kind, calls in CALLS.items()
        }
    counted["asking, with the loader"] = sum(counts[name] for name in ASKING)
    return {kind: count / n_steps for kind, count in counted.items()}


def main() -> None:
    """Parse the options and run."""
    parser = common.option_parser(__doc__, repeats=8)
    parser.add_argument("--only", default="", help="only variants whose name has this text")
    options = parser.parse_args()
    common.start(options)
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data_path = common.write_dataset(folder / "data", common.shape_of(options), options.seed)
        for variant in [it for it in VARIANTS if options.only in it]:
            session = make_session(variant, data_path, folder, options.device)
            results[variant] = count_calls(session, options.device, options.repeats)
    kinds = list(next(iter(results.values())))
    rows = [[variant, *(row[kind] for kind in kinds)] for variant, row in results.items()]
    common.print_table(["calls a step", *kinds], rows)
    common.write_results(options, {"variants": results})


if __name__ == "__main__":
    main()
