"""The tables of a study count correctly, and its controls detect look-ahead."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from peak_trade.core.bars import Bars
from peak_trade.core.errors import ConfigError, DataError
from peak_trade.core.time import Timeframe, parse_utc
from peak_trade.regimes.features import FeatureSettings
from peak_trade.regimes.hmm import HmmDetector
from peak_trade.regimes.rules import RulesDetector, RuleSettings
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.buy_and_hold import BuyAndHold
from peak_trade.studies.regime.controls import (
    TIMINGS,
    NoiseControl,
    annual_turnover,
    circular_shift_test,
    edge_free_bars,
    noise_control,
    phase_randomised_bars,
    sharpe_difference,
)
from peak_trade.studies.regime.study import RegimeStudy, study_regimes
from peak_trade.studies.regime.tables import detection_lag, duration_table, regime_table, transition_matrix
from peak_trade.wiring.detectors import make_detector
from tests.regimes.markets import DETECTORS, switching_bars
from tests.tolerances import RTOL_SAME

HOURS = 8_760.0
QUICK = HmmDetector(
    features=FeatureSettings(volatility_window=96, trend_window=96),
    refit_every=500,
    window=1_500,
    min_bars=1_000,
    min_duration=24,
    n_starts=3,
    tolerance=1e-4,
)


@pytest.fixture(scope="module")
def study() -> RegimeStudy:
    bars = Bars(switching_bars(900, 1)[0], "BTC/USDT", Timeframe.parse("1h"), "sample")
    return study_regimes(BuyAndHold(), bars, DETECTORS["hmm"])


def test_the_regimes_share_every_bar_and_every_trade(study):
    table = study.table().set_index("regime")
    parts = table.loc[["bear", "sideways", "bull"]]
    assert parts["bars"].sum() == table.loc["all", "bars"] == len(study.labels) - 1
    assert parts["share"].sum() == pytest.approx(1.0)
    assert parts["trades"].sum() == table.loc["all", "trades"] == len(study.result.trades)
    growth = np.prod(1.0 + parts["total_return"])
    assert growth == pytest.approx(study.result.equity_values[-1] / study.result.equity_values[0], rel=1e-9)
    assert (table["max_drawdown"] >= 0.0).all()


def test_a_regime_of_few_bars_has_no_sharpe_and_says_so(study):
    labels = study.labels.copy()
    labels[:] = 1
    labels[10:20] = 2
    row = regime_table(study.result, labels).set_index("regime").loc["bull"]
    assert np.isnan(row["sharpe"])
    assert row["note"].startswith("too few: 10 returns")


def test_transitions_durations_and_lags_are_counted():
    labels = np.array([-1, 0, 0, 0, 1, 1, 2, 2, 2, 2], dtype=np.int8)
    matrix = transition_matrix(labels)
    assert matrix.loc["bear", "bear"] == pytest.approx(2 / 3)
    assert matrix.loc["sideways", "bull"] == pytest.approx(1 / 2)
    assert matrix.loc["bull"].tolist() == [0.0, 0.0, 1.0]
    assert duration_table(labels).set_index("regime")["median_bars"].to_dict() == {
        "bear": 3.0,
        "sideways": 2.0,
        "bull": 4.0,
        "all": 3.0,
    }
    truth = np.array([0, 0, 1, 1, 1, 2, 2, 0, 0, 0], dtype=np.int8)
    named = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 0], dtype=np.int8)
    lags = detection_lag(truth, named)
    assert lags["regime"].tolist() == ["sideways", "bull", "bear"]
    assert lags["lag"].tolist()[::2] == [2.0, 1.0]
    assert math.isnan(lags["lag"][1])
    assert lags["duration"].tolist() == [3, 2, 3]
    assert detection_lag(np.zeros(9, dtype=np.int8), np.zeros(9, dtype=np.int8)).empty
    assert detection_lag(np.full(9, -1, dtype=np.int8), np.zeros(9, dtype=np.int8)).empty


def test_a_study_compares_both_runs_over_the_same_bars_and_gives_a_verdict(study):
    assert (study.result.index == study.baseline.index).all()
    assert study.result.index[0] == study.bars.frame.index[study.filtered.warm_up]
    p_value, shifted = study.shift_test(99)
    assert 0.01 <= p_value <= 1.0
    assert shifted.shape == (99,)
    assert study.delays()["delay"].tolist() == [0, 1, 5, 10]
    assert study.lookahead_cost()["timing"].tolist()[:3] == list(TIMINGS)
    sentences = study.verdict(p_value)
    assert sentences[-1].startswith("Verdict: ")
    assert "evidence of an edge" not in " ".join(sentences), "no claim without a noise control"
    assert study.facts()["transitions"] >= 3


def test_a_study_starts_where_it_is_told_and_not_before_it_knows(study):
    later = study_regimes(BuyAndHold(), study.bars, DETECTORS["hmm"], start=parse_utc("2022-01-25"))
    assert str(later.result.index[0]) == "2022-01-25 00:00:00+00:00"
    early = study_regimes(BuyAndHold(), study.bars, DETECTORS["hmm"], start=parse_utc("2022-01-02"))
    assert early.first == early.filtered.warm_up
    with pytest.raises(DataError, match="Start earlier"):
        study_regimes(BuyAndHold(), study.bars, DETECTORS["hmm"], start=parse_utc("2023-01-01"))


def test_a_study_without_hindsight_says_why(study, monkeypatch):
    blind = replace(study)

    def fails(*_):
        raise DataError("the hmm model could not be fitted to the whole sample: no state but one.")

    monkeypatch.setattr("peak_trade.studies.regime.study.smooth_regimes", fails)
    assert blind.smoothed is None
    assert blind.lookahead_cost().empty
    assert any("no state but one" in sentence for sentence in blind.verdict(0.5))
    assert "no state but one" in blind.lag_facts()["hindsight"]
    assert "noticed" not in blind.lag_facts()
    assert study.smoothing_error == ""
    assert not any("look-ahead is not known" in sentence for sentence in study.verdict(0.5))


class Counting(Strategy):
    """Long in every other week, and counts how often it is asked."""

    n_asked: ClassVar[int] = 0

    @property
    def warm_up(self) -> int:
        return 0

    def exposure(self, bars):
        type(self).n_asked += 1
        return (np.arange(len(bars)) // 168 % 2).astype(np.float64)


def test_delays_ask_the_strategy_once_each_and_count_what_it_wanted(study):
    counted = study_regimes(Counting(), study.bars, DETECTORS["hmm"])
    Counting.n_asked = 0
    table = counted.delays().set_index("delay")
    assert Counting.n_asked == 4
    for delay in table.index:
        late = counted.strategy.model_copy(update={"delay": delay})
        wanted = late.exposure(counted.bars.frame)[counted.first :]
        assert table.loc[delay, "turnover"] == pytest.approx(annual_turnover(wanted, HOURS), rel=RTOL_SAME)


def test_edge_free_series_are_edge_free_whatever_returns_are_given():
    returns = np.random.default_rng(7).normal(0.002, 0.01, 2_600)
    plain, given = (noise_control("edge-free", QUICK, [0], 2_600, HOURS, part) for part in (None, returns))
    pd.testing.assert_frame_equal(plain.sharpes, given.sharpes)


@pytest.mark.parametrize("kind", ["edge-free", "phase-randomised"])
def test_noise_has_no_causal_edge_and_hindsight_finds_one(kind):
    """Mean Sharpe over twelve pre-set seeds: within two standard errors of 0 causally, far outside with hindsight."""
    returns = np.random.default_rng(7).standard_t(4, 2_600) * 0.006 if kind == "phase-randomised" else None
    control = noise_control(kind, QUICK, range(12), 2_600, HOURS, returns)
    assert control.is_clean, control.to_frame()
    hindsight = control.mean(TIMINGS[0])
    assert hindsight.value > 2.0 * hindsight.stderr, control.to_frame()


def test_series_without_a_sharpe_ratio_prove_nothing():
    silent = pd.DataFrame(np.nan, index=range(12), columns=list(TIMINGS))
    control = NoiseControl("edge-free", silent)
    assert not control.has_enough_series
    assert not control.is_clean
    assert control.to_frame()["n_series"].tolist() == [0] * len(TIMINGS)


def test_phase_randomised_returns_keep_the_spectrum_and_lose_the_order():
    returns = np.random.default_rng(3).normal(0.001, 0.01, 512)
    close = phase_randomised_bars(returns, 0)["close"].to_numpy()
    noise = close[1:] / close[:-1] - 1.0
    assert noise.std() == pytest.approx(returns.std(), rel=0.02)
    assert abs(np.corrcoef(noise, returns[1:])[0, 1]) < 4.0 / np.sqrt(len(noise))
    again = phase_randomised_bars(returns, 0)["close"].to_numpy()
    np.testing.assert_array_equal(close, again)


def test_edge_free_bars_have_volatility_regimes():
    close = edge_free_bars(5_000, 0)["close"]
    spread = close.pct_change().rolling(100).std().dropna()
    assert spread.max() > 2.5 * spread.min()


def test_circular_shifts_find_timing_and_only_timing():
    generator = np.random.default_rng(0)
    signal = np.repeat(generator.integers(0, 2, 60), 20).astype(float)
    returns = generator.normal(0.0, 0.01, len(signal))
    lucky, _ = circular_shift_test(signal, returns + 0.01 * signal, 199, 0, HOURS)
    assert lucky == pytest.approx(1 / 200)
    constant, _ = circular_shift_test(np.ones(len(returns)), returns, 199, 0, HOURS)
    assert constant > 0.4
    with pytest.raises(ConfigError, match="too few to shift"):
        circular_shift_test(signal[:10], returns[:10], 9, 0, HOURS)


def test_a_difference_of_sharpe_ratios_counts_their_correlation():
    returns = np.random.default_rng(1).normal(0.0005, 0.01, 4_000)
    assert sharpe_difference(returns, returns, HOURS).value == 0.0
    halved = sharpe_difference(returns, 0.5 * returns, HOURS)
    assert halved.value == pytest.approx(0.0, abs=1e-9)
    assert sharpe_difference(returns, np.zeros(4_000), HOURS).value is None


def test_turnover_counts_every_change_of_exposure():
    assert annual_turnover(np.array([0.0, 1.0, 1.0, 0.5, 0.0]), 4.0) == pytest.approx(2.0)
    assert annual_turnover(np.array([1.0]), 4.0) == 0.0


def test_detectors_are_made_by_name_and_fit_the_timeframe():
    hourly = make_detector("hmm", Timeframe.parse("1h"))
    assert hourly == HmmDetector()
    daily = make_detector("hmm", Timeframe.parse("1d"), {"n_starts": 4})
    assert (daily.window, daily.min_bars, daily.refit_every, daily.min_duration) == (365, 91, 30, 4)
    assert (daily.features.trend_window, daily.n_starts) == (14, 4)
    assert make_detector("rules", Timeframe.parse("1d")).rules.rsi_window == 7
    assert make_detector("jump", Timeframe.parse("5m")).window == 8_760
    with pytest.raises(ConfigError, match="Did you mean hmm"):
        make_detector("hmn", Timeframe.parse("1h"))
    with pytest.raises(ConfigError, match="Did you mean n_starts"):
        make_detector("hmm", Timeframe.parse("1h"), {"n_start": 3})


class AlwaysShort(Strategy):
    @property
    def warm_up(self) -> int:
        return 0

    def exposure(self, bars):
        return np.full(len(bars), -1.0)


def test_a_study_of_a_bankrupt_strategy_says_so():
    close = 100.0 * np.exp(np.cumsum(np.random.default_rng(1).normal(0.01, 0.01, 300)))
    opened = np.concatenate(([100.0], close[:-1]))
    columns = {"open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close), "close": close}
    index = pd.date_range("2020-01-01", periods=300, freq="h", tz="UTC")
    bars = Bars(pd.DataFrame(columns | {"volume": 1e6}, index=index), "A/USD", Timeframe.parse("1h"))
    rules = RuleSettings(rsi_window=10, atr_window=5, atr_baseline=20)
    study = study_regimes(AlwaysShort(), bars, RulesDetector(rules=rules))
    assert study.baseline.bankrupt_bar is not None
    assert np.isfinite(study.baseline_table()["total_return"]).all()
    assert study.sharpe_gain().value is None
    assert "bankrupt" in " ".join(study.verdict(0.5))
