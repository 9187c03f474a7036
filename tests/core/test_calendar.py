"""Every grouping of bars goes by the open of the bar."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peak_trade.core.bars import Bars
from peak_trade.core.calendar import lateness, period_of, period_start
from peak_trade.core.history import DailyHistory
from peak_trade.core.time import Timeframe
from peak_trade.metrics import period_returns
from peak_trade.risk.limits import RiskLimits
from tests.examples import examples
from tests.tolerances import RTOL_SAME

PERIODS = ("day", "week", "month", "quarter", "year")
CODES = {"day": "D", "week": "W-SUN", "month": "M", "quarter": "Q", "year": "Y"}
HOUR = 3_600 * 1_000_000_000
instants = st.integers(0, 2**61)


@given(st.lists(instants, min_size=1, max_size=20))
@pytest.mark.parametrize("period", PERIODS)
def test_a_period_and_its_start_are_those_of_pandas(period, moments):
    times = np.array(moments, dtype=np.int64)
    expected = pd.DatetimeIndex(times).to_period(CODES[period]).start_time
    assert (pd.DatetimeIndex(period_start(period_of(times, period), period)) == expected).all()
    assert period_of(moments[0], period) == period_of(times, period)[0]


@st.composite
def equities(draw):
    """Equity of bars of any timeframe and grid, with gaps."""
    timeframe = Timeframe(draw(st.sampled_from([60, 3_600, 14_400, 18_000, 86_400, 604_800])))
    first = draw(st.integers(1_600_000_000, 1_700_000_000)) // 3_600 * 3_600 * 1_000_000_000
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 2, 40]), min_size=1, max_size=60))
    times = first + timeframe.ns * np.cumsum([0, *steps])
    values = draw(st.lists(st.floats(1.0, 1_000.0), min_size=len(times), max_size=len(times)))
    return pd.Series(values, index=pd.DatetimeIndex(times, tz="UTC")), timeframe


@given(equities(), st.sampled_from(PERIODS))
@settings(max_examples=examples(200), deadline=None)
def test_returns_of_periods_compound_to_the_whole_and_a_bar_belongs_to_the_period_of_its_open(drawn, period):
    equity, timeframe = drawn
    changes = period_returns(equity, period, timeframe)
    np.testing.assert_allclose(np.prod(1.0 + changes), equity.iloc[-1] / equity.iloc[0], rtol=RTOL_SAME)
    opens = pd.DatetimeIndex(equity.index - timeframe.duration).tz_localize(None).to_period(CODES[period])
    assert pd.DatetimeIndex(changes.index).tz_localize(None).tolist() == opens[1:].unique().start_time.tolist()
    for start, change in changes.items():
        own = equity.iloc[1:][opens[1:].start_time == start.tz_localize(None)]
        before = equity[equity.index < own.index[0]].iloc[-1]
        assert change == pytest.approx(own.iloc[-1] / before - 1.0, rel=1e-9, abs=1e-12)


def test_the_last_bar_of_a_month_is_in_that_month_and_makes_no_row_of_the_next_year():
    from peak_trade.reports.views.backtest import monthly_table

    hours = pd.date_range("2022-01-01 01:00", "2023-01-01 00:00", freq="h", tz="UTC")
    equity = pd.Series(100.0, index=hours)
    equity[equity.index >= "2022-04-01 00:00"] = 125.0
    equity.iloc[-1] = 250.0
    table = monthly_table(equity)
    assert table.index.tolist() == [2022]
    assert table.loc[2022, [3, 4, 12]].tolist() == [0.25, 0.0, 1.0]


def bars_of(first: str, timeframe: str, n_bars: int, seed: int = 1) -> Bars:
    length = Timeframe.parse(timeframe)
    close = 100.0 * np.exp(np.random.default_rng(seed).normal(0.0, 0.02, n_bars).cumsum())
    index = pd.Timestamp(first, tz="UTC") + length.duration * np.arange(n_bars)
    frame = pd.DataFrame({name: close for name in ("open", "high", "low", "close")}, index=index).assign(volume=1.0)
    return Bars(frame, "BTC/USDT", length)


@pytest.mark.parametrize(
    ("first", "timeframe", "delay"),
    [
        ("2024-01-01 01:00", "1h", 0),
        ("2024-01-01 16:00", "1d", 16),
        ("2024-01-01 00:30", "1h", 0.5),
        ("2024-01-01", "5h", 5),
    ],
)
def test_a_day_holds_the_bars_that_open_on_it_and_is_known_when_they_have_closed(first, timeframe, delay):
    bars = bars_of(first, timeframe, 300)
    assert lateness(int(bars.times[0]), bars.timeframe) == delay * HOUR
    history = DailyHistory([bars], "run", 400)
    opens = pd.DatetimeIndex(bars.frame.index - bars.timeframe.duration).normalize()
    closes = bars.frame["close"].groupby(opens).last()
    known = history.returns_at(int(bars.times[-1]) + 48 * HOUR).returns[0]
    np.testing.assert_allclose(known[-5:], closes.pct_change().to_numpy()[-5:], rtol=RTOL_SAME)
    for row in range(60, len(bars), 21):
        cut = Bars(bars.frame.iloc[: row + 1], bars.symbol, bars.timeframe)
        now = int(bars.times[row])
        past = DailyHistory([cut], "run", 400)
        assert repr(history.returns_at(now)) == repr(past.returns_at(now))
        if past.returns_at(now) is not None:
            np.testing.assert_array_equal(history.returns_at(now).returns, past.returns_at(now).returns)


def test_the_daily_loss_is_that_of_the_bars_that_open_on_one_day():
    import peak_trade as pt
    from peak_trade.strategies.buy_and_hold import BuyAndHold

    closes = np.array([100.0, 100.0, 100.0, 97.0, 94.0, 94.0, 94.0])
    index = pd.date_range("2024-01-01 07:00", periods=closes.size, freq="5h", tz="UTC")
    frame = pd.DataFrame({name: closes for name in ("open", "high", "low", "close")}, index=index).assign(volume=1e9)
    costs = {"fee_bps": 0.0, "slippage_bps": 0.0}
    limits = RiskLimits.parse({"state": {"halt_daily_loss": 0.05}}, "test")
    result = pt.backtest(BuyAndHold(), pt.as_bars(frame, "X/USD", "5h"), pt.BacktestSettings(costs=costs), risk=limits)
    assert "halted since 2024-01-02 03:00:00Z (daily loss 0.06)" in result.risk_status
