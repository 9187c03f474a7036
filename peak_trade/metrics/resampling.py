"""Block bootstraps: intervals, the test of a Sharpe difference, and tests of the best of several return series."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.errors import DataError
from peak_trade.core.time import checked_per_year
from peak_trade.metrics.dependence import long_run_variance
from peak_trade.metrics.measure import ROUNDING, Measure, checked, finite_or, too_few
from peak_trade.metrics.returns import FLAT, fewest_for_ratio, sharpe_influence, simple_returns

N_DRAWS = 1_000
"""Default number of bootstrap draws."""
BOOTSTRAPS = ("stationary", "circular")
"""Kinds of block bootstrap, in the order in which arch states their optimal block lengths."""
MIN_BLOCKS = 10
"""Smallest number of blocks in a series; longer blocks than a tenth of the series are cut."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Bootstrap interval of a statistic: its bounds, the confidence, and the mean length of a block in returns."""

    low: float
    high: float
    confidence: float
    block_length: float


@dataclass(frozen=True, slots=True)
class SharpeDifference:
    """Difference of two annualised Sharpe ratios, with its standard error, its interval and a p-value.

    `low`, `high` and `p_value` are None if the difference has no value. The p-value is two-sided: the probability of a
    difference at least as large if the two ratios were equal.
    """

    difference: Measure
    low: float | None
    high: float | None
    p_value: float | None


@dataclass(frozen=True, slots=True)
class SuperiorAbility:
    """P-values of the test that no return series has a higher mean than the benchmark.

    `consistent` is the one to report; `lower` and `upper` bound it, by leaving out or keeping poor series.
    """

    lower: float
    consistent: float
    upper: float


def bootstrap_interval(
    returns: Any,
    statistic: Callable[[FloatArray], float],
    confidence: float = 0.95,
    *,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> Interval:
    """Return the interval of a statistic of returns that depend on earlier ones, from the stationary block bootstrap.

    Parameters
    ----------
    returns : Series or float64 array of shape (n,), simple returns, fractions
    statistic : function of a float64 array of shape (n,) that returns a finite number
    confidence : float
        Above 0 and below 1.
    n_draws, seed : int

    Returns
    -------
    Interval
        Quantiles of the statistic over the draws. The mean block length is the optimal one of the returns.

    Raises
    ------
    DataError
        Below 30 returns, or if the confidence is outside its range.

    References
    ----------
    Politis and Romano (1994), The Stationary Bootstrap, JASA 89(428). Politis and White (2004), Automatic Block-Length
    Selection for the Dependent Bootstrap, Econometric Reviews 23(1), with the correction of Patton, Politis and White
    (2009). The draws are made by the package arch.

    Examples
    --------
    >>> returns = np.random.default_rng(1).normal(0.001, 0.01, 500)
    >>> interval = bootstrap_interval(returns, np.mean, n_draws=200)
    >>> bool(interval.low < returns.mean() < interval.high)
    True

    """
    from arch.bootstrap import StationaryBootstrap

    values = _enough(checked(returns, "returns"))
    if not 0.0 < confidence < 1.0:
        raise DataError(f"confidence is {confidence:g}; give a number above 0 and below 1.")
    length = _block_length(values, "stationary")
    bootstrap = StationaryBootstrap(length, values, seed=np.random.default_rng(seed))
    drawn = bootstrap.apply(lambda drawn: np.array([statistic(drawn)]), reps=n_draws).ravel()
    low, high = np.quantile(drawn, [0.5 - confidence / 2.0, 0.5 + confidence / 2.0])
    return Interval(float(low), float(high), confidence, length)


def sharpe_difference(
    left: Any, right: Any, bars_per_year: float, confidence: float = 0.95, *, n_draws: int = N_DRAWS, seed: int = 0
) -> SharpeDifference:
    """Return the annualised Sharpe ratio of the left returns − that of the right returns, and test whether it is 0.

    Parameters
    ----------
    left, right : Series or float64 arrays of shape (n,), simple returns over the same bars, fractions
    bars_per_year : float
    confidence : float
        Above 0 and below 1.
    n_draws, seed : int

    Returns
    -------
    SharpeDifference
        No value below 30 returns or 30 days, or if one of the two does not vary. 0 without an error if both are equal.

    Raises
    ------
    DataError
        If the two differ in length, a return is not finite, or the confidence is outside its range.

    Notes
    -----
    The standard error is that of `sharpe` with robust errors, for the difference of the influences. The interval and
    the p-value are those of the studentised circular block bootstrap. The block length is the optimal one of the
    difference of the influences (see `bootstrap_interval`), at least the cube root of n; the paper calibrates it.

    References
    ----------
    Ledoit and Wolf (2008), Robust Performance Hypothesis Testing with the Sharpe Ratio, Journal of Empirical Finance
    15(5).

    """
    pair = np.array([checked(left, "left"), checked(right, "right")] if len(left) == len(right) else [])
    if not pair.size and len(left) != len(right):
        raise DataError(f"left has {len(left)} returns and right {len(right)}; give returns over the same bars.")
    if not 0.0 < confidence < 1.0:
        raise DataError(f"confidence is {confidence:g}; give a number above 0 and below 1.")
    n, needed, scale = len(left), fewest_for_ratio(bars_per_year), math.sqrt(checked_per_year(bars_per_year))
    if n < needed:
        return SharpeDifference(too_few(n, needed, "returns"), None, None, None)
    if (pair.std(axis=1) <= ROUNDING).any():
        return SharpeDifference(Measure(None, n, note=FLAT), None, None, None)
    ratios = pair.mean(axis=1) / pair.std(axis=1, ddof=1)
    gap = float(ratios[0] - ratios[1])
    influence = sharpe_influence(pair[0], ratios[0]) - sharpe_influence(pair[1], ratios[1])
    error = math.sqrt(long_run_variance(influence).variance / n)
    if error <= ROUNDING:
        return SharpeDifference(Measure(0.0, n, 0.0, note="the two do not differ"), 0.0, 0.0, 1.0)
    length = max(_block_length(influence, "circular"), math.ceil(n ** (1.0 / 3.0)))
    studentised = _studentised_gaps(pair, gap, length, n_draws, seed)
    reach = float(np.quantile(studentised, confidence)) * error
    p_value = (1.0 + float((studentised >= abs(gap) / error).sum())) / (1.0 + n_draws)
    measure = finite_or(gap * scale, n, "too large to state", error * scale, "studentised block bootstrap")
    return SharpeDifference(measure, (gap - reach) * scale, (gap + reach) * scale, p_value)


def equity_sharpe_difference(left: Any, right: Any, bars_per_year: float) -> SharpeDifference:
    """Return `sharpe_difference` of the returns of two equity curves over the same bars.

    Parameters
    ----------
    left, right : Series or float64 arrays of shape (n_bars,), in quote currency
    bars_per_year : float

    Returns
    -------
    SharpeDifference
        No value when one of the two fell to zero before its last bar.

    """
    ours, theirs = simple_returns(left), simple_returns(right)
    if len(ours) != len(theirs) or not len(ours):
        return SharpeDifference(Measure(None, 0, note="one of the two runs went bankrupt"), None, None, None)
    return sharpe_difference(ours, theirs, bars_per_year)


def superior_ability(returns: Any, benchmark: Any = None, *, n_draws: int = N_DRAWS, seed: int = 0) -> SuperiorAbility:
    """Test whether the best of several return series has a higher mean than the benchmark (test for SPA).

    Parameters
    ----------
    returns : DataFrame or float64 array of shape (n, n_series), simple returns, fractions
    benchmark : Series or float64 array of shape (n,), optional
        Defaults to 0, that is to holding cash.
    n_draws, seed : int

    Raises
    ------
    DataError
        Below 30 returns, or if a shape differs or a return is not finite.

    References
    ----------
    Hansen (2005), A Test for Superior Predictive Ability, Journal of Business and Economic Statistics 23(4). Computed
    by the package arch: studentised, stationary bootstrap, blocks of mean length sqrt(n).

    """
    from arch.bootstrap import SPA

    losses, benchmark_losses, length = _losses(returns, benchmark)
    test = SPA(benchmark_losses, losses, block_size=length, reps=n_draws, seed=np.random.default_rng(seed))
    test.compute()
    return SuperiorAbility(*(float(test.pvalues[name]) for name in ("lower", "consistent", "upper")))


def superior_series(
    returns: Any, benchmark: Any = None, size: float = 0.05, *, n_draws: int = N_DRAWS, seed: int = 0
) -> list[int]:
    """Return the columns whose mean is higher than that of the benchmark, with a family-wise error rate (StepM).

    Parameters
    ----------
    returns, benchmark
        As in `superior_ability`.
    size : float
        Probability, above 0 and below 1, that one or more columns without a higher mean are returned.
    n_draws, seed : int

    Raises
    ------
    DataError
        As in `superior_ability`, and if the size is outside its range.

    References
    ----------
    Romano and Wolf (2005), Stepwise Multiple Testing as Formalized Data Snooping, Econometrica 73(4). Computed by the
    package arch, as `superior_ability`.

    """
    from arch.bootstrap import StepM

    if not 0.0 < size < 1.0:
        raise DataError(f"size is {size:g}; give a number above 0 and below 1.")
    losses, benchmark_losses, length = _losses(returns, benchmark)
    test = StepM(benchmark_losses, losses, size, block_size=length, reps=n_draws, seed=np.random.default_rng(seed))
    test.compute()
    found: list[int] = np.sort(np.asarray(test.superior_models, dtype=np.int64)).tolist()
    return found


def _studentised_gaps(pair: FloatArray, gap: float, length: int, n_draws: int, seed: int) -> FloatArray:
    """Return |gap of a draw − gap| over its standard error, shape (n_draws,), from sums over circular blocks."""
    n_blocks = pair.shape[1] // length
    starts = np.random.default_rng(seed).integers(0, pair.shape[1], (n_draws, n_blocks))
    sums = []
    for values in (*pair, *(pair * pair)):
        total = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values[:length]]))])
        sums.append(total[starts + length] - total[starts])
    n = n_blocks * length
    influence, drawn = np.zeros((n_draws, n_blocks)), np.zeros(n_draws)
    for sign, first, second in ((1.0, sums[0], sums[2]), (-1.0, sums[1], sums[3])):
        mean = first.sum(axis=1) / n
        variance = np.maximum(second.sum(axis=1) / n - mean * mean, ROUNDING**2)
        ratio = mean / np.sqrt(variance)
        drawn += sign * ratio * math.sqrt((n - 1) / n)
        scores = (first - length * mean[:, None]) / np.sqrt(variance)[:, None]
        squares = (second - 2.0 * mean[:, None] * first + length * mean[:, None] ** 2) / variance[:, None]
        influence += sign * (scores - 0.5 * ratio[:, None] * (squares - length))
    error = np.sqrt(np.maximum((influence * influence).sum(axis=1), ROUNDING**2)) / n
    distance: FloatArray = np.abs(drawn - gap) / error
    return distance


def _block_length(values: FloatArray, kind: str) -> int:
    """Return the optimal block length, at least 1 and at most a tenth of the series."""
    from arch.bootstrap import optimal_block_length

    optimal = float(optimal_block_length(values).to_numpy()[0, BOOTSTRAPS.index(kind)])
    return min(max(round(optimal), 1), values.size // MIN_BLOCKS) if math.isfinite(optimal) else 1


def _enough(values: FloatArray) -> FloatArray:
    if len(values) < 30:
        raise DataError(f"returns has {len(values)} rows; a bootstrap needs 30.")
    return values


def _losses(returns: Any, benchmark: Any) -> tuple[FloatArray, FloatArray, int]:
    matrix = np.asarray(returns, dtype=np.float64)
    held = np.zeros(len(matrix)) if benchmark is None else checked(benchmark, "benchmark")
    if matrix.ndim != 2 or held.shape != (len(matrix),) or not matrix.shape[1]:
        raise DataError(
            f"returns has shape {matrix.shape} and the benchmark {held.shape}; give one row per bar and one column per "
            "series, and as many benchmark returns."
        )
    if not np.isfinite(matrix).all():
        raise DataError("returns has a NaN or an infinity; drop or fill it before testing.")
    return -_enough(matrix), -held, math.isqrt(len(matrix) - 1) + 1
