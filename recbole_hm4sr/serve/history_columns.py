"""How histories may be written, and which form a table has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recbole_hm4sr.base.errors import DataError
from recbole_hm4sr.data.interaction_columns import InteractionColumns

UTF8 = "utf-8-sig"


@dataclass(frozen=True)
class HistoryColumns:
    """How histories may be written: as the run's own files, or as what they were prepared from.

    Attributes:
        user: The run's name of the column.
        item: The run's name of the column.
        time: The run's name of the column.
        unit: Of the run's times: ``s`` or ``ms``.
        source: How the tables were written that the data set was prepared from; None if that is
            not known.
        given: What is known to be otherwise in either form, by the name of the attribute of
            :class:`~recbole_hm4sr.data.interaction_columns.InteractionColumns`.
    """

    user: str
    item: str
    time: str
    unit: str
    source: InteractionColumns | None = None
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def own(self) -> InteractionColumns:
        """The run's own form."""
        return InteractionColumns(self.user, self.item, self.time, self.unit)

    def written(self, names: Sequence[Any]) -> InteractionColumns:
        """The form of a table that has some columns; the run's own if it has those of none."""
        for form in (self.source, self.own):
            if form is not None and replace(form, **self.given).are_in(names):
                break
        return replace(form or self.own, **self.given)

    @property
    def encodings(self) -> list[str]:
        """Encodings that a text may have, the likeliest first."""
        remembered = [] if self.source is None else [self.source.encoding]
        codes = [self.given["encoding"]] if "encoding" in self.given else [UTF8, *remembered]
        return list(dict.fromkeys(UTF8 if code == "utf-8" else code for code in codes))


def require_columns(path: Path, found: Sequence[Any], columns: InteractionColumns) -> None:
    """Refuse a table without the columns that histories have.

    Args:
        path: The table, for messages.
        found: Its columns.
        columns: Those it must have.

    Raises:
        DataError: If one is missing.
    """
    if not columns.are_in(found):
        raise DataError(
            f"{path} must have the columns {columns.user}, {columns.item} and {columns.time}, got "
            f"{', '.join(map(str, found)) or 'none'}"
        )
