"""IntArray as files write them: whole or broken numbers of four units, ISO text, typed columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.arrays import IntArray
from peak_trade.core.errors import DataError

_UNITS = (
    (1e11, "seconds", 1_000_000_000),
    (1e14, "milliseconds", 1_000_000),
    (1e17, "microseconds", 1_000),
    (np.inf, "nanoseconds", 1),
)
"""Upper bound of each unit for instants between 1973 and 5138, its name, and its length in ns."""
_EARLIEST, _LATEST = (np.datetime64(day, "ns").astype(np.int64) for day in ("1980-01-01", "2200-01-01"))


def read_stamps(column: pd.Series[Any], where: str, place: Callable[[int], str]) -> tuple[IntArray, str]:
    """Return the times of a column as int64 ns UTC, and how they were read.

    Parameters
    ----------
    column : Series of shape (n_rows,)
        Numbers since 1970 in seconds, milliseconds, microseconds or nanoseconds (told by their size), ISO 8601
        text, or datetimes. What carries no time zone is taken as UTC.
    where : str
        The file.
    place : callable
        Names a row as the file counts it.

    Raises
    ------
    DataError
        Naming the first row that is not a time, has another unit than the first one, or lies outside 1980 to 2200.

    """
    empty = column.isna().to_numpy()
    if empty.any():
        raise DataError(f"{where}, {place(_first(empty))}: the time was empty. Drop or mend the row.")
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        zone = str(column.dtype.tz)
        said = "datetimes in UTC" if zone == "UTC" else f"datetimes in {zone}, brought to UTC"
        instants = column.dt.tz_convert("UTC")
    elif pd.api.types.is_datetime64_dtype(column):
        instants, said = column.dt.tz_localize("UTC"), "datetimes without a time zone, taken as UTC"
    else:
        numbers = pd.to_numeric(column, errors="coerce")
        if bool(numbers.notna().all()):
            return _from_numbers(numbers, where, place)
        if bool(numbers.notna().iloc[0]):
            row = _first(numbers.isna().to_numpy())
            raise DataError(
                f"{where}, {place(row)}: the time was {column.iloc[row]!r}, not a number as above. Mend it."
            )
        return _from_text(column, where, place)
    return _to_ns(instants, where, place), said


def _from_numbers(numbers: pd.Series[Any], where: str, place: Callable[[int], str]) -> tuple[IntArray, str]:
    size = np.abs(numbers.to_numpy(dtype=np.float64))
    units = np.searchsorted([bound for bound, _, _ in _UNITS], size, side="right").clip(max=len(_UNITS) - 1)
    other = units != units[0]
    _, name, ns = _UNITS[int(units[0])]
    if other.any():
        row = _first(other)
        raise DataError(
            f"{where}, {place(row)}: the time {numbers.iloc[row]} is in {_UNITS[int(units[row])][1]}, "
            f"those above in {name}. Bring them to one unit."
        )
    whole = np.floor(numbers.to_numpy()) if numbers.dtype.kind == "f" else numbers.to_numpy()
    part = np.rint((numbers.to_numpy() - whole) * ns).astype(np.int64)
    outside = (whole < _EARLIEST // ns) | (whole > _LATEST // ns)
    if outside.any():
        row = _first(outside)
        raise DataError(
            f"{where}, {place(row)}: the time {numbers.iloc[row]}, read as {name} since 1970, lies outside "
            "1980 to 2200. Write ISO dates, or seconds, ms, us or ns since 1970."
        )
    return whole.astype(np.int64) * ns + part, f"{name} since 1970, UTC"


def _from_text(column: pd.Series[Any], where: str, place: Callable[[int], str]) -> tuple[IntArray, str]:
    text = column.astype(str).str.strip()
    instants = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
    wrong = instants.isna().to_numpy()
    if wrong.any():
        row = _first(wrong)
        raise DataError(
            f"{where}, {place(row)}: the time was {text.iloc[row]!r}. "
            "Write ISO dates like 2024-03-10 01:00, or numbers since 1970."
        )
    has_zone = text.str.contains(r"(?:Z|UTC|[+-]\d{2}:?\d{2})$", regex=True).to_numpy()
    if has_zone.all():
        return _to_ns(instants, where, place), "ISO text with its own offset"
    if has_zone.any():
        row = _first(has_zone != has_zone[0])
        raise DataError(
            f"{where}, {place(row)}: some times carry an offset and some do not ({text.iloc[row]!r}). Give all or none."
        )
    return _to_ns(instants, where, place), "ISO text without an offset, taken as UTC"


def _to_ns(instants: pd.Series[Any], where: str, place: Callable[[int], str]) -> IntArray:
    years = instants.dt.year.to_numpy()
    outside = (years < 1980) | (years >= 2200)
    if outside.any():
        row = _first(outside)
        raise DataError(f"{where}, {place(row)}: the time was {instants.iloc[row]}, outside 1980 to 2200. Mend it.")
    times: IntArray = pd.DatetimeIndex(instants).as_unit("ns").asi8
    return times


def _first(holds: np.ndarray[Any, np.dtype[np.bool_]]) -> int:
    return int(np.flatnonzero(holds)[0])
