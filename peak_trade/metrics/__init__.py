"""Measures of returns, equity and trades: pure functions that state their sample size."""

from peak_trade.metrics.drawdowns import drawdown, drawdown_table, longest_drawdown, max_drawdown, recovery
from peak_trade.metrics.measure import Measure
from peak_trade.metrics.returns import (
    annual_volatility,
    cagr,
    calmar,
    period_returns,
    sharpe,
    simple_returns,
    sortino,
    total_return,
)
from peak_trade.metrics.summary import Stats, summary
from peak_trade.metrics.table import MEASURES, MeasureRow, format_measure, measure_formats, measures_in
from peak_trade.metrics.trading import profit_factor, time_in_market, turnover, win_rate

__all__ = [
    "MEASURES",
    "Measure",
    "MeasureRow",
    "Stats",
    "annual_volatility",
    "cagr",
    "calmar",
    "drawdown",
    "drawdown_table",
    "format_measure",
    "longest_drawdown",
    "max_drawdown",
    "measure_formats",
    "measures_in",
    "period_returns",
    "profit_factor",
    "recovery",
    "sharpe",
    "simple_returns",
    "sortino",
    "summary",
    "time_in_market",
    "total_return",
    "turnover",
    "win_rate",
]
