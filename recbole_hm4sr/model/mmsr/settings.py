"""Settings of MMSR; the defaults are the released code's behaviour.

The model as the paper describes it: ``qkv_mode: separate`` and ``asy_second_phase: from_homo``.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pydantic

from recbole_hm4sr.config.choices import CodeReduction, FusionType, QkvMode, SecondPhase, SeqPooling
from recbole_hm4sr.config.fields import Count, Dropout, Seed, Weight, setting
from recbole_hm4sr.config.settings import Settings


class MMSRSettings(Settings):
    """Settings of MMSR."""

    why_no_new_items: ClassVar[str] = (
        "a candidate is its id alone: codes of features are read of the items of a history"
    )

    hidden_size: Count = setting(
        128, "D, width of every embedding and state (the authors' embedding_size)."
    )
    n_layers: Count = setting(1, "Passes through the graph layer; all share one set of weights.")
    fusion_type: FusionType = setting(
        "asy_mask", "How the two attentions are fused: asynchronously, by a gate, or concatenated."
    )
    qkv_mode: QkvMode = setting(
        "tied", "tied as the authors' code runs, separate as the paper describes."
    )
    asy_second_phase: SecondPhase = setting(
        "official", "official as the authors' code runs, from_homo as the paper describes."
    )
    seq_pooling: SeqPooling = setting("last", "How item states become the user's vector.")
    use_node_type: bool = setting(True, "Whether a node's input holds its type.")
    use_position: bool = setting(True, "Whether a node's input holds its mean position.")
    leaky_slope: Weight = setting(0.1, "Slope of the attention scores' leaky ReLU below zero.")
    hidden_dropout_prob: Dropout = setting(0.4, "Dropout of the layer's output.")
    attn_dropout_prob: Dropout = setting(0.2, "Dropout of attention weights.")
    n_codes: Count = setting(
        20, "Clusters a modality is cut into; the authors' published log has 30."
    )
    n_links: Count = setting(
        1,
        "Nearest clusters each item is linked to, per modality (the paper's soft links); the "
        "authors' published log has 3.",
    )
    code_reduction: CodeReduction = setting(
        "pca",
        "How features are reduced to hidden_size before clustering: pca, ae (the authors' "
        "autoencoder, which takes minutes) or none.",
    )
    code_seed: Seed = setting(2023, "Seed of the clustering.")
    code_cache_dir: str = setting(
        "",
        "Folder that keeps the clusterings; empty for the user's cache directory.",
        "machine",
        "flag only",
    )
    graph_path: Literal["auto", "dense", "fast"] = setting(
        "auto",
        "fast computes only what the last item's state depends on, dense the whole graphs; the "
        "results are equal, and auto is fast wherever it is exact.",
    )
    graph_chunk: Count = setting(128, "Sequences whose dense graphs are built at once.")

    @pydantic.field_validator("graph_path")
    @classmethod
    def _fast_is_exact(cls, value: str, info: pydantic.ValidationInfo) -> str:
        needed = ("n_layers", "fusion_type", "asy_second_phase", "seq_pooling")
        given = [info.data.get(name) for name in needed]
        if value == "fast" and None not in given and not _is_exact(*given):
            raise ValueError(
                "graph_path must be auto or dense unless n_layers is 1, fusion_type asy_mask, "
                "asy_second_phase official and seq_pooling last, got 'fast'"
            )
        return value

    @property
    def fast_path_is_exact(self) -> bool:
        """Whether the user's vector depends on nothing but the last item's neighbourhood."""
        return _is_exact(self.n_layers, self.fusion_type, self.asy_second_phase, self.seq_pooling)

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


def _is_exact(n_layers: object, fusion: object, second_phase: object, pooling: object) -> bool:
    return (n_layers, fusion, second_phase, pooling) == (1, "asy_mask", "official", "last")
