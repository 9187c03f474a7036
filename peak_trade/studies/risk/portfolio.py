"""Tables of a portfolio's risk: what breaks its limits, what each position adds, and where its VaR fails."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from peak_trade.core.arrays import BoolArray, FloatArray
from peak_trade.core.errors import DataError
from peak_trade.core.history import ReturnHistory
from peak_trade.core.time import NS_PER_SECOND
from peak_trade.regimes.states import Regime, require_filtered
from peak_trade.risk.limits import RiskLimits, VarMethod
from peak_trade.risk.marginal import marginal_var
from peak_trade.risk.reverse_stress import BreakingShock, reverse_stress
from peak_trade.risk.var_backtest import kupiec_pof

_NS_PER_DAY = 86_400 * NS_PER_SECOND


def reverse_stress_table(
    weights: Mapping[str, float], history: ReturnHistory, limits: RiskLimits, equity: float
) -> pd.DataFrame:
    """Return one row a limit: setting, limit, observed before the move, shock (fraction) and what it is in a word.

    `outcome` is `broken now`, `at the limit`, `fall`, `rise`, or `no move`, whose shock is NaN. See `reverse_stress`.
    """
    names, shares = _ordered(weights)
    shocks = reverse_stress(shares, history.of(names), limits, equity)
    rows = [
        (each.setting, each.limit, each.observed, math.nan if each.shock is None else each.shock, _outcome(each))
        for each in shocks
    ]
    table = pd.DataFrame(rows, columns=["setting", "limit", "observed", "shock", "outcome"])
    return table.astype({"limit": "float64", "observed": "float64", "shock": "float64"})


def marginal_table(
    weights: Mapping[str, float], history: ReturnHistory, method: VarMethod, level: float = 0.95
) -> pd.DataFrame:
    """Return one row a symbol: symbol, weight, marginal_var, component_var (weight times marginal) and its share.

    The components sum to the one-day value at risk, the shares to 1 (NaN without any risk). See `marginal_var`.
    """
    names, shares = _ordered(weights)
    marginal = marginal_var(shares, history.of(names), method, level)
    component = shares * marginal
    total = float(component.sum())
    part = component / total if total else np.full_like(component, math.nan)
    return pd.DataFrame(
        {"symbol": names, "weight": shares, "marginal_var": marginal, "component_var": component, "share": part}
    )


def coverage_by_regime(walk: pd.DataFrame, regimes: object, level: float = 0.95) -> pd.DataFrame:
    """Return one row a regime: regime, n_days, n_exceptions, rate (fraction of days) and Kupiec's p-value.

    Parameters
    ----------
    walk : DataFrame
        As `studies.risk.var_walk` gives it; days without an estimate are left out.
    regimes : FilteredRegimes
        A day belongs to the regime known when it began, at the last close up to then.
    level : float, confidence of the VaR

    Returns
    -------
    DataFrame, in the order unknown, bear, sideways, bull; regimes without a day are left out
        `kupiec_p` is NaN for fewer than two days.

    Raises
    ------
    ConfigError
        If the regimes are smoothed, or none.
    DataError
        If no day has an estimate.

    """
    filtered = require_filtered(regimes)
    known = walk[walk["value_at_risk"].notna()]
    if known.empty:
        raise DataError("no day has a value at risk; give a longer history or another method.")
    starts = pd.DatetimeIndex(known.index).as_unit("ns").asi8 - _NS_PER_DAY
    rows = np.searchsorted(filtered.times, starts, side="right") - 1
    labels = np.where(rows >= 0, filtered.labels[np.maximum(rows, 0)], Regime.UNKNOWN)
    hits = known["is_exception"].to_numpy(dtype=bool)
    table = [
        (regime.name.lower(), own.size, int(own.sum()), own.mean(), _kupiec(own, level))
        for regime in Regime
        if (own := hits[labels == regime]).size
    ]
    return pd.DataFrame(table, columns=["regime", "n_days", "n_exceptions", "rate", "kupiec_p"])


def _ordered(weights: Mapping[str, float]) -> tuple[tuple[str, ...], FloatArray]:
    names = tuple(sorted(weights))
    return names, np.array([weights[name] for name in names])


def _outcome(each: BreakingShock) -> str:
    if each.shock is None:
        return "no move"
    if each.shock == 0.0:
        return "broken now" if each.observed > each.limit else "at the limit"
    return "rise" if each.shock > 0.0 else "fall"


def _kupiec(hits: BoolArray, level: float) -> float:
    return kupiec_pof(hits, level).p_value if hits.size > 1 else math.nan
