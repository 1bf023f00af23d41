"""Typed settings: frozen classes built from plain values, with every problem in one error.

A settings class is a subclass of :class:`Settings`. Its fields are the names of settings, each with
its type, range, default and sentence (``fields.py``). A rule between fields is a validator of the
last of them, which sees the others in ``info.data`` and raises ``ValueError`` with a sentence.
"""

import difflib
import importlib.util
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import pydantic

from recbole_hm4sr.base.errors import ConfigError
from recbole_hm4sr.config.fields import (
    STRICT,
    Dropout,
    Many,
    Positive,
    Role,
    Share,
    Weight,
    Whole,
    field_in_words,
    range_in_words,
    setting,
    type_in_words,
)

_Class = TypeVar("_Class", bound="Settings")


class Settings(pydantic.BaseModel):
    """Base of all classes of settings. Types are strict: a text is no number, nor is true."""

    model_config = pydantic.ConfigDict(
        **STRICT, frozen=True, extra="forbid", validate_default=True, protected_namespaces=()
    )

    # By what a model ranks items that no training row shows: nothing, so that it refuses them; the
    # features; or whatever it is fitted to, which tells nothing of them.
    new_items: ClassVar[Literal["nothing", "features", "fit"]] = "nothing"
    # Why a model that reads features ranks no new items by them, as a clause of a refusal.
    why_no_new_items: ClassVar[str] = ""
    # Whether several processes may share the model's items: catalogue_rows: sharded.
    shares_items: ClassVar[bool] = False

    @classmethod
    def new_items_with(
        cls,
        values: Mapping[str, Any],  # noqa: ARG003  # a model may read them
    ) -> Literal["nothing", "features", "fit"]:
        """What :attr:`new_items` is with some settings."""
        return cls.new_items

    @classmethod
    def names(cls) -> list[str]:
        """Names of its settings."""
        return list(cls.model_fields)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Defaults by name, as YAML has them; without settings that ask for a value."""
        return {
            name: field.get_default(call_default_factory=True)
            for name, field in cls.model_fields.items()
            if not field.is_required()
        }

    @classmethod
    def names_with(cls, role: Role) -> list[str]:
        """Names of the settings that have a role."""
        return [name for name, field in cls.model_fields.items() if role in _extra(field)["roles"]]

    @classmethod
    def refused(cls) -> dict[str, str]:
        """The settings that nobody may set, and why."""
        reasons = {name: _extra(field)["refused"] for name, field in cls.model_fields.items()}
        return {name: reason for name, reason in reasons.items() if reason}

    def changed(self: _Class, **changes: Any) -> _Class:
        """Settings with other values, checked anew.

        Raises:
            ConfigError: If a value is wrong; one error for all.
        """
        return read_settings({**self.model_dump(), **changes}, type(self))


def _extra(field: Any) -> dict[str, Any]:
    return {"roles": (), "refused": "", **(field.json_schema_extra or {})}


# "id" is the stream of the item ids; the others are attributes of torch's ModuleDict.
_RESERVED_MODALITIES = frozenset({"id", "keys", "values", "items", "pop", "clear", "update"})
_SOURCES = ("auto", "item", "npz", "side", "tfidf-svd")


class DataSettings(Settings):
    """What this package adds to RecBole's description of a data set."""

    modalities: dict[str, str] = setting(
        {},
        "Modality name to the source of its item features: auto (the first that exists of the next "
        "three), npz (<dataset>.<modality>.npz), item (a float_seq column of that name in the "
        ".item file), side (the same in the atomic file <dataset>.<modality>) or tfidf-svd (made "
        "from text_fields on first use and kept in the user's cache).",
    )
    text_fields: Many[str] = setting([], "Columns of the .item file that tfidf-svd reads.")
    missing_features: Literal["error", "zero"] = setting(
        "error", "What to do with items that have no row of a modality: zero gives a row of zeros."
    )
    timestamp_unit: Literal["s", "ms"] = setting(
        "s",
        "Unit of the time column: seconds or milliseconds since the Unix epoch, UTC.",
        "protocol",
    )
    tie_order: Literal["file", "shuffle"] = setting(
        "file",
        "Order of a user's interactions of equal time: the file's, or random by the seed.",
        "protocol",
    )
    same_visit_gap: Weight = setting(
        0,
        "The longest time between two interactions of one visit, in seconds; 0 for equal times "
        "alone; eval_args.targets: visits reads it.",
        "protocol",
    )
    catalogue: Literal["interacted", "all"] = setting(
        "interacted",
        "Items that are candidates: those with an interaction after all filters, or all that the "
        ".item file and the features describe. An item that no training row shows is then scored "
        "by its features alone, and is no negative in training.",
        "protocol",
    )
    category_field: str | None = setting(
        None, "Column of the .item file that holds an item's categories; null for none."
    )
    serve_columns: Many[str] = setting(
        ["title", "brand", "category", "categories", "price"],
        "Columns of the .item file that a run keeps for serving, for rules on items and for "
        "answers; those that the file does not have are left out.",
        "machine",
    )
    generated: bool = setting(
        False, "True if the data set is generated; said wherever its results are shown."
    )

    @pydantic.field_validator("modalities")
    @classmethod
    def _modalities_have_names_and_sources(cls, value: dict[str, str]) -> dict[str, str]:
        found = []
        for name, source in value.items():
            found += require(
                re.fullmatch(r"[a-z][a-z0-9_]*", name) is not None
                and name not in _RESERVED_MODALITIES,
                f"a modality's name must be lower-case letters, digits and _, and none of "
                f"{', '.join(sorted(_RESERVED_MODALITIES))}",
                name,
            )
            found += require(
                source in _SOURCES,
                f"the source of modality {name!r} must be one of {', '.join(_SOURCES)}",
                source,
            )
        if found:
            raise ValueError("; ".join(found))
        return value

    @pydantic.field_validator("text_fields")
    @classmethod
    def _text_has_columns(
        cls, value: tuple[str, ...], info: pydantic.ValidationInfo
    ) -> tuple[str, ...]:
        for name, source in info.data.get("modalities", {}).items():
            if source == "tfidf-svd" and not value:
                raise ValueError(
                    f"text_fields must name at least one column of the .item file, since modality "
                    f"{name!r} is made from text"
                )
        return value


class RunSettings(Settings):
    """Settings of a run that neither RecBole nor a model has."""

    n_threads: Annotated[int, pydantic.Field(ge=0, le=1024)] = setting(
        0, "CPU threads torch may use; 0 leaves torch's own choice.", "machine"
    )
    process_timeout: Positive = setting(
        60,
        "Seconds that a process of torchrun waits for the others before it ends with an error.",
        "machine",
    )
    catalogue_rows: Literal["replicated", "sharded"] = setting(
        "replicated",
        "Where the processes of torchrun hold the items' vectors, features and optimizer states: "
        "replicated, each all of them; sharded, each a part, which takes memory by their number.",
        "machine",
    )
    rank_history: Literal["include", "exclude"] = setting(
        "include",
        "Whether the items that a user has seen stay among the candidates when a target is ranked: "
        "include as in RecBole and the paper, exclude as a shop needs; results give both, and this "
        "one chooses the best epoch.",
        "protocol",
    )
    candidate_items: Literal["all", "alive"] = setting(
        "all",
        "Which items of the catalogue a target is ranked among: all, or those alive at its moment: "
        "from available_from of the .item file on, else after the item's first interaction; one "
        "with neither is always alive.",
        "protocol",
    )
    list_metrics: bool = setting(
        False,
        "Whether the lists of the test are measured beyond accuracy: coverage, Gini index, novelty "
        "and diversity by features, at each of topk, in each view of the model; one more ranking "
        "for each treatment of seen items.",
        "free on resume",
    )
    init_from: str = setting(
        "",
        "Folder of a run of the same model to begin from, on longer data: known users, items, gap "
        "buckets and categories keep their rows, new ones begin fresh; empty to begin anew.",
        "free on resume",
    )

    @pydantic.field_validator("lr_epochs")
    @classmethod
    def _schedules_have_an_end(cls, value: int, info: pydantic.ValidationInfo) -> int:
        schedule = info.data.get("lr_schedule", "constant")
        if schedule != "constant" and value == 0:
            raise ValueError(f"lr_epochs must be 1 or more with lr_schedule: {schedule}, got 0")
        return value

    @pydantic.field_validator("log_mlflow")
    @classmethod
    def _mlflow_is_installed(cls, value: bool) -> bool:  # noqa: FBT001
        if value and importlib.util.find_spec("mlflow") is None:
            raise ValueError(
                "log_mlflow must be false without the package mlflow, got True; install it with: "
                "pip install 'recbole-hm4sr[mlflow]'"
            )
        return value

    baselines: Many[str] = setting(
        [],
        "Models without training that `train` fits beside a run, to say whether it beats them; [] "
        "for none.",
        "free on resume",
    )
    max_cpu_minutes: Weight = setting(
        0,
        "Minutes of processor time, of all threads, after which a run trains no further epoch; of "
        "several processes the first one's count. 0 for no limit.",
        "free on resume",
    )
    log_mlflow: bool = setting(
        False,
        "Whether to log to MLflow: mlruns/ in the run's folder, or where MLFLOW_TRACKING_URI says.",
        "machine",
    )
    lr_schedule: Literal["constant", "warmup", "cosine", "one_cycle"] = setting(
        "constant",
        "How the learning rate moves over the steps of lr_epochs: warmup rises along a line to "
        "learning_rate and stays; cosine rises so and falls along a cosine towards 0; one_cycle "
        "rises from a 25th and falls along cosines. After the last two the run ends. An update "
        "learns at learning_rate.",
    )
    lr_warmup: Share = setting(0.1, "Share of the steps of lr_epochs in which the rate rises.")
    lr_epochs: Whole = setting(0, "Epochs that lr_schedule spans; above 0 unless it is constant.")
    lr_batch_size: Whole = setting(
        0,
        "The train_batch_size that learning_rate was found with: with another one the rate is "
        "scaled by the root of the quotient, with sgd by the quotient; 0 for no scaling.",
    )
    ema_decay: Dropout = setting(
        0.0,
        "Decay per step of a moving average of the weights, which is validated, kept, tested and "
        "served in their place; 0 for none.",
    )
    eval_from: Whole = setting(
        0,
        "First epoch that is validated, the next ones eval_step apart; epochs before it leave no "
        "checkpoint. 0 for eval_step.",
    )
    trim_padding: bool = setting(
        True,
        "Whether models of RecBole leave most of the padding of a batch out, where that changes "
        "rounding only.",
    )
    amp_dtype: Literal["bfloat16", "float16"] = setting(
        "bfloat16", "What enable_amp computes in: bfloat16, or float16 with a scaled loss."
    )


def require(condition: bool, rule: str, value: object) -> list[str]:  # noqa: FBT001
    """One sentence if a rule is broken."""
    return [] if condition else [f"{rule}, got {value!r}"]


def near_miss(name: str, known: Iterable[str]) -> str:
    """The name that may have been meant, as an end of a sentence; empty if there is none."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def read_settings(config: Any, cls: type[_Class]) -> _Class:
    """The part of a configuration that one class of settings describes.

    Args:
        config: RecBole ``Config``, or any mapping; what it lacks has its default.
        cls: The class.

    Returns:
        An instance of ``cls``.

    Raises:
        ConfigError: If values are missing, of the wrong type or out of range; one error for all.
    """
    values = {name: config[name] for name in cls.model_fields if name in config}
    settings, found = build_settings(values, cls)
    if settings is None:
        raise ConfigError("; ".join(found))
    return settings


def build_settings(values: Mapping[str, Any], cls: type[_Class]) -> tuple[_Class | None, list[str]]:
    """An instance of a settings class (None if it cannot be built), and what is wrong.

    Names that are no fields of the class are left alone: ``values`` may hold those of others.
    """
    given = {name: values[name] for name in cls.model_fields if name in values}
    try:
        return cls.model_validate(given), []
    except pydantic.ValidationError as error:
        found: dict[Any, str] = {}  # one sentence a setting, however many of its entries are wrong
        for problem in error.errors(include_url=False):
            name = problem["loc"][0] if problem["loc"] else None
            found.setdefault(name, _sentence(cls, given, problem))
        return None, list(found.values())


_BEYOND_RANGE = frozenset(
    {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "rule"}
)


def _sentence(cls: type[Settings], given: Mapping[str, Any], problem: Any) -> str:
    """A problem that pydantic has found, in the words of all errors here."""
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    name, field = problem["loc"][0], cls.model_fields[problem["loc"][0]]
    if problem["type"] == "missing":
        return f"{name} is missing: {field_in_words(field)}"
    value = given.get(name, problem["input"])
    if problem["type"] in _BEYOND_RANGE and len(problem["loc"]) == 1:
        return f"{name} must be {range_in_words(field.metadata)}, got {value!r}"
    words = type_in_words(field.annotation)
    if len(problem["loc"]) == 1 and not problem["type"].endswith(("_type", "_error", "_number")):
        words = (
            f"{words} ({problem['msg']})"  # a constraint of pydantic's that is none of fields.py
        )
    return f"{name} must be {words}, got {value!r}"
