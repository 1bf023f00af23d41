"""Settings of MMSR: the fields of ``properties/model/MMSR.yaml``, typed and checked."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from recbole_hm4sr.config.choices import CodeReduction, FusionType, QkvMode, SecondPhase, SeqPooling
from recbole_hm4sr.config.settings import require


@dataclasses.dataclass(frozen=True, kw_only=True)
class MMSRSettings:
    """Settings of MMSR; ``properties/model/MMSR.yaml`` gives each one's default.

    Attributes:
        hidden_size: D, width of every embedding and state (the authors' ``embedding_size``).
        n_layers: Passes through the graph layer; all share one set of weights.
        fusion_type: How the two attentions are fused, see
            :class:`~recbole_hm4sr.model.mmsr.dual_attention.DualAttention`.
        qkv_mode: ``tied`` as the authors' code runs, ``separate`` as the paper describes.
        asy_second_phase: ``official`` as the authors' code runs, ``from_homo`` as the paper
            describes.
        seq_pooling: How item states become the user's vector.
        use_node_type: Whether a node's input holds its type.
        use_position: Whether a node's input holds its mean position.
        leaky_slope: Slope of the attention scores' leaky ReLU below zero.
        hidden_dropout_prob: Dropout of the layer's output.
        attn_dropout_prob: Dropout of attention weights.
        n_codes: Clusters a modality is cut into.
        n_links: Nearest clusters each item is linked to, a modality (the paper's soft links).
        code_reduction: How features are reduced to ``hidden_size`` before clustering.
        code_seed: Seed of the clustering.
        code_cache_dir: Folder that keeps the clusterings; empty for the user's cache directory.
        graph_path: ``fast`` computes only what the last item's state depends on, ``dense`` the
            whole graphs; the results are equal. ``auto`` is ``fast`` wherever it is exact.
        graph_chunk: Sequences whose dense graphs are built at once.
    """

    hidden_size: int
    n_layers: int
    fusion_type: FusionType
    qkv_mode: QkvMode
    asy_second_phase: SecondPhase
    seq_pooling: SeqPooling
    use_node_type: bool
    use_position: bool
    leaky_slope: float
    hidden_dropout_prob: float
    attn_dropout_prob: float
    n_codes: int
    n_links: int
    code_reduction: CodeReduction
    code_seed: int
    code_cache_dir: str
    graph_path: Literal["auto", "dense", "fast"]
    graph_chunk: int

    @property
    def fast_path_is_exact(self) -> bool:
        """Whether the user's vector depends on nothing but the last item's neighbourhood."""
        return (
            self.n_layers == 1
            and self.fusion_type == "asy_mask"
            and self.asy_second_phase == "official"
            and self.seq_pooling == "last"
        )

    @property
    def reads_positions(self) -> bool:
        """Whether anything reads a table of position embeddings."""
        return self.use_position or self.seq_pooling in ("attention", "last_attention")

    @property
    def takes_fast_path(self) -> bool:
        """Whether the model computes the last item's neighbourhood only."""
        return self.graph_path != "dense" and self.fast_path_is_exact

    @staticmethod
    def variant(settings: Mapping[str, Any]) -> str:
        """Tied and official: as the authors' code runs; separate and from_homo: as the paper says.

        Args:
            settings: All settings of a run.
        """
        names = ("qkv_mode", "asy_second_phase")
        return ", ".join(f"{name} {settings.get(name)}" for name in names)

    def problems(self) -> list[str]:
        """What is wrong with values whose type is right, a sentence each."""
        found = []
        for name in ("hidden_size", "n_layers", "n_codes", "n_links", "graph_chunk"):
            value = getattr(self, name)
            found += require(value >= 1, f"{name} must be 1 or more", value)
        for name in ("hidden_dropout_prob", "attn_dropout_prob"):
            value = getattr(self, name)
            found += require(0 <= value < 1, f"{name} must be in [0, 1)", value)
        found += require(self.leaky_slope >= 0, "leaky_slope must be 0 or more", self.leaky_slope)
        found += require(self.code_seed >= 0, "code_seed must be 0 or more", self.code_seed)
        found += require(
            self.code_seed < 2**32, "code_seed must be at most 4294967295", self.code_seed
        )
        found += require(
            self.fast_path_is_exact or self.graph_path != "fast",
            "graph_path must be auto or dense unless n_layers is 1, fusion_type asy_mask, "
            "asy_second_phase official and seq_pooling last",
            self.graph_path,
        )
        return found
