"""Allocation: the share of equity that each sleeve gets, estimated on past returns only.

A *sleeve* is one strategy on one symbol. Its weight is applied once: it holds weight x exposure x equity.
"""

from __future__ import annotations

import warnings
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from peak_trade.core.arrays import BoolArray, FloatArray
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.settings import Positive, Settings
from peak_trade.portfolio.rebalancing import Period

Method = Literal["equal", "fixed", "inverse_volatility", "risk_parity", "minimum_variance"]

SUM_RTOL = 1e-9
"""Fixed weights sum to 1 up to this."""
_KNOWN_SHARE = 0.9


class Allocation(Settings):
    """How equity is shared out between sleeves, and how often that is estimated again."""

    method: Method = "equal"
    """equal, fixed (each strategy states its weight), inverse_volatility, risk_parity or minimum_variance."""

    window: Annotated[int, Field(ge=20)] = 720
    """Bars before each estimate that it is made from."""

    every: Period = "month"
    """An estimate is made at the first close of each period, UTC, and holds until the next."""

    max_weight: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Largest share of the invested part that one sleeve may have."""

    cash_buffer: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of equity that is never invested."""

    annual_volatility: Positive | None = None
    """Volatility that all weights together are scaled to, per year of 365 days; none: no scaling."""

    max_scale: Positive = 1.0
    """Largest multiplier that the volatility target may set; 1 is no leverage."""

    @model_validator(mode="after")
    def _scale_has_a_target(self) -> Self:
        if self.max_scale != 1.0 and self.annual_volatility is None:
            raise ValueError("max_scale belongs to annual_volatility: set that too, or leave both.")
        return self

    @property
    def is_estimated(self) -> bool:
        """Whether past returns have a say in the weights."""
        return self.method not in ("equal", "fixed") or self.annual_volatility is not None


def check_fixed_weights(weights: dict[str, float | None], allocation: Allocation) -> FloatArray | None:
    """Return the fixed weights by sleeve in the order given, or None where the method makes its own.

    Raises
    ------
    ConfigError
        When weights are missing, do not sum to 1, exceed the cap, or stand beside a method that ignores them; when
        the cap leaves part of the equity without a sleeve.

    """
    stated = {sleeve: weight for sleeve, weight in weights.items() if weight is not None}
    if allocation.max_weight * len(weights) < 1.0 - SUM_RTOL:
        raise ConfigError(
            f"allocation.max_weight was {allocation.max_weight:g} for {len(weights)} strategies, which together could "
            f"hold {allocation.max_weight * len(weights):g} of the equity. Raise it to {1.0 / len(weights):.4g}."
        )
    if allocation.method != "fixed":
        if stated:
            raise ConfigError(
                f"{', '.join(stated)}: a weight is stated, and allocation.method was {allocation.method}, which makes "
                'its own. Drop the weight, or set method = "fixed".'
            )
        return None
    missing = [sleeve for sleeve in weights if sleeve not in stated]
    if missing:
        raise ConfigError(f'{", ".join(missing)}: weight is missing; method = "fixed" needs one for every strategy.')
    total = sum(stated.values())
    if abs(total - 1.0) > SUM_RTOL:
        raise ConfigError(
            f"weights sum to {total:.10g} ({', '.join(f'{b} {w:g}' for b, w in stated.items())}); they must sum to 1. "
            "State cash with allocation.cash_buffer."
        )
    above = [sleeve for sleeve, weight in stated.items() if weight > allocation.max_weight]
    if above:
        raise ConfigError(
            f"{above[0]}: weight was {stated[above[0]]:g}, allocation.max_weight is {allocation.max_weight:g}. "
            "Lower the one or raise the other."
        )
    return np.array(list(stated.values()))


def sleeve_returns(exposure: FloatArray, close: FloatArray) -> FloatArray:
    """Return what a sleeve of weight 1 earns at each bar before costs: yesterday's exposure times today's return.

    Parameters
    ----------
    exposure : float64 array of shape (n,), in [-1, 1], held after each close
    close : float64 array of shape (n,), in quote currency; NaN where the symbol has no bar

    Returns
    -------
    float64 array of shape (n,), simple returns; NaN at the symbol's first bar and wherever it has none
        After a gap the return is taken from the last close before it.

    Notes
    -----
    Causal: row t is computed from rows up to t.

    """
    returns = np.full(close.size, np.nan)
    rows = np.flatnonzero(~np.isnan(close))
    returns[rows[1:]] = exposure[rows[:-1]] * (close[rows[1:]] / close[rows[:-1]] - 1.0)
    return returns


def weights_from(past_returns: FloatArray, method: Method, max_weight: float = 1.0) -> FloatArray:
    """Return long-only weights that sum to 1, from the past returns of the sleeves.

    Parameters
    ----------
    past_returns : float64 array of shape (n_bars, n_sleeves), simple returns, finite, none of them constant
    method : Method
        inverse_volatility: 1 / standard deviation, normed. risk_parity: equal contributions to variance (Maillard,
        Roncalli and Teiletche 2010). minimum_variance: least variance. The last two are skfolio's.
    max_weight : float
        Cap of one weight; when it is too low for weights to sum to 1, every weight is the cap.

    Returns
    -------
    float64 array of shape (n_sleeves,), fractions

    Notes
    -----
    Scale-free: returns multiplied by a constant give the same weights up to the optimiser's tolerance (1e-6). A
    covariance that is not positive definite (more sleeves than bars, a sleeve that copies another) is repaired by
    clipping its eigenvalues.

    Examples
    --------
    >>> past = np.array([[0.01, 0.02], [-0.01, -0.02], [0.01, 0.02], [-0.01, -0.02]])
    >>> weights_from(past, "inverse_volatility").round(6).tolist()
    [0.666667, 0.333333]

    """
    n_sleeves = past_returns.shape[1]
    if max_weight * n_sleeves <= 1.0:
        return np.full(n_sleeves, min(max_weight, 1.0 / n_sleeves))
    if n_sleeves == 1:
        return np.ones(1)
    if method in ("equal", "fixed"):
        return np.full(n_sleeves, 1.0 / n_sleeves)
    past = np.ascontiguousarray(past_returns)
    deviations = past.std(axis=0, ddof=1)
    if method == "inverse_volatility":
        return _capped(1.0 / deviations, max_weight)
    return _optimised(past / deviations.mean(), method, max_weight)


def walk_forward_weights(
    returns: FloatArray,
    instants: BoolArray,
    allocation: Allocation,
    bars_per_year: float,
    fixed: FloatArray | None = None,
) -> FloatArray:
    """Return the weight of each sleeve after each close, estimated again at the instants and held between them.

    Parameters
    ----------
    returns : float64 array of shape (n_bars, n_sleeves)
        See `sleeve_returns`; NaN where a sleeve's symbol has no bar.
    instants : bool array of shape (n_bars,)
        Closes after which weights are estimated anew, from the last `allocation.window` returns up to and including
        that close.
    allocation : Allocation
    bars_per_year : float
    fixed : float64 array of shape (n_sleeves,), or None
        What `check_fixed_weights` returned.

    Returns
    -------
    float64 array of shape (n_bars, n_sleeves), fractions of equity, not negative
        A row sums to at most (1 - cash_buffer) x max_scale.

    Notes
    -----
    Causal: row t is computed from rows up to t. A sleeve has an estimate when at least nine tenths of the window's
    returns are known (the rest count as 0) and they vary. Sleeves with one share out what they would have under equal
    weights; each other sleeve has its equal share, which stays cash while its symbol has no bars. A volatility target
    keeps everything in cash until the window is full.

    """
    n_bars, n_sleeves = returns.shape
    invested = 1.0 - allocation.cash_buffer
    base = np.full(n_sleeves, min(1.0 / n_sleeves, allocation.max_weight)) if fixed is None else fixed
    weights = np.empty((n_bars, n_sleeves))
    if not allocation.is_estimated:
        weights[:] = invested * base
        return weights
    rows = np.flatnonzero(instants)
    current = np.zeros(n_sleeves) if allocation.annual_volatility is not None else invested * base
    weights[: rows[0] if rows.size else n_bars] = current
    for place, row in enumerate(rows):
        past = returns[max(row + 1 - allocation.window, 0) : row + 1]
        current = invested * _estimate(past, base, allocation, bars_per_year)
        weights[row : rows[place + 1] if place + 1 < rows.size else n_bars] = current
    return weights


def _estimate(past: FloatArray, base: FloatArray, allocation: Allocation, bars_per_year: float) -> FloatArray:
    known = ~np.isnan(past)
    filled = np.where(known, past, 0.0)
    is_full = past.shape[0] == allocation.window
    weights = base.copy()
    if allocation.method not in ("equal", "fixed") and is_full:
        has_estimate = (known.mean(axis=0) >= _KNOWN_SHARE) & (np.ptp(filled, axis=0) > 0.0)
        share = has_estimate.mean()
        if share > 0.0:
            own = weights_from(filled[:, has_estimate], allocation.method, min(allocation.max_weight / share, 1.0))
            weights[has_estimate] = share * own
    if allocation.annual_volatility is None:
        return weights
    if not is_full:
        return np.zeros_like(weights)
    invested = (1.0 - allocation.cash_buffer) * (filled * weights).sum(axis=1)
    realised = float(invested.std(ddof=1)) * np.sqrt(bars_per_year)
    if realised * allocation.max_scale <= allocation.annual_volatility:
        scale = allocation.max_scale
    else:
        scale = allocation.annual_volatility / realised
    scaled: FloatArray = weights * scale
    return scaled


def _capped(raw: FloatArray, cap: float) -> FloatArray:
    weights: FloatArray = _normed(raw)
    at_cap = np.zeros(raw.size, dtype=bool)
    while (weights > cap).any():
        at_cap |= weights >= cap
        left = 1.0 - cap * at_cap.sum()
        weights = np.where(at_cap, cap, raw * left / raw[~at_cap].sum())
    return weights


def _optimised(past: FloatArray, method: Method, cap: float) -> FloatArray:
    from skfolio.exceptions import SkfolioError
    from skfolio.optimization import MeanRisk, ObjectiveFunction, RiskBudgeting

    if method == "risk_parity":
        model = RiskBudgeting(max_weights=cap)
    else:
        model = MeanRisk(objective_function=ObjectiveFunction.MINIMIZE_RISK, max_weights=cap)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The covariance matrix is not positive definite")
            weights: FloatArray = np.clip(np.asarray(model.fit(past).weights_, dtype=np.float64), 0.0, cap)
    except (ValueError, ArithmeticError, SkfolioError) as error:
        raise DataError(
            f"{method} of {past.shape[1]} sleeves found no weights from {past.shape[0]} past bars ({error}). "
            "Lengthen allocation.window, or use inverse_volatility."
        ) from None
    return _normed(weights)


def _normed(raw: FloatArray) -> FloatArray:
    weights: FloatArray = raw / raw.sum()
    return weights
