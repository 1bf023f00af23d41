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
        has_flags: Whether who gives a table can name its columns: ``--user``, ``--item``,
            ``--time``.
    """

    user: str
    item: str
    time: str
    unit: str
    source: InteractionColumns | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    has_flags: bool = False

    @property
    def own(self) -> InteractionColumns:
        """The run's own form."""
        return InteractionColumns(self.user, self.item, self.time, self.unit)

    def require(self, path: Path, found: Sequence[Any]) -> InteractionColumns:
        """The form of a table: that whose columns it has.

        Args:
            path: The table, for messages.
            found: Its columns.

        Raises:
            DataError: If a column is missing in either form; of the form that lacks fewer.
        """
        known = [form for form in (self.source, self.own) if form is not None]
        forms = [replace(form, **self.given) for form in known]
        missing = [[name for name in form.names if name not in found] for form in forms]
        nearest = min(range(len(forms)), key=lambda number: len(missing[number]))
        if missing[nearest]:
            told = [self._told(known[nearest], it, forms[nearest]) for it in missing[nearest]]
            raise DataError(
                f"{path} misses the {_listed('column', told)}, got "
                f"{', '.join(map(str, found)) or 'none'}"
            )
        return forms[nearest]

    def _told(self, known: InteractionColumns, name: str, form: InteractionColumns) -> str:
        """A column with the flag that names it."""
        flag = ("user", "item", "time")[form.names.index(name)]
        if self.has_flags:
            return f"{name} (--{flag})"
        return f"{name} (--{flag} of hm4sr prepare csv)" if known is self.source else name

    @property
    def encodings(self) -> list[str]:
        """Encodings that a text may have, the likeliest first."""
        remembered = [] if self.source is None else [self.source.encoding]
        codes = [self.given["encoding"]] if "encoding" in self.given else [UTF8, *remembered]
        return list(dict.fromkeys(UTF8 if code == "utf-8" else code for code in codes))


def _listed(word: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{word} {names[0]}"
    return f"{word}s {', '.join(names[:-1])} and {names[-1]}"
