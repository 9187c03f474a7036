"""Times of an external log: one format for all times of a file, stated or recognised, never chosen row by row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from peak_trade.core.errors import ConfigError, excerpt
from peak_trade.core.time import EPOCH_UNITS, NS_PER_SECOND, to_ns

_CLOCK = r"(?:[T ]\s*(\d\d?):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?\s*(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?"
_ISO = re.compile(r"(\d{4})([-/.])(\d\d?)\2(\d\d?)" + _CLOCK, re.ASCII | re.IGNORECASE)
_DAY_FIRST = re.compile(r"(\d\d?)(\.)(\d\d?)\.(\d{4})" + _CLOCK, re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"\d{9,19}(?:\.\d{1,9})?", re.ASCII)
_EARLIEST, _LATEST = (to_ns(datetime(year, 1, 1, tzinfo=UTC)) for year in (1980, 2200))
_STATED = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
"""Short names of the units since 1970 that a user can state instead of a format."""


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """Format of the times of a file: its name, and the function that returns the ns UTC of a text or a datetime.

    The function raises a ValueError for what is not in the format. `is_local` says whether a time may lack its zone:
    the zone that a file states for all of its times then applies to it.
    """

    name: str
    read: Callable[[object], int]
    is_local: bool = False


def stated_format(text: str) -> TimeFormat:
    """Return a format that the user states: `iso`, `s`, `ms`, `us`, `ns`, or a pattern as of `datetime.strptime`.

    ConfigError for a pattern without a year and a day, and for unknown directives.
    """
    if text.lower() == "iso":
        return TimeFormat("ISO 8601, without a time zone read as UTC", _read_iso, is_local=True)
    if text in _STATED:
        return _epoch_format(_STATED[text])
    if not (re.search("%[Yy]", text) and re.search("%[dj]", text)):
        raise ConfigError(
            f"--time-format was {excerpt(text)}: write iso, s, ms, us or ns, or a pattern with a year and a day, like "
            "%d.%m.%Y %H:%M:%S."
        )
    try:
        datetime.strptime("", text)  # noqa: DTZ007
    except ValueError as error:
        if "directive" in str(error) or "stray" in str(error):
            raise ConfigError(f"--time-format was {excerpt(text)}: {error}. Write it like %Y-%m-%d %H:%M:%S.") from None

    def read(given: object) -> int:
        try:
            moment = datetime.strptime(str(given).strip(), text)  # noqa: DTZ007
        except ValueError:
            raise ValueError(f"{excerpt(given)} is not a time in the format {text}") from None
        return _checked(to_ns(moment), given)

    return TimeFormat(text, read, is_local="%z" not in text)


def has_zone(given: object) -> bool:
    """Return whether a text is a time in ISO 8601 that states its zone."""
    match = _ISO.fullmatch(str(given).strip())
    return match is not None and match[9] is not None


def recognised_format(cells: Iterable[object], where: str) -> TimeFormat:
    """Return the one format of all times: ISO 8601 with or without a zone, or a unit since 1970 by its magnitude.

    Parameters
    ----------
    cells : iterable of text or numbers, one per row
        Cells that are no time in any of these formats are left to the row that needs them.
    where : str
        The file.

    Raises
    ------
    ConfigError
        If the times have several formats, or none of these.

    """
    found: dict[str, tuple[int, object]] = {}
    unknown = None
    for row, cell in enumerate(cells, start=1):
        name = _name_of(str(cell).strip())
        if name:
            found.setdefault(name, (row, cell))
        elif unknown is None and str(cell).strip():
            unknown = (row, cell)
    if len(found) > 1:
        shown = " and ".join(f"{name} ({excerpt(cell)})" for name, (_, cell) in list(found.items())[:2])
        raise ConfigError(
            f"{where}: its times have several formats: {shown}. Write them in one format, or state --time-format."
        )
    if not found:
        shown = f"the time was {excerpt(unknown[1])}" if unknown else "it has no time"
        raise ConfigError(
            f"{where}: {shown}; write ISO 8601, or seconds, ms, us or ns since 1970, or state --time-format, like "
            "'%m/%d/%Y %H:%M:%S'."
        )
    (name,) = found
    if name in (_ISO_UTC, _ISO_ZONE, _DAY_FIRST_UTC):
        return TimeFormat(name, _read_day_first if name == _DAY_FIRST_UTC else _read_iso, is_local=name != _ISO_ZONE)
    return _epoch_format(name.split()[0])


_ISO_UTC, _ISO_ZONE = "ISO 8601 without a time zone, read as UTC", "ISO 8601 with a time zone"
_DAY_FIRST_UTC = "day.month.year, without a time zone read as UTC"


def _name_of(text: str) -> str:
    match = _ISO.fullmatch(text)
    if match:
        return _ISO_ZONE if match[9] else _ISO_UTC
    if _DAY_FIRST.fullmatch(text):
        return _DAY_FIRST_UTC
    if not _NUMBER.fullmatch(text):
        return ""
    unit, length = next((name, length) for bound, name, length in EPOCH_UNITS if Decimal(text) < bound)
    return f"{unit} since 1970" if _EARLIEST <= Decimal(text) * length < _LATEST else ""


def _epoch_format(unit: str) -> TimeFormat:
    length = next(length for _, name, length in EPOCH_UNITS if name == unit)

    def read(given: object) -> int:
        text = str(given).strip()
        if not _NUMBER.fullmatch(text):
            raise ValueError(f"{excerpt(given)} is not a time in {unit} since 1970")
        return _checked(int(Decimal(text) * length), given)

    return TimeFormat(f"{unit} since 1970", read)


def _read_iso(given: object) -> int:
    match = _ISO.fullmatch(str(given).strip())
    if match is None:
        raise ValueError(f"{excerpt(given)} is not a time in ISO 8601")
    year, _, month, day, *clock = match.groups()
    return _moment((year, month, day), clock, given)


def _read_day_first(given: object) -> int:
    match = _DAY_FIRST.fullmatch(str(given).strip())
    if match is None:
        raise ValueError(f"{excerpt(given)} is not a time like 31.12.2024 23:59:59")
    day, _, month, year, *clock = match.groups()
    return _moment((year, month, day), clock, given)


def _moment(day: tuple[str, str, str], clock: Sequence[str | None], given: object) -> int:
    """Return ns UTC of year, month and day, and of hour, minute, second, fraction and zone where they are stated."""
    hour, minute, second = (int(part or 0) for part in clock[:3])
    fraction, zone = clock[3:]
    try:
        n_days = date(*map(int, day)).toordinal() - _EPOCH
        if not (hour < 24 and minute < 60 and second < 60):
            raise ValueError
    except ValueError:
        raise ValueError(f"{excerpt(given)} is not a time") from None
    seconds = n_days * 86_400 + hour * 3_600 + minute * 60 + second
    if zone is not None and zone[0] in "+-":
        digits = zone[1:].replace(":", "").ljust(4, "0")
        offset = int(digits[:2]) * 3_600 + int(digits[2:]) * 60
        seconds -= offset if zone[0] == "+" else -offset
    return _checked(seconds * NS_PER_SECOND + int((fraction or "").ljust(9, "0")), given)


_EPOCH = date(1970, 1, 1).toordinal()


def _checked(time: int, given: object) -> int:
    if not _EARLIEST <= time < _LATEST:
        raise ValueError(f"{excerpt(given)} is outside 1980 to 2200")
    return time
