"""Controls of a regime study: the cost of look-ahead, series without an edge, circular shifts.

They use close-to-close returns without costs, because they test whether the labels have any information. The backtest
shows what remains after fills and costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peak_trade.core.arrays import FloatArray
from peak_trade.core.errors import ConfigError
from peak_trade.metrics import Measure, sharpe
from peak_trade.metrics.measure import too_few
from peak_trade.regimes.detector import Detector
from peak_trade.regimes.states import FilteredRegimes, SmoothedRegimes

Labels = NDArray[np.int8]
NoiseKind = Literal["phase-randomised", "edge-free"]
WEIGHTS = np.array([0.0, 0.5, 1.0, 0.0])
"""Weight of bear, sideways, bull, and of the unknown regime, whose label -1 is the last index."""
MIN_SERIES = 8
"""Smallest number of series from which a noise control is judged."""
TIMINGS = ("smoothed, same bar", "smoothed, next bar", "filtered, next bar")
"""Three ways to use labels: with the most look-ahead, with less, and with none, as they could have been traded."""


def sharpe_by_timing(
    close: FloatArray,
    filtered: FilteredRegimes,
    smoothed: SmoothedRegimes,
    bars_per_year: float,
    inner: FloatArray | None = None,
    weights: FloatArray = WEIGHTS,
    first: int = 0,
) -> dict[str, Measure]:
    """Return the Sharpe ratio of one rule for each timing of the labels, on the same bars, before costs.

    Parameters
    ----------
    close : float64 array of shape (n_bars,), in quote currency
    filtered : FilteredRegimes
    smoothed : SmoothedRegimes
        Regimes of the same bars.
    bars_per_year : float
    inner : float64 array of shape (n_bars,), in [-1, 1]
        Exposure that is multiplied by the weight of the regime. Defaults to always long.
    weights : float64 array of shape (4,)
        Weight of bear, sideways, bull and unknown.
    first : int
        Bar to begin at, or the first bar with both regimes when that is later.

    Returns
    -------
    mapping of timing to Measure
        The names in TIMINGS, and `without regimes`: the inner exposure alone.

    """
    held = np.ones(len(close)) if inner is None else np.nan_to_num(inner, nan=0.0)
    first = max(first, filtered.warm_up, smoothed.warm_up)
    hindsight, causal = weights[smoothed.labels] * held, weights[filtered.labels] * held
    returns = close[1:] / close[:-1] - 1.0
    earned = {
        TIMINGS[0]: hindsight[1:] * returns,
        TIMINGS[1]: hindsight[:-1] * returns,
        TIMINGS[2]: causal[:-1] * returns,
        "without regimes": held[:-1] * returns,
    }
    return {name: sharpe(part[first:], bars_per_year) for name, part in earned.items()}


@dataclass(frozen=True, slots=True, eq=False)
class NoiseControl:
    """The same rule on generated series without an edge.

    `sharpes` has shape (n_series, 3), one column per timing, indexed by seed. A series on which the rule never varied
    has no Sharpe ratio (NaN) and is left out.
    """

    kind: NoiseKind
    sharpes: pd.DataFrame

    def mean(self, timing: str) -> Measure:
        """Return the mean Sharpe ratio of a timing over the series that have one, with its standard error."""
        values = self.sharpes[timing].dropna().to_numpy()
        if values.size == 0:
            return too_few(0, 1, "series with a Sharpe ratio")
        spread = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
        return Measure(float(values.mean()), len(values), spread)

    @property
    def has_enough_series(self) -> bool:
        """Whether at least `MIN_SERIES` series have a causal Sharpe ratio."""
        return self.mean(TIMINGS[2]).n >= MIN_SERIES

    @property
    def is_clean(self) -> bool:
        """Whether the mean causal Sharpe ratio lies within two standard errors of 0."""
        measure = self.mean(TIMINGS[2])
        if measure.value is None or measure.stderr is None:
            return False
        return abs(measure.value) <= 2.0 * measure.stderr

    def to_frame(self) -> pd.DataFrame:
        """Return one row per timing: noise, timing, mean_sharpe, its stderr, n_series."""
        means = [(timing, self.mean(timing)) for timing in TIMINGS]
        rows = [(self.kind, timing, m.value, m.stderr, m.n) for timing, m in means]
        return pd.DataFrame(rows, columns=["noise", "timing", "mean_sharpe", "stderr", "n_series"])


def noise_control(
    kind: NoiseKind,
    detector: Detector,
    seeds: Iterable[int],
    n_bars: int,
    bars_per_year: float,
    returns: FloatArray | None = None,
    weights: FloatArray = WEIGHTS,
) -> NoiseControl:
    """Detect regimes in generated series without a directional edge, and measure the rule for every timing.

    Parameters
    ----------
    kind : phase-randomised or edge-free
    detector : Detector
    seeds : iterable of int
        One series each; fixed before the results are seen.
    n_bars : int
        Length of each series.
    bars_per_year : float
    returns : float64 array of shape (n,), simple returns
        Returns whose phases are randomised; required for that kind, ignored by the other.
    weights : float64 array of shape (4,)
        Weight of bear, sideways, bull and unknown.

    Raises
    ------
    ConfigError
        When phase-randomised has no returns.

    """
    drawn_from = None
    if kind == "phase-randomised":
        if returns is None:
            raise ConfigError(
                "noise_control: phase-randomised needs the returns whose phases are randomised. Give returns."
            )
        drawn_from = returns[-n_bars:]
    rows = {}
    for seed in seeds:
        bars = edge_free_bars(n_bars, seed) if drawn_from is None else phase_randomised_bars(drawn_from, seed)
        measures = sharpe_by_timing(
            bars["close"].to_numpy(), detector.filter(bars), detector.smooth(bars), bars_per_year, weights=weights
        )
        rows[seed] = {timing: measures[timing].value for timing in TIMINGS}
    return NoiseControl(kind, pd.DataFrame.from_dict(rows, orient="index", dtype=np.float64))


def phase_randomised_bars(returns: FloatArray, seed: int) -> pd.DataFrame:
    """Return hourly bars whose simple returns have the spectrum of `returns` and random phases.

    Parameters
    ----------
    returns : float64 array of shape (n,), fractions
    seed : int

    Returns
    -------
    DataFrame of shape (n, 5)
        Autocorrelation and variance are kept; drift, volatility clusters and the order of moves are not.

    Notes
    -----
    The drift is neither kept nor 0: the zero frequency is a new draw with the variance of a mean of n independent
    returns. A sample mean of exactly 0 would fix the end of the path, which costs a causal rule. Simple returns, not
    log returns, have mean 0, because log returns of mean 0 have a positive expected gain.

    References
    ----------
    Theiler, Eubank, Longtin, Galdrikian, Farmer (1992), "Testing for nonlinearity in time series: the method of
    surrogate data".

    """
    generator = np.random.default_rng([seed, 1])
    n_bars = len(returns)
    spectrum = np.fft.rfft(returns - returns.mean())
    turned = np.abs(spectrum) * np.exp(2j * np.pi * generator.random(len(spectrum)))
    turned[0] = 0.0
    if n_bars % 2 == 0:
        turned[-1] = np.abs(spectrum[-1]) * generator.choice([-1.0, 1.0])
    noise = np.fft.irfft(turned, n_bars) + generator.normal(0.0, returns.std() / np.sqrt(n_bars))
    return _bars_of(noise, generator)


def edge_free_bars(n_bars: int, seed: int) -> pd.DataFrame:
    """Return hourly bars whose volatility switches between three states, and whose simple returns all have mean 0.

    Parameters
    ----------
    n_bars : int
    seed : int

    Returns
    -------
    DataFrame of shape (n_bars, 5)
        The regimes differ in volatility (0.3, 0.6 and 1.2 percent per hour; 300 bars long on average), not in return.

    """
    generator = np.random.default_rng([seed, 2])
    moves = generator.random(n_bars) < 1.0 / 300.0
    drawn = generator.integers(0, 3, n_bars)
    last_move = np.maximum.accumulate(np.where(moves, np.arange(n_bars), 0))
    noise = np.array([0.003, 0.006, 0.012])[drawn[last_move]] * generator.standard_normal(n_bars)
    return _bars_of(noise, generator)


def circular_shift_test(
    weights: FloatArray, returns: FloatArray, n_shifts: int, seed: int, bars_per_year: float
) -> tuple[float, FloatArray]:
    """Test whether the timing of the weights matters, by shifting them circularly against the returns.

    Parameters
    ----------
    weights : float64 array of shape (n,)
        Exposure over each return.
    returns : float64 array of shape (n,), simple returns
    n_shifts : int
        Number of shifts, drawn between 5 % and 95 % of n. A shift keeps the durations and the time in the market.
    seed : int
    bars_per_year : float

    Returns
    -------
    (float, float64 array of shape (n_shifts,))
        The p-value, (1 + number of shifts with a Sharpe ratio at least as high) / (1 + n_shifts), and the annualised
        Sharpe ratios of the shifted weights.

    Raises
    ------
    ConfigError
        When there are fewer than 40 returns.

    References
    ----------
    Davison, Hinkley (1997), "Bootstrap methods and their application", eq. 4.11; Politis, Romano (1992) for the circle.

    """
    n = len(returns)
    if n < 40:
        raise ConfigError(f"circular_shift_test: {n} returns are too few to shift; give at least 40.")
    shifts = np.random.default_rng([seed, 3]).integers(n // 20, n - n // 20, n_shifts)
    doubled = np.concatenate([weights, weights])
    scale = np.sqrt(bars_per_year)
    observed = _ratio(weights * returns) * scale
    shifted = np.array([_ratio(doubled[shift : shift + n] * returns) * scale for shift in shifts])
    return float((1 + (shifted >= observed).sum()) / (1 + n_shifts)), shifted


def sharpe_difference(left: FloatArray, right: FloatArray, bars_per_year: float) -> Measure:
    """Return the annualised Sharpe ratio of the left returns − that of the right returns, with its standard error.

    Both are simple returns over the same bars, shape (n,). The standard error is that of the mean of left / sd(left) −
    right / sd(right): it includes their correlation and takes both standard deviations as known. No value when one of
    the two does not vary.
    """
    if left.std() == 0.0 or right.std() == 0.0:
        return Measure(None, len(left), note="one of the two does not vary")
    gap = left / left.std(ddof=1) - right / right.std(ddof=1)
    scale = float(np.sqrt(bars_per_year))
    return Measure(float(gap.mean()) * scale, len(gap), float(gap.std(ddof=1) / np.sqrt(len(gap))) * scale)


def annual_turnover(exposure: FloatArray, bars_per_year: float) -> float:
    """Return the sum of absolute changes of exposure per year, a ratio; `exposure` has shape (n_bars,)."""
    if len(exposure) < 2:
        return 0.0
    return float(np.abs(np.diff(exposure)).sum() * bars_per_year / (len(exposure) - 1))


def _ratio(returns: FloatArray) -> float:
    deviation = float(returns.std(ddof=1))
    return float(returns.mean()) / deviation if deviation > 0.0 else 0.0


def _bars_of(returns: FloatArray, generator: np.random.Generator) -> pd.DataFrame:
    close = 100.0 * np.cumprod(1.0 + np.maximum(returns, -0.5))
    open_ = np.concatenate([[100.0], close[:-1]])
    reach = 1.0 + np.abs(returns) * generator.random((2, len(returns)))
    return pd.DataFrame(
        {
            "open": open_,
            "high": np.maximum(open_, close) * reach[0],
            "low": np.minimum(open_, close) / reach[1],
            "close": close,
            "volume": generator.lognormal(3.0, 0.5, len(returns)),
        },
        index=pd.date_range("2020-01-01", periods=len(returns), freq="h", tz="UTC", unit="ns", name="close_time"),
    )
