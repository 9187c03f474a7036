"""Controls of a regime study: the cost of look-ahead, series without an edge, circular shifts.

Each calls `wanted`, the function that chooses the traded exposure, with other labels. They use close-to-close returns
without costs, because they test whether the labels have any information. The backtest shows what remains after fills
and costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peak_trade.core.arrays import FloatArray
from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.executor import Executor
from peak_trade.core.progress import progress
from peak_trade.metrics import Measure, SharpeDifference
from peak_trade.regimes.states import FilteredRegimes, SmoothedRegimes
from peak_trade.studies.noise import PHASE_RANDOMISED, NoiseControl, edge, sign_flipped
from peak_trade.studies.regime.strategy import RegimeAware, delayed, wanted

Labels = NDArray[np.int8]
NoiseKind = Literal["sign-flipped", "edge-free", "phase-randomised"]
NORMAL_95 = 1.959964
"""Quantile of 97.5 % of the normal distribution."""
TIMINGS = ("smoothed, same bar", "smoothed, next bar", "filtered, next bar")
"""Three ways to use labels: with the most look-ahead, with less, and with none, as they are traded."""


def exposure_by_timing(
    strategy: RegimeAware, targets: FloatArray, filtered: FilteredRegimes, smoothed: SmoothedRegimes | None
) -> dict[str, FloatArray]:
    """Return the exposure over each return, shape (n_bars - 1,), for each timing of the labels in TIMINGS.

    Parameters
    ----------
    strategy : RegimeAware
        Its delay applies to every timing.
    targets : float64 array of shape (n_bars, 4)
        From `RegimeAware.targets`.
    filtered : FilteredRegimes
    smoothed : SmoothedRegimes, optional
        Regimes of the same bars; None, and then no timing with hindsight, if the one fit to all bars failed.

    """
    causal = wanted(targets, delayed(filtered.labels, strategy.delay))
    if smoothed is None:
        return {TIMINGS[2]: causal[:-1]}
    hindsight = wanted(targets, delayed(smoothed.labels, strategy.delay))
    return {TIMINGS[0]: hindsight[1:], TIMINGS[1]: hindsight[:-1], TIMINGS[2]: causal[:-1]}


def noise_control(
    kind: NoiseKind, strategy: RegimeAware, bars: Bars, seeds: Iterable[int], executor: Executor | None = None
) -> NoiseControl:
    """Run a strategy with regimes on series without an edge, and measure what each timing of the labels earns.

    Parameters
    ----------
    kind : sign-flipped, edge-free or phase-randomised
    strategy : RegimeAware
        With its mode, weights, strategies and delay. Regimes are detected in each series.
    bars : Bars
        Bars whose signs are flipped or whose phases are randomised. Edge-free series have the same length.
    seeds : iterable of int
        One series each; fixed before the results are seen.
    executor : Executor, optional
        Where the series run, which are independent of each other. Defaults to the processes of this machine.

    """
    part = strategy.from_bars()
    if not isinstance(part, RegimeAware):
        raise ConfigError(f"noise_control: strategy was {strategy.name}. Give a RegimeAware.")
    chosen = list(seeds)
    with progress(f"noise, {kind}", "series") as on_progress:
        found = (executor or Executor()).map(_edges_on, _Noise(kind, part, bars), chosen, on_progress)
    rows = {seed: edges for seed, (edges, _) in zip(chosen, found, strict=True)}
    edges = pd.DataFrame.from_dict(rows, orient="index", columns=list(TIMINGS), dtype=np.float64)
    return NoiseControl(kind, edges, found[-1][1] if found else 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Noise:
    kind: NoiseKind
    strategy: RegimeAware
    bars: Bars


def _edges_on(noise: _Noise, seed: int) -> tuple[dict[str, float | None], int]:
    """Return the edge of each timing on one series, and the number of its bars that keep their sign."""
    bars, n_kept = noise.bars, 0
    counts: NDArray[np.bool_] = np.ones(len(bars) - 1, dtype=bool)
    if noise.kind == "sign-flipped":
        twin = sign_flipped([bars], seed)
        frame, counts, n_kept = twin.bars[0].for_strategy(), twin.counts(bars.times[1:]), twin.n_kept
    elif noise.kind == PHASE_RANDOMISED:
        close = bars.frame["close"].to_numpy()
        frame = phase_randomised_bars(close[1:] / close[:-1] - 1.0, seed)
    else:
        frame = edge_free_bars(len(bars), seed)
    edges = _edges(noise.strategy, frame, counts, bars.bars_per_year)
    return {name: each.value for name, each in edges.items()}, n_kept


def _edges(
    strategy: RegimeAware, frame: pd.DataFrame, counts: NDArray[np.bool_], bars_per_year: float
) -> dict[str, Measure]:
    filtered = strategy.detector.filter(frame)
    try:
        smoothed = strategy.detector.smooth(frame)
    except DataError:
        smoothed = None
    close = frame["close"].to_numpy()
    market = close[1:] / close[:-1] - 1.0
    counts = counts[-len(market) :] & (
        np.arange(len(market)) >= max(part.warm_up for part in (filtered, smoothed or filtered))
    )
    exposures = exposure_by_timing(strategy, strategy.targets(frame), filtered, smoothed)
    return {
        name: edge((exposure * market)[counts], market[counts], bars_per_year) for name, exposure in exposures.items()
    }


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
    targets: FloatArray, labels: Labels, returns: FloatArray, n_shifts: int, seed: int, bars_per_year: float
) -> tuple[float, FloatArray]:
    """Test whether the timing of the labels matters, by shifting them circularly against targets and returns.

    Parameters
    ----------
    targets : float64 array of shape (n, 4)
        Exposure that each label asks for over each return; see `RegimeAware.targets`.
    labels : int8 array of shape (n,)
        The regime used for each return.
    returns : float64 array of shape (n,), simple returns of the bars
    n_shifts : int
        Number of shifts, drawn between 5 % and 95 % of n. A shift keeps the durations and frequencies of the regimes.
    seed : int
    bars_per_year : float

    Returns
    -------
    (float, float64 array of shape (n_shifts,))
        The p-value, (1 + number of shifts with a Sharpe ratio at least as high) / (1 + n_shifts), and the annualised
        Sharpe ratios of the exposures that the shifted labels ask for.

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
    doubled = np.concatenate([labels, labels])
    observed = annual_ratio(wanted(targets, labels) * returns, bars_per_year)
    shifted = np.array(
        [annual_ratio(wanted(targets, doubled[shift : shift + n]) * returns, bars_per_year) for shift in shifts]
    )
    return float((1 + (shifted >= observed).sum()) / (1 + n_shifts)), shifted


def conclusion(own: Measure, gain: SharpeDifference, p_value: float, noise: Sequence[NoiseControl]) -> str:
    """Return the verdict of a regime study in one sentence.

    Parameters
    ----------
    own : Measure
        Sharpe ratio of the strategy with regimes, after costs.
    gain : SharpeDifference
        Difference from the Sharpe ratio without regimes.
    p_value : float
        That of the circular shifts.
    noise : sequence of NoiseControl

    Returns
    -------
    str
        Evidence of an edge needs all of: no leak in a judged control, a difference and an own Sharpe ratio whose 95 %
        intervals lie above 0, and a p-value of at most 5 %.

    """
    judged = [control for control in noise if control.is_judged]
    if any(control.is_leak(len(judged)) for control in judged):
        return "Verdict: no conclusion, because the method fails its noise control."
    gap, lower = gain.difference.value, lower_bound(own)
    if own.value is None or lower is None or gap is None or gain.low is None:
        return "Verdict: no conclusion, because one of the Sharpe ratios is not known."
    if own.value <= 0.0:
        less = "The strategy loses less with regimes than without, which is no edge." if gap > 0.0 else ""
        return f"Verdict: no evidence of an edge: the Sharpe ratio with regimes is not above 0. {less}".rstrip()
    passed = {
        "the difference from the strategy without regimes is not above 0 beyond chance": gain.low > 0.0,
        "the Sharpe ratio with regimes is not above 0 beyond chance": lower > 0.0,
        "shifted regimes do as well": p_value <= 0.05,
        "no noise control was judged": bool(judged),
    }
    failed = [reason for reason, is_passed in passed.items() if not is_passed]
    if not failed:
        return "Verdict: evidence of an edge from the regimes on these bars; test it on other bars."
    if gain.low > 0.0 or p_value <= 0.05:
        return f"Verdict: a hint only, because {' and '.join(failed)}."
    return "Verdict: no evidence that the regimes improve the strategy on these bars."


def lower_bound(measure: Measure) -> float | None:
    """Return the lower end of the 95 % interval of a measure, value − 1.96 standard errors; None without an error."""
    return None if measure.value is None or measure.stderr is None else measure.value - NORMAL_95 * measure.stderr


def annual_turnover(exposure: FloatArray, bars_per_year: float) -> float:
    """Return the sum of absolute changes of exposure per year, a ratio; `exposure` has shape (n_bars,)."""
    if len(exposure) < 2:
        return 0.0
    return float(np.abs(np.diff(exposure)).sum() * bars_per_year / (len(exposure) - 1))


def annual_ratio(returns: FloatArray, bars_per_year: float) -> float:
    """Return the annualised Sharpe ratio of simple returns of any number, shape (n,); 0.0 when nothing varies."""
    deviation = float(returns.std(ddof=1))
    return float(returns.mean() / deviation * np.sqrt(bars_per_year)) if deviation > 0.0 else 0.0


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
