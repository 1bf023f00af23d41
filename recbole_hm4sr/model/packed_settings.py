"""Settings that models on packed tokens share."""

import dataclasses
from typing import Any, Literal

from recbole_hm4sr.config.settings import require


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackedTraining:
    """How a model on packed tokens is trained.

    Attributes:
        train_mode: ``prefix`` trains on RecBole's samples, a prefix of a history each;
            ``sequence`` trains many positions of a history in one pass.
        passes_per_epoch: In ``sequence`` mode, times an epoch shows a history; each visit trains a
            share of its targets. A batch has the same number of targets of more users, which
            matters to the contrastive losses: they set the rows of a batch against each other.
        train_history: Whether the items before a target stay among the candidates of its softmax
            and the negatives of its contrastive losses, as in the paper. ``exclude`` leaves all
            items out that the user took before the target, those older than the window too, as
            ``rank_history: exclude`` leaves them out of the ranking.
        n_negatives: Items drawn a training step for a sampled softmax, which reads and projects no
            more of the catalogue than the step shows; 0 for the exact softmax over all items.
    """

    train_mode: Literal["prefix", "sequence"]
    passes_per_epoch: int
    train_history: Literal["include", "exclude"]
    n_negatives: int

    def problems(self) -> list[str]:
        """What is wrong with values whose type is right, a sentence each."""
        return [
            *require(
                1 <= self.passes_per_epoch <= 32767,
                "passes_per_epoch must be from 1 to 32767",
                self.passes_per_epoch,
            ),
            *require(
                0 <= self.n_negatives <= 10**6,
                "n_negatives must be from 0 to 1000000",
                self.n_negatives,
            ),
        ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerSettings:
    """The encoder of a stream: equal transformer blocks.

    Attributes:
        hidden_size: D, width of every stream.
        inner_size: Width inside the feed-forward layers.
        n_layers: Transformer blocks of each stream.
        n_heads: Attention heads.
        hidden_act: Activation of the feed-forward layers.
        hidden_dropout_prob: Dropout of inputs and sub-layers.
        attn_dropout_prob: Dropout of attention weights.
        layer_norm_eps: Added to variances.
        initializer_range: Standard deviation of the initial weights.
    """

    hidden_size: int
    inner_size: int
    n_layers: int
    n_heads: int
    hidden_act: Literal["gelu", "relu", "swish", "tanh", "sigmoid"]
    hidden_dropout_prob: float
    attn_dropout_prob: float
    layer_norm_eps: float
    initializer_range: float

    def encoder_options(self) -> dict[str, Any]:
        """The arguments of ``layers.blocks.build_encoder``, one encoder a stream."""
        return {
            "n_layers": self.n_layers,
            "hidden_size": self.hidden_size,
            "inner_size": self.inner_size,
            "n_heads": self.n_heads,
            "hidden_act": self.hidden_act,
            "hidden_dropout_prob": self.hidden_dropout_prob,
            "attn_dropout_prob": self.attn_dropout_prob,
            "layer_norm_eps": self.layer_norm_eps,
        }

    def problems(self) -> list[str]:
        """What is wrong with values whose type is right, a sentence each."""
        found = []
        for name in ("hidden_size", "inner_size", "n_heads"):
            found += require(
                getattr(self, name) >= 1, f"{name} must be 1 or more", getattr(self, name)
            )
        found += require(
            0 <= self.n_layers <= 1000, "n_layers must be from 0 to 1000", self.n_layers
        )
        if self.n_heads >= 1:
            found += require(
                self.hidden_size % self.n_heads == 0,
                f"hidden_size must be a multiple of n_heads ({self.n_heads})",
                self.hidden_size,
            )
        for name in ("hidden_dropout_prob", "attn_dropout_prob"):
            value = getattr(self, name)
            found += require(0 <= value < 1, f"{name} must be in [0, 1)", value)
        for name in ("layer_norm_eps", "initializer_range"):
            found += require(
                getattr(self, name) > 0, f"{name} must be above 0", getattr(self, name)
            )
        return found
