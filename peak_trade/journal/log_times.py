"""Times of an external log: one format for all times of a file, stated or recognised, never chosen row by row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from peak_trade.core.errors import ConfigError, excerpt
from peak_trade.core.time import EPOCH_UNITS, to_ns

_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?)?)\s*(Z|UTC|[+-]\d\d:?\d\d)?", re.ASCII | re.IGNORECASE
)
_NUMBER = re.compile(r"\d{9,19}(?:\.\d{1,9})?", re.ASCII)
_EARLIEST, _LATEST = (to_ns(datetime(year, 1, 1, tzinfo=UTC)) for year in (1980, 2200))
_STATED = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
"""Short names of the units since 1970 that a user can state instead of a format."""


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """Format of the times of a file: its name, and the function that returns the ns UTC of a text or a datetime.

    The function raises a ValueError for what is not in the format.
    """

    name: str
    read: Callable[[object], int]


def stated_format(text: str) -> TimeFormat:
    """Return a format that the user states: `iso`, `s`, `ms`, `us`, `ns`, or a pattern as of `datetime.strptime`.

    ConfigError for a pattern without a year and a day, and for unknown directives.
    """
    if text.lower() == "iso":
        return TimeFormat("ISO 8601, without a time zone read as UTC", _read_iso)
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

    return TimeFormat(text, read)


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
            f"{where}: {shown}; write ISO 8601, or seconds, ms, us or ns since 1970, or state --time-format."
        )
    (name,) = found
    return TimeFormat(name, _read_iso) if name in (_ISO_UTC, _ISO_ZONE) else _epoch_format(name.split()[0])


_ISO_UTC, _ISO_ZONE = "ISO 8601 without a time zone, read as UTC", "ISO 8601 with a time zone"


def _name_of(text: str) -> str:
    match = _ISO.fullmatch(text)
    if match:
        return _ISO_ZONE if match[2] else _ISO_UTC
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
    import pandas as pd

    match = _ISO.fullmatch(str(given).strip())
    if match is None:
        raise ValueError(f"{excerpt(given)} is not a time in ISO 8601")
    zone = "+00:00" if match[2] is None or match[2].upper() in ("Z", "UTC") else match[2]
    try:
        moment = pd.Timestamp(match[1].replace(",", ".") + ("" if ":" in match[1] else "T00:00") + zone)
    except ValueError:
        raise ValueError(f"{excerpt(given)} is not a time") from None
    return _checked(int(moment.as_unit("ns").value), given)


def _checked(time: int, given: object) -> int:
    if not _EARLIEST <= time < _LATEST:
        raise ValueError(f"{excerpt(given)} is outside 1980 to 2200")
    return time
