"""How a shop writes its interactions: names of columns, units and forms of times, events.

``hm4sr prepare csv`` notes it in ``PROVENANCE.json``. A run remembers it, so that histories to be
served can be given in the same form.
"""

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROVENANCE = "PROVENANCE.json"
UNITS = ("s", "ms", "date")


@dataclass(frozen=True)
class InteractionColumns:
    """Names of the columns of interactions, and how the table is written.

    Attributes:
        user: Name of its column.
        item: Name of its column.
        time: Name of its column.
        unit: What times are that are numbers: ``s`` or ``ms`` since 1970; ``date`` where they are
            texts of dates.
        time_format: Form of the dates, in the letters of ``strptime``; None for that of ISO 8601.
        encoding: Encoding of CSV files, as Python names it.
        event: Column that says what an interaction is, as ``view`` or ``buy``; None without.
        keep_events: What is kept; other rows are left out.
    """

    user: str = "user_id"
    item: str = "item_id"
    time: str = "timestamp"
    unit: str = "s"
    time_format: str | None = None
    encoding: str = "utf-8"
    event: str | None = None
    keep_events: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, str, str]:
        """The columns that a table must have."""
        return self.user, self.item, self.time

    def to_text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of_text(cls, text: str) -> "InteractionColumns":
        """What :meth:`to_text` wrote."""
        return cls.of_mapping(json.loads(text))

    @classmethod
    def of_mapping(cls, values: dict[str, Any]) -> "InteractionColumns":
        """Of a provenance; names that this release does not know are left out."""
        known = {name: value for name, value in values.items() if name in cls.__dataclass_fields__}
        known["keep_events"] = tuple(known.get("keep_events", ()))
        return cls(**known)


def read_interaction_columns(folder: Path) -> InteractionColumns | None:
    """What a data set's provenance says of its interactions.

    Args:
        folder: Of the data set.

    Returns:
        None if it was made in another way, or its provenance cannot be read.
    """
    try:
        provenance = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        return InteractionColumns.of_mapping(provenance["options"]["columns"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def read_item_flags(folder: Path) -> str:
    """The flags of ``hm4sr prepare csv`` for the table of items, by a data set's provenance.

    Args:
        folder: Of the data set.

    Returns:
        As ``--items_item=sku --title=name``; empty if it was made in another way, or its
        provenance cannot be read.
    """
    try:
        provenance = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        columns = dict(provenance["options"]["item_columns"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    names = {"item": "items_item", "encoding": "items_encoding"}
    words = [f"--{names.get(name, name)}={value}" for name, value in columns.items() if value]
    return " ".join(map(shlex.quote, words))
