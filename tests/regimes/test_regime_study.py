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
from peak_trade.core.executor import Executor
from peak_trade.core.time import Timeframe, parse_utc
from peak_trade.metrics import Measure, SharpeDifference, sharpe, sharpe_difference, simple_returns
from peak_trade.regimes.features import FeatureSettings
from peak_trade.regimes.hmm import HmmDetector
from peak_trade.regimes.rules import RulesDetector, RuleSettings
from peak_trade.strategies.base import Strategy
from peak_trade.strategies.buy_and_hold import BuyAndHold
from peak_trade.strategies.cash import Cash
from peak_trade.studies.noise import edge, noise_table, sign_flipped
from peak_trade.studies.regime.controls import (
    TIMINGS,
    annual_ratio,
    annual_turnover,
    circular_shift_test,
    conclusion,
    edge_free_bars,
    noise_control,
    phase_randomised_bars,
)
from peak_trade.studies.regime.strategy import RegimeAware
from peak_trade.studies.regime.study import RegimeStudy, noise_controls, study_regimes
from peak_trade.studies.regime.tables import (
    detection_lag,
    duration_table,
    regime_table,
    target_exposure,
    transition_matrix,
)
from peak_trade.wiring.detectors import make_detector
from tests.examples import mostly_long
from tests.regimes.markets import DETECTORS, SMALL_RULES, frame_of, switching_bars
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
    assert study.smoothing_error == ""  # computed once, before the patch
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


@pytest.mark.long
def test_delays_ask_the_strategy_once_each_and_count_what_it_wanted(study):
    counted = study_regimes(Counting(), study.bars, DETECTORS["hmm"])
    Counting.n_asked = 0
    table = counted.delays().set_index("delay")
    assert Counting.n_asked == 4
    for delay in table.index:
        late = counted.strategy.model_copy(update={"delay": delay})
        wanted = late.exposure(counted.bars.frame)[counted.first :]
        assert table.loc[delay, "turnover"] == pytest.approx(annual_turnover(wanted, HOURS), rel=RTOL_SAME)


def drifting(n_bars: int) -> Bars:
    """Bars with fat tails and a strong drift, of which a noise series must keep nothing."""
    moves = np.random.default_rng(7).standard_t(4, n_bars) * 0.006 + 0.002
    return Bars(frame_of(100.0 * np.cumprod(1.0 + moves)), "BTC/USDT", Timeframe.parse("1h"), "sample")


def test_edge_free_series_are_edge_free_whatever_bars_are_given():
    aware = RegimeAware(detector=RulesDetector(rules=SMALL_RULES))
    other = Bars(frame_of(np.full(700, 100.0)), "BTC/USDT", Timeframe.parse("1h"), "sample")
    one, two = (noise_control("edge-free", aware, bars, [0]) for bars in (drifting(700), other))
    pd.testing.assert_frame_equal(one.edges, two.edges)


@pytest.mark.long
def test_series_are_the_same_in_any_number_of_processes(monkeypatch):
    aware, bars = RegimeAware(detector=RulesDetector(rules=SMALL_RULES)), drifting(700)
    one = noise_control("sign-flipped", aware, bars, [5, 2, 9], Executor(1))
    monkeypatch.setattr("peak_trade.core.executor.FEWEST_SECONDS", 0.0)
    several = Executor(2)
    two = noise_control("sign-flipped", aware, bars, [5, 2, 9], several)
    assert "in 2 processes" in several.summary
    pd.testing.assert_frame_equal(one.edges, two.edges, check_exact=True)
    assert one.n_kept == two.n_kept


@pytest.mark.long
@pytest.mark.parametrize("kind", ["sign-flipped", "edge-free"])
def test_noise_has_no_causal_edge_and_hindsight_finds_one(kind):
    """On twenty pre-set seeds the traded timing is clean, and the same rule with hindsight is a leak."""
    control = noise_control(kind, RegimeAware(detector=QUICK), drifting(2_100), range(20))
    assert control.is_judged
    assert not control.is_leak()
    leaky = replace(control, edges=control.edges[[TIMINGS[0]]])
    assert leaky.is_leak(), noise_table([control])


@pytest.mark.long
def test_phase_randomised_series_are_an_extra_that_is_not_judged(study):
    kinds = [control.kind for control in noise_controls(study, 1, 800)]
    assert kinds == ["sign-flipped", "edge-free"]
    extra = noise_controls(study, 1, 800, phase_randomised=True)[2]
    assert (extra.kind, extra.is_judged) == ("phase-randomised", False)
    assert noise_table([extra])["verdict"].tolist() == ["not judged"] * 3
    assert "not judged" in study.verdict(0.5, [extra])[-2]


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
    labels = signal.astype(np.int8)
    timed, always = (np.tile(row, (len(returns), 1)) for row in ([0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]))
    lucky, _ = circular_shift_test(timed, labels, returns + 0.01 * signal, 199, 0, HOURS)
    assert lucky == pytest.approx(1 / 200)
    constant, _ = circular_shift_test(always, labels, returns, 199, 0, HOURS)
    assert constant > 0.4
    with pytest.raises(ConfigError, match="too few to shift"):
        circular_shift_test(timed[:10], labels[:10], returns[:10], 9, 0, HOURS)


class Weekly(Strategy):
    """Long and short in turn, a week each."""

    @property
    def warm_up(self) -> int:
        return 0

    def exposure(self, bars):
        return np.where(np.arange(len(bars)) // 168 % 2 == 0, 1.0, -1.0)


RULES = {
    "scale": {"mode": "scale", "bull": 0.25, "sideways": 1.0, "bear": 0.5},
    "scale, later": {"mode": "scale", "bull": 0.25, "bear": 1.0, "delay": 7},
    "filter": {"mode": "filter", "bull": 0.0, "sideways": 0.5, "bear": 0.5},
    "switch": {"mode": "switch", "bear_strategy": BuyAndHold(), "delay": 3},
    "switch in all": {"mode": "switch", "bull_strategy": BuyAndHold(), "sideways_strategy": Weekly()},
}


WEEKS_OF_BARS = Bars(switching_bars(1_200, 1)[0], "BTC/USDT", Timeframe.parse("1h"), "sample")


@pytest.mark.long
@pytest.mark.parametrize("rule", mostly_long(RULES.values(), 1), ids=RULES)
def test_every_control_judges_the_exposure_that_is_traded(rule):
    """The event loop, shifts, look-ahead cost and noise use one exposure, with mode, weights, strategies and delay."""
    aware = study_regimes(Weekly(), WEEKS_OF_BARS, DETECTORS["hmm"], **rule)
    traded = target_exposure(aware.result)
    returns = aware.close.pct_change().to_numpy()[1:]
    earned = traded[:-1] * returns
    assert np.unique(traded).size > 1
    assert aware.unshifted_sharpe() == pytest.approx(annual_ratio(earned, aware.bars_per_year), rel=RTOL_SAME)
    timings = aware.lookahead_cost().set_index("timing")
    n_skipped = len(earned) - int(timings.loc[TIMINGS[2], "n"])
    causal = sharpe(earned[n_skipped:], aware.bars_per_year).value
    assert timings.loc[TIMINGS[2], "sharpe"] == pytest.approx(causal, rel=RTOL_SAME)
    p_value, shifted = aware.shift_test(39, 5)
    labels, rows = aware.labels[:-1], np.arange(len(returns))
    shift = int(np.random.default_rng([5, 3]).integers(len(rows) // 20, len(rows) - len(rows) // 20, 39)[0])
    moved = replace(
        aware.filtered, labels=np.concatenate([aware.filtered.labels[: aware.first], np.roll(labels, -shift), [0]])
    )
    by_hand = RegimeAware.of(Weekly(), moved, **rule | {"delay": 0}).exposure(aware.bars.frame)[aware.first : -1]
    assert shifted[0] == pytest.approx(annual_ratio(by_hand * returns, aware.bars_per_year), rel=RTOL_SAME)
    assert p_value == (1 + (shifted >= aware.unshifted_sharpe()).sum()) / 40
    noise = noise_control("sign-flipped", aware.strategy, aware.bars, [4])
    twin = sign_flipped([aware.bars], 4).bars[0]
    on_twin = study_regimes(Weekly(), twin, DETECTORS["hmm"], **rule)
    twin_returns = on_twin.close.pct_change().to_numpy()[1:]
    by_twin = edge(target_exposure(on_twin.result)[:-1] * twin_returns, twin_returns, aware.bars_per_year)
    assert noise.edges.loc[4, TIMINGS[2]] == pytest.approx(by_twin.value, rel=RTOL_SAME)


@pytest.mark.long
def test_the_p_value_of_a_switch_is_not_that_of_the_opposite_rule():
    """Short in bear regimes earns where bear regimes fall: few shifts do as well. Long there, most of them do."""
    bars = Bars(switching_bars(2_500, 3)[0], "BTC/USDT", Timeframe.parse("1h"), "sample")
    values = {}
    for name, part in (("short", AlwaysShort()), ("long", BuyAndHold())):
        study = study_regimes(Cash(), bars, DETECTORS["hmm"], mode="switch", bear_strategy=part)
        assert (study.labels == 0).any()
        values[name] = study.shift_test(199)[0]
    assert values["short"] < 0.2
    assert values["long"] > 0.8


class Clean:
    """A judged noise control, which finds a leak or none."""

    is_judged = True

    def __init__(self, *, leaks=False):
        self.leaks = leaks

    def is_leak(self, n_judged):
        return self.leaks


def difference(value, low, high):
    return SharpeDifference(Measure(value, 900, (high - low) / 4.0), low, high, 0.04)


BETTER, SAME = difference(0.8, 0.1, 1.5), difference(0.1, -0.5, 0.7)
SURE, UNSURE, LOSING = Measure(1.5, 900, 0.5), Measure(0.5, 900, 0.5), Measure(-0.5, 900, 0.2)


@pytest.mark.parametrize(
    ("own", "gain", "p_value", "noise", "says"),
    [
        (SURE, BETTER, 0.01, [Clean()], "evidence of an edge from the regimes"),
        (SURE, BETTER, 0.01, [], "a hint only, because no noise control was judged"),
        (SURE, BETTER, 0.2, [Clean()], "a hint only, because shifted regimes do as well"),
        (UNSURE, BETTER, 0.01, [Clean()], "a hint only, because the Sharpe ratio with regimes is not above 0 beyond"),
        (SURE, SAME, 0.01, [Clean()], "a hint only, because the difference from the strategy without regimes"),
        (SURE, SAME, 0.2, [Clean()], "no evidence that the regimes improve"),
        (
            LOSING,
            BETTER,
            0.01,
            [Clean()],
            "no evidence of an edge: the Sharpe ratio with regimes is not above 0. The str",
        ),
        (LOSING, difference(-0.1, -0.2, 0.1), 0.01, [Clean()], "no evidence of an edge: the Sharpe ratio with"),
        (SURE, BETTER, 0.01, [Clean(), Clean(leaks=True)], "no conclusion, because the method fails"),
        (Measure(None, 9, note="too few"), BETTER, 0.01, [Clean()], "no conclusion, because one of the Sharpe"),
        (SURE, SharpeDifference(Measure(None, 0), None, None, None), 0.01, [], "no conclusion, because one of the"),
    ],
)
def test_an_edge_needs_every_test_and_losing_less_is_none(own, gain, p_value, noise, says):
    sentence = conclusion(own, gain, p_value, noise)
    assert sentence.startswith(f"Verdict: {says}")
    assert ("loses less" in sentence) == (own is LOSING and gain.difference.value > 0.0)


def test_the_difference_is_that_of_ledoit_and_wolf_over_the_bars_of_both_runs(study):
    ours, theirs = (simple_returns(run.equity_values) for run in (study.result, study.baseline))
    assert study.sharpe_test == sharpe_difference(ours, theirs, study.bars_per_year)
    assert study.sharpe_gain() == study.sharpe_test.difference
    assert "(Ledoit and Wolf 2008)" in study.verdict(0.5)[1]


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


@pytest.mark.long
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


class Counted(BuyAndHold):
    """Buy and hold that counts its evaluations."""

    n_evaluations: ClassVar[int] = 0

    def exposure(self, bars):
        Counted.n_evaluations += 1
        return super().exposure(bars)


def test_the_tables_of_a_study_evaluate_the_inner_strategy_once(study):
    counted = replace(study, strategy=study.strategy.model_copy(update={"inner": Counted()}))
    before = Counted.n_evaluations
    counted.lookahead_cost()
    counted.shift_test(n_shifts=5)
    counted.unshifted_sharpe()
    assert Counted.n_evaluations == before + 1
