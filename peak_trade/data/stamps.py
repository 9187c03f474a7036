"""Times in columns of a table, as nanoseconds since 1970 in UTC."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.arrays import BoolArray, FloatArray, IntArray
from peak_trade.core.errors import ConfigError, DataError, excerpt
from peak_trade.core.time import EPOCH_UNITS, NS_PER_SECOND, Timeframe

_INSTANTS = tuple((name.removesuffix("s"), length) for _, name, length in EPOCH_UNITS)
_COMPACT = (("%Y%m%d", 10**0), ("%Y%m%d%H%M", 10**4), ("%Y%m%d%H%M%S", 10**6))
"""Dates written as a number, which no unit since 1970 reads as a time between 1980 and 2200."""
_DATES = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%Y", "%d.%m.%y"),
    *("%d/%m/%Y", "%m/%d/%Y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%Y", "%m-%d-%Y", "%d-%m-%y", "%m-%d-%y"),
    *("%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d %Y", "%d %B %Y", "%B %d %Y"),
)
_CLOCKS = (
    *("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %H%M%S", " %H%M"),
    *(" %I:%M %p", " %I:%M:%S %p", " %I:%M%p", " %I:%M:%S%p", " %I-%p", " %I %p", " %I%p"),
)
_ISO = "ISO 8601"
_BLOCK = 500_000
_EARLIEST, _LATEST = (np.datetime64(day, "ns").astype(np.int64) for day in ("1980-01-01", "2200-01-01"))

Place = Callable[[int], str]


def read_stamps(
    column: pd.Series[Any], where: str, place: Place, time_format: str | None = None
) -> tuple[IntArray, str]:
    """Return the times of a column as int64 ns UTC, and how they were read.

    Parameters
    ----------
    column : Series of shape (n_rows,)
        Numbers since 1970 in seconds, milliseconds, microseconds or nanoseconds (decided for each row by their size),
        text in ISO 8601 or in one of the usual formats of dates, or datetimes. Times without a time zone are taken as
        UTC.
    where : str
        The file.
    place : callable
        Returns the place of a row in the file.
    time_format : str, optional
        Format of the text, as of `datetime.strptime`.

    Raises
    ------
    DataError
        On the first row that is not a time, or is outside 1980 to 2200.
    ConfigError
        If the text fits several formats that give different times.

    """
    empty = column.isna().to_numpy()
    if empty.any():
        raise DataError(f"{where}, {place(_first(empty))}: the time was empty. Drop or fix the row.")
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        zone = str(column.dtype.tz)
        said = "datetimes in UTC" if zone == "UTC" else f"datetimes in {zone}, converted to UTC"
        return _to_ns(column.dt.tz_convert("UTC"), where, place), said
    if pd.api.types.is_datetime64_dtype(column):
        return _to_ns(column.dt.tz_localize("UTC"), where, place), "datetimes without a time zone, taken as UTC"
    if time_format is not None:
        return _from_format(column, where, place, time_format)
    if pd.api.types.is_bool_dtype(column):
        raise DataError(f"{where}, {place(0)}: the time was {column.iloc[0]}, not a time. Pass --column time=NAME.")
    if pd.to_numeric(column.iloc[:1], errors="coerce").isna().all():
        return _from_text(column, where, place)
    numbers = pd.to_numeric(column, errors="coerce")
    is_number = numbers.notna().to_numpy()
    if not is_number.all():
        row = _first(~is_number)
        raise DataError(
            f"{where}, {place(row)}: the time was {_shown(column, row)}, not a number as above. Drop or fix the row."
        )
    return _from_numbers(numbers, where, place)


def from_last_instants(times: IntArray, timeframe: Timeframe, anchor: int) -> tuple[IntArray, str]:
    """Return close times for times that are the last instant within each bar, such as 23:59:59, and its name.

    The name is empty, and the times are unchanged, if they are not. `anchor` is a point of the time grid in ns.
    """
    grid = min(timeframe.seconds, 86_400) * NS_PER_SECOND
    for name, length in _INSTANTS:
        if ((times + length - anchor) % grid == 0).all():
            return times + length, name
    return times, ""


def _from_numbers(numbers: pd.Series[Any], where: str, place: Place) -> tuple[IntArray, str]:
    values = numbers.to_numpy()
    for form, scale in _COMPACT:
        if ((values >= 19_800_101 * scale) & (values < 22_000_101 * scale)).all():
            text = numbers.astype("int64").astype(str)
            return _from_format(text, where, place, form)
    times, units = np.empty(len(values), np.int64), np.empty(len(values), np.int8)
    for rows in _blocks(len(values)):
        part = values[rows]
        unit = np.searchsorted([bound for bound, _, _ in EPOCH_UNITS], np.abs(part.astype(np.float64)), side="right")
        units[rows] = unit = unit.clip(max=len(EPOCH_UNITS) - 1)
        ns = np.array([length for _, _, length in EPOCH_UNITS])[unit]
        whole = np.floor(part) if part.dtype.kind == "f" else part
        outside = (whole < _EARLIEST // ns) | (whole > _LATEST // ns)
        if outside.any():
            row = rows.start + _first(outside)
            raise DataError(
                f"{where}, {place(row)}: the time {numbers.iloc[row]}, read as {EPOCH_UNITS[units[row]][1]} since "
                "1970, is outside 1980 to 2200. Write ISO dates, or seconds, ms, us or ns since 1970."
            )
        rest: FloatArray = np.rint((part - whole) * ns)
        times[rows] = whole.astype(np.int64) * ns + rest.astype(np.int64)
    first_rows = sorted(_first(units == unit) for unit in np.unique(units))
    names = [EPOCH_UNITS[units[row]][1] for row in first_rows]
    said = f"{names[0]} since 1970, UTC"
    if names[1:]:
        said = f"{names[0]} and, first in {place(first_rows[1])}, {' and '.join(names[1:])} since 1970, UTC"
    return times, said


def _blocks(n_rows: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK, n_rows)) for start in range(0, n_rows, _BLOCK)]


def _in_blocks(function: Callable[[pd.Series[Any]], pd.Series[Any]], column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a function of each cell of a column, applied to blocks of rows to use little memory at a time."""
    result: pd.Series[Any] = pd.concat([function(column.iloc[rows]) for rows in _blocks(len(column))])
    return result


def _instants(text: pd.Series[Any], form: str) -> pd.Series[Any]:
    return pd.to_datetime(text, format=form, utc=True, errors="coerce")


def _spaced(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return text with single blanks, without commas, and with the sign of UTC of ISO 8601."""
    text = column.astype(str).str.replace(r"[,\s]+", " ", regex=True).str.strip()
    is_utc = text.str.contains(r"(?: UTC| GMT)$", regex=True)
    return text.where(~is_utc, text.str.slice(stop=-4) + "Z")


def _plain_instants(form: str) -> Callable[[pd.Series[Any]], pd.Series[Any]]:
    return lambda part: _instants(_spaced(part).str.removesuffix("Z"), form)


def _has_zone(column: pd.Series[Any]) -> pd.Series[Any]:
    return _spaced(column).str.contains(r":.*(?:Z|[+-]\d{2}(?::?\d{2})?)$", regex=True)


def _from_format(column: pd.Series[Any], where: str, place: Place, form: str) -> tuple[IntArray, str]:
    text = column.astype(str).str.strip()
    try:
        instants = _in_blocks(lambda part: _instants(part, form), text)
    except ValueError as error:
        raise ConfigError(f"--time-format was {excerpt(form)!r}: {excerpt(error, 80)}.") from None
    wrong = instants.isna().to_numpy()
    if wrong.any():
        row = _first(wrong)
        raise DataError(f"{where}, {place(row)}: the time was {_shown(text, row)}, not of the format {excerpt(form)}.")
    zone = "with its own offset" if "%z" in form or "%Z" in form else "taken as UTC"
    return _to_ns(instants, where, place), f"text of the format {excerpt(form)}, {zone}"


def _from_text(column: pd.Series[Any], where: str, place: Place) -> tuple[IntArray, str]:
    instants = {_ISO: _in_blocks(lambda part: _instants(_spaced(part), "ISO8601"), column)}
    if not instants[_ISO].notna().all():
        first = _spaced(column.iloc[:1]).str.removesuffix("Z").iloc[0]
        for form in [date + clock for date in _DATES for clock in _CLOCKS if _fits(first, date + clock)]:
            instants[form] = _in_blocks(_plain_instants(form), column)
    whole = {form: found for form, found in instants.items() if found.notna().all()}
    if not whole:
        closest = min(instants, key=lambda form: int(instants[form].isna().sum()))
        row = _first(instants[closest].isna().to_numpy())
        form = "" if closest == _ISO else f", not of the format {closest} as above"
        raise DataError(
            f"{where}, {place(row)}: the time was {_shown(column, row)}{form}. "
            "Write ISO dates like 2024-03-10 01:00 or numbers since 1970, or pass --time-format."
        )
    first, *others = whole
    if any(not whole[first].equals(whole[other]) for other in others):
        forms = " or ".join(repr(form) for form in whole)
        raise ConfigError(
            f"{where}: the times, such as {_shown(column, 0)}, may be of the format {forms}. Pass --time-format."
        )
    if first != _ISO:
        return _to_ns(whole[first], where, place), f"text of the format {first}, taken as UTC"
    has_zone = _in_blocks(_has_zone, column).to_numpy(dtype=bool)
    if has_zone.any() and not has_zone.all():
        row = _first(has_zone != has_zone[0])
        raise DataError(
            f"{where}, {place(row)}: some times have an offset and some do not ({_shown(column, row)}). Use one form."
        )
    zone = "with its own offset" if has_zone.all() else "without an offset, taken as UTC"
    return _to_ns(whole[first], where, place), f"ISO text {zone}"


def _fits(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)  # noqa: DTZ007
    except ValueError:
        return False
    return True


def _to_ns(instants: pd.Series[Any], where: str, place: Place) -> IntArray:
    years = instants.dt.year.to_numpy()
    outside = (years < 1980) | (years >= 2200)
    if outside.any():
        row = _first(outside)
        raise DataError(f"{where}, {place(row)}: the time was {instants.iloc[row]}, outside 1980 to 2200. Fix it.")
    times: IntArray = pd.DatetimeIndex(instants).as_unit("ns").asi8
    return times


def _shown(column: pd.Series[Any], row: int) -> str:
    return repr(excerpt(column.iloc[row]))


def _first(holds: BoolArray) -> int:
    return int(np.flatnonzero(holds)[0])
