"""Return histories: a day without a bar is unknown, and an unknown day denies."""

import math

import numpy as np
import pandas as pd
import pytest

from peak_trade.core.bars import Bars
from peak_trade.core.errors import DataError
from peak_trade.core.history import DailyHistory, ReturnHistory
from peak_trade.core.time import Timeframe
from peak_trade.core.values import Instrument
from peak_trade.risk.codes import DenialCode
from peak_trade.risk.limits import RiskLimits
from peak_trade.risk.review import ApprovedOrder, review
from peak_trade.risk.var import estimate, filtered_returns, historical
from peak_trade.wiring.gates import gate_chain
from tests.replacing import replace
from tests.risk.cases import ACCOUNT, BTC, ETH, MARKET, NOW, ORDER

LIMITS = RiskLimits.parse({"var": {"max_var": 0.9}}, "test")


def daily_bars(symbol: str, n_days: int, seed: int, timeframe: str = "1d") -> Bars:
    """Daily bars from 1 January 2022 on, with their close times."""
    step = Timeframe.parse(timeframe).duration
    n_bars = n_days * 86_400 // Timeframe.parse(timeframe).seconds
    index = pd.date_range(pd.Timestamp("2022-01-01", tz="UTC") + step, periods=n_bars, freq=step).as_unit("ns")
    close = 100.0 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.0, 0.03, n_bars)))
    columns = dict.fromkeys(("open", "high", "low", "close"), close) | {"volume": np.full(n_bars, 1e6)}
    return Bars(pd.DataFrame(columns, index=index), symbol, Timeframe.parse(timeframe))


def without(bars: Bars, start: int, stop: int) -> Bars:
    """The bars without those from start to stop - 1."""
    return replace(bars, frame=bars.frame.drop(bars.frame.index[start:stop]))


def ask(bars: list[Bars], symbol: str):
    """Review a buy at the last close of the first bars with the VaR gates."""
    now = int(bars[0].times[-1])
    history = DailyHistory(bars, LIMITS.var.source, 500).returns_at(now)
    market = replace(MARKET, as_of=now, bar_time=now, instrument=Instrument(symbol), returns=history)
    order = replace(ORDER, symbol=symbol, decided_at=now)
    return review(order, replace(ACCOUNT, positions={}), market, gate_chain(LIMITS), LIMITS)


def test_a_history_with_missing_days_denies_and_the_whole_one_approves():
    whole = daily_bars(BTC, 500, 1)
    assert isinstance(ask([whole], BTC), ApprovedOrder)
    for hole in ((150, 450), (200, 201)):
        denials = ask([without(whole, *hole)], BTC)
        assert [denial.code for denial in denials] == [DenialCode.VAR_MODEL, DenialCode.VALUE_AT_RISK]
        assert all(math.isnan(denial.observed) for denial in denials)


def test_a_symbol_that_has_ended_denies_though_another_is_fresh():
    fresh, ended = daily_bars(BTC, 500, 1), daily_bars(ETH, 60, 2)
    assert isinstance(ask([fresh, ended], BTC), ApprovedOrder)
    assert [denial.code for denial in ask([fresh, ended], ETH)] == [DenialCode.VAR_MODEL, DenialCode.VALUE_AT_RISK]


def test_a_gap_of_hours_leaves_the_day_known():
    whole = daily_bars(BTC, 400, 1, "1h")
    gap = without(whole, 24 * 50 + 15, 24 * 50 + 24)
    assert isinstance(ask([gap], BTC), ApprovedOrder)
    returns = DailyHistory([gap], "run", 500).returns_at(2**62).returns[0]
    close = whole.frame["close"].to_numpy()
    last_before_gap = close[24 * 50 + 14]
    assert returns[49] == pytest.approx(last_before_gap / close[24 * 50 - 1] - 1.0, rel=1e-12)
    assert returns[50] == pytest.approx(close[24 * 52 - 1] / last_before_gap - 1.0, rel=1e-12)


def test_real_bars_with_their_outages_have_no_unknown_day(real_data):
    from tests.risk.test_stress_gate import hourly

    for name in ("BTC", "ETH", "SOL"):
        history = DailyHistory([hourly(real_data, name)], "run", 5_000).returns_at(2**62)
        assert np.isfinite(history.returns[:, 1:]).all()


def test_a_hole_does_not_lower_the_volatility_that_slippage_is_estimated_with():
    whole = daily_bars(BTC, 100, 1)
    hole = without(whole, 70, 90)
    at = int(whole.times[-1])
    known = np.diff(hole.frame["close"].to_numpy()[-10:]) / hole.frame["close"].to_numpy()[-10:-1]
    assert DailyHistory([hole], "run", 500).activity_at(BTC, at)[1] == pytest.approx(known.std(), rel=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_estimate_with_an_unknown_day_is_an_error(bad):
    returns = np.random.default_rng(1).normal(0.0, 0.03, 400)
    returns[7] = bad
    with pytest.raises(DataError, match="not finite"):
        historical(returns, 0.95)
    history = ReturnHistory("run", NOW, [BTC], returns[None, :])
    for method in ("historical", "filtered_historical"):
        with pytest.raises(DataError):
            estimate(np.ones(1), history, method, 0.95)


def test_filtering_needs_movement_on_the_first_days():
    returns = np.random.default_rng(1).normal(0.0, 0.03, (2, 400))
    returns[1, :20] = 0.0
    with pytest.raises(DataError, match="ETH/USDT"):
        filtered_returns(ReturnHistory("run", NOW, [BTC, ETH], returns), 0.94)
