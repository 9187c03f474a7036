"""Noise controls: what a rule earns on bars without an edge, such as the sign-flipped twin of a user's own bars.

The judged statistic is the edge, mean(w·r) / sd(r) a year: simple close-to-close returns r before costs, and the
exposure w that is known before each return. Without look-ahead its mean over twins is 0 for every rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.arrays import BoolArray, FloatArray, IntArray
from peak_trade.core.bar_frame import COLUMNS
from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, PeakTradeError
from peak_trade.engine.market import Market
from peak_trade.engine.settings import BacktestSettings
from peak_trade.metrics import Measure
from peak_trade.metrics.measure import MIN_RETURNS, too_few
from peak_trade.portfolio.allocation import held_over_bars
from peak_trade.strategies.base import Strategy
from peak_trade.studies.portfolio.result import PortfolioResult
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.tracking.counting import not_trials
from peak_trade.wiring.sleeves import sleeve_for

MIN_SERIES = 20
"""Smallest number of series from which a noise control is judged."""
ALPHA = 0.05
"""Probability that any of the controls of a study calls a leak where there is none."""
LEAK = 1.0
"""Mean edge a year of the leak whose probability to be found is stated as the power of a control."""
PHASE_RANDOMISED = "phase-randomised"
"""Kind of the series that are shown but not judged: they keep the realised low frequencies, which a rule may use."""


@dataclass(frozen=True, slots=True, eq=False)
class Twin:
    """Bars with flipped signs. `is_random`, shape (n_times,), marks the close times `times` whose sign was drawn."""

    bars: tuple[Bars, ...]
    times: IntArray
    is_random: BoolArray

    @property
    def n_kept(self) -> int:
        """Number of bars that keep their sign, because their mirror image reaches a price of 0."""
        return int((~self.is_random).sum())

    def counts(self, times: IntArray) -> BoolArray:
        """Return whether the sign of each of some close times was drawn, so that its return counts."""
        counts: BoolArray = self.is_random[np.searchsorted(self.times, times)]
        return counts


def sign_flipped(bars: Sequence[Bars], seed: int) -> Twin:
    """Return bars whose simple close-to-close returns have random signs: the same market without an edge.

    Parameters
    ----------
    bars : sequence of Bars, one per symbol
    seed : int
        One sign is drawn for each close time, for all symbols. The signs up to a time do not depend on later times.

    Returns
    -------
    Twin
        Sizes of returns, volatility, correlations of symbols, volumes and times are kept. Where the sign is −1, the
        relative open, high and low are mirrored about the previous close, so that the high is made of the low. A time
        at which a mirrored low would be 0 or below keeps its sign for all symbols; so does the first bar of each.

    Notes
    -----
    Given the sizes, each drawn sign is independent of everything before it: E[w·r] = 0 for every exposure w that is
    known before it. Flipped log returns would not have this, because their simple returns have a positive mean.

    """
    times = np.unique(np.concatenate([part.times for part in bars]))
    is_random = np.ones(times.size, dtype=bool)
    moves = []
    for part in bars:
        values = part.frame[list(COLUMNS[:4])].to_numpy()
        relative = values[1:] / values[:-1, 3:] - 1.0
        is_random[np.searchsorted(times, part.times[1:][relative[:, 1] >= 1.0])] = False
        moves.append(relative)
    signs = np.where((np.random.default_rng([seed, 4]).random(times.size) < 0.5) & is_random, -1.0, 1.0)
    flipped = [
        replace(part, frame=_flipped(part.frame, relative, signs[np.searchsorted(times, part.times[1:])]))
        for part, relative in zip(bars, moves, strict=True)
    ]
    return Twin(tuple(flipped), times, is_random)


def edge(earned: FloatArray, market: FloatArray, bars_per_year: float) -> Measure:
    """Return mean(w·r) / sd(r), annualised: what an exposure earns per unit of the market's risk, before costs.

    Parameters
    ----------
    earned : float64 array of shape (n,)
        Exposure times return, w·r, summed over symbols. The exposure is known before the return.
    market : float64 array of shape (n,)
        Simple returns r; of several symbols, their mean.
    bars_per_year : float

    """
    n = len(market)
    if n < MIN_RETURNS:
        return too_few(n, MIN_RETURNS, "returns")
    deviation = float(market.std(ddof=1))
    if deviation == 0.0 or not earned.any():
        return Measure(None, n, note="the returns do not vary" if deviation == 0.0 else "never exposed")
    scale = float(np.sqrt(bars_per_year)) / deviation
    return Measure(float(earned.mean()) * scale, n, float(earned.std(ddof=1) / np.sqrt(n)) * scale)


@dataclass(frozen=True, slots=True, eq=False)
class NoiseControl:
    """The edge of one rule on series without an edge.

    `edges` has shape (n_series, n_timings), one column per timing of the rule, indexed by seed. The last column is the
    timing that is traded, on which the control is judged. A series without exposure has no edge (NaN), and is left out.
    `n_kept` is the number of bars of a twin that keep their sign; they do not count.
    """

    kind: str
    edges: pd.DataFrame
    n_kept: int = 0

    @property
    def traded(self) -> str:
        """Timing of the rule as it is traded."""
        return str(self.edges.columns[-1])

    def mean(self, timing: str) -> Measure:
        """Return the mean edge of a timing over the series that have one, with its standard error."""
        values = self.edges[timing].dropna().to_numpy()
        if values.size == 0:
            return too_few(0, 1, "series with an exposure")
        spread = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
        return Measure(float(values.mean()), len(values), spread)

    @property
    def is_extra(self) -> bool:
        """Whether the series are shown and not judged."""
        return self.kind == PHASE_RANDOMISED

    @property
    def is_judged(self) -> bool:
        """Whether at least `MIN_SERIES` series have an edge, and their kind is judged."""
        measure = self.mean(self.traded)
        return not self.is_extra and measure.n >= MIN_SERIES and bool(measure.stderr)

    def largest_clean(self, n_controls: int = 1) -> float:
        """Return the largest mean edge that is no leak: Student's quantile times the standard error.

        The one-sided probability of a higher mean without a leak is `ALPHA` / n_controls (Bonferroni).
        """
        from scipy.stats import t

        measure = self.mean(self.traded)
        return float(t.ppf(1.0 - ALPHA / n_controls, measure.n - 1)) * (measure.stderr or 0.0)

    def is_leak(self, n_controls: int = 1) -> bool:
        """Whether the mean edge is positive beyond chance. A negative mean is none: look-ahead does not lose."""
        measure = self.mean(self.traded)
        return self.is_judged and measure.value is not None and measure.value > self.largest_clean(n_controls)

    def power(self, n_controls: int = 1, leak: float = LEAK) -> float:
        """Return the probability that a leak is found whose mean edge is `leak` a year, by the noncentral t."""
        from scipy.stats import nct, t

        measure = self.mean(self.traded)
        if not measure.stderr:
            return 0.0
        freedom = measure.n - 1
        return float(nct.sf(t.ppf(1.0 - ALPHA / n_controls, freedom), freedom, leak / measure.stderr))


@checks_arguments(controls="the result of noise_controls")
def noise_table(controls: Sequence[NoiseControl]) -> pd.DataFrame:
    """Return one row per control and timing.

    noise; timing; mean_edge, its stderr, and n_series; for the traded timing of judged controls largest_clean, the
    largest mean that is no leak, and power, the probability to find a leak of `LEAK` a year; verdict.
    """
    if not controls:
        raise ConfigError("noise_table: controls was empty: give the result of noise_controls.")
    n_judged = max(sum(control.is_judged for control in controls), 1)
    rows = []
    for control in controls:
        for timing in control.edges.columns:
            mean, is_judged = control.mean(timing), control.is_judged and timing == control.traded
            limits = (control.largest_clean(n_judged), control.power(n_judged)) if is_judged else (np.nan, np.nan)
            verdict = "leak" if is_judged and control.is_leak(n_judged) else "clean" if is_judged else "not judged"
            rows.append((control.kind, timing, mean.value, mean.stderr, mean.n, *limits, verdict))
    columns = ["noise", "timing", "mean_edge", "stderr", "n_series", "largest_clean", "power", "verdict"]
    return pd.DataFrame(rows, columns=columns).astype({"mean_edge": "float64", "stderr": "float64"})


def noise_sentences(controls: Sequence[NoiseControl]) -> list[str]:
    """Return one sentence per control: whether it finds a leak, and its power."""
    n_judged = max(sum(control.is_judged for control in controls), 1)
    said = []
    for control in controls:
        mean = control.mean(control.traded)
        where = f"On {mean.n} {control.kind} series the traded rule has a mean edge of {signed(mean)} a year"
        if control.is_extra:
            said.append(f"{where}; this is not judged, because such series keep the realised low frequencies.")
        elif not control.is_judged:
            said.append(f"{len(control.edges)} {control.kind} series are too few to judge the method.")
        else:
            limit, power = control.largest_clean(n_judged), control.power(n_judged)
            is_leak = control.is_leak(n_judged)
            meaning = "above what chance explains, so the method looks ahead" if is_leak else "no leak"
            said.append(
                f"{where}: {meaning} (up to {limit:+.2f} is chance; a leak of {LEAK:+.2f} is found with probability "
                f"{power:.0%})."
            )
        if control.n_kept:
            said.append(f"{control.n_kept:,} bars of each twin keep their sign and do not count.")
    return said


@dataclass(frozen=True, slots=True)
class TwinCheck:
    """The edge of one rule on bars and on one sign-flipped twin of them, which has none.

    `n_kept` is the number of bars that keep their sign in the twin; they do not count there.
    """

    seed: int
    real: Measure
    twin: Measure
    n_kept: int

    def to_frame(self) -> pd.DataFrame:
        """Return the edge on the bars and on their twin: bars, edge, stderr, n, verdict."""
        named = (("these bars", self.real), (f"sign-flipped twin, seed {self.seed}", self.twin))
        rows = [(name, each.value, each.stderr, each.n, _verdict(each)) for name, each in named]
        table = pd.DataFrame(rows, columns=["bars", "edge", "stderr", "n", "verdict"])
        return table.astype({"edge": "float64", "stderr": "float64"})

    @property
    def note(self) -> str:
        """What the table shows, and the number of bars that keep their sign."""
        kept = f" {self.n_kept:,} bars keep their sign, and do not count in the twin." if self.n_kept else ""
        return (
            "Edge: mean of exposure times return over the standard deviation of the return, a year and before costs. "
            f"The twin has the same moves with random signs, so that no rule can have an edge.{kept}"
        )


def check_twin(
    strategy: Strategy | Sequence[Strategy],
    bars: Bars | Sequence[Bars],
    settings: BacktestSettings | None = None,
    *,
    start: datetime | str | None = None,
    seed: int = 0,
) -> TwinCheck:
    """Return the edge of what `backtest` trades with these arguments, on the bars and on their sign-flipped twin.

    Every strategy trades every symbol with an equal weight, and `settings` sizes it. The twin is no trial.
    """
    given = [bars] if isinstance(bars, Bars) else list(bars)
    strategies = list(strategy) if isinstance(strategy, Sequence) else [strategy]
    twin, sizing = sign_flipped(given, seed), settings or BacktestSettings()
    real = _earned(strategies, given, sizing, start)
    on_twin = [part.from_bars() for part in strategies]
    return _compared(real, lambda: _earned(on_twin, twin.bars, sizing, start), twin, seed)


def check_portfolio_twin(result: PortfolioResult, seed: int = 0) -> TwinCheck:
    """Return the edge of a portfolio on its bars and on their sign-flipped twin, over which it runs once more.

    The twin is no trial.
    """
    inputs = result.run.inputs
    if inputs is None:
        raise ConfigError("check_portfolio_twin: the result was read from a file. Give that of run_portfolio.")
    twin, is_cold = sign_flipped(inputs.bars, seed), bool(inputs.arguments["is_cold"])

    def flipped() -> _Earned:
        with not_trials():
            return _earned_by(run_portfolio(result.settings, twin.bars, is_cold=is_cold, causality_check=False))

    return _compared(_earned_by(result), flipped, twin, seed)


def signed(measure: Measure) -> str:
    """Return a value with its sign and standard error as text, or why there is none."""
    if measure.value is None:
        return f"not known ({measure.note})"
    return f"{measure.value:+.2f}" + (f" ± {measure.stderr:.2f}" if measure.stderr is not None else "")


@dataclass(frozen=True, slots=True, eq=False)
class _Earned:
    """What exposures earned over each bar before costs, and the mean return of the symbols; shape (n,)."""

    times: IntArray
    earned: FloatArray
    market: FloatArray
    bars_per_year: float

    def edge(self, counts: BoolArray) -> Measure:
        return edge(self.earned[counts], self.market[counts], self.bars_per_year)


def _earned(
    strategies: Sequence[Strategy], bars: Sequence[Bars], settings: BacktestSettings, start: datetime | str | None
) -> _Earned:
    """Return what `backtest` would earn before costs with constant weights."""
    market = Market.of(bars if start is None else [part.between(start) for part in bars])
    earned, columns = np.zeros(len(market)), dict(zip(market.symbols, market.columns, strict=True))
    for part in bars:
        for strategy in strategies:
            sleeve = sleeve_for(strategy, strategy.name, part, market, settings, 1.0, 0)
            sized = sleeve.exposure if sleeve.scale is None else sleeve.exposure * np.nan_to_num(sleeve.scale)
            held, returns = held_over_bars(sized, columns[part.symbol].close)
            earned += np.nan_to_num(held * returns) / (len(strategies) * len(bars))
    return _Earned(market.times[1:], earned[1:], _market_returns(market), market.bars_per_year)


def _earned_by(result: PortfolioResult) -> _Earned:
    market = result.run.market
    earned = np.nansum(result.weights.to_numpy()[:-1] * result.unit_returns.to_numpy()[1:], axis=1)
    return _Earned(market.times[1:], earned, _market_returns(market), market.bars_per_year)


def _market_returns(market: Market) -> FloatArray:
    returns = np.column_stack([held_over_bars(column.close, column.close)[1][1:] for column in market.columns])
    is_known = ~np.isnan(returns)
    known: FloatArray = np.nan_to_num(returns).sum(axis=1) / np.maximum(is_known.sum(axis=1), 1)
    return known


def _compared(real: _Earned, flipped: Callable[[], _Earned], twin: Twin, seed: int) -> TwinCheck:
    counts = twin.counts(real.times)
    try:
        on_twin = flipped().edge(counts)
    except PeakTradeError as error:  # a user's strategy may need the prices of its own bars
        on_twin = Measure(None, 0, note=f"not evaluated: {error}")
    return TwinCheck(seed, real.edge(np.ones(real.times.size, dtype=bool)), on_twin, int((~counts).sum()))


def _flipped(frame: pd.DataFrame, relative: FloatArray, signs: FloatArray) -> pd.DataFrame:
    """Return bars whose moves relative to the previous close are multiplied by signs; the first bar stays."""
    open_, high, low, close = (1.0 + signs * relative[:, column] for column in range(4))
    closes = np.cumprod(np.concatenate([frame["close"].to_numpy()[:1], close]))
    before, first = closes[:-1], frame.iloc[0]
    is_up = signs > 0.0
    return pd.DataFrame(
        {
            "open": np.concatenate([[first["open"]], before * open_]),
            "high": np.concatenate([[first["high"]], before * np.where(is_up, high, low)]),
            "low": np.concatenate([[first["low"]], before * np.where(is_up, low, high)]),
            "close": closes,
            "volume": frame["volume"].to_numpy(),
        },
        index=frame.index,
    )


def _verdict(measure: Measure) -> str:
    if measure.value is None or measure.stderr is None:
        return measure.note
    is_more = measure.value > 2.0 * measure.stderr
    return f"{'more' if is_more else 'no more'} than two standard errors above 0"
