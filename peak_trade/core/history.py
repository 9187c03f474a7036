"""Daily returns of symbols and daily weights of an account, the inputs of portfolio risk estimates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bars import Bars
from peak_trade.core.calendar import NS_PER_DAY, lateness, open_times, period_of
from peak_trade.core.errors import DataError, listed
from peak_trade.core.time import iso

_ACTIVITY_DAYS, _FEWEST_DAYS = 30, 5
_MOST_DAYS_LATE = 2


class ReturnHistory:
    """Simple daily returns of several symbols over the same days, oldest first. Immutable.

    Parameters
    ----------
    source : str
        Origin of the returns, for example `binance 1h bars, resampled to days`.
    as_of : int
        Close of the last day, ns UTC: the last instant whose information may be used.
    symbols : sequence of str
    returns : float64 array of shape (n_symbols, n_days), fractions
        Row i holds the returns of symbol i. A NaN or an infinity is kept; every estimate refuses such a row.

    """

    __slots__ = ("_hash", "_is_finite", "_parts", "as_of", "returns", "source", "symbols")

    def __init__(self, source: str, as_of: int, symbols: Sequence[str], returns: FloatArray) -> None:
        rows = np.array(returns, dtype=np.float64, order="C")
        if rows.ndim != 2 or rows.shape[0] != len(symbols) or len(set(symbols)) != len(symbols):
            raise DataError(
                f"{source}: {len(symbols)} symbols for returns of shape {rows.shape}; give one row per symbol."
            )
        rows.flags.writeable = False
        self.source, self.as_of, self.symbols, self.returns = source, as_of, tuple(symbols), rows
        self._parts: dict[tuple[str, ...], ReturnHistory] = {}
        self._hash = hash((source, as_of, self.symbols))
        self._is_finite: bool | None = None

    @property
    def n_days(self) -> int:
        """Number of days."""
        return int(self.returns.shape[1])

    @property
    def is_finite(self) -> bool:
        """Whether the return of every day is finite."""
        if self._is_finite is None:
            self._is_finite = bool(np.isfinite(self.returns).all())
        return self._is_finite

    def select(self, symbols: tuple[str, ...]) -> ReturnHistory:
        """Return the history of these symbols in this order, a cached object; KeyError if a symbol is missing."""
        if symbols == self.symbols:
            return self
        part = self._parts.get(symbols)
        if part is None:
            place = {symbol: row for row, symbol in enumerate(self.symbols)}
            part = ReturnHistory(self.source, self.as_of, symbols, self.returns[[place[name] for name in symbols]])
            self._parts[symbols] = part
        return part

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ReturnHistory):
            return NotImplemented
        mine = (self.source, self.as_of, self.symbols, self.returns.shape)
        theirs = (other.source, other.as_of, other.symbols, other.returns.shape)
        return mine == theirs and self.returns.tobytes() == other.returns.tobytes()

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"ReturnHistory({self.source!r}, {iso(self.as_of)}, {len(self.symbols)} symbols, {self.n_days} days)"


class WeightHistory:
    """Exposures that an account held when each of the last days began, oldest first. Immutable.

    Parameters
    ----------
    as_of : int
        Close of the last day, ns UTC. The days are those of a `ReturnHistory` with the same `as_of`.
    symbols : sequence of str
    weights : float64 array of shape (n_symbols, n_days), signed fractions of equity
        Row i holds the exposures to symbol i at the last close up to the start of each day; 0.0 is no position.

    """

    __slots__ = ("as_of", "symbols", "weights")

    def __init__(self, as_of: int, symbols: Sequence[str], weights: FloatArray) -> None:
        rows = np.array(weights, dtype=np.float64, order="C")
        if rows.ndim != 2 or rows.shape[0] != len(symbols) or len(set(symbols)) != len(symbols):
            raise DataError(f"{len(symbols)} symbols for weights of shape {rows.shape}; give one row per symbol.")
        rows.flags.writeable = False
        self.as_of, self.symbols, self.weights = as_of, tuple(symbols), rows

    @property
    def n_days(self) -> int:
        """Number of days."""
        return int(self.weights.shape[1])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WeightHistory):
            return NotImplemented
        mine = (self.as_of, self.symbols, self.weights.shape)
        theirs = (other.as_of, other.symbols, other.weights.shape)
        return mine == theirs and self.weights.tobytes() == other.weights.tobytes()

    def __hash__(self) -> int:
        return hash((self.as_of, self.symbols))

    def __repr__(self) -> str:
        return f"WeightHistory({iso(self.as_of)}, {len(self.symbols)} symbols, {self.n_days} days)"


class DailyHistory:
    """Daily closes and volumes of several symbols, queried as of an instant.

    Parameters
    ----------
    bars : sequence of Bars
        Of any timeframe up to a day. Several parts of one symbol follow each other in time.
    source : str
        Origin of the returns; see `ReturnHistory`.
    n_days : int
        Length of the longest history that is returned.

    Attributes
    ----------
    delay : int
        Time from midnight (UTC) until a day is known, ns: 0 unless bars extend across midnight.

    Notes
    -----
    Causal: a day holds the bars that open on it (UTC) and is known once its last bar has closed. The last bar of a day
    is its close, so a gap of some hours leaves the day known. A day without bars is unknown: its return and the return
    of the next day are NaN. Returns before a symbol's second close and after its last close are NaN as well.

    """

    def __init__(self, bars: Sequence[Bars], source: str, n_days: int) -> None:
        ordered = sorted(bars, key=lambda part: part.symbol)
        self._source, self._n_days = source, n_days
        self._symbols = tuple(dict.fromkeys(part.symbol for part in ordered))
        self.delay = max(lateness(int(part.times[0]), part.timeframe) for part in ordered)
        first = min(int(day_of(part)[0]) for part in ordered)
        last = max(int(day_of(part)[-1]) for part in ordered)
        closes = np.full((len(self._symbols), last - first + 1), np.nan)
        volumes = np.full_like(closes, np.nan)
        for part in ordered:
            row, days = self._symbols.index(part.symbol), day_of(part)
            is_on_time = part.times <= (days + 1) * NS_PER_DAY + self.delay
            days = days[is_on_time] - first
            is_first = np.isnan(volumes[row]).all()
            start = int(days[0]) + (is_first and not _opens_day(part))
            closes[row, days] = part.frame["close"].to_numpy()[is_on_time]
            sums = np.bincount(days, weights=part.frame["volume"].to_numpy()[is_on_time], minlength=closes.shape[1])
            volumes[row, start:] = np.nan_to_num(volumes[row, start:]) + sums[start:]
        self._first_end = (first + 1) * NS_PER_DAY + self.delay
        self._returns = np.diff(closes, axis=1, prepend=np.nan) / np.roll(closes, 1, axis=1)
        self._volume = _trailing_mean(volumes)
        self._volatility = np.sqrt(_trailing_mean(self._returns**2) - _trailing_mean(self._returns) ** 2)
        self._activity: dict[tuple[str, int], tuple[float, float]] = {}
        self._known = -1
        self._history: ReturnHistory | None = None

    def returns_at(self, as_of: int) -> ReturnHistory | None:
        """Return the latest daily returns known at an instant, ns UTC; None before two days are over."""
        n_known = self._n_known(as_of)
        if n_known != self._known:
            rows = self._returns[:, max(n_known - self._n_days, 1) : n_known]
            self._known = n_known
            end = self._first_end + (n_known - 1) * NS_PER_DAY
            self._history = ReturnHistory(self._source, end, self._symbols, rows) if n_known > 1 else None
        return self._history

    def activity_at(self, symbol: str, as_of: int) -> tuple[float, float]:
        """Return average daily volume (base units) and volatility of daily returns (fraction) over the last 30 days.

        Both are computed from the complete days known at `as_of`, ns UTC. They are NaN when there are fewer than five
        such days, and when the last bar is more than two days old.
        """
        key = symbol, (as_of - self._first_end) // NS_PER_DAY + 1
        known = self._activity.get(key)
        if known is None:
            known = self._activity[key] = self._activity_after(*key)
        return known

    def _activity_after(self, symbol: str, n_days: int) -> tuple[float, float]:
        n_held = self._returns.shape[1]
        if not 1 <= n_days <= n_held + _MOST_DAYS_LATE:
            return math.nan, math.nan
        row, column = self._symbols.index(symbol), min(n_days, n_held) - 1
        return float(self._volume[row, column]), float(self._volatility[row, column])

    def _n_known(self, as_of: int) -> int:
        return int(min(max((as_of - self._first_end) // NS_PER_DAY + 1, 0), self._returns.shape[1]))


def extend_history(past: Sequence[Bars], bars: Sequence[Bars]) -> list[Bars]:
    """Return the past of every symbol of `bars`, followed by those of its bars that close after it.

    Parameters
    ----------
    past : sequence of Bars
        One per symbol, of any timeframe up to a day. Empty: the result is `bars`.
    bars : sequence of Bars
        One per symbol.

    Raises
    ------
    DataError
        If a symbol has no past.

    """
    if not past:
        return list(bars)
    held = {part.symbol: part for part in past}
    missing = [part.symbol for part in bars if part.symbol not in held]
    if missing:
        raise DataError(f"{missing[0]} has no history, only {listed(sorted(held))} {_have(len(held))}.")
    later = [_after(part, int(held[part.symbol].times[-1])) for part in bars]
    return [held[part.symbol] for part in bars] + [part for part in later if part is not None]


def daily_returns(bars: Sequence[Bars], source: str, n_days: int, as_of: int | None = None) -> ReturnHistory:
    """Return the last `n_days` daily returns of several symbols known at `as_of` (ns UTC, default: the last close).

    Raises
    ------
    DataError
        If fewer than two days are over by then.

    Notes
    -----
    Causal; see DailyHistory for the definition of a day.

    """
    now = max(int(part.times[-1]) for part in bars) if as_of is None else as_of
    history = DailyHistory(bars, source, n_days).returns_at(now)
    if history is None:
        raise DataError(f"{source}: fewer than two complete days for daily returns. Import a longer history.")
    return history


def day_of(bars: Bars) -> IntArray:
    """Return the number of the UTC day in which each bar opens, shape (n_bars,)."""
    days: IntArray = period_of(open_times(bars.times, bars.timeframe), "day")
    return days


def _after(bars: Bars, end: int) -> Bars | None:
    is_later = bars.times > end
    return Bars(bars.frame[is_later], bars.symbol, bars.timeframe, bars.exchange) if is_later.any() else None


def _have(n_symbols: int) -> str:
    return "has" if n_symbols == 1 else "have"


def _opens_day(bars: Bars) -> bool:
    return int(open_times(int(bars.times[0]), bars.timeframe)) % NS_PER_DAY == 0


def _trailing_mean(rows: FloatArray) -> FloatArray:
    import pandas as pd

    return pd.DataFrame(rows.T).rolling(_ACTIVITY_DAYS, min_periods=_FEWEST_DAYS).mean().to_numpy().T
