"""Tables of value at risk: rolling estimates against losses, their coverage tests, and the part of each position."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from peak_trade.core.arrays import BoolArray, FloatArray
from peak_trade.core.bars import Bars
from peak_trade.core.calendar import NS_PER_DAY
from peak_trade.core.errors import DataError, listed
from peak_trade.core.history import ReturnHistory, daily_returns
from peak_trade.engine.result import BacktestResult
from peak_trade.regimes.states import Regime, require_filtered
from peak_trade.risk.es_backtest import acerbi_szekely
from peak_trade.risk.limits import EWMA_DECAY, VarMethod
from peak_trade.risk.var import SEED_DAYS, ewma_variance, marginal_var
from peak_trade.risk.var_backtest import (
    MIN_DAYS,
    N_BACKTEST_DAYS,
    christoffersen_conditional_coverage,
    christoffersen_independence,
    dynamic_quantile,
    kupiec_pof,
    traffic_light,
)
from peak_trade.risk.walk_forward import Forecasts, walk_forward

VAR_METHODS: tuple[VarMethod, ...] = ("historical", "parametric", "cornish_fisher", "filtered_historical")


def daily_history(bars: Sequence[Bars]) -> ReturnHistory:
    """Return the daily returns from the first day on which every symbol has one; DataError when there is none."""
    history = daily_returns(bars, "daily", 1_000_000)
    is_known = np.isfinite(history.returns).all(axis=0)
    if not is_known.any():
        raise DataError("there is no day on which every symbol has a return; give longer bars.")
    return ReturnHistory(history.source, history.as_of, history.symbols, history.returns[:, is_known.argmax() :])


def var_walk(
    bars: Sequence[Bars],
    weights: Mapping[str, float],
    method: VarMethod,
    level: float = 0.95,
    window: int = N_BACKTEST_DAYS,
    ewma_decay: float = EWMA_DECAY,
) -> pd.DataFrame:
    """Return the one-day VaR of every day, estimated from the days before it, and the loss of that day.

    Parameters
    ----------
    bars : sequence of Bars, one per symbol
    weights : mapping of symbol to signed exposure
        Fractions of equity, held constant; for just the symbols of `bars` that count.
    method : VarMethod
    level : float
        Confidence, between 0 and 1.
    window : int, days
        Days before each day that its estimate uses.
    ewma_decay : float, of the filtered historical method

    Returns
    -------
    DataFrame of shape (n_days - window, 3), indexed by the end of the day, UTC
        value_at_risk and loss, fractions of equity, positive for a loss; is_exception, whether the loss is larger.
        value_at_risk is NaN on a day without an estimate.

    Raises
    ------
    DataError
        When a weighted symbol has no bars, or there are no more days of returns than the window.

    Notes
    -----
    Causal: the estimate of a day uses returns of earlier days only.

    """
    names = tuple(sorted(weights))
    chosen = [part for part in bars if part.symbol in weights]
    if sorted(part.symbol for part in chosen) != list(names):
        raise DataError(f"weights are for {listed(names)}; give the bars of just these symbols.")
    whole = daily_history(chosen)
    returns = whole.returns
    check_window(returns.shape[1], window)
    exposures = np.array([weights[name] for name in names])
    (found,) = walk_forward(exposures, whole, method, (level,), returns.shape[1] - window, ewma_decay)
    return pd.DataFrame(
        {"value_at_risk": found.value_at_risk, "loss": -found.returns, "is_exception": found.exceptions},
        index=pd.DatetimeIndex(found.ends, tz="UTC", name="day"),
    )


def var_tests(walks: Mapping[str, pd.DataFrame], level: float = 0.95) -> pd.DataFrame:
    """Return one row per model: days, exceptions, p-values of the coverage tests, and the Basel zone.

    Parameters
    ----------
    walks : mapping of model name to the DataFrame of `var_walk`
    level : float
        Confidence of the VaR.

    Returns
    -------
    DataFrame: model, n_days, n_exceptions, n_without, kupiec_p, independence_p, coverage_p, zone
        `n_without` counts the days without an estimate, which are left out of the tests. `zone` is that of the last 250
        days. The p-values are NaN below two days.

    """
    rows = []
    for name, walk in walks.items():
        known = walk[walk["value_at_risk"].notna()]
        hits = known["is_exception"].to_numpy(dtype=bool)
        last = hits[-N_BACKTEST_DAYS:]
        if hits.size < 2:
            rows.append((name, hits.size, 0, len(walk) - hits.size, math.nan, math.nan, math.nan, "no estimate"))
            continue
        rows.append(
            (
                name,
                hits.size,
                int(hits.sum()),
                len(walk) - hits.size,
                kupiec_pof(hits, level).p_value,
                christoffersen_independence(hits).p_value,
                christoffersen_conditional_coverage(hits, level).p_value,
                traffic_light(int(last.sum()), last.size, level),
            )
        )
    columns = ["model", "n_days", "n_exceptions", "n_without", "kupiec_p", "independence_p", "coverage_p", "zone"]
    return pd.DataFrame(rows, columns=columns)


def decay_losses(history: ReturnHistory, decays: Sequence[float]) -> pd.DataFrame:
    """Return one row per decay: decay, and the QLIKE loss of its one-day variance forecasts of each symbol.

    Returns
    -------
    DataFrame: decay, one column per symbol, mean; without unit, smaller is better
        The mean over the days of log h + r² / h, with h the EWMA variance known the day before and r the return, after
        the days that start the recursion.

    References
    ----------
    Patton (2011), "Volatility forecast comparison using imperfect volatility proxies", Journal of Econometrics 160(1),
    equation 5.

    """
    squares = history.returns**2
    seeds = squares[:, :SEED_DAYS].mean(axis=1)
    rows = []
    for decay in decays:
        known = ewma_variance(history.returns, seeds, decay)[:, SEED_DAYS:-1]
        rows.append((np.log(known) + squares[:, SEED_DAYS:] / known).mean(axis=1))
    table = pd.DataFrame(rows, columns=list(history.symbols))
    table.insert(0, "decay", list(decays))
    table["mean"] = np.mean(rows, axis=1)
    return table


def coverage_table(
    portfolios: Mapping[str, tuple[FloatArray, ReturnHistory]],
    methods: Sequence[VarMethod],
    levels: tuple[float, ...] = (0.95, 0.99),
    window: int = 500,
    n_paths: int = 1_000,
    ewma_decay: float = EWMA_DECAY,
) -> pd.DataFrame:
    """Return one row per portfolio, model and level with its exceptions and the p-values of the backtests.

    Parameters
    ----------
    portfolios : mapping of name to (weights, history)
        Weights of shape (n_symbols,), or (n_days - window, n_symbols) if they change; see `walk_forward`.
    methods : sequence of VarMethod
    levels : tuple of float, confidences
    window : int, days
        Days before each day that its estimate uses.
    n_paths : int
        Number of simulated paths of the shortfall test and of the dynamic quantile test.
    ewma_decay : float, of the filtered historical method

    Returns
    -------
    DataFrame: portfolio, model, level, n_days, n_without, expected, n_exceptions, kupiec_p, coverage_p, quantile_p,
    z2, z2_critical, z2_p
        `n_without` counts the days with a position and without an estimate; they and the days without a position are
        left out. `expected` is the number of exceptions of a correct model. `quantile_p` is that of the dynamic
        quantile test. A p-value is NaN if there are too few days.

    """
    rows = []
    for name, (weights, history) in portfolios.items():
        n_days = history.n_days - window
        is_held: BoolArray = (np.broadcast_to(weights, (n_days, len(history.symbols))) != 0.0).any(axis=1)
        for method in methods:
            walks = walk_forward(weights, history, method, levels, n_days, ewma_decay, n_paths)
            rows += [
                (name, method, level, *_backtests(walk, is_held, level))
                for level, walk in zip(levels, walks, strict=True)
            ]
    columns = ["portfolio", "model", "level", "n_days", "n_without", "expected", "n_exceptions"]
    return pd.DataFrame(rows, columns=[*columns, "kupiec_p", "coverage_p", "quantile_p", "z2", "z2_critical", "z2_p"])


def book_weights(result: BacktestResult, history: ReturnHistory, n_days: int) -> FloatArray:
    """Return the exposures that a run held when each of the last days of a history began.

    Parameters
    ----------
    result : BacktestResult
    history : ReturnHistory
        Of all symbols that the run trades.
    n_days : int

    Returns
    -------
    float64 array of shape (n_days, n_symbols), signed fractions of equity
        Zero before the first bar of the run and after a bankruptcy.

    Raises
    ------
    DataError
        If the history lacks a symbol of the run.

    Notes
    -----
    Causal: row t is the book at the last close up to the start of day t, so it earns the return of day t.

    """
    market = result.market
    missing = [symbol for symbol in market.symbols if symbol not in history.symbols]
    if missing:
        raise DataError(f"{history!r} has no returns of {missing[0]}; give the history of all symbols of the run.")
    starts = history.as_of - np.arange(n_days, 0, -1, dtype=np.int64) * NS_PER_DAY
    bars = np.searchsorted(pd.DatetimeIndex(result.index).as_unit("ns").asi8, starts, side="right") - 1
    equity = result.equity_values[bars]
    weights = np.zeros((n_days, len(history.symbols)))
    for symbol, column in zip(market.symbols, market.columns, strict=True):
        held = result.positions[symbol][bars]
        is_known = (bars >= 0) & (held != 0.0) & (equity > 0.0)
        worth = held[is_known] * column.mark[bars[is_known]] / equity[is_known]
        weights[is_known, history.symbols.index(symbol)] = worth
    return weights


def check_window(n_days: int, window: int) -> None:
    """Raise DataError unless there are more days of returns than the window has."""
    if n_days <= window:
        raise DataError(
            f"{n_days} days of returns are not more than the window of {window}. Start earlier, or shorten the window."
        )


def backtested_portfolios(
    result: BacktestResult, history: ReturnHistory, window: int
) -> dict[str, tuple[FloatArray, ReturnHistory]]:
    """Return the portfolios of `coverage_table`: each symbol, equal weights of all, and the actual book of a run.

    The book is that of each day after the first `window` days; see `book_weights`.
    """
    n_symbols = len(history.symbols)
    check_window(history.n_days, window)
    portfolios = {symbol: (np.ones(1), history.select((symbol,))) for symbol in history.symbols}
    portfolios["equal weights"] = np.full(n_symbols, 1.0 / n_symbols), history
    portfolios["book of the run"] = book_weights(result, history, history.n_days - window), history
    return portfolios


def coverage_by_regime(walk: pd.DataFrame, regimes: object, level: float = 0.95) -> pd.DataFrame:
    """Return one row per regime: regime, n_days, n_exceptions, rate (a fraction of the days), Kupiec's p-value.

    Parameters
    ----------
    walk : DataFrame
        See `var_walk`; days without an estimate are left out.
    regimes : FilteredRegimes
        A day belongs to the regime known when it began, at the last close up to then.
    level : float
        Confidence of the VaR.

    Returns
    -------
    DataFrame, in the order unknown, bear, sideways, bull; regimes without a day are left out
        `kupiec_p` is NaN below two days.

    Raises
    ------
    ConfigError
        If the regimes are smoothed, or of another type.
    DataError
        If no day has an estimate.

    """
    filtered = require_filtered(regimes)
    known = walk[walk["value_at_risk"].notna()]
    if known.empty:
        raise DataError("no day has a value at risk; give a longer history or another method.")
    starts = pd.DatetimeIndex(known.index).as_unit("ns").asi8 - NS_PER_DAY
    bars = np.searchsorted(filtered.times, starts, side="right") - 1
    labels = np.where(bars >= 0, filtered.labels[np.maximum(bars, 0)], Regime.UNKNOWN)
    hits = known["is_exception"].to_numpy(dtype=bool)
    table = [
        (regime.name.lower(), own.size, int(own.sum()), own.mean(), _kupiec(own, level))
        for regime in Regime
        if (own := hits[labels == regime]).size
    ]
    return pd.DataFrame(table, columns=["regime", "n_days", "n_exceptions", "rate", "kupiec_p"])


def marginal_table(
    weights: Mapping[str, float],
    history: ReturnHistory,
    method: VarMethod,
    level: float = 0.95,
    ewma_decay: float = EWMA_DECAY,
) -> pd.DataFrame:
    """Return one row per symbol: symbol, weight, marginal_var, component_var (weight × marginal_var), share.

    The components sum to the one-day value at risk, a fraction of equity; the shares sum to 1, or are NaN without any
    risk. See `marginal_var`.
    """
    names = tuple(sorted(weights))
    exposures = np.array([weights[name] for name in names])
    marginal = marginal_var(exposures, history.select(names), method, level, ewma_decay)
    component = exposures * marginal
    total = float(component.sum())
    part = component / total if total else np.full_like(component, math.nan)
    return pd.DataFrame(
        {"symbol": names, "weight": exposures, "marginal_var": marginal, "component_var": component, "share": part}
    )


def _backtests(walk: Forecasts, is_held: BoolArray, level: float) -> tuple[float, ...]:
    is_known = is_held & (walk.expected_shortfall > 0.0)
    hits, n_days = walk.exceptions[is_known], int(is_known.sum())
    counts = (n_days, int(is_held.sum()) - n_days, n_days * (1.0 - level), int(hits.sum()))
    if n_days < MIN_DAYS:
        return *counts, *[math.nan] * 6
    stated, shortfall = walk.value_at_risk[is_known], walk.expected_shortfall[is_known]
    tail = acerbi_szekely(walk.returns[is_known], stated, shortfall, walk.simulated[:, is_known], level)
    return (
        *counts,
        kupiec_pof(hits, level).p_value,
        christoffersen_conditional_coverage(hits, level).p_value,
        dynamic_quantile(hits, stated, level, n_simulated=len(walk.simulated)).p_value,
        tail.statistic,
        tail.critical_value,
        tail.p_value,
    )


def _kupiec(hits: BoolArray, level: float) -> float:
    return kupiec_pof(hits, level).p_value if hits.size > 1 else math.nan
