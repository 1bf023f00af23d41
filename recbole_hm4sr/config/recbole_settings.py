"""RecBole's own settings, with what RecBole does not say: ranges, roles, a sentence each.

Their values come from RecBole's files and ``properties/overall.yaml``. What a model of RecBole has
beside these is in RecBole's YAML of that model, which tells a type and no range.
"""

import importlib.util
import re
from typing import Annotated, Any, TypeAlias

import pydantic

from recbole_hm4sr.config.fields import (
    Count,
    Positive,
    Rule,
    Seed,
    Weight,
    Whole,
    fits,
    setting,
)
from recbole_hm4sr.config.settings import Settings

# RecBole's sparse_adam takes sparse gradients alone, which no sequential model has.
_LEARNERS = ("adagrad", "adam", "adamw", "muon", "rmsprop", "sgd")
_TRANSFORMS = ("mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq")

_Column: TypeAlias = Annotated[
    Any, Rule("the name of a column", lambda value: isinstance(value, str) and value != "")
]
_Text: TypeAlias = str | int | None
_OptionalList: TypeAlias = Annotated[
    Any, Rule("null or a list", lambda value: value is None or isinstance(value, list))
]
_OptionalMapping: TypeAlias = Annotated[
    Any, Rule("null or a mapping", lambda value: value is None or isinstance(value, dict))
]
_Intervals: TypeAlias = Annotated[Any, Rule("intervals such as '[5,inf)', or null")]


def _is_gpu(value: Any) -> bool:
    return re.fullmatch(r"\s*\d*\s*(,.*)?", str(value)) is not None


def _is_clipping(value: Any) -> bool:
    return value is None or (
        fits(value, dict[str, float])
        and {"max_norm"} <= set(value) <= {"max_norm", "norm_type"}
        and min(value.values()) > 0
    )


class RecBoleSettings(Settings):
    """Settings of RecBole that every sequential model has."""

    # Random numbers and machine
    seed: Seed = setting(..., "Seed of Python, NumPy and torch.", "fixed in a search")
    reproducibility: bool = setting(..., "Deterministic cuDNN.", "fixed in a search")
    use_gpu: bool = setting(..., "Whether to use a GPU if there is one.", "machine")
    gpu_id: Annotated[_Text, Rule("the number of a GPU, or empty", _is_gpu)] = setting(
        ..., "GPU to use.", "machine"
    )
    worker: Annotated[int, pydantic.Field(ge=0, le=1024)] = setting(
        ..., "Processes that read batches ahead; 0 for none.", "machine"
    )
    show_progress: bool | None = setting(
        ..., "A bar over the steps of an epoch; null shows it in a terminal only.", "machine"
    )
    state: _Text = setting(
        ..., "Least level of messages of RecBole's log, which runs here do not open.", "machine"
    )
    log_wandb: bool = setting(..., "Whether to log to Weights & Biases.", "machine")
    wandb_project: _Text = setting(..., "Project of Weights & Biases.", "machine")

    # Data
    data_path: str = setting(
        ..., "Folder above the data set's; without it, some places are looked through.",
        "machine", "fixed in a search",
    )  # fmt: skip
    USER_ID_FIELD: _Column = setting(..., "Column of the users.", "protocol")
    ITEM_ID_FIELD: _Column = setting(..., "Column of the items.", "protocol")
    TIME_FIELD: _Column = setting(..., "Column of the times.", "protocol")
    field_separator: Annotated[str, Rule("a tab", lambda value: value == "\t")] = setting(
        ..., "What separates columns of atomic files."
    )
    seq_separator: Annotated[str, Rule("a space", lambda value: value == " ")] = setting(
        ..., "What separates entries of a list in atomic files."
    )
    load_col: Annotated[Any, Rule("a mapping from files to lists of their columns, or null")] = (
        setting(..., "Columns to read, by file; null reads all.")
    )
    user_inter_num_interval: _Intervals = setting(
        ..., "Numbers of interactions of users that are kept.", "protocol"
    )
    item_inter_num_interval: _Intervals = setting(
        ...,
        "Numbers of interactions of items that are kept; [1,inf) leaves out items without any.",
        "protocol",
    )
    val_interval: Annotated[Any, Rule("a mapping from columns to intervals, or null")] = setting(
        ..., "Values of columns whose interactions are kept.", "protocol"
    )
    filter_inter_by_user_or_item: bool = setting(
        ...,
        "RecBole's filter by the rows of those of the files .item and .user that a model reads, so "
        "that models see other data.",
        "protocol",
    )
    rm_dup_inter: Annotated[
        Any, Rule("null, first or last", lambda value: value in (None, "first", "last"))
    ] = setting(..., "Which of repeated interactions is kept; null keeps all.", "protocol")
    MAX_ITEM_LIST_LENGTH: Annotated[int, pydantic.Field(ge=1, le=10**6)] = setting(
        ..., "L, the most recent interactions that a model sees."
    )
    numerical_features: list[Any] = setting(..., "Columns of numbers that are embedded.")
    additional_feat_suffix: _OptionalList = setting(..., "Further atomic files to read.")
    alias_of_user_id: _OptionalList = setting(..., "Columns numbered as the users are.")
    alias_of_item_id: _OptionalList = setting(..., "Columns numbered as the items are.")
    alias_of_entity_id: _OptionalList = setting(..., "Columns numbered as entities are.")
    alias_of_relation_id: _OptionalList = setting(..., "Columns numbered as relations are.")
    normalize_field: _OptionalList = setting(..., "Columns of numbers scaled to [0, 1].")
    discretization: _OptionalMapping = setting(..., "How columns of numbers are cut into classes.")
    preload_weight: _OptionalMapping = setting(
        ..., "Columns of vectors, by the column they are of."
    )
    seq_len: _OptionalMapping = setting(..., "Longest list of a column, by column.")
    threshold: _OptionalMapping = setting(..., "Least value of a column for the label 1.")

    # Training
    epochs: Count = setting(..., "Most epochs of a run.", "free on resume")
    train_batch_size: Count = setting(..., "Targets of a training step.")
    learner: Annotated[
        str, Rule(f"one of {', '.join(_LEARNERS)}", lambda value: value.lower() in _LEARNERS)
    ] = setting(
        ...,
        "Optimiser. muon moves the matrices of transformer blocks by torch's Muon (2.9 or newer), "
        "all other weights by adam.",
    )
    learning_rate: Positive = setting(..., "Step size of the optimiser.")
    weight_decay: Weight = setting(..., "Decay of the weights, as the optimiser takes it.")
    clip_grad_norm: Annotated[Any, Rule("null or {max_norm: a number above 0}", _is_clipping)] = (
        setting(..., "Largest norm of a step's gradient; null for none.")
    )
    train_neg_sample_args: Annotated[Any, Rule("null or a mapping")] = setting(
        ..., "How negative items are drawn; null where the loss runs over all items."
    )
    transform: Annotated[
        Any,
        Rule(
            f"null or one of {', '.join(_TRANSFORMS)}",
            lambda value: value is None or value in _TRANSFORMS,
        ),
    ] = setting(..., "RecBole's change of each training batch.")
    enable_amp: bool = setting(..., "Mixed precision, in amp_dtype.")
    shuffle: bool = setting(..., "Whether each epoch has its own order.")
    eval_step: Count = setting(..., "Epochs from one validation to the next.")
    stopping_step: Whole = setting(
        ..., "Validations without a better score before a run stops.", "free on resume"
    )

    # Evaluation
    eval_args: dict[str, Any] = setting(
        ...,
        "Split, order, candidates and targets. Leave one out by default; {split: {GT: [0.8, 0.1, "
        "0.1]}, targets: first, order: TO, mode: full} splits at one moment for all users, where "
        "targets is first, last, all or visits (the first item of every visit).",
        "protocol",
    )
    repeatable: Annotated[
        Any,
        Rule(
            "true: a sequential model may rank what a user has seen",
            lambda value: value is not False,
        ),
    ] = setting(..., "Whether items that a user has seen may be targets.", "protocol")
    metrics: Annotated[Any, Rule("names of RecBole's metrics")] = setting(
        ..., "Metrics of the evaluation.", "protocol", "free on resume"
    )
    topk: Annotated[Any, Rule("whole numbers, 1 or more")] = setting(
        ..., "Cut-offs of the metrics.", "protocol", "free on resume"
    )
    valid_metric: Annotated[Any, Rule("a metric at a cut-off, as NDCG@10")] = setting(
        ..., "Chooses the best epoch, on the validation part only.", "protocol"
    )
    valid_metric_bigger: bool = setting(..., "Whether more of it is better.", "protocol")
    eval_batch_size: Count = setting(..., "Users of an evaluation step.", "free on resume")
    metric_decimal_place: Annotated[int, pydantic.Field(ge=1, le=17)] = setting(
        ..., "Decimal places of metrics.", "protocol", "free on resume"
    )

    # What would be ignored, or has another place
    checkpoint_dir: Any = setting(
        None, "Folder of the checkpoints.", "machine",
        refused="checkpoints belong to the run's folder; use --run_dir",
    )  # fmt: skip
    save_dataset: Any = setting(
        None, "RecBole's cache.", refused="data sets are read anew each time; remove it"
    )
    dataset_save_path: Any = setting(
        None, "RecBole's cache.", refused="data sets are read anew each time; remove it"
    )
    save_dataloaders: Any = setting(
        None, "RecBole's cache.", refused="loaders are built anew each time; remove it"
    )
    dataloaders_save_path: Any = setting(
        None, "RecBole's cache.", refused="loaders are built anew each time; remove it"
    )
    benchmark_filename: Any = setting(
        None, "Files that are split already.", refused="splits are made by eval_args; remove it"
    )
    enable_scaler: Any = setting(
        None, "Scaled loss.", refused="amp_dtype: float16 scales the loss by itself; remove it"
    )
    unload_col: Any = setting(
        None, "Columns to leave out.", refused="name the columns to read in load_col"
    )
    unused_col: Any = setting(
        None,
        "Columns to leave out.",
        refused="name only the columns that are used in load_col",
    )
    neg_sampling: Any = setting(
        None, "Outdated.", refused="RecBole has replaced it by train_neg_sample_args"
    )
    training_neg_sample_num: Any = setting(
        None, "Outdated.", refused="RecBole has replaced it by train_neg_sample_args"
    )

    @pydantic.field_validator("log_wandb")
    @classmethod
    def _wandb_is_installed(cls, value: bool) -> bool:  # noqa: FBT001
        if value and importlib.util.find_spec("wandb") is None:
            raise ValueError("log_wandb must be false without the package wandb, got True")
        return value
