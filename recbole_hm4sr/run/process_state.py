"""What a run changes in the process around it, put back when it has ended.

Read from RecBole 1.2.1's source, this is all that building, training and testing a sequential model
changes outside its own objects:

* ``utils.init_seed`` seeds the global generators of Python, NumPy and torch, which training then
  draws from, and sets two flags of cuDNN;
* ``sine.py`` switches anomaly detection on when it is imported;
* ``Config`` gives NumPy names back that it has lost (here ``compat.restore_numpy_aliases``);
* ``abstract_dataloader.start_iter`` stays true where an iteration could not begin.

This package adds torch's number of threads. The other things that RecBole changes are kept from
happening where they would (``config.py``, ``compat.py``): ``sys.argv`` read as settings, lists of
argument names that grow, ``CUDA_VISIBLE_DEVICES``, a resolver in PyYAML's loader, the working
directory. ``init_logger``, which sets up the root logger and colorama, is never called.
"""

import contextlib
import gc
from collections.abc import Iterator

import numpy as np
import torch

from recbole_hm4sr.base.compat import NUMPY_ALIASES
from recbole_hm4sr.train.checkpoint import random_states, set_random_states


@contextlib.contextmanager
def kept_process_state() -> Iterator[None]:
    """Put back, after the body, what a run in it has changed; free what it has left."""
    from recbole.data.dataloader import abstract_dataloader

    states, n_threads = random_states(), torch.get_num_threads()
    detects_anomalies, checks_nan = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    cudnn = torch.backends.cudnn
    flags = cudnn.benchmark, cudnn.deterministic
    absent = [name for name in NUMPY_ALIASES if name not in vars(np)]
    try:
        yield
    finally:
        set_random_states(states)
        torch.set_num_threads(n_threads)
        torch.autograd.set_detect_anomaly(detects_anomalies, checks_nan)
        cudnn.benchmark, cudnn.deterministic = flags
        abstract_dataloader.start_iter = False
        for name in absent:
            vars(np).pop(name, None)
        # RecBole's loaders refer to themselves (collate_fn), and hold the data.
        gc.collect()
