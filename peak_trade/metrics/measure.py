"""Measured numbers with sample size and standard error, and the smallest sample sizes."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bar_frame import index_ns
from peak_trade.core.calendar import observed_per_year
from peak_trade.core.errors import DataError
from peak_trade.core.measures import MEASURES
from peak_trade.core.time import checked_per_year

MIN_RETURNS = 30
"""Smallest number of bar returns for volatility, Sharpe and Sortino ratio."""
MIN_ROBUST = 120
"""Smallest number of bar returns from which the standard error of a Sharpe ratio is the autocorrelation-robust one."""
MIN_DAYS = 30.0
"""Shortest span, in days of bars, for annualised growth, turnover, Sharpe and Sortino ratio."""
MIN_TRADES = 10
"""Smallest number of closed trades for win rate and profit factor."""
ROUNDING = 1e-14
"""Standard deviation of simple returns up to which it is rounding error."""
DIGITS = 9
"""Significant digits in JSON and in the comparison of two runs."""


@dataclass(frozen=True, slots=True)
class Measure:
    """Measured number: value, number of observations, standard error and note.

    If there is no value, for example because the sample is too small, `value` is None and `note` states the reason. It
    is never NaN or infinite. `stderr` has the unit of the value, or is None.

    Examples
    --------
    >>> print(Measure(0.125, n=500))
    0.125
    >>> print(Measure(None, n=3, note="too few: 3 trades, 10 needed"))
    too few: 3 trades, 10 needed
    >>> f"{Measure(0.125, n=500):.1%}", Measure(0.125, n=500) > 0.1
    ('12.5%', True)

    """

    value: float | None
    n: int
    stderr: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        for number in (self.value, self.stderr):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"a Measure has finite numbers or None, this one had {number}")

    def __float__(self) -> float:
        """Return the value, NaN if there is none."""
        return math.nan if self.value is None else self.value

    def __eq__(self, other: object) -> bool:
        """Compare with a number by value, and with another measure by all fields."""
        if isinstance(other, Measure):
            return astuple(self) == astuple(other)
        return float(self) == other if isinstance(other, Real) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.value)

    def __lt__(self, other: Measure | float) -> bool:
        """Compare values; a measure without a value is neither below nor above anything."""
        return float(self) < float(other)

    def __le__(self, other: Measure | float) -> bool:
        """Compare values, as `<` does."""
        return float(self) <= float(other)

    def __gt__(self, other: Measure | float) -> bool:
        """Compare values, as `<` does."""
        return float(self) > float(other)

    def __ge__(self, other: Measure | float) -> bool:
        """Compare values, as `<` does."""
        return float(self) >= float(other)

    def __format__(self, spec: str) -> str:
        """Return the value in a format such as `.2f`, or why there is none; without a format, its text."""
        return str(self) if not spec or self.value is None else format(self.value, spec)

    def to_dict(self) -> dict[str, float | int | str | None]:
        """Return value and standard error (None if there is none), number of observations and note, for JSON."""
        return {"value": rounded(self.value), "stderr": rounded(self.stderr), "n": self.n, "note": self.note}

    def __str__(self) -> str:
        if self.value is None:
            return self.note
        return f"{self.value:.6g}" + (f" ± {self.stderr:.2g}" if self.stderr is not None else "")


def rounded(number: float | None, digits: int = DIGITS) -> float | None:
    """Return a number rounded to significant digits, None for None."""
    return None if number is None else float(f"{number:.{digits}g}")


def too_few(n: int, needed: int | float, what: str) -> Measure:
    """Return a Measure without a value, whose note states that n observations are too few."""
    return Measure(None, n, note=f"too few: {n} {what}, {needed:.0f} needed")


def finite_or(value: float, n: int, otherwise: str, stderr: float | None = None, note: str = "") -> Measure:
    """Return a Measure of `value`, or one with the note `otherwise` if it is not finite."""
    if not math.isfinite(value):
        return Measure(None, n, note=otherwise)
    return Measure(float(value), n, stderr if stderr is not None and math.isfinite(stderr) else None, note)


def checked(values: Any, what: str) -> FloatArray:
    """Return a Series or array as a float64 array of shape (n,); DataError at the first NaN or infinity."""
    array = np.ascontiguousarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise DataError(f"{what} has shape {array.shape}; give one value per bar.")
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array))[0])
        place = values.index[row] if isinstance(values, pd.Series) else f"row {row}"
        raise DataError(f"{what} has a {array[row]}, first at {place}; drop or fill it before measuring.")
    return array


def checked_equity(equity: Any) -> FloatArray:
    """Return equity as a float64 array; DataError when it is empty, has a NaN or does not start above zero."""
    array = checked(equity, "equity")
    if array.size == 0:
        raise DataError("equity is empty; give at least one value.")
    if not array[0] > 0.0:
        raise DataError(f"equity starts at {array[0]:g}; it must start above zero.")
    return array


def per_year(equity: Any, bars_per_year: float) -> float:
    """Return the observed number of bars per year of equity with a time index; of an array, `bars_per_year`.

    ConfigError unless `bars_per_year` is finite and above zero.
    """
    if isinstance(equity, pd.Series) and isinstance(equity.index, pd.DatetimeIndex) and len(equity):
        return observed_per_year(index_ns(equity.index), bars_per_year)
    return checked_per_year(bars_per_year)


def format_measure(name: str, measure: Measure) -> str:
    """Return a measure as tables show it: value ± standard error in its format, or the note that stands for a value.

    Examples
    --------
    >>> format_measure("total_return", Measure(0.125, n=500))
    '12.50%'

    """
    if measure.value is None:
        return measure.note
    pattern = MEASURES[name].pattern
    return pattern.format(measure.value) + ("" if measure.stderr is None else f" ± {pattern.format(measure.stderr)}")
