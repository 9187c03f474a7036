"""Sign-flipped twins keep the market and lose every edge; a noise control calls a leak no more often than stated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from peak_trade.core.bars import Bars
from peak_trade.core.time import Timeframe
from peak_trade.data.sample import sample_bars
from peak_trade.engine.settings import BacktestSettings
from peak_trade.metrics.measure import Measure
from peak_trade.portfolio.sizing import VolatilityTarget
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.buy_and_hold import BuyAndHold
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.noise import (
    MIN_SERIES,
    NoiseControl,
    check_portfolio_twin,
    check_twin,
    edge,
    noise_sentences,
    noise_table,
    sign_flipped,
)
from peak_trade.studies.portfolio.run import run_portfolio
from peak_trade.tracking import trials_of
from peak_trade.wiring.portfolio_settings import PortfolioSettings
from tests.examples import examples, mostly_long
from tests.tolerances import RTOL_SAME

HOUR = Timeframe.parse("1h")
BTC, ETH = (sample_bars(symbol, n_bars=600) for symbol in ("BTC/USDT", "ETH/USDT"))


def returns_of(bars: Bars) -> np.ndarray:
    close = bars.frame["close"].to_numpy()
    return close[1:] / close[:-1] - 1.0


@given(st.integers(0, 2**32), st.integers(2, 300))
@settings(max_examples=examples(25), deadline=None)
def test_a_twin_has_the_same_moves_with_one_sign_for_all_symbols(seed, n_bars):
    whole = sign_flipped([BTC, ETH], seed)
    signs = []
    for real, twin in zip((BTC, ETH), whole.bars, strict=True):
        ratio = returns_of(twin) / returns_of(real)
        np.testing.assert_allclose(np.abs(ratio), 1.0, rtol=1e-6)
        signs.append(np.sign(ratio))
        assert twin.frame["volume"].equals(real.frame["volume"])
        assert (twin.times == real.times).all()
        np.testing.assert_array_equal(twin.frame.iloc[0], real.frame.iloc[0])
    np.testing.assert_array_equal(*signs)
    part = sign_flipped([replace(each, frame=each.frame.iloc[:n_bars]) for each in (BTC, ETH)], seed)
    for early, late in zip(part.bars, whole.bars, strict=True):
        np.testing.assert_array_equal(early.frame, late.frame.iloc[:n_bars])
    assert whole.n_kept == 0


def test_a_flipped_bar_is_the_mirror_image_about_the_previous_close():
    frame = pd.DataFrame(
        {"open": [100.0, 102.0], "high": [100.0, 108.0], "low": [100.0, 99.0], "close": [100.0, 105.0], "volume": 3.0},
        index=pd.date_range("2024-01-01", periods=2, freq="h", tz="UTC"),
    )
    bars = Bars(frame, "A/USD", HOUR)
    made = {tuple(sign_flipped([bars], seed).bars[0].frame.iloc[1].round(9)) for seed in range(20)}
    assert made == {(102.0, 108.0, 99.0, 105.0, 3.0), (98.0, 101.0, 92.0, 95.0, 3.0)}


def test_bars_whose_mirror_image_reaches_zero_keep_their_sign_for_all_symbols_and_do_not_count():
    """The other bars alone decide the edge of buy and hold, however much the kept ones gain."""
    frame = BTC.for_strategy()
    frame.iloc[300:, :4] *= 2.5
    jumped = replace(BTC, frame=frame)
    for seed in range(8):
        twin = sign_flipped([jumped, ETH], seed)
        assert (twin.n_kept, twin.counts(BTC.times)[300]) == (1, False)
        kept = [
            returns_of(part)[299] / returns_of(real)[299] for part, real in zip(twin.bars, (jumped, ETH), strict=True)
        ]
        assert kept == pytest.approx([1.0, 1.0])
        check = check_twin(BuyAndHold(), jumped, seed=seed)
        without = np.delete(returns_of(sign_flipped([jumped], seed).bars[0]), 299)
        assert check.twin.value == pytest.approx(edge(without, without, BTC.bars_per_year).value, rel=RTOL_SAME)
        assert (check.n_kept, "1 bars keep" in check.note) == (1, True)


def mean_and_error(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def test_buy_and_hold_on_a_thousand_twins_has_no_edge():
    """The same 80 rising bars are 100 times in a row, and each of ten seeds makes a twin of every repetition."""
    steps = np.tile(np.diff(np.log(BTC.frame["close"].to_numpy()[:81])) + 0.002, 100)
    close = 100.0 * np.exp(np.concatenate([[0.0], np.cumsum(steps)]))
    index = pd.date_range("2024-01-01", periods=close.size, freq="h", tz="UTC")
    columns = dict.fromkeys(("open", "high", "low", "close"), close)
    rising = Bars(pd.DataFrame(columns | {"volume": 1.0}, index=index), "A/USD", HOUR)
    twins = [part for seed in range(10) for part in returns_of(sign_flipped([rising], seed).bars[0]).reshape(100, 80)]
    edges = [edge(part, part, HOUR.bars_per_year).value for part in twins]
    mean, error = mean_and_error(edges)
    assert (len(edges), len(set(edges))) == (1_000, 1_000)
    assert edge(returns_of(rising)[:80], returns_of(rising)[:80], HOUR.bars_per_year).value > 20.0
    assert abs(mean) < 4.0 * error


@pytest.mark.long
@pytest.mark.parametrize(
    "sizing",
    mostly_long([None, VolatilityTarget(annual_volatility=0.3, window=48)], 1),
    ids=["fixed", "volatility target"],
)
def test_a_trend_rule_on_its_own_twins_has_no_edge(sizing):
    """Also on bars that trend strongly, where the rule has an edge."""
    steps = np.repeat(np.random.default_rng(2).choice([-0.003, 0.003], 12), 50)
    frame = BTC.frame.assign(
        **{name: BTC.frame[name] * np.exp(np.cumsum(steps)) for name in ("open", "high", "low", "close")}
    )
    trending = replace(BTC, frame=frame)
    trading = BacktestSettings() if sizing is None else BacktestSettings(sizing=sizing)
    rule = MaCrossover(fast=5, slow=20, direction="both")
    checks = [check_twin(rule, trending, trading, seed=seed) for seed in range(60)]
    mean, error = mean_and_error([check.twin.value for check in checks])
    assert checks[0].real.value > 4.0 * checks[0].real.stderr
    assert checks[0].to_frame()["verdict"][0] == "more than two standard errors above 0"
    assert abs(mean) < 4.0 * error


class Tomorrow(Strategy):
    """Long before a bar that rises, short before one that falls."""

    @property
    def warm_up(self) -> int:
        return 0

    def exposure(self, bars):
        moves = np.sign(np.diff(bars["close"].to_numpy()))
        return np.append(moves, 0.0)


def test_look_ahead_earns_on_a_twin_too(home):
    check = check_twin(Tomorrow(), [BTC, ETH])
    for measure in (check.real, check.twin):
        assert measure.value > 10.0 * measure.stderr
    assert not home.exists(), "a twin is no trial"


class OwnPrices(BuyAndHold):
    """Refuses bars that do not end at the last price of BTC."""

    def exposure(self, bars):
        if bars["close"].iloc[-1] != BTC.frame["close"].iloc[-1]:
            raise ValueError("unknown prices")
        return super().exposure(bars)


def test_a_rule_that_fails_on_the_twin_is_named_and_keeps_its_edge_on_the_bars():
    check = check_twin(OwnPrices(), BTC)
    assert check.real == check_twin(BuyAndHold(), BTC).real
    assert check.twin.value is None
    assert "not evaluated" in check.to_frame()["verdict"][1]
    assert "unknown prices" in check.to_frame()["verdict"][1]


def test_a_warm_start_is_that_of_the_backtest():
    start = str(BTC.frame.index[200])
    check = check_twin(MaCrossover(fast=5, slow=20), BTC, start=start)
    held = MaCrossover(fast=5, slow=20).exposure(BTC.frame)[200:-1]
    market = returns_of(BTC)[200:]
    expected = edge(held * market, market, BTC.bars_per_year)
    assert (check.real.n, check.real.value) == (len(market), pytest.approx(expected.value, rel=RTOL_SAME))


def test_a_portfolio_on_its_twin_is_the_weighted_sum_of_its_sleeves(home):
    entries = [
        {"name": "buy_and_hold", "symbol": "BTC/USDT", "weight": 0.6},
        {"name": "buy_and_hold", "symbol": "ETH/USDT", "weight": 0.4},
    ]
    settings = PortfolioSettings.model_validate(
        {"timeframe": "1h", "strategies": entries, "allocation": {"method": "fixed"}}
    )
    result = run_portfolio(settings, [BTC, ETH])
    check = check_portfolio_twin(result, seed=3)
    assert trials_of([BTC, ETH]).n == 1, "a twin is no trial"
    for measure, bars in ((check.real, (BTC, ETH)), (check.twin, sign_flipped([BTC, ETH], 3).bars)):
        one, other = map(returns_of, bars)
        expected = edge(0.6 * one + 0.4 * other, (one + other) / 2.0, BTC.bars_per_year)
        assert measure.value == pytest.approx(expected.value, rel=1e-9)


def control_of(values: np.ndarray, kind: str = "sign-flipped") -> NoiseControl:
    return NoiseControl(kind, pd.DataFrame({"filtered, next bar": values}))


@pytest.mark.long
@pytest.mark.parametrize("n_studies", mostly_long([100, 300], 1))
def test_a_control_calls_a_leak_as_often_as_stated_and_finds_one_as_often(n_studies):
    """Studies of two controls each: at most 5 % false alarms together, and the stated power for a real leak."""
    generator = np.random.default_rng(5)
    clean = [[control_of(generator.normal(0.0, 1.0, MIN_SERIES)) for _ in range(2)] for _ in range(n_studies)]
    alarms = np.mean([any(control.is_leak(2) for control in controls) for controls in clean])
    assert alarms <= 0.05 + 4.0 * np.sqrt(0.05 * 0.95 / n_studies)
    leaky = [control_of(generator.normal(1.0, 1.5, MIN_SERIES)) for _ in range(n_studies)]
    found = np.mean([control.is_leak(2) for control in leaky])
    error = 1.5 / np.sqrt(MIN_SERIES)
    power = stats.nct.sf(stats.t.ppf(0.975, MIN_SERIES - 1), MIN_SERIES - 1, 1.0 / error)
    assert abs(found - power) < 4.0 * np.sqrt(power * (1.0 - power) / n_studies)
    known = control_of(np.linspace(-1.0, 1.0, MIN_SERIES) * 1.5 / np.linspace(-1.0, 1.0, MIN_SERIES).std(ddof=1))
    assert known.power(2) == pytest.approx(power, rel=RTOL_SAME)


def test_only_a_positive_mean_of_enough_judged_series_is_a_leak():
    values = np.random.default_rng(1).normal(2.0, 1.0, MIN_SERIES)
    assert control_of(values).is_leak()
    assert not control_of(-values).is_leak()
    assert not control_of(values[:-1]).is_judged
    assert not control_of(values, "phase-randomised").is_leak()
    assert not control_of(np.where(np.arange(MIN_SERIES) < 1, np.nan, values)).is_judged
    assert control_of(np.full(MIN_SERIES, np.nan)).mean("filtered, next bar").note.startswith("too few: 0 series")


def test_more_controls_need_a_larger_mean():
    """The table and the sentences use Student's quantile of 1 − 5 % / 2 for two judged controls, without an extra."""
    values = np.random.default_rng(1).normal(0.0, 1.0, MIN_SERIES)
    controls = [control_of(values), control_of(values, "edge-free"), control_of(values, "phase-randomised")]
    table = noise_table(controls)
    expected = stats.t.ppf(0.975, MIN_SERIES - 1) * values.std(ddof=1) / np.sqrt(MIN_SERIES)
    assert table["largest_clean"][:2].tolist() == pytest.approx([expected] * 2)
    assert table["verdict"].tolist() == ["clean", "clean", "not judged"]
    assert table["power"][:2].between(0.0, 1.0).all()
    said = noise_sentences(controls)
    assert f"a leak of +1.00 is found with probability {table['power'][0]:.0%}" in said[0]
    assert "keep the realised low frequencies" in said[2]


def test_an_edge_needs_moves_and_an_exposure():
    market = returns_of(BTC)
    assert edge(np.zeros(len(market)), market, 1.0) == Measure(None, len(market), note="never exposed")
    assert edge(np.zeros(40), np.zeros(40), 1.0).note == "the returns do not vary"
    assert edge(market[:5], market[:5], 1.0).note.startswith("too few: 5 returns")
