"""Feature files of other projects, in and out, with the order of their rows proved.

A matrix without tokens says nothing of what its rows are. Each format therefore needs what its
project numbers items by, and a file whose count differs is refused, never cut or filled up.

=============  =====================================================  =============================
format         the file                                               what proves its order
=============  =====================================================  =============================
``npz``        this package's                                         tokens in the file
``column``     atomic file with a float_seq column of the modality    tokens in the file
``hm4sr``      the authors' ``txt_emb.pt``, ``img_emb.pt``, a tensor   RecBole's order of the items
``mmrec``      ``image_feat.npy``, ``text_feat.npy``                  ``i_id_mapping.csv``
``unisrec``    ``<name>.feat1CLS``, float32 without a header          ``<name>.item2index``
=============  =====================================================  =============================
"""

import pickle
import warnings
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.base.files import write_text, write_whole
from recbole_hm4sr.data.features import (
    ItemFeatures,
    check_features,
    features_from_column,
    load_features,
    save_features,
)
from recbole_hm4sr.data.npz import DAMAGE, first_sentence
from recbole_hm4sr.prepare.convert.row_order import read_mapping
from recbole_hm4sr.prepare.encode.feature_job import FeatureReport
from recbole_hm4sr.prepare.progress import Report, silent

Array = np.ndarray[Any, Any]
Format = Literal["npz", "column", "hm4sr", "mmrec", "unisrec"]
_ROWS_A_REPORT = 1000
_MAPPED = ("mmrec", "unisrec")
NOT_AN_ITEM = "not an item of the data set"
NO_ROW = "no row in the file"


def convert_features(
    source: Path,
    out: Path,
    *,
    item_tokens: Array,
    columns: tuple[str, str],
    source_format: str,
    target_format: str = "npz",
    mapping: Path | None = None,
    report: Report = silent,
) -> FeatureReport:
    """Convert a feature file.

    Args:
        source: The file.
        out: The file to write. ``mmrec`` and ``unisrec`` get their mapping beside it.
        item_tokens: Raw token of each internal item id of RecBole; entry 0 is padding. Length I.
        columns: Column of item tokens, and the modality's, for the format ``column``.
        source_format: Format of the file, see above.
        target_format: Format to write.
        mapping: Mapping file of the formats that have one.
        report: Told what goes on.

    Returns:
        What was written; rows that belong to no item, and items without a row, by reason.

    Raises:
        ConfigError: If a format is unknown, or a mapping is missing or one too many.
        DataError: If a file breaks its format, the order of its rows cannot be proved, or items
            without a row meet a format that has a row for each.
    """
    check_formats(source_format, target_format, mapping)
    report(f"reading {source.name}", 0, 0)
    features = _read(source, cast(Format, source_format), mapping, item_tokens, columns)
    report("comparing items", 0, 0)
    if features.n_layers > 1 and target_format != "npz":
        raise DataError(
            f"{source} must have one vector an item to be written as {target_format}, got "
            f"{features.n_layers} layers; convert it to npz"
        )
    features, skipped = _keep_items(features, item_tokens)
    report(f"writing {out.name}", 0, 0)
    if target_format == "npz":
        save_features(out, features)
    elif target_format == "column":
        _write_column(out, features, columns, report)
    else:
        _write_matrix(out, features, item_tokens, target_format)
    return FeatureReport(out, len(features.tokens), features.values.shape[1], skipped)


def check_formats(source_format: str, target_format: str, mapping: Path | None) -> None:
    """Refuse what can be refused before anything is read.

    Raises:
        ConfigError: If a format is unknown, or a mapping is missing or one too many.
    """
    for name in (source_format, target_format):
        if name not in get_args(Format):
            raise ConfigError(
                f"a format must be one of {', '.join(get_args(Format))}, got {name!r}"
            )
    if (source_format in _MAPPED) != (mapping is not None):
        raise ConfigError(
            f"--mapping must be given for {' and '.join(_MAPPED)} and for no other format, got "
            f"{mapping} for {source_format}"
        )


def _read(
    path: Path, form: Format, mapping: Path | None, item_tokens: Array, columns: tuple[str, str]
) -> ItemFeatures:
    if form == "npz":
        return load_features(path)
    if form == "column":
        return features_from_column(path, *columns)
    if form == "hm4sr":
        values = read_authors_tensor(path, len(item_tokens))
        tokens = np.asarray(item_tokens[1:], dtype=np.str_)
    else:
        tokens = read_mapping(cast(Path, mapping), item_tokens)
        values = _read_npy(path) if form == "mmrec" else _read_raw(path, len(tokens))
        if len(values) != len(tokens):
            raise DataError(
                f"{path} must have one row for each item of {mapping}, got {len(values):,} rows "
                f"and {len(tokens):,} items; its order cannot be proved"
            )
    if values.dtype != np.float16:
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
    features = ItemFeatures(tokens, np.asarray(values), f"converted from {form}", "", str(path))
    check_features(features)
    return features


def read_authors_tensor(path: Path, n_items: int) -> Array:
    """The rows of a tensor in RecBole's order of the items, without the row of padding.

    Args:
        path: A ``.pt`` file of one tensor. It is read without running code of the file.
        n_items: Number of items of the data set, padding included.

    Raises:
        DataError: If the file holds no matrix of numbers, or not a row an item.
    """
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, on files that are none of its own
            tensor = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DataError(f"the file {path} does not exist") from error
    except (*DAMAGE, pickle.UnpicklingError) as error:
        raise DataError(
            f"{path} must be a tensor written by torch.save, but: {first_sentence(error)}"
        ) from error
    plain = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided
    if not plain or tensor.ndim != 2 or tensor.is_complex() or tensor.is_quantized:
        what = f"shape {tuple(tensor.shape)}" if isinstance(tensor, torch.Tensor) else type(tensor)
        raise DataError(f"{path} must hold a tensor of shape (items, width), got {what}")
    if len(tensor) not in (n_items, n_items - 1):
        raise DataError(
            f"{path} must have a row for each of the {n_items - 1:,} items in RecBole's order, "
            f"with or without one for padding before them, got {len(tensor):,}; use the very "
            f"interactions and filters that it was made with"
        )
    tensor = tensor[len(tensor) - (n_items - 1) :]
    # numpy has no bfloat16.
    return np.asarray((tensor if tensor.dtype == torch.float16 else tensor.float()).numpy())


def _read_npy(path: Path) -> Array:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"the file {path} does not exist") from error
    except DAMAGE as error:
        raise DataError(
            f"{path} must be an .npy file of numbers, but: {first_sentence(error)}"
        ) from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in "fiu":
        raise DataError(f"{path} must hold one array of numbers of shape (items, width)")
    return values


def _read_raw(path: Path, n_rows: int) -> Array:
    try:
        values = np.memmap(path, dtype=np.float32, mode="r")
    except FileNotFoundError as error:
        raise DataError(f"the file {path} does not exist") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} must be a file of float32 numbers, but: {error}") from error
    if values.size % n_rows:
        raise DataError(
            f"{path} must have the same number of values for each of the {n_rows:,} items of its "
            f"mapping, got {values.size:,} values; its order cannot be proved"
        )
    return values.reshape(n_rows, -1)


def _keep_items(
    features: ItemFeatures, item_tokens: Array
) -> tuple[ItemFeatures, dict[str, list[str]]]:
    """Rows of the data set's items, in their order in the file; the others by reason."""
    items = np.asarray(item_tokens[1:], dtype=np.str_)
    known = np.isin(features.tokens, items)
    if not known.any():
        raise DataError(
            f"{features.source}: tokens must be the item tokens of the data set, but none matches; "
            f"they look like {str(features.tokens[0])!r}, the data set's like {str(items[0])!r}"
        )
    skipped = {
        NOT_AN_ITEM: [str(token) for token in features.tokens[~known]],
        NO_ROW: [str(token) for token in items[~np.isin(items, features.tokens)]],
    }
    kept = features
    if not known.all():
        kept = ItemFeatures(
            features.tokens[known],
            features.values[known],
            features.encoder,
            features.revision,
            features.source,
            features.n_layers,
        )
    return kept, {reason: tokens for reason, tokens in skipped.items() if tokens}


def _write_column(
    out: Path, features: ItemFeatures, columns: tuple[str, str], report: Report
) -> None:
    # Nine digits name every float32, five every float16.
    digits = 5 if features.values.dtype == np.float16 else 9

    def fill(file: Any) -> None:
        file.write(f"{columns[0]}:token\t{columns[1]}:float_seq\n".encode())
        for number, (token, row) in enumerate(zip(features.tokens, features.values, strict=True)):
            if number % _ROWS_A_REPORT == 0:
                report(f"writing {out.name}", number, len(features.tokens))
            numbers = " ".join(f"{value:.{digits}g}" for value in row)
            file.write(f"{token}\t{numbers}\n".encode())

    write_whole(out, fill)


def _write_matrix(out: Path, features: ItemFeatures, item_tokens: Array, form: str) -> None:
    """A matrix in RecBole's order of the items, and the mapping that says so."""
    items = np.asarray(item_tokens[1:], dtype=np.str_)
    order = np.argsort(features.tokens)
    missing = len(items) - len(order)
    if missing:
        raise DataError(
            f"the format {form} must have a row for each of {len(items):,} items, but {missing:,} "
            f"have none in {features.source}; encode them, or convert to npz or column"
        )
    # Both hold the same tokens, so the k-th smallest of one is the k-th smallest of the other.
    rows = np.empty(len(items), dtype=np.int64)
    rows[np.argsort(items)] = order
    values = features.values[rows].astype(np.float32, copy=False)
    if form == "hm4sr":
        import torch

        padded = np.concatenate([np.zeros((1, values.shape[1]), dtype=np.float32), values])
        write_whole(out, lambda file: torch.save(torch.from_numpy(padded), file))
        return
    lines = [f"{token}\t{row}\n" for row, token in enumerate(items)]
    if form == "mmrec":
        write_whole(out, lambda file: np.save(file, values, allow_pickle=False))
        write_text(out.with_name("i_id_mapping.csv"), "".join(["asin\titemID\n", *lines]))
    else:
        write_whole(out, lambda file: values.tofile(file))
        write_text(out.with_suffix(".item2index"), "".join(lines))
