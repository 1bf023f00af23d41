"""Item texts to vectors: ``tfidf-svd``, a Hugging Face text model or a sentence-transformers model.

The heavy packages are the extra ``text`` and are imported where they are used.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import ConfigError, DataError
from recbole_hm4sr.data.features import (
    TFIDF_SVD,
    TFIDF_SVD_WIDTH,
    ItemFeatures,
    save_features,
    tfidf_svd_revision,
)
from recbole_hm4sr.data.text_encoder import SUFFIX, TextEncoder, encoder_path
from recbole_hm4sr.data.texts import read_item_texts
from recbole_hm4sr.prepare.encode.feature_job import (
    Array,
    EncoderSpec,
    FeatureReport,
    OnBatch,
    Pooling,
    encode_in_batches,
    kept_batches,
    refuse_duplicates,
)
from recbole_hm4sr.prepare.encode.hub import (
    choose_torch_device,
    find_model_file,
    import_transformers,
    missing_package,
    mixed_precision,
    model_revision,
    read_model,
    reading,
    refuse_missing_weights,
    require_model,
)
from recbole_hm4sr.prepare.encode.tfidf import encode_tfidf_svd

# The paper's: the [CLS] vector of title, categories and brand.
TEXT_PRESETS = {"paper": EncoderSpec(name="bert-base-uncased", pooling="cls", max_length=512)}
PAPER_FIELDS = ("title", "categories", "brand")
# Tokenizers without a limit of their own name a number near 1e30.
_NO_LIMIT = 10**6
_USUAL_LIMIT = 512


def encode_texts(
    texts: Sequence[str],
    *,
    encoder: EncoderSpec,
    batch_size: int = 64,
    device: str = "auto",
    keep: Path | None = None,
    on_batch: OnBatch | None = None,
) -> Array:
    """Encode texts.

    Args:
        texts: One text an item.
        encoder: What to encode with; the name ``tfidf-svd`` needs no model.
        batch_size: Texts a batch, which are of similar length.
        device: ``auto``, or a name of torch's.
        keep: Folder of finished batches: those of an earlier call with the very same arguments
            are read, the others written. See :func:`.encode.kept_batches`.
        on_batch: Called after each batch with its size and whether it had been kept.

    Returns:
        Row k belongs to text k. Shape ``[N, F]``, of the encoder's storage type; with layers they
        stand side by side, ``[N, H F]``.

    Raises:
        ConfigError: If an option is out of range, or a package is not installed.
        DataError: If the model cannot be read, or its values are not finite.
    """
    if encoder.name == TFIDF_SVD:
        return encode_tfidf_svd(texts, width=TFIDF_SVD_WIDTH).astype(encoder.storage)
    encode = open_text_model(encoder, device=device)
    _, values = encode_in_batches(
        [len(text) for text in texts],
        lambda rows: (rows, encode([texts[row] for row in rows])),
        batch_size=batch_size,
        storage=encoder.storage,
        keep=keep,
        on_batch=on_batch,
    )
    return values


def encode_item_texts(
    item_file: Path,
    out: Path,
    *,
    item_field: str,
    fields: Sequence[str],
    encoder: EncoderSpec,
    batch_size: int = 64,
    device: str = "auto",
    on_batch: OnBatch | None = None,
) -> FeatureReport:
    """Encode the text of every item of an ``.item`` file into a feature file.

    Args:
        item_file: The ``.item`` file.
        out: Feature file to write.
        item_field: Column of item tokens.
        fields: Columns whose text is encoded, in this order.
        encoder: What to encode with.
        batch_size: Texts a batch.
        device: ``auto``, or a name of torch's.
        on_batch: Called after each batch with its size and whether it had been kept.

    Raises:
        ConfigError: If an option is out of range, or a package is not installed.
        DataError: If a file cannot be read or written, or no item has text.
    """
    tokens, texts = read_item_texts(item_file, fields, item_field=item_field)
    refuse_duplicates(tokens, item_file)
    filled = np.array([bool(text.strip()) for text in texts])
    if not filled.any():
        raise DataError(f"{item_file}: at least one item must have text in {', '.join(fields)}")
    words = _word_encoder(encoder, texts, fields)
    if words is not None:
        # All texts, the empty too: word counts then give the very values of the source tfidf-svd.
        features = ItemFeatures(
            tokens[filled], words.encode(texts)[filled], TFIDF_SVD, words.revision, str(out)
        )
        words.save(encoder_path(out))
        save_features(out, features)
    else:
        inputs = [text for text, has in zip(texts, filled, strict=True) if has]
        features = _encode_by_model(
            inputs,
            tokens[filled],
            out,
            encoder=encoder,
            batch_size=batch_size,
            device=device,
            on_batch=on_batch,
        )
    without = [str(token) for token in tokens[~filled]]
    skipped = {f"no text in {', '.join(fields)}": without} if without else {}
    n_layers, (n_items, width) = features.n_layers, features.values.shape
    notes = [f"each item has {n_layers} layers of {width // n_layers} numbers"]
    return FeatureReport(out, n_items, width, skipped, notes * bool(encoder.layers))


def _encode_by_model(
    texts: Sequence[str],
    tokens: Array,
    out: Path,
    *,
    encoder: EncoderSpec,
    batch_size: int,
    device: str,
    on_batch: OnBatch | None,
) -> ItemFeatures:
    """Encode texts by a model into a feature file, from where an interrupted call has come to."""
    revision, place = text_revision(encoder), choose_torch_device(device)
    with kept_batches(out, encoder, revision, batch_size, place, list(texts)) as keep:
        values = encode_texts(
            texts,
            encoder=encoder,
            batch_size=batch_size,
            device=device,
            keep=keep,
            on_batch=on_batch,
        )
        n_layers = max(1, len(encoder.layers))
        features = ItemFeatures(tokens, values, encoder.label, revision, str(out), n_layers)
        save_features(out, features)  # before the kept batches go
    return features


def _word_encoder(
    encoder: EncoderSpec, texts: Sequence[str], fields: Sequence[str]
) -> TextEncoder | None:
    """The encoder of words that is fitted to the texts, or that was kept; None for a model."""
    if encoder.name == TFIDF_SVD:
        return TextEncoder.fit(texts, width=TFIDF_SVD_WIDTH).described(
            fields=fields, storage=encoder.storage, revision=tfidf_svd_revision()
        )
    if not encoder.name.endswith(SUFFIX):
        return None
    kept = TextEncoder.load(Path(encoder.name))
    if kept.fields != tuple(fields):
        raise ConfigError(
            f"--fields must be those that {encoder.name} was fitted to, "
            f"{','.join(kept.fields)}, got {','.join(fields)}"
        )
    return kept


def text_revision(encoder: EncoderSpec) -> str:
    """What decides the values besides the encoder's name, for the feature file."""
    if encoder.name == TFIDF_SVD:
        return tfidf_svd_revision()
    transformers = import_transformers("text")
    require_model(encoder.name, "texts")
    return (
        f"{model_revision(encoder.name)}, pooling {_choose_pooling(encoder)}, "
        f"max_length {encoder.max_length or 'model'}, {encoder.dtype}, "
        f"{_layers_in_words(encoder)}"
        f"transformers {transformers.__version__}"
    )


def _layers_in_words(encoder: EncoderSpec) -> str:
    return f"layers {' '.join(map(str, encoder.layers))}, " if encoder.layers else ""


def open_text_model(encoder: EncoderSpec, *, device: str) -> Callable[[list[str]], Array]:
    """Read a text model.

    Returns:
        A function that encodes one batch of texts, to float32.

    Raises:
        ConfigError: If a package is not installed, or an option does not suit the model.
        DataError: If the model cannot be read.
    """
    import_transformers("text")
    require_model(encoder.name, "texts")
    place = choose_torch_device(device)
    pooling = _choose_pooling(encoder)
    is_pipeline = find_model_file(encoder.name, "modules.json") is not None
    if pooling == "model" and is_pipeline:
        return _open_sentence_model(encoder, place)
    return _open_plain_model(encoder, place, pooling)


def _choose_pooling(encoder: EncoderSpec) -> Pooling:
    if encoder.pooling != "auto":
        return encoder.pooling
    if encoder.layers:  # a model's own pooling is made for its last
        return "mean"
    return "mean" if find_model_file(encoder.name, "modules.json") is None else "model"


def _open_sentence_model(encoder: EncoderSpec, device: Any) -> Callable[[list[str]], Array]:
    import torch

    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise missing_package("sentence-transformers", "text") from error
    with reading(encoder.name):
        model = SentenceTransformer(encoder.name, device=str(device)).eval()
    if encoder.max_length is not None:
        _check_length(encoder, model.max_seq_length or _NO_LIMIT)
        model.max_seq_length = encoder.max_length

    @torch.inference_mode()
    def encode(texts: list[str]) -> Array:
        with mixed_precision(encoder, device):
            vectors = model.encode(
                texts, batch_size=len(texts), convert_to_tensor=True, show_progress_bar=False
            )
        return np.asarray(vectors.float().cpu().numpy())

    return encode


def _open_plain_model(
    encoder: EncoderSpec, device: Any, pooling: Pooling
) -> Callable[[list[str]], Array]:
    import torch
    from transformers import AutoTokenizer

    with reading(encoder.name):
        tokenizer = AutoTokenizer.from_pretrained(encoder.name)
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        # Without the files of one, transformers 5 makes up a tokenizer that knows no word.
        raise DataError(f"cannot read the encoder {encoder.name!r}: its tokenizer knows no word")
    model, info = read_model(encoder, device)
    refuse_missing_weights(info, encoder, pooling)
    tokenizer.padding_side = "right"  # the first token is the first column
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    limit = _length_limit(tokenizer, model)
    _check_length(encoder, limit)
    _check_layers(encoder, model)
    if getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    # SigLIP was trained on texts padded to the full length, and has no mask for it.
    padding = "max_length" if model.config.model_type.startswith("siglip") else True

    @torch.inference_mode()
    def encode(texts: list[str]) -> Array:
        inputs = tokenizer(
            texts,
            padding=padding,
            truncation=True,
            max_length=encoder.max_length or limit,
            return_tensors="pt",
        ).to(device)
        with mixed_precision(encoder, device):
            vectors = _pool(model, inputs, pooling, encoder.layers)
        return np.asarray(vectors.float().cpu().numpy())

    return encode


def _pool(model: Any, inputs: Any, pooling: Pooling, layers: Sequence[int] = ()) -> Any:
    """One vector a text, ``[B, F]``, or one of each layer side by side, ``[B, H F]``."""
    import torch

    has_two_towers = hasattr(model, "get_text_features")
    if has_two_towers:
        inputs = {name: inputs[name] for name in ("input_ids", "attention_mask") if name in inputs}
    if pooling == "model":
        return _pool_by_model(model, inputs)
    if layers:
        inputs = {**inputs, "output_hidden_states": True}
    outputs = (model.text_model if has_two_towers else model)(**inputs)
    mask = inputs.get("attention_mask")
    states = [outputs.hidden_states[layer] for layer in layers] or [outputs.last_hidden_state]
    return torch.cat([_pool_states(hidden, mask, pooling) for hidden in states], dim=1)


def _pool_by_model(model: Any, inputs: Any) -> Any:
    """What the model itself makes of each text. Shape ``[B, F]``."""
    import torch

    if hasattr(model, "get_text_features"):
        vectors = model.get_text_features(**inputs)
        # A tensor up to transformers 4, a model's output since.
        return vectors if isinstance(vectors, torch.Tensor) else vectors.pooler_output
    pooled = getattr(model(**inputs), "pooler_output", None)
    if pooled is None:
        raise ConfigError("pooling model must have a model with a pooler; use cls or mean")
    return pooled


def _pool_states(hidden: Any, mask: Any, pooling: Pooling) -> Any:
    """One vector a text of states of its tokens. Shapes ``[B, L, F]`` to ``[B, F]``."""
    import torch

    if pooling == "cls":
        return hidden[:, 0]
    if mask is None:
        return hidden.mean(dim=1)
    weights = mask.unsqueeze(-1).to(torch.float32)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def _length_limit(tokenizer: Any, model: Any) -> int:
    if tokenizer.model_max_length < _NO_LIMIT:
        return int(tokenizer.model_max_length)
    config = getattr(model.config, "text_config", model.config)
    return min(_USUAL_LIMIT, getattr(config, "max_position_embeddings", None) or _USUAL_LIMIT)


def _check_layers(encoder: EncoderSpec, model: Any) -> None:
    config = getattr(model.config, "text_config", model.config)
    n_layers = getattr(config, "num_hidden_layers", None)
    if encoder.layers and n_layers is not None and encoder.layers[-1] > n_layers:
        raise ConfigError(
            f"layers must be at most {n_layers} for {encoder.name!r}, got {list(encoder.layers)}"
        )


def _check_length(encoder: EncoderSpec, limit: int) -> None:
    if encoder.max_length is not None and encoder.max_length > limit:
        raise ConfigError(
            f"max_length must be at most {limit} for {encoder.name!r}, got {encoder.max_length}"
        )
