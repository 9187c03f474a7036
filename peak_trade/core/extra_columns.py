"""Extra columns of bars: named values, each with the instant at which it became known."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.digest import digest_bytes
from peak_trade.core.errors import DataError, quoted
from peak_trade.core.time import NS_PER_SECOND, iso

if TYPE_CHECKING:
    import pandas as pd

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TAKEN = frozenset({"open", "high", "low", "close", "volume", "close_time", "known_at"})


@dataclass(frozen=True, slots=True, eq=False)
class ExtraColumn:
    """Values under one name, such as funding rates or open interest, and the instants at which they became known.

    Immutable: it keeps copies in memory that nothing can write to.

    Parameters
    ----------
    name : str
        Lower-case letters, digits and `_`, beginning with a letter; not the name of a column of bars.
    known_at : int64 array of shape (n_values,), ns UTC, strictly increasing, n_values at least 1
        The instant from which a value was known: that of its publication, never the start of the period that it
        describes.
    values : float64 array of shape (n_values,), in units of the source
        NaN from an instant on at which the value was not known any more; no infinity.

    Raises
    ------
    DataError
        When the name, the instants or the values break this contract; the first row at fault is named.

    """

    name: str
    known_at: IntArray
    values: FloatArray

    def __post_init__(self) -> None:
        check_name(self.name)
        times, values = np.asarray(self.known_at), np.asarray(self.values)
        if times.dtype != np.int64 or values.dtype != np.float64 or times.ndim != 1 or times.shape != values.shape:
            raise DataError(
                f"{self.name}: instants are {times.dtype}{times.shape}, values {values.dtype}{values.shape}. Give "
                "int64 nanoseconds and one float64 value for each."
            )
        if not times.size:
            raise DataError(f"{self.name}: there are no values. Give at least one.")
        steps = np.diff(times)
        if (steps <= 0).any():
            row = int(np.flatnonzero(steps <= 0)[0]) + 1
            fault = "appears twice" if steps[row - 1] == 0 else "goes back in time"
            raise DataError(
                f"{self.name}: {iso(int(times[row]))} (row {row}) {fault}. Sort the rows by the instant at which each "
                "value became known, and drop duplicates."
            )
        if np.isinf(values).any():
            row = int(np.flatnonzero(np.isinf(values))[0])
            raise DataError(
                f"{self.name}: the value was {values[row]} at {iso(int(times[row]))}. Drop or fix that row."
            )
        object.__setattr__(self, "known_at", np.frombuffer(times.tobytes(), np.int64))
        object.__setattr__(self, "values", np.frombuffer(values.tobytes()))

    @classmethod
    def of(cls, name: str, series: pd.Series[Any]) -> ExtraColumn:
        """Return the column of a Series whose index holds the instants, with a time zone; DataError otherwise."""
        import pandas as pd

        index = series.index
        if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
            raise DataError(
                f"{name}: the index must hold instants with a time zone, at which the values became known. Localize "
                "it with tz_localize('UTC')."
            )
        if not pd.api.types.is_numeric_dtype(series.dtype) or series.dtype.kind == "c":
            raise DataError(f"{name}: the values are {series.dtype}. Convert them to float64.")
        times: IntArray = index.as_unit("ns").asi8
        return cls(name, times, series.to_numpy(np.float64, na_value=np.nan))

    def at(self, times: IntArray) -> FloatArray:
        """Return, for each instant (ns UTC), the latest value known at or before it; NaN before the first one.

        Causal: values that became known after an instant do not change the result at it. A value is kept until the
        next one, however old it is; see `age_at`.
        """
        place = self._latest(times)
        found: FloatArray = np.where(place >= 0, self.values[np.maximum(place, 0)], np.nan)
        return found

    def age_at(self, times: IntArray) -> FloatArray:
        """Return the time since the value of `at` became known, ns; NaN before the first one."""
        place = self._latest(times)
        age: FloatArray = np.where(place >= 0, times - self.known_at[np.maximum(place, 0)], np.nan)
        return age

    def note_on(self, symbol: str, times: IntArray) -> str:
        """Return a sentence on when the column of a symbol is known at close times, ns UTC; DataError if never."""
        first, last = int(self.known_at[0]), int(times[-1])
        if first > last:
            raise DataError(
                f"{self.name} of {symbol} is known from {iso(first)} on, after the last bar of {iso(last)}. Choose "
                "later bars, or import an earlier history of it."
            )
        n_before = int((times < first).sum())
        since = f"from {iso(first)} on, NaN at the {n_before:,} bars before" if n_before else "at every bar"
        hours = float(np.nanmax(self.age_at(times))) / NS_PER_SECOND / 3600.0
        return f"{self.name} of {symbol} is known {since}; the oldest value that a bar sees is {hours:,.4g} hours old."

    def _latest(self, times: IntArray) -> IntArray:
        return np.searchsorted(self.known_at, times, side="right") - 1

    def digest(self) -> str:
        """Return the SHA-256 of the name, the instants and the values; every NaN counts as one, -0.0 as 0.0."""
        return digest_bytes(self.name.encode(), self.known_at.tobytes(), unsigned(self.values).tobytes())


def check_name(name: str) -> None:
    """Raise DataError unless a name is one of an extra column."""
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise DataError(
            f"extra column {quoted(name)}: choose a name of lower-case letters, digits and _, like funding_rate, that "
            "is not a column of bars."
        )


def unsigned(values: FloatArray) -> FloatArray:
    """Return values of which equal ones have equal bytes: there is one zero, and one NaN."""
    return np.where(np.isnan(values), np.nan, values + 0.0)
