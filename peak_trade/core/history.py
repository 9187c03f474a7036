"""Return histories: the declared past that a portfolio risk estimate is computed from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peak_trade.core.bars import index_ns
from peak_trade.core.errors import DataError
from peak_trade.core.time import iso

FloatArray = NDArray[np.float64]


class ReturnHistory:
    """Simple daily returns of some symbols over the same days, oldest first; never changed once made.

    Parameters
    ----------
    source : str
        Where the returns come from, for example `binance 1h bars, resampled to days`.
    as_of : int
        Close of the last day, ns UTC: the last instant whose information may be used.
    symbols : sequence of str
    returns : float64 array of shape (n_symbols, n_days), fractions
        Row i holds the returns of symbol i. A NaN or an infinity is kept, and makes every estimate on it refuse.

    """

    __slots__ = ("_parts", "as_of", "returns", "source", "symbols")

    def __init__(self, source: str, as_of: int, symbols: Sequence[str], returns: FloatArray) -> None:
        rows = np.array(returns, dtype=np.float64, order="C")
        if rows.ndim != 2 or rows.shape[0] != len(symbols) or len(set(symbols)) != len(symbols):
            raise DataError(
                f"{source}: {len(symbols)} symbols for returns of shape {rows.shape}; give one row a symbol."
            )
        rows.flags.writeable = False
        self.source, self.as_of, self.symbols, self.returns = source, as_of, tuple(symbols), rows
        self._parts: dict[tuple[str, ...], ReturnHistory] = {}

    @property
    def n_days(self) -> int:
        """Number of days."""
        return int(self.returns.shape[1])

    def of(self, symbols: tuple[str, ...]) -> ReturnHistory:
        """Return the history of these symbols in this order, the same object each time; KeyError if one is absent."""
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
        return hash((self.source, self.as_of, self.symbols))

    def __repr__(self) -> str:
        return f"ReturnHistory({self.source!r}, {iso(self.as_of)}, {len(self.symbols)} symbols, {self.n_days} days)"


def daily_returns(closes: pd.DataFrame, source: str, n_days: int, as_of: int | None = None) -> ReturnHistory:
    """Resample closes to UTC days and return the last `n_days` daily returns known at `as_of`.

    Parameters
    ----------
    closes : DataFrame of shape (n_bars, n_symbols), quote currency
        Closes by close time (UTC, increasing), one column a symbol.
    source : str
        Name of the declared source.
    n_days : int
        Longest history kept.
    as_of : int, optional
        Last instant that may be used, ns UTC; by default the last close.

    Returns
    -------
    ReturnHistory
        A day is complete when a bar closes at its midnight or later; incomplete days are left out. Days on which some
        symbol has no close are left out, and its next return spans the gap.

    Notes
    -----
    Causal: closes after `as_of` are never read.

    """
    times = index_ns(closes.index)
    if as_of is not None:
        closes = closes.iloc[: int(np.searchsorted(times, as_of, side="right"))]
    if len(closes) == 0:
        raise DataError(f"{source}: there is no close to make daily returns from. Import bars first.")
    days = closes.resample("1D", closed="right", label="right").last().dropna()
    days = days[index_ns(days.index) <= index_ns(closes.index)[-1]]
    if len(days) < 2:
        raise DataError(f"{source}: fewer than two complete days for daily returns. Import a longer history.")
    values = days.to_numpy(dtype=np.float64).T
    returns = values[:, 1:] / values[:, :-1] - 1.0
    names = [str(column) for column in days.columns]
    return ReturnHistory(source, int(index_ns(days.index)[-1]), names, returns[:, -n_days:])
