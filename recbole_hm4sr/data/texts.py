"""The words of items: texts from the columns of an ``.item`` file, and their TF-IDF."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.atomic import read_atomic

Array = np.ndarray[Any, Any]


def read_item_texts(
    item_file: Path, fields: Sequence[str], *, item_field: str
) -> tuple[Array, list[str]]:
    """The token and the text of each line of an ``.item`` file.

    Args:
        item_file: The file.
        fields: Columns whose words make the text, in this order.
        item_field: Name of the column of item tokens.

    Returns:
        Tokens, unicode; and one text a token.

    Raises:
        DataError: If the file breaks the contract or lacks a column.
    """
    table = read_atomic(item_file)
    missing = [name for name in fields if name not in table.kinds]
    if missing:
        raise DataError(
            f"{item_file}, line 1 must have the text_fields {', '.join(missing)}, got "
            f"{', '.join(table.kinds)}"
        )
    columns = [table.sequences(name) for name in fields]
    texts = [" ".join(itertools.chain.from_iterable(row)) for row in zip(*columns, strict=True)]
    return table.tokens(item_field).astype(np.str_), texts


def tfidf(texts: Sequence[str], *, fitted_on: Sequence[bool] | Array | None = None) -> Any:
    """TF-IDF with logarithmic term counts over words and word pairs, rows scaled to length 1.

    Args:
        texts: One text an item.
        fitted_on: Which texts the vocabulary and the weights of its words come from; None for all.

    Returns:
        A SciPy sparse matrix of shape ``[N, words]``, float64. A text without a known word is a row
        of zeros.

    Raises:
        DataError: If no text holds a word.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    known = list(texts)
    if fitted_on is not None:
        known = list(itertools.compress(texts, fitted_on))
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), min_df=2 if len(known) > 100 else 1, sublinear_tf=True
    )
    try:
        counts = vectorizer.fit_transform(known)
    except ValueError as error:
        raise DataError(
            f"at least some items must have words in their text, but: {error}"
        ) from None
    return counts if fitted_on is None else vectorizer.transform(texts)
