"""Selection statistics: probabilistic and deflated Sharpe ratio, effective trials, minimum track record length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from peak_trade.core.arrays import FloatArray
from peak_trade.core.errors import DataError
from peak_trade.metrics.dependence import aggregation_factor
from peak_trade.metrics.measure import MIN_RETURNS, ROUNDING, Measure, checked, finite_or
from peak_trade.metrics.returns import FLAT

ErrorAt = Literal["estimate", "null"]
"""Sharpe ratio at which the standard error is evaluated: the observed one, or that of the null hypothesis."""

NORMAL = NormalDist()
MIN_SHARED = 8
"""Fewest shared periods of which two series are correlated; with fewer they count as uncorrelated."""
MOST_PAIRED = 1_000
"""Most series that are correlated pair by pair on their shared periods."""
_FLAT = 1e-7
"""Standard deviation up to which a series of returns does not vary; stored returns are float32."""
_ZERO = 1e-12
"""Part of the largest eigenvalue up to which one is rounding error."""
SLACK = 1e-9
"""Relative rounding error allowed in the inequality between kurtosis and skewness."""
SOURCES = {
    "estimate": "standard error at the estimate (Bailey and López de Prado 2012)",
    "null": "standard error at the null (López de Prado, Lipton and Zoonekynd 2025)",
}


@dataclass(frozen=True, slots=True)
class SharpeSample:
    """Sharpe ratio of one bar, number of returns, skewness and kurtosis (3 for normal returns).

    Raises
    ------
    DataError
        If a value is not finite, n is below 2, or kurtosis is below 1 + skewness ** 2, which no sample can have.

    """

    ratio: float
    n: int
    skewness: float = 0.0
    kurtosis: float = 3.0

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.ratio, self.skewness, self.kurtosis))):
            raise DataError(f"a Sharpe sample has finite numbers, this one is {self}.")
        if self.n < 2:
            raise DataError(f"a Sharpe sample has n = {self.n}; give at least 2 returns.")
        least = 1.0 + self.skewness**2
        if self.kurtosis < least * (1.0 - SLACK):
            raise DataError(
                f"kurtosis {self.kurtosis:g} is below 1 + skewness ** 2 = {least:g}; give the kurtosis itself "
                "(3 for normal returns), not the excess."
            )

    @classmethod
    def of(cls, returns: Any) -> SharpeSample:
        """Return the sample of simple returns, shape (n,); DataError below 30 returns or for constant returns.

        The deviation of the ratio has n - 1 below; skewness and kurtosis are the moment ratios with n below.
        """
        values = checked(returns, "returns")
        if values.size < MIN_RETURNS:
            raise DataError(f"returns has {values.size} values; a Sharpe sample needs {MIN_RETURNS}.")
        deviation = float(values.std(ddof=1))
        if deviation <= ROUNDING:
            raise DataError(f"{FLAT}; a Sharpe sample needs returns that vary.")
        scores = (values - values.mean()) / values.std()
        squares = scores * scores
        return cls(
            float(values.mean()) / deviation,
            values.size,
            float(np.mean(squares * scores)),
            float(squares @ squares) / values.size,
        )


def probabilistic_sharpe(sample: SharpeSample, benchmark: float = 0.0, error: ErrorAt = "estimate") -> Measure:
    """Return the probability that the Sharpe ratio exceeds a benchmark, for one strategy without selection.

    Parameters
    ----------
    sample : SharpeSample
    benchmark : float
        Sharpe ratio of one bar, not annualised.
    error : estimate or null
        estimate: the variance of one return is evaluated at the observed ratio and divided by n - 1. null: it is
        evaluated at the benchmark and divided by n, as a test of that null hypothesis needs.

    Returns
    -------
    Measure
        A probability, 0 … 1; n counts returns. No value if the standard error is zero.

    Raises
    ------
    DataError
        If the benchmark is not finite.

    References
    ----------
    Bailey and López de Prado (2012), The Sharpe Ratio Efficient Frontier, Journal of Risk 15(2). López de Prado, Lipton
    and Zoonekynd (2025), How to Use the Sharpe Ratio. Both assume independent returns.

    Examples
    --------
    >>> print(probabilistic_sharpe(SharpeSample(0.1, n=400)))
    0.976843

    """
    return _probability(sample, _finite(benchmark, "benchmark"), error, 1.0)


def deflated_sharpe(
    sample: SharpeSample, n_trials: float, trial_variance: float, error: ErrorAt = "estimate"
) -> Measure:
    """Return the probability that the Sharpe ratio exceeds the largest one expected of trials without skill.

    Parameters
    ----------
    sample : SharpeSample
        The trial with the largest Sharpe ratio.
    n_trials : float
        Number of independent trials, 1 or more; an effective number need not be an integer.
    trial_variance : float
        Variance of the Sharpe ratios of one bar over the trials.
    error : estimate or null
        estimate: as in `probabilistic_sharpe`. null: the error at the expected maximum, times `maximum_deviation`.

    Returns
    -------
    Measure
        A probability, 0 … 1; n counts returns. The note states the expected maximum and the error.

    Raises
    ------
    DataError
        If n_trials is below 1, or trial_variance is negative or not finite.

    References
    ----------
    Bailey and López de Prado (2014), The Deflated Sharpe Ratio, Journal of Portfolio Management 40(5). López de Prado,
    Lipton and Zoonekynd (2025), How to Use the Sharpe Ratio.

    """
    benchmark = expected_maximum_sharpe(n_trials, trial_variance)
    return _probability(sample, benchmark, error, maximum_deviation(n_trials) if error == "null" else 1.0)


def expected_maximum_sharpe(n_trials: float, trial_variance: float) -> float:
    """Return the expected largest Sharpe ratio of one bar over independent trials of which none has skill.

    The approximation of Bailey and López de Prado (2014), by extreme value theory; 0 for one trial, and
    never below 0. DataError if n_trials is below 1, or trial_variance is negative or not finite.
    """
    _checked_trials(n_trials)
    if _finite(trial_variance, "trial_variance") < 0.0:
        raise DataError(f"trial_variance is {trial_variance:g}; a variance is not negative.")
    if n_trials == 1.0:
        return 0.0
    first, second = -NORMAL.inv_cdf(1.0 / n_trials), -NORMAL.inv_cdf(1.0 / (n_trials * math.e))
    scale = (1.0 - np.euler_gamma) * first + np.euler_gamma * second
    return math.sqrt(trial_variance) * max(scale, 0.0)


def maximum_deviation(n_trials: float) -> float:
    """Return the standard deviation of the maximum of n_trials independent standard normal numbers, by quadrature."""
    from scipy.special import log_ndtr

    _checked_trials(n_trials)
    grid = np.linspace(-10.0, 40.0, 5_001)
    density = np.exp(math.log(n_trials) - 0.5 * grid * grid + (n_trials - 1.0) * log_ndtr(grid))
    density /= density.sum()
    mean = float(density @ grid)
    return math.sqrt(float(density @ (grid - mean) ** 2))


def effective_trials(returns: FloatArray) -> float:
    """Return the effective number of trials by the eigenvalues of the correlation matrix of their returns.

    Parameters
    ----------
    returns : float64 array of shape (n_trials, n_periods), simple returns
        NaN where a trial has no return. Two trials are compared on the periods that both have.

    Returns
    -------
    float, 0 … n_trials
        (Σ √λ)² / Σ λ over the eigenvalues λ of the correlation matrix, of which negative ones count as 0. 1 for copies
        of one series, n for n uncorrelated ones.

    Notes
    -----
    A trial without returns cannot be compared and counts as one. All trials whose returns do not vary count as one.
    Pairs with fewer than 8 shared periods count as uncorrelated. The number is at most that of the periods, so trials
    that are independent and more than the periods are undercounted; the number of trials itself is the safe one.

    Of more than 1,000 trials each is standardised on its own periods and is 0 elsewhere. Then a pair that shares a part
    of its periods counts as less correlated than it is, which counts more trials, not fewer.

    References
    ----------
    Galwey (2009), A new measure of the effective number of tests, Genetic Epidemiology 33(7), 559-568.

    Examples
    --------
    >>> series = np.random.default_rng(0).normal(size=(2, 100))
    >>> round(effective_trials(series[[0, 0, 0]]), 6), 1.9 < effective_trials(series) <= 2.0
    (1.0, True)

    """
    known = np.isfinite(returns)
    is_comparable = known.sum(axis=1) >= MIN_SHARED
    n_alone = int((~is_comparable).sum())
    returns, known = returns[is_comparable], known[is_comparable]
    filled = np.where(known, returns, 0.0)
    counts = known.sum(axis=1, keepdims=True)
    centred = np.where(known, filled - filled.sum(axis=1, keepdims=True) / np.maximum(counts, 1), 0.0)
    varies = np.sqrt((centred**2).sum(axis=1) / np.maximum(counts[:, 0], 1)) > _FLAT
    n_flat = int(not varies.all())
    centred, known = centred[varies], known[varies].astype(np.float64)
    values = _eigenvalues(centred, known) if len(centred) else np.zeros(1)
    roots = np.sqrt(np.where(values > _ZERO * values.max(), values, 0.0))
    total = float(roots @ roots)
    return n_alone + n_flat + (float(roots.sum()) ** 2 / total if total > 0.0 else 0.0)


def minimum_track_length(
    sample: SharpeSample, benchmark: float = 0.0, confidence: float = 0.95, error: ErrorAt = "estimate"
) -> Measure:
    """Return the number of returns from which `probabilistic_sharpe` reaches a confidence, if the moments stay equal.

    Parameters
    ----------
    sample : SharpeSample
    benchmark : float
        Sharpe ratio of one bar, not annualised.
    confidence : float
        Above 0.5 and below 1.
    error : estimate or null

    Returns
    -------
    Measure
        Bars, not rounded. No value if the observed ratio does not exceed the benchmark.

    Raises
    ------
    DataError
        If the benchmark is not finite or the confidence is outside its range.

    References
    ----------
    Bailey and López de Prado (2012); López de Prado, Lipton and Zoonekynd (2025).

    """
    if not 0.5 < confidence < 1.0:
        raise DataError(f"confidence is {confidence:g}; give a number above 0.5 and below 1.")
    distance = sample.ratio - _finite(benchmark, "benchmark")
    if distance <= 0.0:
        return Measure(None, sample.n, note="the Sharpe ratio does not exceed the benchmark")
    variance, lost = _variance(sample, benchmark, error)
    root = NORMAL.inv_cdf(confidence) / distance
    return finite_or(lost + variance * root * root, sample.n, "too large to state", note=SOURCES[error])


def selection_measures(returns: Any, ratio: Measure, bars_per_year: float) -> dict[str, Measure]:
    """Return the measures that accompany a Sharpe ratio, by name; `MEASURES` has their units.

    Parameters
    ----------
    returns : Series or float64 array of shape (n,), simple returns, fractions
    ratio : Measure
        Their annualised Sharpe ratio. Where it has no value, the others have none for the same reason.
    bars_per_year : float

    Returns
    -------
    dict
        sharpe_aggregated, the ratio annualised by `aggregation_factor`; probabilistic_sharpe against 0; and
        minimum_track_length against 0 at 95 %, in bars.

    """
    names = ("sharpe_aggregated", "probabilistic_sharpe", "minimum_track_length")
    if ratio.value is None:
        return dict.fromkeys(names, Measure(None, ratio.n, note=ratio.note))
    sample = SharpeSample.of(returns)
    aggregated = sample.ratio * aggregation_factor(returns, bars_per_year)
    of_sum = finite_or(aggregated, sample.n, "the returns of a year have no positive variance", note="Lo 2002, η(q)")
    return dict(zip(names, (of_sum, probabilistic_sharpe(sample), minimum_track_length(sample)), strict=True))


def deflated_measures(
    returns: Any, ratio: Measure, n_trials: int, n_effective: float, trial_variance: float | None
) -> dict[str, Measure]:
    """Return the deflated Sharpe ratios of a run that was chosen among trials, by name; `MEASURES` has their units.

    Parameters
    ----------
    returns : Series or float64 array of shape (n,), simple returns, fractions
    ratio : Measure
        Their annualised Sharpe ratio. Where it has no value, the others have none for the same reason.
    n_trials : int
        Number of trials, the chosen one included.
    n_effective : float
        Their effective number, `effective_trials`.
    trial_variance : float, optional
        Variance of their Sharpe ratios of one bar; None for fewer than two ratios.

    Returns
    -------
    dict
        deflated_sharpe and deflated_sharpe_effective, at the estimate with each of the two numbers;
        deflated_sharpe_null and deflated_sharpe_null_effective, at the null. The first pair is the default, because it
        finds noise less often where the trials resemble each other, as the sets of a sweep do.

    """
    numbers: dict[str, tuple[ErrorAt, float]] = {
        "deflated_sharpe": ("estimate", float(n_trials)),
        "deflated_sharpe_effective": ("estimate", max(n_effective, 1.0)),
        "deflated_sharpe_null": ("null", float(n_trials)),
        "deflated_sharpe_null_effective": ("null", max(n_effective, 1.0)),
    }
    if trial_variance is None and n_trials > 1:
        ratio = Measure(None, ratio.n, note=ratio.note if ratio.value is None else "fewer than two trials have a ratio")
    if ratio.value is None:
        return dict.fromkeys(numbers, Measure(None, ratio.n, note=ratio.note))
    sample = SharpeSample.of(returns)
    return {
        name: deflated_sharpe(sample, number, trial_variance or 0.0, error) for name, (error, number) in numbers.items()
    }


def _eigenvalues(centred: FloatArray, known: FloatArray) -> FloatArray:
    n_series, n_periods = centred.shape
    if n_series > MOST_PAIRED:
        scores = centred / np.sqrt((centred**2).sum(axis=1, keepdims=True))
        gram = scores.T @ scores if n_periods < n_series else scores @ scores.T
        return np.linalg.eigvalsh(gram)
    shared = known @ known.T
    with np.errstate(divide="ignore", invalid="ignore"):
        sums = centred @ known.T  # sum of the one over the periods that it shares with the other
        squares = (centred**2) @ known.T - sums**2 / shared
        products = centred @ centred.T - sums * sums.T / shared
        correlation = products / np.sqrt(squares * squares.T)
    correlation = np.clip(np.nan_to_num(np.where(shared >= MIN_SHARED, correlation, 0.0)), -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    return np.linalg.eigvalsh(correlation)


def _variance(sample: SharpeSample, benchmark: float, error: ErrorAt) -> tuple[float, int]:
    """Return the asymptotic variance of sqrt(n) times the ratio, and the returns that n loses below the root."""
    if error not in SOURCES:
        raise DataError(f"error is {error!r}; choose estimate or null.")
    at, lost = (sample.ratio, 1) if error == "estimate" else (benchmark, 0)
    return max(1.0 - sample.skewness * at + (sample.kurtosis - 1.0) / 4.0 * at * at, 0.0), lost


def _probability(sample: SharpeSample, benchmark: float, error: ErrorAt, factor: float) -> Measure:
    variance, lost = _variance(sample, benchmark, error)
    deviation = math.sqrt(variance / (sample.n - lost)) * factor
    if deviation <= ROUNDING:
        return Measure(None, sample.n, note="the standard error is zero")
    note = f"against {benchmark:.4g} a bar; {SOURCES[error]}"
    return Measure(NORMAL.cdf((sample.ratio - benchmark) / deviation), sample.n, note=note)


def _finite(value: float, name: str) -> float:
    if not math.isfinite(value):
        raise DataError(f"{name} is {value}; give a finite number.")
    return value


def _checked_trials(n_trials: float) -> None:
    if not _finite(n_trials, "n_trials") >= 1.0:
        raise DataError(f"n_trials is {n_trials:g}; give 1 or more.")
