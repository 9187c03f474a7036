"""Allocation: the weight of each sleeve, estimated from past returns only.

A *sleeve* is one strategy on one symbol. It holds weight x exposure x equity.

Its volatility is measured at the bars over which it held a position: a bar without a position is not a calm one, it
says nothing about the risk of a position. With fewer than 20 such bars the volatility is that of the traded symbol. It
counts as at least 1 % per year. A sleeve has no estimate if fewer than nine tenths of the window's returns are known,
or if the returns do not vary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from peak_trade.core.arrays import BoolArray, FloatArray, IntArray
from peak_trade.core.calendar import Period
from peak_trade.core.errors import ConfigError, DataError, listed
from peak_trade.core.settings import Positive, Settings
from peak_trade.portfolio.sizing import LEAST_VOLATILITY

Allocator = Callable[[FloatArray, float], FloatArray]
"""Function of past returns and the largest weight that returns weights; see `portfolio.allocators`."""
UNESTIMATED = ("equal", "fixed")
"""Methods whose weights are not estimated."""
SUM_RTOL = 1e-9
"""Relative tolerance of the sum of fixed weights."""
LEAST_ANNUAL_VOLATILITY = 0.01
"""The volatility of a sleeve counts as at least this, per year, so that a nearly constant one does not get all."""
_WEIGHT_TOLERANCE = 1e-6
_KNOWN_SHARE = 0.9
_LEAST_HELD = 20


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
    """Largest multiplier of the volatility target. The weights never sum to more than the invested part: above 1 it
    counts where max_weight, or sleeves without an estimate, leave a part in cash."""

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
                f"{listed(stated)}: a weight is set, but allocation.method {allocation.method} estimates weights. "
                'Drop the weight, or set method = "fixed".'
            )
        return None
    missing = [sleeve for sleeve in weights if sleeve not in stated]
    if missing:
        raise ConfigError(f'{listed(missing)}: weight is missing; method = "fixed" needs one for every strategy.')
    total = sum(stated.values())
    if abs(total - 1.0) > SUM_RTOL:
        raise ConfigError(
            f"weights sum to {total:.10g} ({listed(f'{b} {w:g}' for b, w in stated.items())}); they must sum to 1. "
            "Set cash with allocation.cash_buffer."
        )
    above = [sleeve for sleeve, weight in stated.items() if weight > allocation.max_weight]
    if above:
        raise ConfigError(
            f"{above[0]}: weight was {stated[above[0]]:g}, allocation.max_weight is {allocation.max_weight:g}. "
            "Lower the weight or raise the limit."
        )
    return np.array(list(stated.values()))


def held_over_bars(exposure: FloatArray, close: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the exposure that a sleeve held over each bar and the return of its symbol; their product is its return.

    Parameters
    ----------
    exposure : float64 array of shape (n,), in [-1, 1], held after each close
    close : float64 array of shape (n,), in quote currency; NaN where the symbol has no bar

    Returns
    -------
    two float64 arrays of shape (n,), exposure and simple returns; NaN at the symbol's first bar and where it has none
        After a gap the return is relative to the last close before it.

    Notes
    -----
    Causal: row t is computed from rows up to t.

    """
    held, returns = np.full(close.size, np.nan), np.full(close.size, np.nan)
    rows = np.flatnonzero(~np.isnan(close))
    held[rows[1:]] = exposure[rows[:-1]]
    returns[rows[1:]] = close[rows[1:]] / close[rows[:-1]] - 1.0
    return held, returns


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


def base_weights(n_sleeves: int, allocation: Allocation, fixed: FloatArray | None) -> FloatArray:
    """Return the weights of the sleeves before an estimate, fractions of the invested part: fixed or equal ones."""
    return np.full(n_sleeves, min(1.0 / n_sleeves, allocation.max_weight)) if fixed is None else fixed


def estimate_weights(
    held: FloatArray,
    returns: FloatArray,
    allocation: Allocation,
    bars_per_year: float,
    base: FloatArray,
    allocator: Allocator | None,
) -> tuple[FloatArray, BoolArray, float]:
    """Return the weights estimated from a window of bars, which sleeves have an estimate, and the sum that was asked.

    Parameters
    ----------
    held, returns : float64 arrays of shape (allocation.window, n_sleeves)
        See `held_over_bars`.
    bars_per_year : float
        See `walk_forward_weights`.
    base : float64 array of shape (n_sleeves,)
        See `base_weights`.

    Returns
    -------
    weights of shape (n_sleeves,), fractions of equity; bool array of shape (n_sleeves,); see `Weights.asked`

    """
    past, has_estimate = _at_volatility(held, returns, bars_per_year)
    weights, asked = _shares(past, has_estimate, base, allocation, allocator), 1.0
    invested = 1.0 - allocation.cash_buffer
    if allocation.annual_volatility is not None:
        weights = np.where(has_estimate, weights, 0.0)
        scale = _target_scale(past, invested * weights, allocation, bars_per_year)
        asked = float(scale * weights.sum())
        weights = weights * (scale / max(asked, 1.0))
    return invested * weights, has_estimate, asked


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Weights of the sleeves over a run, and what happened at the closes at which they were estimated."""

    values: FloatArray
    """Weight after each close, shape (n_bars, n_sleeves), fractions of equity, not negative; sum at most 1."""
    estimated_at: IntArray
    """Bars with an estimate, shape (n_estimates,); a window that is not full has none."""
    has_estimate: BoolArray
    """Whether a sleeve had an estimate, shape (n_estimates, n_sleeves)."""
    asked: FloatArray
    """Sum of the weights that the volatility target asked for, shape (n_estimates,), fraction of the invested part.

    What is above 1 was trimmed. 1.0 without a volatility target.
    """


def walk_forward_weights(
    held: FloatArray,
    returns: FloatArray,
    instants: BoolArray,
    allocation: Allocation,
    bars_per_year: FloatArray,
    fixed: FloatArray | None = None,
    allocator: Allocator | None = None,
) -> Weights:
    """Return the weight of each sleeve after each close, estimated at the given instants and kept between them.

    Parameters
    ----------
    held, returns : float64 arrays of shape (n_bars, n_sleeves)
        See `held_over_bars`; NaN where a sleeve's symbol has no bar.
    instants : bool array of shape (n_bars,)
        Closes after which weights are estimated, from the last `allocation.window` returns including that close.
    allocation : Allocation
    bars_per_year : float64 array of shape (n_bars,)
        Returns in a year of 365 days by the time that the window of each bar spans; see `trailing_per_year`.
    fixed : float64 array of shape (n_sleeves,), or None
        The result of `check_fixed_weights`.
    allocator : Allocator, or None
        Function named by `allocation.method`; None for equal and fixed weights.

    Raises
    ------
    ConfigError
        If the method needs an allocator and there is none, or has no use for the given one.
    DataError
        If the allocator finds no weights; see `weights_from`.

    Notes
    -----
    Causal: row t is computed from rows up to t. Sleeves with an estimate divide among themselves the sum of their
    equal weights. The others keep their equal weights, in cash while the symbol has no bars; a volatility target leaves
    them in cash, and everything until the window is full.

    """
    if (allocator is None) is not (allocation.method in UNESTIMATED):
        expected = "takes no allocator" if allocator else "needs the allocator that it names"
        raise ConfigError(f"walk_forward_weights: allocation.method {allocation.method} {expected}.")
    n_bars, n_sleeves = returns.shape
    invested = 1.0 - allocation.cash_buffer
    base = base_weights(n_sleeves, allocation, fixed)
    weights = np.full((n_bars, n_sleeves), invested * base)
    rows = np.flatnonzero(instants) if allocation.is_estimated else np.zeros(0, dtype=np.int64)
    full = rows[rows + 1 >= allocation.window]
    if allocation.annual_volatility is not None:
        weights[: full[0] if full.size else n_bars] = 0.0
    has_estimate, asked = np.zeros((full.size, n_sleeves), dtype=bool), np.ones(full.size)
    for place, row in enumerate(full):
        window = slice(row + 1 - allocation.window, row + 1)
        current, has_estimate[place], asked[place] = estimate_weights(
            held[window], returns[window], allocation, float(bars_per_year[row]), base, allocator
        )
        weights[row : full[place + 1] if place + 1 < full.size else n_bars] = current
    return Weights(weights, full, has_estimate, asked)


def _at_volatility(held: FloatArray, returns: FloatArray, bars_per_year: float) -> tuple[FloatArray, BoolArray]:
    """Return the past returns of sleeves at the volatility of their positions, and which sleeves have an estimate.

    Both arguments and the first result have shape (window, n_sleeves); returns that are not known count as 0.
    """
    known = ~np.isnan(returns)
    of_symbol, of_sleeve = np.where(known, returns, 0.0), np.where(known, held * returns, 0.0)
    has_position = known & (held != 0.0)
    of_positions = _deviation(of_sleeve, has_position)
    is_held = (has_position.sum(axis=0) >= _LEAST_HELD) & (of_positions >= LEAST_VOLATILITY)
    volatility = np.where(is_held, of_positions, _deviation(of_symbol, known))
    source = np.where(is_held, of_sleeve, of_symbol)
    has_estimate = (known.mean(axis=0) >= _KNOWN_SHARE) & (volatility >= LEAST_VOLATILITY)
    wanted = np.maximum(volatility, LEAST_ANNUAL_VOLATILITY / np.sqrt(bars_per_year))
    own = np.where(has_estimate, source.std(axis=0, ddof=1), np.inf)
    return source * (wanted / own), has_estimate


def _deviation(values: FloatArray, chosen: BoolArray) -> FloatArray:
    """Return the sample deviation of the chosen values of each column; 0.0 of fewer than two."""
    n = chosen.sum(axis=0)
    centred = (values - (values * chosen).sum(axis=0) / np.maximum(n, 1)) * chosen
    deviation: FloatArray = np.sqrt((centred**2).sum(axis=0) / np.maximum(n - 1, 1))
    return deviation


def _shares(
    past: FloatArray, has_estimate: BoolArray, base: FloatArray, allocation: Allocation, allocator: Allocator | None
) -> FloatArray:
    weights = base.copy()
    share = has_estimate.mean()
    if allocator is not None and share > 0.0:
        own = weights_from(past[:, has_estimate], allocator, min(allocation.max_weight / share, 1.0))
        weights[has_estimate] = share * own
    return weights


def _target_scale(past: FloatArray, weights: FloatArray, allocation: Allocation, bars_per_year: float) -> float:
    """Return the multiplier of the weights that reaches the volatility target, at most `max_scale`."""
    assert allocation.annual_volatility is not None
    realised = float((past * weights).sum(axis=1).std(ddof=1)) * np.sqrt(bars_per_year)
    return float(min(allocation.annual_volatility / max(realised, LEAST_ANNUAL_VOLATILITY), allocation.max_scale))
