"""The regime-aware wrapper is a strategy like any other: causal, frozen, and blind to hindsight."""

from __future__ import annotations

import numpy as np
import pytest

from peak_trade.causality.check import check_causality
from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, StrategyError
from peak_trade.core.time import Timeframe
from peak_trade.regimes.detector import filter_regimes, smooth_regimes
from peak_trade.regimes.states import Regime
from peak_trade.strategies.buy_and_hold import BuyAndHold
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.backtest import backtest
from peak_trade.studies.regime.strategy import RegimeAware, delayed
from peak_trade.studies.regime.study import backtest_regimes
from tests.examples import mostly_long
from tests.regimes.markets import DETECTORS, switching_bars

HOUR = Timeframe.parse("1h")


@pytest.fixture(scope="module")
def bars() -> Bars:
    return Bars(switching_bars(700, 1)[0], "BTC/USDT", HOUR, "sample")


@pytest.mark.long
@pytest.mark.parametrize("name", mostly_long(["hmm", "rules"], 1))
def test_a_regime_aware_strategy_never_looks_ahead(bars, name):
    report = check_causality(RegimeAware(inner=MaCrossover(fast=5, slow=20), detector=DETECTORS[name]), bars, n_cuts=3)
    assert report.is_causal, report.leaks


def test_scale_multiplies_filter_keeps_and_switch_chooses(bars):
    filtered = filter_regimes(bars.frame, DETECTORS["hmm"])
    known = filtered.labels >= 0
    inner = MaCrossover(fast=5, slow=20, direction="both")
    alone = np.nan_to_num(inner.exposure(bars.frame))
    weight = np.array([0.0, 0.5, 1.0, 0.0])[filtered.labels]
    scaled = RegimeAware.of(inner, filtered).exposure(bars.frame)
    np.testing.assert_array_equal(scaled, alone * weight)
    kept = RegimeAware.of(inner, filtered, mode="filter").exposure(bars.frame)
    np.testing.assert_array_equal(kept, np.where(weight > 0.0, alone, 0.0))
    chosen = RegimeAware.of(inner, filtered, mode="switch", bear_strategy=BuyAndHold()).exposure(bars.frame)
    np.testing.assert_array_equal(chosen[filtered.labels == Regime.BEAR], 1.0)
    np.testing.assert_array_equal(chosen[filtered.labels == Regime.SIDEWAYS], 0.0)
    np.testing.assert_array_equal(chosen[filtered.labels == Regime.BULL], alone[filtered.labels == Regime.BULL])
    assert not scaled[~known].any()


def test_regimes_passed_to_of_and_the_detector_give_the_same_backtest(bars):
    detector = DETECTORS["hmm"]
    filtered = filter_regimes(bars.frame, detector)
    own = backtest(RegimeAware(inner=BuyAndHold(), detector=detector), bars)
    passed = backtest_regimes(BuyAndHold(), filtered, bars, detector=detector)
    np.testing.assert_array_equal(own.equity_values, passed.equity_values)
    assert own.run_id != passed.run_id
    assert len(own.fills) > 0


def test_a_backtest_refuses_smoothed_regimes_and_says_what_to_use(bars):
    smoothed = smooth_regimes(bars.frame, DETECTORS["hmm"])
    with pytest.raises(ConfigError, match=r"Use filter_regimes\(bars, detector\) instead of smooth_regimes"):
        backtest_regimes(BuyAndHold(), smoothed, bars)
    with pytest.raises(ConfigError, match="Use filter_regimes"):
        RegimeAware(inner=BuyAndHold(), regimes=smoothed)
    with pytest.raises(ConfigError, match="Use filter_regimes"):
        backtest(smoothed, bars)
    with pytest.raises(ConfigError, match=r"RegimeAware\.of\(strategy, regimes\)"):
        backtest(filter_regimes(bars.frame, DETECTORS["hmm"]), bars)


def test_a_delay_makes_the_regime_known_later(bars):
    labels = np.array([-1, 0, 2, 2, 1], dtype=np.int8)
    assert delayed(labels, 0) is labels
    assert delayed(labels, 2).tolist() == [-1, -1, -1, 0, 2]
    filtered = filter_regimes(bars.frame, DETECTORS["hmm"])
    quick, late = (RegimeAware.of(BuyAndHold(), filtered, delay=delay).exposure(bars.frame) for delay in (0, 5))
    np.testing.assert_array_equal(late[5:], quick[:-5])


def test_regimes_of_other_bars_are_refused(bars):
    filtered = filter_regimes(bars.frame.iloc[:600], DETECTORS["hmm"])
    with pytest.raises(StrategyError, match="have no bar at 2022-01-26"):
        RegimeAware.of(BuyAndHold(), filtered).exposure(bars.frame)


def test_every_setting_of_inner_and_detector_moves_the_digest():
    plain = RegimeAware()
    changed = [
        RegimeAware(inner=MaCrossover()),
        RegimeAware(inner=MaCrossover(fast=10)),
        RegimeAware(detector=DETECTORS["rules"]),
        RegimeAware(detector=DETECTORS["hmm"]),
        RegimeAware(bull=0.9),
        RegimeAware(mode="filter"),
    ]
    digests = [part.digest() for part in (plain, *changed)]
    assert len(set(digests)) == len(digests)
    assert plain.name == "regime_aware_buy_and_hold"
