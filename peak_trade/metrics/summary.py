"""Summary of a run: all measures in one ordered table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pandas as pd

from peak_trade.core.arrays import FloatArray
from peak_trade.core.measures import MEASURES
from peak_trade.metrics.drawdowns import drawdown_measures, max_drawdown
from peak_trade.metrics.measure import DIGITS, Measure, checked_equity, format_measure, per_year, rounded
from peak_trade.metrics.returns import (
    RUIN,
    annual_volatility,
    cagr,
    growth_per_drawdown,
    sharpe,
    simple_returns,
    sortino,
    total_return,
)
from peak_trade.metrics.selection import selection_measures
from peak_trade.metrics.trading import profit_factor, time_in_market, turnover, win_rate


@dataclass(frozen=True, slots=True)
class Stats(Mapping[str, Measure]):
    """An ordered, read-only table of measures by name."""

    measures: Mapping[str, Measure]

    def __getitem__(self, name: str) -> Measure:
        return self.measures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.measures)

    def __len__(self) -> int:
        return len(self.measures)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def to_series(self) -> pd.Series[float]:
        """Return the values by name, NaN where there is none."""
        return pd.Series({name: float(measure) for name, measure in self.items()}, dtype="float64", name="value")

    @property
    def errors(self) -> pd.Series[float]:
        """The standard errors by name, NaN where there is none."""
        known = {name: measure.stderr for name, measure in self.items()}
        return pd.Series(known, dtype="float64", name="stderr")

    def to_frame(self) -> pd.DataFrame:
        """Return one row per measure: value (NaN if there is none), stderr, n, unit, note."""
        rows = [(name, m.value, m.stderr, m.n, MEASURES[name].unit, m.note) for name, m in self.items()]
        frame = pd.DataFrame(rows, columns=["measure", "value", "stderr", "n", "unit", "note"])
        return frame.astype({"value": "float64", "stderr": "float64"}).set_index("measure")

    def to_dict(self, digits: int = DIGITS) -> dict[str, float | None]:
        """Return the values by name, rounded to significant digits; None if there is none."""
        return {name: rounded(measure.value, digits) for name, measure in self.items()}

    def to_measures(self) -> dict[str, dict[str, float | int | str | None]]:
        """Return value, standard error, number of observations and note of each measure by name, for JSON."""
        return {name: measure.to_dict() for name, measure in self.items()}

    def to_text(self) -> dict[str, str]:
        """Return the measures by name as tables show them; see `format_measure`."""
        return {name: format_measure(name, measure) for name, measure in self.items()}

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        width = max((len(name) for name in self), default=0)
        return "\n".join(f"{name:<{width}}  {measure}" for name, measure in self.items())


def summary(equity: Any, trades: pd.DataFrame, fills: pd.DataFrame, exposure: Any, bars_per_year: float) -> Stats:
    """Return every measure of a run.

    Parameters
    ----------
    equity : Series or float64 array of shape (n_bars,), in quote currency
        At each close, index `close_time`.
    trades : DataFrame
        Closed round trips: symbol, strategy, side, entry_time, exit_time, quantity, entry_price, exit_price, pnl
        (before fees), fees, return. May have no rows.
    fills : DataFrame
        With quantity and price. May have no rows.
    exposure : Series or array of shape (n_bars,), or DataFrame of shape (n_bars, n_symbols)
        Net exposure held at each close.
    bars_per_year : float
        `timeframe.bars_per_year`. Equity with a time index is annualised by elapsed time, so that gaps count.

    Returns
    -------
    Stats
        The measures of `measures_in("run")`, in that order.

    Raises
    ------
    DataError
        If equity is empty, holds a NaN, or does not start above zero.

    """
    values, bars_per_year = checked_equity(equity), per_year(equity, bars_per_year)
    returns = simple_returns(values)
    is_ruined = returns.size < values.size - 1
    deepest, longest, back = drawdown_measures(values)
    growth = cagr(values, bars_per_year)
    ruined = Measure(None, values.size - 1, note=RUIN)
    ratio = _sharpe(values, returns, bars_per_year)
    return Stats(
        MappingProxyType(
            {
                "total_return": total_return(values),
                "cagr": ruined if is_ruined else growth,
                "annual_volatility": ruined if is_ruined else annual_volatility(returns, bars_per_year),
                "sharpe": ratio,
                **selection_measures(returns, ratio, bars_per_year),
                "sortino": ruined if is_ruined else sortino(returns, bars_per_year),
                "calmar": ruined if is_ruined else growth_per_drawdown(growth, deepest),
                "max_drawdown": deepest,
                "longest_drawdown": longest,
                "recovery": back,
                "win_rate": win_rate(trades),
                "profit_factor": profit_factor(trades),
                "time_in_market": time_in_market(exposure),
                "turnover": turnover(fills, values, bars_per_year),
                "n_trades": Measure(float(len(trades)), len(trades)),
                "n_fills": Measure(float(len(fills)), len(fills)),
            }
        )
    )


def sweep_measures(equity: Any, n_fills: int, bars_per_year: float) -> dict[str, Measure]:
    """Return the measures of `measures_in("sweep")` of one run; they equal those of `summary`, without its tables."""
    values = checked_equity(equity)
    return {
        "total_return": total_return(values),
        "sharpe": _sharpe(values, simple_returns(values), per_year(equity, bars_per_year)),
        "max_drawdown": max_drawdown(values),
        "n_fills": Measure(float(n_fills), n_fills),
    }


def _sharpe(values: FloatArray, returns: FloatArray, bars_per_year: float) -> Measure:
    is_ruined = returns.size < values.size - 1
    return Measure(None, values.size - 1, note=RUIN) if is_ruined else sharpe(returns, bars_per_year)
