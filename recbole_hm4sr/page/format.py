"""Numbers, shares, moments and lengths of time as a page or a terminal shows them."""

import numpy as np

NONE = "\u2013"  # where there is no number
_UNITS = ((365 * 86400, "years"), (86400, "days"), (3600, "h"), (60, "min"))


def number_text(value: float | None) -> str:
    """A number with four significant digits, a whole one with all of them; a dash for none.

    >>> [number_text(v) for v in (None, 0.12345, 12, 12345, 1234567.8)]
    ['–', '0.1235', '12', '12,345', '1,234,568']
    """
    if value is None:
        return NONE
    whole = float(value).is_integer() or abs(value) >= 10_000
    return f"{value:,.0f}" if whole and abs(value) < 1e15 else f"{value:.4g}"


def percent(part: float, whole: float = 1.0) -> str:
    """A share in percent: with a decimal near 0 and near 100, and neither for what is not quite so.

    >>> [percent(share) for share in (0, 0.0004, 0.095, 0.66, 0.99, 0.9999, 1)]
    ['0 %', '< 0.1 %', '9.5 %', '66 %', '99.0 %', '> 99.9 %', '100 %']

    Args:
        part: The part; negative for a loss.
        whole: The whole; the share of nothing in nothing is 0.
    """
    value = 100 * part / whole if whole else 0.0
    size = abs(value)
    if 0 < size < 0.1:
        return "< 0.1 %" if value > 0 else "> -0.1 %"
    if 99.9 < size < 100:
        return "> 99.9 %" if value > 0 else "< -99.9 %"
    plain = size in (0, 100) or 10 <= size < 90 or size > 100
    return f"{value:.0f} %" if plain else f"{value:.1f} %"


def moment(seconds: float, *, whole_days: bool = False) -> str:
    """A time in UTC, from seconds since the Unix epoch.

    >>> moment(1_609_475_146)
    '2021-01-01 04:25'
    """
    try:
        stamp = np.datetime64(int(seconds), "s")
    except (ValueError, OverflowError):
        return f"{seconds:.0f} s"
    return str(stamp.astype("datetime64[D]")) if whole_days else str(stamp)[:16].replace("T", " ")


def day(seconds: float) -> str:
    """The date of a time in UTC.

    >>> day(1_609_475_146)
    '2021-01-01'
    """
    return moment(seconds, whole_days=True)


def duration(seconds: float) -> str:
    """A length of time in its natural unit, with two significant digits below 100.

    >>> [duration(s) for s in (0, 0.04, 92, 4000, 9000, 259200)]
    ['0 s', '0.04 s', '92 s', '67 min', '2.5 h', '3 days']
    """
    for unit, name in _UNITS:
        if seconds >= 2 * unit:
            return f"{_two_digits(seconds / unit)} {name}"
    return f"{_two_digits(seconds)} s"


def _two_digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"


def gap_text(seconds: float | None) -> str:
    """How much later something happened; empty for none.

    >>> [gap_text(s) for s in (None, 0, 45, 1500)]
    ['', 'same time', '+ 45 s', '+ 25 min']
    """
    if seconds is None:
        return ""
    return f"+ {duration(seconds)}" if seconds else "same time"
