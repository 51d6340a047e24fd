"""Numbers of a spreadsheet as a person reads them: dates, times and shares are stored as plain numbers. Pure."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

Kind = Literal["number", "date", "percent"]

# ECMA-376 18.8.30: formats without a code of their own. 46 counts hours beyond 24 and is read as a number.
_DATES: Final = frozenset([*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)])
_PERCENTS: Final = frozenset([9, 10])
_NOT_CODE: Final = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]')
_ELAPSED: Final = re.compile(r"\[[hms]+\]", re.IGNORECASE)
# A spreadsheet has no time zones; UTC has no jumps.
_EPOCH: Final = datetime(1899, 12, 30, tzinfo=UTC)
_EPOCH_1904: Final = datetime(1904, 1, 1, tzinfo=UTC)


def kind_of(number: int, code: str) -> Kind:
    """`code` is empty for formats that every program knows by their number."""
    if not code:
        return "date" if number in _DATES else "percent" if number in _PERCENTS else "number"
    positive = code.partition(";")[0]
    bare = _NOT_CODE.sub("", positive).lower()
    if "%" in bare:
        return "percent"
    is_date = bare != "general" and any(letter in bare for letter in "ymdhs")
    return "date" if is_date and not _ELAPSED.search(positive) else "number"


def shown(text: str, kind: Kind, *, is_1904: bool) -> str:
    """A stored number as text. Dates are ISO 8601, whatever their format says."""
    try:
        value = float(text)
        if kind == "date":
            return _moment(value, _EPOCH_1904 if is_1904 else _EPOCH)
    except (ValueError, OverflowError):
        return text
    if kind == "percent":
        return f"{value * 100:.12g}%"
    # A sum is stored as 0.30000000000000004; programs show at most 15 digits.
    return text if text.lstrip("-").isdecimal() else f"{value:.15g}"


def _moment(days: float, epoch: datetime) -> str:
    moment = epoch + timedelta(seconds=round(days * 86_400))
    if 0 <= days < 1:
        return f"{moment:%H:%M}"
    return f"{moment:%Y-%m-%d}" if moment.time() == datetime.min.time() else f"{moment:%Y-%m-%d %H:%M}"
