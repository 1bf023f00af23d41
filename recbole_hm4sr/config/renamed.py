"""Settings that have another name than in earlier releases, or than in other projects."""

from collections.abc import Collection, Mapping
from typing import Any

# Old name to new name. A run's folder of then is read by it; a user's file or flag is refused.
RENAMED = {"visits_per_epoch": "passes_per_epoch"}
# What other projects call it: the settings that may be meant, the likeliest first.
_ELSEWHERE = {
    "split": ("eval_args",),
    "splitting": ("eval_args",),
    "lr": ("learning_rate",),
    "batch_size": ("train_batch_size",),
    "bs": ("train_batch_size",),
    "dropout": ("hidden_dropout_prob", "dropout_prob"),
    "dropout_rate": ("hidden_dropout_prob", "dropout_prob"),
    "max_len": ("MAX_ITEM_LIST_LENGTH",),
    "maxlen": ("MAX_ITEM_LIST_LENGTH",),
    "max_seq_length": ("MAX_ITEM_LIST_LENGTH",),
    "n_epochs": ("epochs",),
    "num_epochs": ("epochs",),
    "patience": ("stopping_step",),
    "embedding_dim": ("hidden_size", "embedding_size"),
    "emb_size": ("hidden_size", "embedding_size"),
    "num_heads": ("n_heads",),
    "num_layers": ("n_layers",),
    "device": ("use_gpu", "gpu_id"),
    "gpu": ("gpu_id",),
    "random_seed": ("seed",),
    "k": ("topk",),
}


def named_elsewhere(name: str, known: Collection[str]) -> str:
    """The setting that another project calls so, as an end of a sentence; empty for none.

    Args:
        name: The other name, with ``_`` or ``-``.
        known: Settings that there are.

    >>> named_elsewhere("lr", ["learning_rate"]), named_elsewhere("lr", ["epochs"])
    ("; did you mean 'learning_rate'?", '')
    """
    meant = [it for it in _ELSEWHERE.get(name.lower().replace("-", "_"), ()) if it in known]
    return f"; did you mean {meant[0]!r}?" if meant else ""


def with_new_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that an earlier release has written, under the names of this one."""
    kept = {name: value for name, value in values.items() if name not in RENAMED}
    return {RENAMED[name]: values[name] for name in values if name in RENAMED} | kept
