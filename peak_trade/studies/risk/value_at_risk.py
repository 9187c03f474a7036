"""Tables of value at risk: rolling estimates against losses, their coverage tests, and the part of each position."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from peak_trade.core.arrays import BoolArray
from peak_trade.core.bars import Bars
from peak_trade.core.errors import DataError
from peak_trade.core.history import ReturnHistory, daily_returns
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.regimes.states import Regime, require_filtered
from peak_trade.risk.limits import VarMethod
from peak_trade.risk.var import estimate, marginal_var
from peak_trade.risk.var_backtest import (
    N_BACKTEST_DAYS,
    christoffersen_conditional_coverage,
    christoffersen_independence,
    kupiec_pof,
    traffic_light,
)

VAR_METHODS: tuple[VarMethod, ...] = ("historical", "parametric", "cornish_fisher", "filtered_historical")
_NS_PER_DAY = 86_400 * NS_PER_SECOND


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
        raise DataError(f"weights are for {', '.join(names)}; give the bars of just these symbols.")
    whole = daily_history(chosen)
    returns = whole.returns
    if returns.shape[1] <= window:
        raise DataError(f"{returns.shape[1]} days of returns are not more than the window of {window}.")
    exposures = np.array([weights[name] for name in names])
    rows, days = [], []
    for day in range(window, returns.shape[1]):
        as_of = whole.as_of - (returns.shape[1] - day) * _NS_PER_DAY
        past = ReturnHistory("daily", as_of, names, returns[:, day - window : day])
        try:
            stated = estimate(exposures, past, method, level)[0]
        except DataError:
            stated = math.nan
        rows.append((stated, -float((exposures * returns[:, day]).sum())))
        days.append(as_of + _NS_PER_DAY)
    frame = pd.DataFrame(rows, columns=["value_at_risk", "loss"], index=pd.DatetimeIndex(days, tz="UTC", name="day"))
    frame["is_exception"] = frame["loss"] > frame["value_at_risk"]
    return frame


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
    starts = pd.DatetimeIndex(known.index).as_unit("ns").asi8 - _NS_PER_DAY
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
    weights: Mapping[str, float], history: ReturnHistory, method: VarMethod, level: float = 0.95
) -> pd.DataFrame:
    """Return one row per symbol: symbol, weight, marginal_var, component_var (weight × marginal_var), share.

    The components sum to the one-day value at risk, a fraction of equity; the shares sum to 1, or are NaN without any
    risk. See `marginal_var`.
    """
    names = tuple(sorted(weights))
    exposures = np.array([weights[name] for name in names])
    marginal = marginal_var(exposures, history.select(names), method, level)
    component = exposures * marginal
    total = float(component.sum())
    part = component / total if total else np.full_like(component, math.nan)
    return pd.DataFrame(
        {"symbol": names, "weight": exposures, "marginal_var": marginal, "component_var": component, "share": part}
    )


def _kupiec(hits: BoolArray, level: float) -> float:
    return kupiec_pof(hits, level).p_value if hits.size > 1 else math.nan
