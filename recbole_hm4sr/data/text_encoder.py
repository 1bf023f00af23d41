"""Words of items to vectors: fitted once, kept in a file, applied to items that come later.

An item that is encoded again, with whatever others, has the same row to the last bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.base.files import write_npz
from recbole_hm4sr.base.raw_lines import hash_file
from recbole_hm4sr.data.npz import read_npz

Array = np.ndarray[Any, Any]
# Beside the features that it has made: <dataset>.<modality>.encoder.npz.
SUFFIX = ".encoder.npz"
_FORMAT = "recbole-hm4sr text encoder 1"
_SEED = 2020
# Of all texts together, below which a word of one text alone is kept too.
_FEW = 100


@dataclass(frozen=True)
class WordWeights:
    """What TF-IDF knows of the words and word pairs of some texts.

    Attributes:
        terms: The words and pairs, sorted. Length W.
        idf: Weight of each. Shape ``[W]``, float64.
    """

    terms: tuple[str, ...]
    idf: Array

    @classmethod
    def fit(cls, texts: Sequence[str]) -> "WordWeights":
        """Learn the words of texts.

        Raises:
            DataError: If no text holds a word.
        """
        return _fit_words(texts)[0]

    def apply(self, texts: Sequence[str]) -> Any:
        """TF-IDF with logarithmic term counts, rows scaled to length 1.

        Returns:
            A SciPy sparse matrix of shape ``[N, W]``, float64. A text without a known word is a row
            of zeros.
        """
        vectorizer = _vectorizer(vocabulary=list(self.terms))
        vectorizer.idf_ = self.idf
        return vectorizer.transform(texts)


@dataclass(frozen=True)
class TextEncoder:
    """Latent semantic analysis: TF-IDF, truncated SVD, rows scaled to length 1.

    Attributes:
        words: Its words.
        components: What their weights are multiplied by; of no rows where there are too few texts
            or words for a decomposition: the weights themselves are the values then. Shape
            ``[F, W]``, float64.
        fields: Columns of the ``.item`` file whose words make a text.
        storage: Type of the values: float16 or float32.
        revision: What else decides the values.
    """

    words: WordWeights
    components: Array
    fields: tuple[str, ...] = ()
    storage: str = "float32"
    revision: str = ""

    @classmethod
    def fit(cls, texts: Sequence[str], *, width: int) -> "TextEncoder":
        """Learn words and their decomposition.

        Args:
            texts: One text an item.
            width: Largest number of dimensions; fewer if there are fewer texts or words.

        Raises:
            DataError: If no text holds a word.
        """
        from sklearn.decomposition import TruncatedSVD

        words, counts = _fit_words(texts)
        n_components = min(width, min(counts.shape) - 1)
        if n_components < 1:
            return cls(words, np.zeros((0, counts.shape[1])))
        with np.errstate(invalid="ignore"):  # its share of the variance, if all texts are the same
            fitted = TruncatedSVD(n_components, random_state=_SEED).fit(counts)
        return cls(words, fitted.components_)

    def described(self, *, fields: Sequence[str], storage: str, revision: str) -> "TextEncoder":
        """The encoder that says what it reads and what it is."""
        return replace(self, fields=tuple(fields), storage=storage, revision=revision)

    @property
    def width(self) -> int:
        """F."""
        return len(self.components) or len(self.words.terms)

    def encode(self, texts: Sequence[str]) -> Array:
        """Encode texts; a row depends on its text alone.

        Returns:
            Shape ``[N, F]``, of the storage type. A text without a known word is a row of zeros.
        """
        from sklearn.preprocessing import normalize

        counts = self.words.apply(texts)
        if not len(self.components):
            return np.asarray(counts.toarray(), dtype=self.storage)
        values = normalize(np.asarray(counts @ self.components.T)).astype(np.float32)
        return np.asarray(values, dtype=self.storage)

    def save(self, path: Path) -> str:
        """Write the file that :meth:`load` reads; its SHA-256.

        Raises:
            WriteError: If it cannot be written.
        """
        arrays = {
            "format": np.array(_FORMAT),
            "terms": _packed(self.words.terms),
            "idf": self.words.idf,
            "components": self.components,
            "fields": np.array(self.fields, dtype=np.str_),
            "about": np.array([self.storage, self.revision]),
        }
        write_npz(path, arrays)
        return hash_file(path)

    @classmethod
    def load(cls, path: Path) -> "TextEncoder":
        """Read a kept encoder.

        Raises:
            DataError: If the file is missing or damaged, or is of another release.
        """
        names = ("format", "terms", "idf", "components", "fields", "about")
        parts = read_npz(path, names)
        if str(parts["format"]) != _FORMAT:
            raise DataError(
                f"{path} must have the format {_FORMAT!r}, got {str(parts['format'])!r}; use the "
                f"release that wrote it"
            )
        try:
            terms = tuple(parts["terms"].tobytes().decode().split("\n"))
            storage, revision = parts["about"].tolist()
            shapes = {len(terms), len(parts["idf"]), parts["components"].shape[1]}
        except (ValueError, IndexError, TypeError) as error:
            raise DataError(f"{path} must be a kept text encoder, but: {error}") from error
        if len(shapes) != 1 or storage not in ("float16", "float32"):
            raise DataError(f"{path} must be a kept text encoder, but its parts contradict")
        words = WordWeights(terms, parts["idf"])
        return cls(words, parts["components"], tuple(parts["fields"].tolist()), storage, revision)


def encoder_path(features: Path) -> Path:
    """Where the encoder that has made a feature file lies: beside it."""
    return features.with_suffix("").with_name(features.stem + SUFFIX)


def _packed(terms: Sequence[str]) -> Array:
    """No word holds a line end; as fixed-width text the longest would set the size of all."""
    return np.frombuffer("\n".join(terms).encode(), dtype=np.uint8)


def _fit_words(texts: Sequence[str]) -> tuple[WordWeights, Any]:
    """The words of texts, and the weights in the texts as the SVD is fitted to them."""
    vectorizer = _vectorizer(min_df=2 if len(texts) > _FEW else 1)
    try:
        counts = vectorizer.fit_transform(texts)
    except ValueError as error:
        raise DataError(
            f"at least some items must have words in their text, but: {error}"
        ) from None
    terms = tuple(vectorizer.get_feature_names_out().tolist())
    return WordWeights(terms, np.asarray(vectorizer.idf_, dtype=np.float64)), counts


def _vectorizer(**options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, **options)
