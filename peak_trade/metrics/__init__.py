"""Measures of returns, equity and trades: pure functions that state their sample size."""

from peak_trade.core.measures import MEASURES, MeasureFormat, measure_formats, measures_in
from peak_trade.metrics.benchmark import AlphaBeta, alpha_beta
from peak_trade.metrics.dependence import aggregation_factor
from peak_trade.metrics.distribution import return_distribution
from peak_trade.metrics.drawdowns import drawdown, drawdown_table, longest_drawdown, max_drawdown, recovery
from peak_trade.metrics.measure import Measure, format_measure
from peak_trade.metrics.over_time import rolling_sharpe, rolling_volatility, yearly_measures
from peak_trade.metrics.overfitting import Overfitting, probability_of_overfitting
from peak_trade.metrics.resampling import (
    Interval,
    SharpeDifference,
    SuperiorAbility,
    bootstrap_interval,
    equity_sharpe_difference,
    sharpe_difference,
    superior_ability,
    superior_series,
)
from peak_trade.metrics.returns import (
    annual_volatility,
    cagr,
    calmar,
    fewest_for_ratio,
    period_returns,
    sharpe,
    simple_returns,
    sortino,
    total_return,
)
from peak_trade.metrics.selection import (
    SharpeSample,
    deflated_sharpe,
    expected_maximum_sharpe,
    minimum_track_length,
    probabilistic_sharpe,
)
from peak_trade.metrics.summary import Stats, summary
from peak_trade.metrics.trading import profit_factor, time_in_market, trade_excursions, turnover, win_rate

__all__ = [
    "MEASURES",
    "AlphaBeta",
    "Interval",
    "Measure",
    "MeasureFormat",
    "Overfitting",
    "SharpeDifference",
    "SharpeSample",
    "Stats",
    "SuperiorAbility",
    "aggregation_factor",
    "alpha_beta",
    "annual_volatility",
    "bootstrap_interval",
    "cagr",
    "calmar",
    "deflated_sharpe",
    "drawdown",
    "drawdown_table",
    "equity_sharpe_difference",
    "expected_maximum_sharpe",
    "fewest_for_ratio",
    "format_measure",
    "longest_drawdown",
    "max_drawdown",
    "measure_formats",
    "measures_in",
    "minimum_track_length",
    "period_returns",
    "probabilistic_sharpe",
    "probability_of_overfitting",
    "profit_factor",
    "recovery",
    "return_distribution",
    "rolling_sharpe",
    "rolling_volatility",
    "sharpe",
    "sharpe_difference",
    "simple_returns",
    "sortino",
    "summary",
    "superior_ability",
    "superior_series",
    "time_in_market",
    "total_return",
    "trade_excursions",
    "turnover",
    "win_rate",
    "yearly_measures",
]
