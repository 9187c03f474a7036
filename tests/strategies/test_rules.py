"""Each strategy enters and exits the ways it claims to: on generated bars always, on real ones where they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from peak_trade.core.arrays import BoolArray
from peak_trade.core.bars import Bars
from peak_trade.data.sample import synthetic_bars
from peak_trade.strategies.base import Direction, Strategy
from peak_trade.strategies.bollinger_bands import BollingerBands
from peak_trade.strategies.breakout import Breakout
from peak_trade.strategies.buy_and_hold import BuyAndHold
from peak_trade.strategies.cash import Cash
from peak_trade.strategies.composite import Composite
from peak_trade.strategies.donchian import Donchian
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.strategies.macd import Macd
from peak_trade.strategies.mean_reversion import MeanReversion
from peak_trade.strategies.momentum import Momentum
from peak_trade.strategies.random_entry import RandomEntry
from peak_trade.strategies.rsi_reversion import RsiReversion
from peak_trade.strategies.trend_following import TrendFollowing
from tests.examples import mostly_long
from tests.indicators import plain
from tests.tolerances import RTOL_SAME

Bools = BoolArray
Conditions = tuple[Any, Any, Any, Any]
"""When a strategy claims to enter and leave long, and to enter and leave short."""


@pytest.fixture(scope="module")
def generated() -> pd.DataFrame:
    return synthetic_bars(6_000, seed=5).frame


@pytest.fixture(scope="module")
def real(real_data: Path) -> pd.DataFrame:
    frame = pd.read_parquet(real_data / "bars" / "binance_BTCUSDT_1h.parquet")
    opens = pd.DatetimeIndex(frame["timestamp"])
    opens = opens.tz_localize("UTC") if opens.tz is None else opens
    frame = frame.set_index((opens + pd.Timedelta("1h")).as_unit("ns").rename("close_time"))
    columns = ["open", "high", "low", "close", "volume"]
    return frame[columns].astype(float).iloc[:12_000]


def ma_crossover(bars: pd.DataFrame) -> Conditions:
    gap = bars["close"].rolling(20).mean() - bars["close"].rolling(50).mean()
    return gap > 0.0, gap < 0.0, gap < 0.0, gap > 0.0


def rsi_reversion(bars: pd.DataFrame) -> Conditions:
    rsi = plain.rsi(bars["close"].to_numpy(), 14)
    return rsi < 30.0, rsi >= 50.0, rsi > 70.0, rsi <= 50.0


def bollinger_bands(bars: pd.DataFrame) -> Conditions:
    close = bars["close"]
    middle, deviation = close.rolling(20).mean(), close.rolling(20).std(ddof=0)
    return close < middle - 2.0 * deviation, close >= middle, close > middle + 2.0 * deviation, close <= middle


def breakout(bars: pd.DataFrame) -> Conditions:
    high, low, close = (bars[name] for name in ("high", "low", "close"))
    return (
        close > high.rolling(20).max().shift(1),
        close < low.rolling(10).min().shift(1),
        close < low.rolling(20).min().shift(1),
        close > high.rolling(10).max().shift(1),
    )


def donchian(bars: pd.DataFrame) -> Conditions:
    above = bars["close"] > bars["high"].rolling(20).max().shift(1)
    below = bars["close"] < bars["low"].rolling(20).min().shift(1)
    return above, below, below, above


def macd(bars: pd.DataFrame) -> Conditions:
    line, signal = plain.macd(bars["close"].to_numpy(), 12, 26, 9)
    return line > signal, line < signal, line < signal, line > signal


def momentum(bars: pd.DataFrame) -> Conditions:
    change = bars["close"] / bars["close"].shift(20) - 1.0
    return change > 0.02, change < -0.01, change < -0.02, change > 0.01


def trend_following(bars: pd.DataFrame) -> Conditions:
    adx = plain.adx(*(bars[name].to_numpy() for name in ("high", "low", "close")), 14)
    gap = (bars["close"] - bars["close"].rolling(50).mean()).to_numpy()
    return (
        (adx > 25.0) & (gap > 0.0),
        (adx < 20.0) | (gap < 0.0),
        (adx > 25.0) & (gap < 0.0),
        (adx < 20.0) | (gap > 0.0),
    )


def mean_reversion(bars: pd.DataFrame) -> Conditions:
    logs = np.log(bars["close"])
    score = (logs - logs.rolling(20).mean()) / logs.rolling(20).std(ddof=0)
    return score < -2.0, score >= 0.0, score > 2.0, score <= 0.0


def rsi_with_trend(bars: pd.DataFrame) -> Conditions:
    enter_long, leave_long, enter_short, leave_short = rsi_reversion(bars)
    rise = (bars["close"] - bars["close"].shift(200)).to_numpy()  # what enters the average less what leaves it
    return enter_long & (rise > 0.0), leave_long, enter_short & (rise < 0.0), leave_short


def breakout_with_atr(bars: pd.DataFrame) -> Conditions:
    _, leave_long, _, leave_short = breakout(bars)
    high, low, close = (bars[name] for name in ("high", "low", "close"))
    margin = 0.5 * plain.atr(high.to_numpy(), low.to_numpy(), close.to_numpy(), 14)
    far_up = close > high.rolling(20).max().shift(1) + margin
    return far_up, leave_long, close < low.rolling(20).min().shift(1) - margin, leave_short


def mean_reversion_when_calm(bars: pd.DataFrame) -> Conditions:
    enter_long, leave_long, enter_short, leave_short = mean_reversion(bars)
    is_calm = np.log(bars["close"]).diff().rolling(50).std(ddof=0) <= 0.008
    return enter_long & is_calm, leave_long, enter_short & is_calm, leave_short


CLAIMS: dict[str, tuple[Strategy, Callable[[pd.DataFrame], Conditions]]] = {
    "ma_crossover": (MaCrossover(), ma_crossover),
    "rsi_reversion": (RsiReversion(), rsi_reversion),
    "rsi_with_trend": (RsiReversion(trend_window=200), rsi_with_trend),
    "bollinger_bands": (BollingerBands(), bollinger_bands),
    "breakout": (Breakout(), breakout),
    "breakout_with_atr": (Breakout(atr_multiple=0.5), breakout_with_atr),
    "donchian": (Donchian(), donchian),
    "macd": (Macd(), macd),
    "momentum": (Momentum(), momentum),
    "trend_following": (TrendFollowing(), trend_following),
    "mean_reversion": (MeanReversion(), mean_reversion),
    "mean_reversion_when_calm": (MeanReversion(max_volatility=0.008), mean_reversion_when_calm),
}
ALWAYS_IN = {"ma_crossover", "macd", "donchian"}
"""With both directions these hold one side or the other from the first signal on."""


def check_claims(name: str, direction: Direction, bars: pd.DataFrame, n_least: int) -> None:
    strategy, claims = CLAIMS[name]
    strategy = strategy.model_copy(update={"direction": direction})
    held = strategy.exposure(bars)
    start = strategy.warm_up
    assert np.isnan(held[:start]).all()
    side = held[start:]
    assert set(np.unique(side)) <= {-1.0, 0.0, 1.0}
    before = np.concatenate([[0.0], side[:-1]])
    enter_long, leave_long, enter_short, leave_short = (
        np.asarray(condition, dtype=bool)[start:] for condition in claims(bars)
    )
    may_long, may_short = direction != "short", direction != "long"
    assert enter_long[(side == 1.0) & (before != 1.0)].all(), "entered long without its condition"
    assert enter_short[(side == -1.0) & (before != -1.0)].all(), "entered short without its condition"
    assert leave_long[(side != 1.0) & (before == 1.0)].all(), "left a long without its condition"
    assert leave_short[(side != -1.0) & (before == -1.0)].all(), "left a short without its condition"
    assert not (leave_long & (side == 1.0)).any(), "held a long beyond its exit"
    assert not (leave_short & (side == -1.0)).any(), "held a short beyond its exit"
    if may_long:
        assert not (enter_long & ~leave_long & (side == 0.0)).any(), "missed a long"
        assert ((side == 1.0) & (before != 1.0)).sum() >= n_least
        assert ((side != 1.0) & (before == 1.0)).sum() >= n_least
    if may_short:
        assert not (enter_short & ~leave_short & (side == 0.0)).any(), "missed a short"
        assert ((side == -1.0) & (before != -1.0)).sum() >= n_least
        assert ((side != -1.0) & (before == -1.0)).sum() >= n_least
    if not may_long:
        assert (side <= 0.0).all()
    if not may_short:
        assert (side >= 0.0).all()
    if direction != "both" or name not in ALWAYS_IN:
        assert (side == 0.0).mean() > 0.05, "is hardly ever flat"
    if name not in ALWAYS_IN:
        is_held = (side == 1.0) & (before == 1.0)
        assert (is_held & ~enter_long).any() or not may_long, "does not hold between its entry and its exit"


@pytest.mark.parametrize("direction", ["long", "short", "both"])
@pytest.mark.parametrize("name", CLAIMS)
def test_a_strategy_enters_and_leaves_as_it_claims(name: str, direction: Direction, generated: pd.DataFrame) -> None:
    check_claims(name, direction, generated, n_least=5)


@pytest.mark.parametrize("direction", ["long", "both"])
@pytest.mark.parametrize("name", mostly_long(CLAIMS, 4))
def test_a_strategy_enters_and_leaves_as_it_claims_on_real_bars(
    name: str, direction: Direction, real: pd.DataFrame
) -> None:
    check_claims(name, direction, real, n_least=5)


def test_cash_is_always_flat_and_buy_and_hold_never(generated: pd.DataFrame) -> None:
    assert (Cash().exposure(generated) == 0.0).all()
    assert (BuyAndHold().exposure(generated) == 1.0).all()


def test_random_entries_and_exits_come_as_often_as_their_chances(generated: pd.DataFrame) -> None:
    """Entries while flat and exits while held are binomial: within four standard errors."""
    side = RandomEntry(direction="both", seed=7).exposure(generated)
    before, now = side[:-1], side[1:]
    for is_asked, is_done, chance in (
        (before == 0.0, (before == 0.0) & (now != 0.0), 0.02),
        (before != 0.0, (before != 0.0) & (now != before), 0.05),
    ):
        n = is_asked.sum()
        assert abs(is_done.sum() - n * chance) <= 4.0 * math.sqrt(n * chance * (1.0 - chance))
    entries = now[(before == 0.0) & (now != 0.0)]
    assert abs(entries.sum()) <= 4.0 * math.sqrt(len(entries))


def test_random_entry_repeats_for_a_seed_and_differs_between_seeds(generated: pd.DataFrame) -> None:
    draws = [RandomEntry(seed=seed).exposure(generated) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).mean() > 0.1


def test_random_entry_draws_by_the_bar_and_not_by_its_position(generated: pd.DataFrame) -> None:
    strategy = RandomEntry()
    late = strategy.exposure(generated.iloc[500:])
    np.testing.assert_array_equal(late[1_000:], strategy.exposure(generated)[1_500:])


MEMBERS = (MaCrossover(direction="both"), Momentum(), RsiReversion(direction="both"))


def test_a_weighted_composite_holds_the_weighted_mean(generated: pd.DataFrame) -> None:
    composite = Composite(members=MEMBERS, weights=(2.0, 1.0, 1.0))
    parts = [member.exposure(generated) for member in MEMBERS]
    expected = (2.0 * parts[0] + parts[1] + parts[2]) / 4.0
    assert composite.warm_up == max(member.warm_up for member in MEMBERS)
    np.testing.assert_allclose(composite.exposure(generated), expected, rtol=RTOL_SAME, atol=RTOL_SAME)


def test_a_vote_needs_more_than_half_of_the_weight(generated: pd.DataFrame) -> None:
    parts = np.array([member.exposure(generated) for member in MEMBERS])
    held = Composite(members=MEMBERS, rule="vote").exposure(generated)
    known = ~np.isnan(held)
    n_long, n_short = (parts > 0.0).sum(axis=0), (parts < 0.0).sum(axis=0)
    np.testing.assert_array_equal(held[known] == 1.0, n_long[known] >= 2)
    np.testing.assert_array_equal(held[known] == -1.0, n_short[known] >= 2)
    assert {-1.0, 0.0, 1.0} == set(held[known])
    tied = Composite(members=MEMBERS[:2], rule="vote").exposure(generated)
    lone = (parts[:2] > 0.0).sum(axis=0) == 1
    assert not (tied[lone] == 1.0).any()


def test_the_volatility_target_only_scales_down_and_keeps_a_scale_within_its_band(generated: pd.DataFrame) -> None:
    plainly = Composite(members=(BuyAndHold(),)).exposure(generated)
    target = 0.006
    scaled = Composite(members=(BuyAndHold(),), target_volatility=target, volatility_band=0.2).exposure(generated)
    assert np.isnan(scaled[:50]).all()
    scaled, plainly = scaled[50:], plainly[50:]
    assert ((scaled > 0.0) & (scaled <= plainly)).all()
    volatility = np.log(generated["close"]).diff().rolling(50).std(ddof=0).to_numpy()[50:]
    wanted = np.minimum(1.0, target / volatility)
    assert (np.abs(wanted - scaled) <= 0.2 * scaled * (1.0 + 1e-9)).all()
    n_changes = (np.diff(scaled) != 0.0).sum()
    assert 5 < n_changes < len(scaled) / 20
    assert (scaled < 0.7).any()
    assert (scaled == 1.0).any()


def test_a_composite_names_its_members_in_its_digest() -> None:
    base = Composite(members=(MaCrossover(),))
    assert base.digest() == Composite(members=(MaCrossover(),)).digest()
    assert base.digest() != Composite(members=(MaCrossover(fast=19),)).digest()
    assert Composite(members=(Cash(),)).digest() != Composite(members=(BuyAndHold(),)).digest()


@pytest.mark.parametrize("name", CLAIMS)
def test_prices_that_never_move_are_never_traded(name: str) -> None:
    flat = synthetic_bars(500).frame
    flat = flat.assign(**dict.fromkeys(("open", "high", "low", "close"), 0.1))
    held = CLAIMS[name][0].model_copy(update={"direction": "both"}).exposure(flat)
    assert (np.nan_to_num(held) == 0.0).all()


def test_too_few_bars_give_an_exposure_of_their_length() -> None:
    bars = Bars(synthetic_bars(30).frame.iloc[:3], "X/USD", synthetic_bars(30).timeframe)
    for strategy, _ in CLAIMS.values():
        held = strategy.exposure(bars.frame)
        assert held.shape == (3,)
        assert np.isnan(held).all()
