"""Measures are annualised by elapsed time; without missing bars they are, bit by bit, those of the timeframe."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import peak_trade as pt
from peak_trade.core.bars import Bars
from peak_trade.core.calendar import n_missing, observed_per_year, trailing_per_year
from peak_trade.core.errors import ConfigError, DataError, PeakTradeError
from peak_trade.core.time import NS_PER_SECOND, SECONDS_PER_YEAR, Timeframe
from peak_trade.metrics import annual_volatility, cagr, calmar, sharpe, sortino, turnover
from peak_trade.regimes.rules import RuleSettings
from peak_trade.strategies.buy_and_hold import BuyAndHold
from peak_trade.strategies.ma_crossover import MaCrossover
from peak_trade.studies.sweep.run import sweep
from tests.examples import examples
from tests.tolerances import RTOL_SAME

YEAR = SECONDS_PER_YEAR * NS_PER_SECOND
DETECTOR = pt.make_detector(
    "rules", Timeframe(3_600), {"rules": RuleSettings(rsi_window=14, atr_window=5, atr_baseline=50)}
)
seconds = st.sampled_from([1, 60, 300, 3_600, 14_400, 86_400, 604_800])


@given(seconds, st.integers(1, 5_000), st.integers(0, 2**60))
def test_bars_per_year_is_exactly_that_of_the_timeframe_where_nothing_is_missing(step, n, start):
    timeframe = Timeframe(step)
    times = start + timeframe.ns * np.arange(n + 1)
    assert observed_per_year(times, timeframe.bars_per_year) == timeframe.bars_per_year
    assert (trailing_per_year(times, timeframe.bars_per_year, 7) == timeframe.bars_per_year).all()
    assert n_missing(times, timeframe) == 0


@given(seconds, st.lists(st.integers(1, 40), min_size=2, max_size=200), st.integers(1, 20))
def test_bars_per_year_counts_the_bars_of_the_years_that_elapsed(step, steps, window):
    timeframe = Timeframe(step)
    times = timeframe.ns * np.cumsum([0, *steps])
    years = int(times[-1]) / YEAR
    assert math.isclose(observed_per_year(times, timeframe.bars_per_year), len(steps) / years, rel_tol=RTOL_SAME)
    assert n_missing(times, timeframe) == sum(steps) - len(steps)
    trailing = trailing_per_year(times, timeframe.bars_per_year, window)
    for row in range(1, len(times)):
        own = times[max(row - window, 0) : row + 1]
        assert trailing[row] == observed_per_year(own, timeframe.bars_per_year)


def thin(seed: int = 1, n_bars: int = 8_760, n_kept: int = 4_380) -> pd.DataFrame:
    """Hourly bars of one year with missing hours, whose price doubles."""
    rng = np.random.default_rng(seed)
    kept = np.r_[0, np.sort(rng.choice(np.arange(1, n_bars), n_kept - 1, replace=False)), n_bars]
    close = 100.0 * np.exp(np.log(2.0) * kept / n_bars + rng.normal(0.0, 0.001, kept.size))
    close[0], close[-1] = 100.0, 200.0
    opened = np.r_[close[0], close[:-1]]
    index = pd.Timestamp("2023-01-01", tz="UTC") + pd.Timedelta(hours=1) * kept
    prices = {"open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close), "close": close}
    return pd.DataFrame(prices, index=index).assign(volume=1e6)


def test_a_thin_year_that_doubles_has_a_growth_of_one_and_the_result_says_what_is_missing():
    costs = {"fee_bps": 0.0, "slippage_bps": 0.0, "max_participation": None}
    bars = pt.as_bars(thin(), "X/USDT", "1h")
    result = pt.backtest(BuyAndHold(), bars, pt.BacktestSettings(costs=costs))
    stats, equity = result.stats(), result.equity_values
    assert stats["cagr"].value == pytest.approx(equity[-1] / equity[0] - 1.0, rel=1e-9)
    returns = np.diff(equity) / equity[:-1]
    assert stats["annual_volatility"].value == pytest.approx(returns.std(ddof=1) * math.sqrt(4_380), rel=1e-9)
    assert stats["turnover"].value == pytest.approx(10_000.0 / equity.mean(), rel=1e-6)
    (remark,) = result.remarks
    assert "4,380 of 8,761 bars of X/USDT" in remark
    assert "4,380.0 bars in a year of 365 days" in remark
    assert remark in result.assumptions


def test_few_missing_bars_are_not_remarked():
    result = pt.backtest(BuyAndHold(), pt.as_bars(thin(n_kept=8_700), "X/USDT", "1h"))
    assert result.remarks == []
    assert result.market.bars_per_year == pytest.approx(8_700.0, rel=RTOL_SAME)


def thin_history(n_traded: int = 800) -> tuple[Bars, pd.Timestamp]:
    """Bars whose first half is thin and whose second half is whole, and the first close of the second half."""
    frame = thin(n_bars=1_000, n_kept=300)
    index = frame.index[-1] + pd.Timedelta(hours=1) * np.arange(1, n_traded + 1)
    whole = thin(2, n_traded, n_traded).iloc[:n_traded].set_axis(index)
    bars = pt.as_bars(pd.concat([frame, whole]), "X/USDT", "1h")
    return bars, index[0]


def test_a_sweep_and_a_regime_study_are_annualised_by_the_bars_that_they_trade(home):
    bars, start = thin_history()
    assert bars.bars_per_year < 6_000.0
    swept = sweep(MaCrossover, {"fast": [3, 5], "slow": [12]}, bars, start=start.to_pydatetime())
    best = swept.table["sharpe"].to_numpy()[swept.winner_index]
    assert swept.winner.market.bars_per_year == 8_760.0
    assert best == pytest.approx(swept.winner.stats()["sharpe"].value, rel=1e-9)
    study = pt.study_regimes(BuyAndHold(), bars, DETECTOR, start=start.to_pydatetime())
    assert study.bars_per_year == 8_760.0


THIN_CLOSE = pd.Series(thin()["close"])


@pytest.mark.parametrize("per_year", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize(
    "measure",
    [cagr, calmar, annual_volatility, sharpe, sortino, lambda e, q: turnover(pd.DataFrame(), e, q)],
    ids=["cagr", "calmar", "volatility", "sharpe", "sortino", "turnover"],
)
def test_a_number_of_bars_per_year_without_meaning_is_refused(measure, per_year):
    for equity in (np.linspace(1.0, 2.0, 50), THIN_CLOSE):
        with pytest.raises(ConfigError, match="bars_per_year was"):
            measure(equity, per_year)


def frame_every(step: str, n_bars: int = 20) -> pd.DataFrame:
    return pd.DataFrame(
        dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0),
        index=pd.date_range("2024-01-01", periods=n_bars, freq=step, tz="UTC"),
    )


@pytest.mark.parametrize(
    ("step", "timeframe", "says"),
    [
        ("500ms", None, "0.5 s apart"),
        ("1500ms", None, "1.5 s apart"),
        ("30min", "1h", "the timeframe was 1h, and the bars are 1,800 s apart"),
        ("1D", "1h", "the timeframe was 1h, and the bars are 86,400 s apart"),
        ("1h", "1d", "the timeframe was 1d, and the bars are 3,600 s apart"),
    ],
)
def test_a_spacing_that_contradicts_the_timeframe_is_refused_in_one_line(step, timeframe, says):
    with pytest.raises(PeakTradeError, match=says) as refused:
        pt.as_bars(frame_every(step), "X/USD", timeframe)
    assert "\n" not in str(refused.value)


def test_a_timeframe_below_one_second_is_refused():
    for value in (0, -3_600):
        with pytest.raises(ConfigError, match="at least one second"):
            Timeframe(value)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.data())
@settings(max_examples=examples(50), deadline=None)
def test_any_part_of_bars_with_gaps_is_still_bars(steps, data):
    times = pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(hours=1) * np.cumsum([0, *steps])
    frame = frame_every("1h", len(times)).set_axis(times)
    first = data.draw(st.integers(0, len(times) - 1))
    assert len(Bars(frame.iloc[first:], "X/USD", Timeframe(3_600))) == len(times) - first
    with pytest.raises(DataError, match="apart"):
        Bars(frame, "X/USD", Timeframe(86_400))
