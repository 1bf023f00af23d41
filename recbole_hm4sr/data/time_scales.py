"""Each user's own unit of time: the smallest time between two interactions of the training part."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_hm4sr.data.log import InteractionLog
from recbole_hm4sr.data.times import whole_seconds

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TimeScales:
    """The first moment and the unit of time of each interaction's user, in whole seconds.

    Attributes:
        origins: Time of the user's first interaction. Shape ``[N]``, int64.
        gaps: The user's smallest gap above zero, 1 if there is none. Shape ``[N]``, int64.
    """

    origins: Array
    gaps: Array


def time_scales(log: InteractionLog, shown: Array, unit: str) -> TimeScales:
    """The scales of all users of a log.

    Args:
        log: All interactions.
        shown: Which of them are known: the smallest gap is one between these. Shape ``[N]``, bool.
        unit: Of the log's times: ``s`` or ``ms``.
    """
    seconds = whole_seconds(log.times, unit)
    gaps = np.diff(seconds, prepend=seconds[:1])
    inner = shown & (np.arange(len(log)) > log.starts) & (gaps > 0)
    never = np.iinfo(np.int64).max
    smallest = np.full(len(log.offsets) - 1, never)
    np.minimum.at(smallest, log.users[inner], gaps[inner])
    smallest[smallest == never] = 1
    return TimeScales(seconds[log.starts], smallest[log.users])
