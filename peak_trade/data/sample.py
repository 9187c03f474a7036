"""Sample bars from a seed: three correlated symbols with known regimes, on the exchange `sample`.

One hidden Markov chain (bull, sideways, bear) for all symbols switches the drift and the volatility of a common factor;
each symbol adds its own noise. High and low are drawn from the exact distribution of the extremes of a Brownian bridge
between open and close, so the bars are consistent. Every step is elementwise, or a plain recursion over numpy's PCG64,
so the bars are bit-identical in every process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from peak_trade.core.arguments import checks_arguments
from peak_trade.core.arrays import FloatArray, IntArray
from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, did_you_mean, shown
from peak_trade.core.extra_columns import ExtraColumn
from peak_trade.core.time import Timeframe
from peak_trade.data.store import SaveResult, save_bars

EXCHANGE = "sample"
TIMEFRAME = Timeframe.parse("1h")
SEED = 11
FIRST_OPEN = pd.Timestamp("2023-01-01", tz="UTC")
N_BARS = 2 * 365 * 24
MOST_BARS = 1_000_000
"""Largest number of sample bars."""
HOURS_PER_YEAR = 8_760.0
REGIMES = ("bull", "sideways", "bear")


@dataclass(frozen=True, slots=True)
class SampleRegimes:
    """Parameters of the hidden chain and the common factor; every tuple is in the order of `REGIMES`."""

    annual_drift: tuple[float, float, float]
    """Mean log return per year."""

    annual_volatility: tuple[float, float, float]
    """Volatility per year, as a fraction."""

    mean_days: tuple[float, float, float]
    """Expected duration of a regime, days."""

    next: tuple[tuple[float, float, float], ...] = ((0.0, 0.7, 0.3), (0.6, 0.0, 0.4), (0.45, 0.55, 0.0))
    """Transition probabilities at the end of a regime; each row sums to one."""


REALISTIC = SampleRegimes((2.0, 0.0, -4.0), (0.50, 0.22, 1.00), (24.0, 18.0, 9.0))
"""Drifts of realistic size, which hourly bars barely distinguish, if at all."""
WELL_SEPARATED = SampleRegimes((52.0, 0.0, -52.0), (0.47, 0.28, 0.94), (10.0, 10.0, 10.0))
"""Clearly separated states, for tests of a detector."""


@dataclass(frozen=True, slots=True)
class SampleSymbol:
    """Parameters of one symbol. Prices and notional per hour are in quote currency."""

    first_price: float
    beta: float
    correlation: float
    hourly_notional: float
    tick: float


SYMBOLS = {
    "BTC/USDT": SampleSymbol(first_price=30_000.0, beta=1.0, correlation=0.95, hourly_notional=4e7, tick=0.01),
    "ETH/USDT": SampleSymbol(first_price=2_000.0, beta=1.15, correlation=0.85, hourly_notional=2e7, tick=0.01),
    "SOL/USDT": SampleSymbol(first_price=60.0, beta=1.5, correlation=0.75, hourly_notional=6e6, tick=0.001),
}


def sample_regimes(seed: int = SEED, n_bars: int = N_BARS, regimes: SampleRegimes = REALISTIC) -> pd.Series[str]:
    """Return the true regime of each sample bar: `bull`, `sideways` or `bear`, indexed by close_time (UTC).

    The regime applies during the bar: the return from the bar's open to its close is drawn from it.
    """
    names = np.array(REGIMES, dtype=object)
    return pd.Series(names[_regime_path(seed, n_bars, regimes)], index=_close_times(n_bars), name="regime")


@checks_arguments()
def sample_bars(symbol: str, seed: int = SEED, n_bars: int = N_BARS, regimes: SampleRegimes = REALISTIC) -> Bars:
    """Return the hourly sample bars of one symbol; equal seeds give bit-identical bars in every process."""
    if symbol not in SYMBOLS:
        raise ConfigError(f"symbol was {symbol!r}: it has no sample bars. {did_you_mean(symbol, SYMBOLS)}")
    if not 1 <= n_bars <= MOST_BARS or seed < 0:
        raise ConfigError(
            f"seed was {shown(seed)}, n_bars {shown(n_bars)}: give a seed of at least 0 and 1 to {MOST_BARS:,} bars."
        )
    made = SYMBOLS[symbol]
    regime = _regime_path(seed, n_bars, regimes)
    scale = made.beta / np.sqrt(HOURS_PER_YEAR)
    volatility = np.array(regimes.annual_volatility)[regime] * scale
    drift = np.array(regimes.annual_drift)[regime] * (made.beta / HOURS_PER_YEAR)
    common = _stream(seed, "common").standard_normal(n_bars)
    draws = _stream(seed, symbol)
    own = draws.standard_normal(n_bars)
    shock = made.correlation * common + np.sqrt(1.0 - made.correlation**2) * own
    move = drift + volatility * shock
    path = np.cumsum(move)
    close = made.first_price * np.exp(path)
    open_ = made.first_price * np.exp(np.concatenate(([0.0], path[:-1])))
    up = _bridge_extreme(move, volatility, draws.random(n_bars))
    down = -_bridge_extreme(-move, volatility, draws.random(n_bars))
    prices = [_on_grid(price, made.tick) for price in (open_, open_ * np.exp(up), open_ * np.exp(down), close)]
    frame = pd.DataFrame(
        {
            "open": prices[0],
            "high": np.maximum(np.maximum(prices[0], prices[3]), prices[1]),
            "low": np.minimum(np.minimum(prices[0], prices[3]), prices[2]),
            "close": prices[3],
            "volume": _volume(made, close, move, volatility, draws.standard_normal(n_bars)),
        },
        index=_close_times(n_bars),
    )
    return Bars(frame, symbol, TIMEFRAME, EXCHANGE)


def save_samples(seed: int = SEED) -> list[SaveResult]:
    """Save the sample bars of every symbol in the store; a second call changes nothing."""
    return [save_bars(sample_bars(symbol, seed)) for symbol in SYMBOLS]


def synthetic_bars(n_bars: int = 3_000, seed: int = 0, columns: Sequence[str] = ()) -> Bars:
    """Return seeded hourly bars: a random walk whose volatility and drift change every 60 bars.

    Each extra column has normal values that become known every 8 hours from the first close on.
    """
    rng = np.random.default_rng(seed)
    n_spells = n_bars // 60 + 1
    volatility = np.repeat(rng.choice([0.003, 0.006, 0.015], n_spells), 60)[:n_bars]
    drift = np.repeat(rng.choice([-0.0015, 0.0, 0.0015], n_spells), 60)[:n_bars]
    close = 20_000.0 * np.exp(np.cumsum(drift + volatility * rng.standard_normal(n_bars)))
    open_ = np.concatenate(([20_000.0], close[:-1]))
    reach = np.exp(volatility * np.abs(rng.standard_normal((2, n_bars))) / 2.0)
    frame = pd.DataFrame(
        {
            "open": open_,
            "high": np.maximum(open_, close) * reach[0],
            "low": np.minimum(open_, close) / reach[1],
            "close": close,
            "volume": rng.lognormal(4.0, 1.0, n_bars),
        },
        index=pd.date_range("2021-01-01 01:00", periods=n_bars, freq="h", tz="UTC", unit="ns", name="close_time"),
    )
    bars = Bars(frame, "SPECIMEN/USD", Timeframe.parse("1h"), "generated")
    known_at = bars.times[::8]
    draws = [_stream(seed, name).standard_normal(known_at.size) for name in columns]
    return bars.with_columns(*map(ExtraColumn, columns, [known_at] * len(draws), draws))


def _stream(seed: int, name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, *name.encode()]))


def _close_times(n_bars: int) -> pd.DatetimeIndex:
    first = FIRST_OPEN.value + TIMEFRAME.ns
    times = first + TIMEFRAME.ns * np.arange(n_bars, dtype=np.int64)
    return pd.DatetimeIndex(times, name="close_time").tz_localize("UTC")


def _regime_path(seed: int, n_bars: int, regimes: SampleRegimes) -> IntArray:
    draws = _stream(seed, "regime").random((n_bars, 2)).tolist()
    leave = [1.0 / (24.0 * days) for days in regimes.mean_days]
    states = np.empty(n_bars, dtype=np.int64)
    state = 1
    for bar, (ends, goes) in enumerate(draws):
        states[bar] = state
        if ends < leave[state]:
            first, second = (other for other in range(3) if other != state)
            state = first if goes < regimes.next[state][first] else second
    return states


def _bridge_extreme(move: FloatArray, volatility: FloatArray, uniform: FloatArray) -> FloatArray:
    extreme: FloatArray = 0.5 * (move + np.sqrt(move * move - 2.0 * volatility * volatility * np.log1p(-uniform)))
    return extreme


def _on_grid(price: FloatArray, tick: float) -> FloatArray:
    per_unit = round(1.0 / tick)
    rounded: FloatArray = np.rint(price * per_unit) / per_unit
    return rounded


def _volume(
    made: SampleSymbol, close: FloatArray, move: FloatArray, volatility: FloatArray, noise: FloatArray
) -> FloatArray:
    hour = np.arange(len(close)) % 24
    season = 0.35 * np.cos(2.0 * np.pi * (hour - 15.0) / 24.0)
    usual = REALISTIC.annual_volatility[0] * made.beta / np.sqrt(HOURS_PER_YEAR)
    calm = 0.6 * np.log(volatility / usual)
    surprise = 0.4 * (np.abs(move) / volatility - 0.8)
    notional = made.hourly_notional * np.exp(season + calm + surprise + 0.4 * noise)
    return _on_grid(notional / close, 1e-5)
