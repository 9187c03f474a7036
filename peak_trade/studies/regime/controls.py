"""Controls that tell a regime study from a mirage: the price of cheating, noise without an edge, circular shifts.

They work on close-to-close returns without costs, because they ask whether the labels know anything; what remains
after costs and fills is the backtest's to say.
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
"""Weight of bear, sideways, bull, and of the unknown regime, which is label -1 and so the last one."""
MIN_SERIES = 8
"""Fewest series from which a noise control is judged."""
READINGS = ("smoothed, same bar", "smoothed, next bar", "filtered, next bar")
"""Three ways to read labels, from the one that cheats most to the one that could have been traded."""


def readings(
    close: FloatArray,
    filtered: FilteredRegimes,
    smoothed: SmoothedRegimes,
    bars_per_year: float,
    inner: FloatArray | None = None,
    weights: FloatArray = WEIGHTS,
    first: int = 0,
) -> dict[str, Measure]:
    """Return the Sharpe ratio of one rule under three readings of the labels, on the same bars.

    Parameters
    ----------
    close : float64 array of shape (n_bars,), quote currency
    filtered, smoothed : regimes of the same bars
    bars_per_year : float
    inner : float64 array of shape (n_bars,), in [-1, 1]
        Exposure that the regime's weight multiplies; always long unless given.
    weights : float64 array of shape (4,)
        Weight of bear, sideways, bull and unknown.
    first : int
        Row to begin at; the first with both regimes when that is later.

    Returns
    -------
    mapping of reading to Measure
        The readings of READINGS, and `without regimes`: the inner exposure alone. Before costs.

    """
    held = np.ones(len(close)) if inner is None else np.nan_to_num(inner, nan=0.0)
    first = max(first, filtered.warm_up, smoothed.warm_up)
    hindsight, causal = weights[smoothed.labels] * held, weights[filtered.labels] * held
    returns = close[1:] / close[:-1] - 1.0
    rows = slice(first, None)
    answers = {
        READINGS[0]: hindsight[1:] * returns,
        READINGS[1]: hindsight[:-1] * returns,
        READINGS[2]: causal[:-1] * returns,
        "without regimes": held[:-1] * returns,
    }
    return {name: sharpe(part[rows], bars_per_year) for name, part in answers.items()}


@dataclass(frozen=True, slots=True, eq=False)
class NoiseControl:
    """The same rule on series without an edge: one Sharpe ratio a series and reading, in a frame indexed by seed.

    A series on which the rule never varied has no Sharpe ratio (NaN) and counts neither for nor against it.
    """

    kind: NoiseKind
    sharpes: pd.DataFrame

    def mean(self, reading: str) -> Measure:
        """Return the mean Sharpe ratio of a reading over the series that have one, with its standard error."""
        values = self.sharpes[reading].dropna().to_numpy()
        if values.size == 0:
            return too_few(0, 1, "series with a Sharpe ratio")
        spread = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
        return Measure(float(values.mean()), len(values), spread)

    @property
    def is_enough(self) -> bool:
        """Whether there are enough series with a causal Sharpe ratio to judge by."""
        return self.mean(READINGS[2]).n >= MIN_SERIES

    @property
    def is_clean(self) -> bool:
        """Whether the causal reading's mean lies within two standard errors of 0."""
        measure = self.mean(READINGS[2])
        if measure.value is None or measure.stderr is None:
            return False
        return abs(measure.value) <= 2.0 * measure.stderr

    def to_frame(self) -> pd.DataFrame:
        """Return one row a reading: mean Sharpe, its standard error, the number of series."""
        means = [(reading, self.mean(reading)) for reading in READINGS]
        rows = [(self.kind, reading, m.value, m.stderr, m.n) for reading, m in means]
        return pd.DataFrame(rows, columns=["noise", "reading", "mean_sharpe", "stderr", "n_series"])


def noise_control(
    kind: NoiseKind,
    detector: Detector,
    seeds: Iterable[int],
    n_bars: int,
    bars_per_year: float,
    returns: FloatArray | None = None,
    weights: FloatArray = WEIGHTS,
) -> NoiseControl:
    """Detect regimes in series that hold no directional edge, and measure the rule under every reading.

    Parameters
    ----------
    kind : phase-randomised or edge-free
    detector : Detector
    seeds : iterable of int
        One series each; set before looking.
    n_bars : int
        Length of each series.
    bars_per_year : float
    returns : float64 array of shape (n,), simple returns
        What the phases are randomised of; needed for that kind, unused by the other.
    weights : float64 array of shape (4,)

    """
    drawn_from = None
    if kind == "phase-randomised":
        if returns is None:
            raise ConfigError("noise_control: phase-randomised needs the returns whose phases are randomised.")
        drawn_from = returns[-n_bars:]
    rows = {}
    for seed in seeds:
        bars = edge_free_bars(n_bars, seed) if drawn_from is None else phase_randomised_bars(drawn_from, seed)
        answers = readings(
            bars["close"].to_numpy(), detector.filter(bars), detector.smooth(bars), bars_per_year, weights=weights
        )
        rows[seed] = {reading: answers[reading].value for reading in READINGS}
    return NoiseControl(kind, pd.DataFrame.from_dict(rows, orient="index", dtype=np.float64))


def phase_randomised_bars(returns: FloatArray, seed: int) -> pd.DataFrame:
    """Return bars whose simple returns have the spectrum of `returns` and random phases.

    Parameters
    ----------
    returns : float64 array of shape (n,), fractions
    seed : int

    Returns
    -------
    DataFrame of shape (n, 5)
        Autocorrelation and variance are kept; drift, volatility clusters and the order of moves are gone.

    Notes
    -----
    The drift is not kept, nor set to 0: the zero frequency is drawn anew with the variance of a mean of n independent
    returns. A sample mean of exactly 0 would tie the ends of the path together, which a causal rule would pay for.
    Simple returns, not log returns, have mean 0, because log returns of mean 0 have a positive expected gain.

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
    """Return hourly bars whose volatility switches between three states while every simple return has mean 0.

    Parameters
    ----------
    n_bars : int
    seed : int

    Returns
    -------
    DataFrame of shape (n_bars, 5)
        There are regimes to find (0.3, 0.6 and 1.2 percent an hour, stays of 300 bars on average), none worth holding.

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
    """Test whether the weights' timing matters, by turning them around the circle against the returns.

    Parameters
    ----------
    weights : float64 array of shape (n,)
        Exposure held over each return.
    returns : float64 array of shape (n,), simple returns
    n_shifts : int
        Shifts drawn between 5 % and 95 % of n, so that the lengths of stays and the time in the market are kept.
    seed : int
    bars_per_year : float

    Returns
    -------
    (p-value, Sharpe ratios of the shifted weights of shape (n_shifts,))
        p = (1 + number of shifts with a Sharpe at least as high) / (1 + n_shifts).

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
    """Return the Sharpe ratio of the left returns less that of the right ones, on the same bars, shape (n,) each.

    The standard error is that of the mean of left / sd(left) - right / sd(right), which counts their correlation and
    takes both deviations as known.
    """
    if left.std() == 0.0 or right.std() == 0.0:
        return Measure(None, len(left), note="one of the two does not vary")
    gap = left / left.std(ddof=1) - right / right.std(ddof=1)
    scale = float(np.sqrt(bars_per_year))
    return Measure(float(gap.mean()) * scale, len(gap), float(gap.std(ddof=1) / np.sqrt(len(gap))) * scale)


def annual_turnover(exposure: FloatArray, bars_per_year: float) -> float:
    """Return the exposure bought and sold a year, a ratio: the summed absolute changes over the years."""
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
