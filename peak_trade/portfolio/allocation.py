"""Allocation: the weight of each sleeve, estimated from past returns only.

A *sleeve* is one strategy on one symbol. It holds weight x exposure x equity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from peak_trade.core.arrays import BoolArray, FloatArray
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.settings import Positive, Settings
from peak_trade.portfolio.rebalancing import Period

Allocator = Callable[[FloatArray, float], FloatArray]
"""Function of past returns and the largest weight that returns weights; see `portfolio.allocators`."""
UNESTIMATED = ("equal", "fixed")
"""Methods whose weights are not estimated."""
SUM_RTOL = 1e-9
"""Relative tolerance of the sum of fixed weights."""
_WEIGHT_TOLERANCE = 1e-6
_KNOWN_SHARE = 0.9


class Allocation(Settings):
    """Settings of the allocation: method, window, period and bounds."""

    method: str = "equal"
    """equal, fixed (each strategy states its weight), inverse_volatility, risk_parity, minimum_variance, or
    package.module:function."""

    window: Annotated[int, Field(ge=20)] = 720
    """Number of past bars in each estimate."""

    every: Period = "month"
    """Weights are estimated at the first close of each period, UTC, and kept until the next."""

    max_weight: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Largest weight of one sleeve, a fraction of the invested part."""

    cash_buffer: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Fraction of equity that is never invested."""

    annual_volatility: Positive | None = None
    """Target volatility of all weights together, per year of 365 days; none: no scaling."""

    max_scale: Positive = 1.0
    """Largest multiplier of the volatility target; 1 is no leverage."""

    @model_validator(mode="after")
    def _scale_has_a_target(self) -> Self:
        if self.max_scale != 1.0 and self.annual_volatility is None:
            raise ValueError("max_scale belongs to annual_volatility: set both or neither.")
        return self

    @property
    def is_estimated(self) -> bool:
        """Whether the weights depend on past returns."""
        return self.method not in UNESTIMATED or self.annual_volatility is not None


def check_fixed_weights(weights: dict[str, float | None], allocation: Allocation) -> FloatArray | None:
    """Return the fixed weights of the sleeves in the given order, or None if the method estimates weights.

    Raises
    ------
    ConfigError
        If weights are missing, do not sum to 1, exceed the cap, or are given for a method that estimates them; if the
        cap is too low to invest all equity.

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
                f"{', '.join(stated)}: a weight is set, but allocation.method {allocation.method} estimates weights. "
                'Drop the weight, or set method = "fixed".'
            )
        return None
    missing = [sleeve for sleeve in weights if sleeve not in stated]
    if missing:
        raise ConfigError(f'{", ".join(missing)}: weight is missing; method = "fixed" needs one for every strategy.')
    total = sum(stated.values())
    if abs(total - 1.0) > SUM_RTOL:
        raise ConfigError(
            f"weights sum to {total:.10g} ({', '.join(f'{b} {w:g}' for b, w in stated.items())}); they must sum to 1. "
            "Set cash with allocation.cash_buffer."
        )
    above = [sleeve for sleeve, weight in stated.items() if weight > allocation.max_weight]
    if above:
        raise ConfigError(
            f"{above[0]}: weight was {stated[above[0]]:g}, allocation.max_weight is {allocation.max_weight:g}. "
            "Lower the weight or raise the limit."
        )
    return np.array(list(stated.values()))


def sleeve_returns(exposure: FloatArray, close: FloatArray) -> FloatArray:
    """Return the return of a sleeve of weight 1 at each bar before costs: previous exposure times return.

    Parameters
    ----------
    exposure : float64 array of shape (n,), in [-1, 1], held after each close
    close : float64 array of shape (n,), in quote currency; NaN where the symbol has no bar

    Returns
    -------
    float64 array of shape (n,), simple returns; NaN at the first bar of the symbol and where it has no bar
        After a gap the return is relative to the last close before it.

    Notes
    -----
    Causal: row t is computed from rows up to t.

    """
    returns = np.full(close.size, np.nan)
    rows = np.flatnonzero(~np.isnan(close))
    returns[rows[1:]] = exposure[rows[:-1]] * (close[rows[1:]] / close[rows[:-1]] - 1.0)
    return returns


def weights_from(past_returns: FloatArray, allocator: Allocator, max_weight: float = 1.0) -> FloatArray:
    """Return long-only weights that sum to 1, from the past returns of the sleeves.

    Parameters
    ----------
    past_returns : float64 array of shape (n_bars, n_sleeves), simple returns per bar, finite, none of them constant
    allocator : Allocator
    max_weight : float
        Cap of one weight, a fraction; if it is too low for a sum of 1, every weight is the cap.

    Returns
    -------
    float64 array of shape (n_sleeves,), fractions

    Raises
    ------
    DataError
        If the allocator's weights have another shape, are negative, exceed the cap or do not sum to 1, with a
        tolerance of 1e-6.

    Examples
    --------
    >>> from peak_trade.portfolio.allocators import inverse_volatility
    >>> past = np.array([[0.01, 0.02], [-0.01, -0.02], [0.01, 0.02], [-0.01, -0.02]])
    >>> weights_from(past, inverse_volatility).round(6).tolist()
    [0.666667, 0.333333]

    """
    n_sleeves = past_returns.shape[1]
    if max_weight * n_sleeves <= 1.0:
        return np.full(n_sleeves, min(max_weight, 1.0 / n_sleeves))
    if n_sleeves == 1:
        return np.ones(1)
    weights = np.asarray(allocator(np.ascontiguousarray(past_returns), max_weight), dtype=np.float64)
    is_sound = (
        weights.shape == (n_sleeves,)
        and weights.min() >= -_WEIGHT_TOLERANCE
        and weights.max() <= max_weight + _WEIGHT_TOLERANCE
        and abs(weights.sum() - 1.0) <= _WEIGHT_TOLERANCE
    )
    if not is_sound:
        name = getattr(allocator, "__name__", type(allocator).__name__)
        raise DataError(
            f"allocator {name}: weights were {weights.tolist()} for {n_sleeves} sleeves. Return one weight per sleeve, "
            f"each between 0 and {max_weight:g}, with sum 1."
        )
    return weights


def walk_forward_weights(
    returns: FloatArray,
    instants: BoolArray,
    allocation: Allocation,
    bars_per_year: float,
    fixed: FloatArray | None = None,
    allocator: Allocator | None = None,
) -> FloatArray:
    """Return the weight of each sleeve after each close, estimated at the given instants and kept between them.

    Parameters
    ----------
    returns : float64 array of shape (n_bars, n_sleeves)
        See `sleeve_returns`; NaN where a sleeve's symbol has no bar.
    instants : bool array of shape (n_bars,)
        Closes after which weights are estimated, from the last `allocation.window` returns including that close.
    allocation : Allocation
    bars_per_year : float
    fixed : float64 array of shape (n_sleeves,), or None
        The result of `check_fixed_weights`.
    allocator : Allocator, or None
        Function named by `allocation.method`; None for equal and fixed weights.

    Returns
    -------
    float64 array of shape (n_bars, n_sleeves), fractions of equity, not negative
        The weights at one close sum to at most (1 - cash_buffer) x max_scale.

    Raises
    ------
    ConfigError
        If the method needs an allocator and there is none, or has no use for the given one.
    DataError
        If the allocator finds no weights; see `weights_from`.

    Notes
    -----
    Causal: row t is computed from rows up to t. A sleeve has an estimate when at least nine tenths of the window's
    returns are known (the rest count as 0) and they vary. Sleeves with an estimate divide among themselves the sum of
    their equal weights; the others keep their equal weights, in cash while the symbol has no bars. With a volatility
    target everything is cash until the window is full.

    """
    if (allocator is None) is not (allocation.method in UNESTIMATED):
        expected = "takes no allocator" if allocator else "needs the allocator that it names"
        raise ConfigError(f"walk_forward_weights: allocation.method {allocation.method} {expected}.")
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
        current = invested * _estimate(past, base, allocation, allocator, bars_per_year)
        weights[row : rows[place + 1] if place + 1 < rows.size else n_bars] = current
    return weights


def _estimate(
    past: FloatArray, base: FloatArray, allocation: Allocation, allocator: Allocator | None, bars_per_year: float
) -> FloatArray:
    known = ~np.isnan(past)
    filled = np.where(known, past, 0.0)
    is_full = past.shape[0] == allocation.window
    weights = base.copy()
    if allocator is not None and is_full:
        has_estimate = (known.mean(axis=0) >= _KNOWN_SHARE) & (np.ptp(filled, axis=0) > 0.0)
        share = has_estimate.mean()
        if share > 0.0:
            own = weights_from(filled[:, has_estimate], allocator, min(allocation.max_weight / share, 1.0))
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
