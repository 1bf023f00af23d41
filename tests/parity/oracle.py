"""HM4SR from its equations, padded and plain: what the package's layers are compared with.

Everything is float64, without dropout, and favours a loop that reads like the equation over a
fast form. Nothing of ``recbole_hm4sr`` is imported, so that a mistake cannot be on both sides.
Parameters come as a mapping from the model's state-dict names to tensors; gradients flow to
those that require them.

Key: B batch · L padded length · D hidden size · M streams (id and the modalities) · E experts ·
F raw feature width · I items with padding · C categories · N rows of the interval table.

Reference:
    Zhang et al., "Hierarchical Time-Aware Mixture of Experts for Multi-Modal Sequential
    Recommendation", WWW 2025, arXiv:2501.14269.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Params = Mapping[str, Tensor]


@dataclass(frozen=True)
class PlainBatch:
    """Sequences, oldest item first, padded with 0 on the right.

    Attributes:
        item_seq: Shape ``[B, L]``, int64.
        item_seq_len: Real positions of each row, at least 1. Shape ``[B]``, int64.
        timestamps: Seconds since the Unix epoch; the padding's are never read. Shape ``[B, L]``,
            int64.
        target: The next item. Shape ``[B]``, int64.
    """

    item_seq: Tensor
    item_seq_len: Tensor
    timestamps: Tensor
    target: Tensor

    @property
    def valid(self) -> Tensor:
        """``True`` where the position holds an item, ``[B, L]``."""
        return torch.arange(self.item_seq.shape[1]) < self.item_seq_len[:, None]


@dataclass(frozen=True)
class PlainOptions:
    """Everything that is not a tensor.

    Attributes:
        n_heads: Attention heads of every encoder layer.
        buckets_per_doubling: Buckets for each doubling of the gap between two interactions.
        layer_norm_eps: Of every LayerNorm, those in front of the encoders included.
        use_interactive_moe: Whether the streams pass the Interactive MoE.
        use_temporal_moe: Whether the streams pass the Temporal MoE. The time encoding itself also
            feeds the placeholders.
        id_contrastive_weight: Of that loss; at 0 it is not computed. Likewise the next two.
        category_prediction_weight: See above.
        placeholder_weight: See above.
        id_temperature: Divides the cosines of the ID contrastive loss.
        placeholder_temperature: Divides the cosines of the placeholder contrastive loss.
        time_origin_seconds: Subtracted from the time inside the cosine; gaps are unaffected.
        time_scale: Seconds per unit of that time; gaps are unaffected.
        negatives: What both contrastive losses do with another row that has the same target.
            ``"excluded"`` drops it from the denominator, ``"zero_logit"`` (the authors' code)
            lets it add exp(0) = 1.
    """

    n_heads: int
    buckets_per_doubling: float
    layer_norm_eps: float = 1e-12
    use_interactive_moe: bool = True
    use_temporal_moe: bool = True
    id_contrastive_weight: float = 1.0
    category_prediction_weight: float = 1.0
    placeholder_weight: float = 1.0
    id_temperature: float = 0.2
    placeholder_temperature: float = 1.0
    time_origin_seconds: int = 0
    time_scale: float = 1.0
    negatives: Literal["excluded", "zero_logit"] = "excluded"


@dataclass(frozen=True)
class PlainOutput:
    """What :func:`plain_forward` finds.

    Attributes:
        streams: Name to the stream after the Temporal MoE, zero at padding, ``[B, L, D]``.
        users: Name to the encoder's output at the last item, v^m, ``[B, D]``.
        scores: ``[B, I]``, padding item included.
    """

    streams: dict[str, Tensor]
    users: dict[str, Tensor]
    scores: Tensor


def linear(params: Params, name: str, x: Tensor) -> Tensor:
    """x Wᵀ + b; the weight is stored (out, in)."""
    return x @ params[f"{name}.weight"].T + params[f"{name}.bias"]


def softmax(x: Tensor) -> Tensor:
    """Over the last dimension; shifted by the maximum, which cancels, against overflow."""
    exponentials = torch.exp(x - x.detach().amax(dim=-1, keepdim=True))
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


def layer_norm(params: Params, name: str, x: Tensor, eps: float) -> Tensor:
    """Zero mean and unit (biased) variance over the last dimension, then scale and shift."""
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = (centred**2).mean(dim=-1, keepdim=True)
    return centred / torch.sqrt(variance + eps) * params[f"{name}.weight"] + params[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    """X Φ(x) with the exact normal distribution function Φ."""
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def candidates(params: Params, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Raw tables c^m, one ``[I, D]`` for each stream, id first: no position, expert or time."""
    tables = {"id": params["item_embedding.weight"]}
    for modality, table in features.items():
        tables[modality] = linear(params, f"projections.{modality}", table.double())
    return tables


def interactive_moe(params: Params, streams: dict[str, Tensor]) -> dict[str, Tensor]:
    """e^m + w_m Σ_k g^m_k [A_k z + b_k]_m; all streams are read before any is changed."""
    z = torch.cat(list(streams.values()), dim=-1)
    width = z.shape[-1]
    weight, bias = params["interactive_moe.experts.weight"], params["interactive_moe.experts.bias"]
    expert_outputs = []
    for k in range(len(bias) // width):
        rows = slice(k * width, (k + 1) * width)
        expert_outputs.append(z @ weight[rows].T + bias[rows])  # [B, L, MD]
    mixed = {}
    for m, (name, stream) in enumerate(streams.items()):
        size = stream.shape[-1]
        gate = softmax(linear(params, f"interactive_moe.gates.{name}", stream))  # [B, L, E]
        total = torch.zeros_like(stream)
        for k, output in enumerate(expert_outputs):
            total = total + gate[..., k : k + 1] * output[..., m * size : (m + 1) * size]
        mixed[name] = stream + params["interactive_moe.modality_weights"][m] * total
    return mixed


def interval_bucket(gap: int, buckets_per_doubling: float) -> int:
    """⌊s log2(gap + 1)⌋, exactly where s is a whole number: log2((gap + 1)^s) floors in integers.

    The exactness is the point: it tells a floating-point logarithm that lands one bucket off.
    """
    if float(buckets_per_doubling).is_integer():
        return ((gap + 1) ** int(buckets_per_doubling)).bit_length() - 1
    return math.floor(buckets_per_doubling * math.log2(gap + 1))


def time_encoding(params: Params, batch: PlainBatch, options: PlainOptions) -> Tensor:
    """τ_j = [u_j ; a_j], ``[B, L, 2D]``; zero at padding."""
    table = params["time_encoding.interval_embedding.weight"]
    frequency, phase = params["time_encoding.frequency"], params["time_encoding.phase"]
    size = len(frequency)
    decay = torch.tensor([10000.0 ** (-d / size) for d in range(size)], dtype=torch.float64)
    rows = []
    for times, length in zip(batch.timestamps.tolist(), batch.item_seq_len.tolist(), strict=True):
        encoded = []
        for j in range(len(times)):
            if j >= length:
                encoded.append(torch.zeros(2 * size, dtype=torch.float64))
                continue
            gap = times[j] - times[j - 1] if j > 0 else 0
            bucket = interval_bucket(gap, options.buckets_per_doubling)
            interval = table[min(bucket, len(table) - 1)]
            # Python subtracts the integers exactly; only the quotient is rounded.
            time = (times[j] - options.time_origin_seconds) / options.time_scale
            absolute = torch.cos((frequency * time + phase) * decay)
            encoded.append(torch.cat([interval, absolute]))
        rows.append(torch.stack(encoded))
    return torch.stack(rows)


def temporal_moe(params: Params, streams: dict[str, Tensor], tau: Tensor) -> dict[str, Tensor]:
    """x ⊙ Σ_k r_k q_k with r = softmax(G τ + c): every expert is a diagonal."""
    gate = softmax(linear(params, "temporal_moe.gate", tau))  # [B, L, E']
    experts = params["temporal_moe.experts"]
    scale = torch.zeros((), dtype=torch.float64)
    for k in range(len(experts)):
        scale = scale + gate[..., k : k + 1] * experts[k]  # [B, L, MD]
    scaled = torch.cat(list(streams.values()), dim=-1) * scale
    return dict(zip(streams, scaled.chunk(len(streams), dim=-1), strict=True))


def attention(params: Params, name: str, x: Tensor, options: PlainOptions) -> Tensor:
    """Causal multi-head attention, one head at a time.

    Padding is on the right, so a real position, which sees no later one, sees no padding; what a
    padded position sees is never read.
    """
    length, size = x.shape[1:]
    head_size = size // options.n_heads
    query, key, value = (linear(params, f"{name}.{part}", x) for part in ("query", "key", "value"))
    future = torch.ones(length, length, dtype=torch.bool).triu(diagonal=1)
    heads = []
    for h in range(options.n_heads):
        part = slice(h * head_size, (h + 1) * head_size)
        logits = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(head_size)
        heads.append(softmax(logits.masked_fill(future, -math.inf)) @ value[..., part])
    return linear(params, f"{name}.output", torch.cat(heads, dim=-1))


def encode(
    params: Params, name: str, stream: Tensor, batch: PlainBatch, options: PlainOptions
) -> Tensor:
    """LayerNorm, the stream's transformer (post-norm), the output at the last item: ``[B, D]``."""
    eps = options.layer_norm_eps
    x = layer_norm(params, f"input_norms.{name}", stream, eps)
    k = 0
    while f"encoders.{name}.layers.{k}.attention.query.weight" in params:
        layer = f"encoders.{name}.layers.{k}"
        attended = attention(params, f"{layer}.attention", x, options)
        x = layer_norm(params, f"{layer}.attention_norm", x + attended, eps)
        inner = gelu(linear(params, f"{layer}.feed_forward.inner", x))
        fed = linear(params, f"{layer}.feed_forward.output", inner)
        x = layer_norm(params, f"{layer}.feed_forward.norm", x + fed, eps)
        k += 1
    return torch.stack([row[n - 1] for row, n in zip(x, batch.item_seq_len.tolist(), strict=True)])


def plain_forward(
    params: Params, features: Mapping[str, Tensor], batch: PlainBatch, options: PlainOptions
) -> PlainOutput:
    """Streams, user vectors and scores.

    Args:
        params: State-dict names to tensors, float64. Those of a part that is off may be missing.
        features: Modality to its frozen table, ``[I, F]``, in the order of the streams.
        batch: The sequences.
        options: What is not a tensor.
    """
    tables = candidates(params, features)
    positions = params["position_embedding.weight"][: batch.item_seq.shape[1]]
    streams = {name: table[batch.item_seq] + positions for name, table in tables.items()}
    if options.use_interactive_moe:
        streams = interactive_moe(params, streams)
    if options.use_temporal_moe:
        streams = temporal_moe(params, streams, time_encoding(params, batch, options))
    # Zero is arbitrary: nothing reads the padding.
    padding = ~batch.valid[..., None]
    streams = {name: stream.masked_fill(padding, 0) for name, stream in streams.items()}
    users = {name: encode(params, name, x, batch, options) for name, x in streams.items()}
    scores = sum(users[name] @ tables[name].T for name in tables)
    return PlainOutput(streams=streams, users=users, scores=scores)


def log_sum_exp(values: Tensor) -> Tensor:
    """Of a vector; shifted by the maximum, which cancels, against overflow."""
    maximum = values.detach().max()
    return maximum + torch.log(torch.exp(values - maximum).sum())


def cross_entropy_loss(scores: Tensor, target: Tensor) -> Tensor:
    """−log softmax(scores)[target] over all I rows, the padding item's included; batch mean."""
    terms = [log_sum_exp(row) - row[i] for row, i in zip(scores, target.tolist(), strict=True)]
    return torch.stack(terms).mean()


def info_nce(
    anchors: Tensor, others: Tensor, target: Tensor, temperature: float, negatives: str
) -> Tensor:
    """Row b's anchor against its own other and, as negatives, those of the rest; batch mean."""
    unit_anchors = anchors / anchors.norm(dim=-1, keepdim=True)
    unit_others = others / others.norm(dim=-1, keepdim=True)
    terms = []
    for b in range(len(target)):
        positive = (unit_anchors[b] * unit_others[b]).sum() / temperature
        logits = [positive]
        for c in range(len(target)):
            if c == b:
                continue
            if target[c] != target[b]:
                logits.append((unit_anchors[b] * unit_others[c]).sum() / temperature)
            elif negatives == "zero_logit":
                logits.append(torch.zeros_like(positive))
        terms.append(log_sum_exp(torch.stack(logits)) - positive)
    return torch.stack(terms).mean()


def category_prediction_loss(
    params: Params, tables: dict[str, Tensor], categories: Tensor, batch: PlainBatch
) -> Tensor:
    """Mean binary cross-entropy over valid tokens × categories; a repeated item counts again."""
    items = batch.item_seq[batch.valid]  # [tokens]
    inputs = torch.cat([table[items] for table in tables.values()], dim=-1)
    logits = linear(params, "category_layer", inputs)  # [tokens, C]
    truth = categories.double()[items]
    # −y log σ(x) − (1 − y) log σ(−x), with −log σ(x) = log(1 + exp(−x)).
    zero = torch.zeros_like(logits)
    return (
        truth * torch.logaddexp(zero, -logits) + (1 - truth) * torch.logaddexp(zero, logits)
    ).mean()


def placeholder_contrastive_loss(
    params: Params, output: PlainOutput, batch: PlainBatch, mask: Tensor, options: PlainOptions
) -> Tensor:
    """InfoNCE from v^m to the encoding of the stream with placeholders, mean over modalities.

    A row with no placeholder takes part: its augmented vector is its own v^m.
    """
    tau = time_encoding(params, batch, options)
    terms = []
    for name, stream in output.streams.items():
        if name == "id":
            continue
        placeholders = linear(params, f"placeholder_layers.{name}", tau)
        augmented = torch.where(mask[..., None], placeholders, stream)
        terms.append(
            info_nce(
                output.users[name],
                encode(params, name, augmented, batch, options),
                batch.target,
                options.placeholder_temperature,
                options.negatives,
            )
        )
    return torch.stack(terms).mean()


def plain_losses(
    params: Params,
    features: Mapping[str, Tensor],
    categories: Tensor | None,
    batch: PlainBatch,
    mask: Tensor | None,
    options: PlainOptions,
) -> dict[str, Tensor]:
    """Every loss that is on, each before its weight.

    Args:
        params: State-dict names to tensors, float64. Those of a part that is off may be missing.
        features: Modality to its frozen table, ``[I, F]``, in the order of the streams.
        categories: 0/1, ``[I, C]``; not read if that loss is off.
        batch: The sequences and their targets.
        mask: ``True`` where a placeholder stands, ``[B, L]``; not read if that loss is off.
        options: What is not a tensor.

    Returns:
        ``cross_entropy``, and those of ``id_contrastive``, ``category_prediction`` and
        ``placeholder_contrastive`` whose weight is positive. Without a modality there is no
        stream to put placeholders into, and the last is left out.
    """
    output = plain_forward(params, features, batch, options)
    losses = {"cross_entropy": cross_entropy_loss(output.scores, batch.target)}
    if options.id_contrastive_weight > 0:
        losses["id_contrastive"] = info_nce(
            output.users["id"],
            params["item_embedding.weight"][batch.target],
            batch.target,
            options.id_temperature,
            options.negatives,
        )
    if options.category_prediction_weight > 0:
        tables = candidates(params, features)
        losses["category_prediction"] = category_prediction_loss(params, tables, categories, batch)
    if options.placeholder_weight > 0 and features:
        losses["placeholder_contrastive"] = placeholder_contrastive_loss(
            params, output, batch, mask, options
        )
    return losses


def plain_total(losses: Mapping[str, Tensor], options: PlainOptions) -> Tensor:
    """The weighted sum that training minimises; cross-entropy has weight 1."""
    weights = {
        "cross_entropy": 1.0,
        "id_contrastive": options.id_contrastive_weight,
        "category_prediction": options.category_prediction_weight,
        "placeholder_contrastive": options.placeholder_weight,
    }
    return sum(weights[name] * loss for name, loss in losses.items())
