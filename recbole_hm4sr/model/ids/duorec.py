"""DuoRec: SASRec with a contrast of histories that have the same target.

Reference:
    Qiu et al., "Contrastive Learning for Representation Degeneration Problem in Sequential
    Recommendation", WSDM 2022, arXiv:2110.05730. ``mask_same_target`` is from Qin et al., "Intent
    Contrastive Learning with Cross Subsequences for Sequential Recommendation", WSDM 2024,
    arXiv:2310.14318 (ICSRec).

Two histories that lead to the same item are taken for one intention, and two passes of a history
through dropout for one history: their vectors are pulled together, and away from those of others.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor

from recbole_hm4sr.layers.attention import SelfAttention
from recbole_hm4sr.layers.batch import PackedBatch
from recbole_hm4sr.layers.blocks import FeedForward, PostNormBlock, SequenceEncoder
from recbole_hm4sr.layers.catalogue import Catalogue
from recbole_hm4sr.layers.initialize import draw_normal
from recbole_hm4sr.layers.losses import LossRows
from recbole_hm4sr.layers.nt_xent import nt_xent
from recbole_hm4sr.layers.scorers import UserRows
from recbole_hm4sr.model.batch_reader import BatchReader
from recbole_hm4sr.model.ids.duorec_batch import DuoRecReader
from recbole_hm4sr.model.ids.duorec_settings import DuoRecSettings
from recbole_hm4sr.model.ids.id_sequence import IdSequence

# The views besides the own rows, by the setting contrast_views.
_VIEWS = {
    "us_x": ("again", "partner"),
    "us": ("again", "partner"),
    "su": ("partner",),
    "un": ("again",),
}


class DuoRecEncoded(NamedTuple):
    """A batch after the encoder.

    Attributes:
        users: The states that are scored.
        batch, catalogue: What was encoded; the items that can be scored.
        views: States by the name of the view, ``own`` those of the users. Each of shape
            ``[N, D]``.
    """

    users: UserRows
    batch: PackedBatch
    catalogue: Catalogue
    views: dict[str, Tensor]


class DuoRec(IdSequence):
    r"""SASRec's cross-entropy and the contrast NT-Xent of two views of each row.

    Here f is a row's state, f' that of a second pass with other dropout, and g that of a sample
    with the same target, drawn anew each time.

    .. math:: us\_x: CE(f) + \lambda_{sem} C(f', g), \quad su: CE(f) + \lambda_{sem} C(f, g)

    .. math:: un: CE(f) + \lambda C(f, f'), \quad
        us: CE(f) + \lambda C(f, f') + \lambda_{sem} C(f, g)

    In each contrast the negatives of a vector are all others of the batch, of both kinds. Whole
    histories can be trained in one pass, but for the samples with the same target, which are
    histories of their own.

    Args:
        config: RecBole ``Config`` with the fields of :class:`DuoRecSettings`.
        dataset: Training split of a ``MultiModalSequentialDataset``.

    Differs from the authors' code:
        The samples with the same target are found anew for each run; there they are kept in a file
        that another data set in the same folder reads. The padding item begins as zero.
        ``mask_same_target`` is an addition: the authors let rows with the same target be negatives
        of each other. ICSRec's finer contrast, with clusters of histories, is not built.
    """

    settings_class = DuoRecSettings
    settings: DuoRecSettings

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.encoder = SequenceEncoder([self._block() for _ in range(self.settings.n_layers)])
        draw_normal(self, self.settings.initializer_range)

    def _block(self) -> PostNormBlock:
        settings = self.settings
        shared: dict[str, Any] = {
            "hidden_size": settings.hidden_size,
            "hidden_dropout_prob": settings.hidden_dropout_prob,
            "layer_norm_eps": settings.layer_norm_eps,
        }
        attention = SelfAttention(
            hidden_size=settings.hidden_size,
            n_heads=settings.n_heads,
            attn_dropout_prob=settings.attn_dropout_prob,
        )
        feed_forward = FeedForward(
            inner_size=settings.inner_size, hidden_act=settings.hidden_act, **shared
        )
        return PostNormBlock(attention=attention, feed_forward=feed_forward, **shared)

    def make_reader(self, config: Any, dataset: Any) -> BatchReader:
        """Training batches have the views behind their own sequences."""
        views = _VIEWS[self.settings.contrast_views]
        partners = dataset.same_targets() if "partner" in views else None
        return DuoRecReader(**self.reader_options(config, dataset), views=views, partners=partners)

    def encode(self, batch: PackedBatch, catalogue: Catalogue) -> DuoRecEncoded:
        """Encode a batch with its views, in one pass of all sequences."""
        states = self.user_states(self.input_states(batch, catalogue), batch)
        names = ("own", *getattr(batch, "views", ()))
        # Not split where it is whole: an exported tower has any number of rows.
        parts = (states,) if len(names) == 1 else states.chunk(len(names))
        views = dict(zip(names, parts, strict=True))
        return DuoRecEncoded(UserRows(views["own"][:, None]), batch, catalogue, views)

    def auxiliary_losses(self, encoded: Any, rows: LossRows) -> Iterator[tuple[str, Tensor]]:
        """The contrast of two passes, of samples with the same target, or both."""
        settings, views = self.settings, encoded.views
        first = views["again" if settings.contrast_views == "us_x" else "own"]
        if settings.contrast_views in ("un", "us") and settings.lmd:
            loss = self._contrast(views["own"], views["again"], rows)
            yield "dropout_contrast", settings.lmd * loss
        if settings.contrast_views != "un" and settings.lmd_sem:
            loss = self._contrast(first, views["partner"], rows)
            yield "same_target_contrast", settings.lmd_sem * loss

    def _contrast(self, first: Tensor, second: Tensor, rows: LossRows) -> Tensor:
        settings = self.settings
        return nt_xent(
            first,
            second,
            temperature=settings.tau,
            is_cosine=settings.sim == "cos",
            ids=rows.targets if settings.mask_same_target else None,
        )
